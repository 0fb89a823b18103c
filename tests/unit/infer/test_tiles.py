"""Maps over peers (catalogue of inference, 1.6: MoDNN, DeepThings): stitched tiles are the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.infer.tiles import Floats, Tiled, front
from middleware.maths.stealing import Stealing
from middleware.maths.tiles import Region, Span, even, proportional

SIZE = (30, 26)


def layers(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.Conv2d(8, 12, 1), nn.SiLU(),
        nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(12, 6, (3, 5), padding=(2, 2), dilation=(2, 1)), nn.AvgPool2d(2),
    )  # fmt: skip


def picture(seed: int = 1, size: tuple[int, int] = SIZE) -> Floats:
    return np.random.default_rng(seed).normal(size=(2, 3, *size)).astype(np.float32)


def whole(chain: nn.Sequential, tensor: Floats) -> Floats:
    """What torch makes of it, in one piece."""
    with torch.no_grad():
        return chain(torch.from_numpy(tensor)).numpy()


def direct(taken: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution that adds its products in one order, whatever the map's size."""
    (down, right), (over, across), (rows, columns) = layer.stride, layer.dilation, layer.kernel_size
    height = (taken.shape[2] - over * (rows - 1) - 1) // down + 1
    width = (taken.shape[3] - across * (columns - 1) - 1) // right + 1
    given = torch.zeros(len(taken), layer.out_channels, height, width)
    inner, outer = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    for made, channel, row, column in itertools.product(
        range(layer.out_channels), range(inner), range(rows), range(columns)
    ):
        top, left = row * over, column * across
        read = taken[:, made // outer * inner + channel]
        part = read[:, top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]
        given[:, made] += layer.weight[made, channel, row, column] * part
    return given + layer.bias[:, None, None] if layer.bias is not None else given


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (3, 1), (3, 3)])
def test_deepthings_stitched_tiles_are_the_whole_to_the_bit_in_direct_convolutions(rows: int, columns: int) -> None:
    tiled = Tiled(layers(), 3, SIZE, direct)
    expected = tiled.compute(picture(), tiled.grid(1, 1)[0])
    tiles = tiled.grid(rows, columns)
    results = [tiled.compute(tiled.piece(picture(), tile), tile) for tile in tiles]
    assert np.array_equal(tiled.stitch(tiles, results), expected)
    assert np.allclose(expected, whole(tiled.layers, picture()), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_deepthings_stitched_tiles_are_the_whole_within_1e_5_in_the_librarys(seed: int) -> None:
    tiled = Tiled(layers(seed), 3, SIZE)
    expected = whole(tiled.layers, picture(seed))
    for rows, columns in ((1, 1), (2, 3), (3, 3)):
        tiles = tiled.grid(rows, columns)
        found = tiled.stitch(tiles, [tiled.compute(tiled.piece(picture(seed), tile), tile) for tile in tiles])
        assert np.abs(found - expected).max() <= 1e-5


def test_modnn_stripes_by_speed_layer_after_layer_are_the_whole() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.MaxPool2d(2))
    tensor, speeds = picture(), [3.0, 1.0, 2.0]
    expected = whole(chain, tensor)
    for layer in chain:
        one = Tiled(nn.Sequential(layer), tensor.shape[1], (tensor.shape[2], tensor.shape[3]), direct)
        regions = [Region(span, Span(0, one.given[1])) for span in proportional(one.given[0], speeds)]
        tiles = one.tiles(regions)
        tensor = one.stitch(tiles, [one.compute(one.piece(tensor, tile), tile) for tile in tiles])
    assert np.allclose(tensor, expected, atol=1e-5)


def test_deepthings_with_stealing_and_a_lost_worker_every_tile_is_done_once_and_the_order_is_kept() -> None:
    tiled = Tiled(layers(), 3, SIZE)
    tiles = tiled.grid(3, 3)
    generator = np.random.default_rng(0)
    board: Stealing[int, Floats] = Stealing({worker: list(range(*span)) for worker, span in enumerate(even(9, 3))})
    computed = []
    while not board.finished:
        if 2 in board.working and 2 in board.left:
            board.lost(2)
        worker = int(generator.choice(list(board.left)))
        if worker in board.working:
            tile = tiles[board.working[worker]]
            computed.append(tile.number)
            board.done(worker, tiled.compute(tiled.piece(picture(), tile), tile))
        else:
            board.take(worker)
    assert sorted(computed) == list(range(9))
    assert board.stolen > 0
    assert np.allclose(tiled.stitch(tiles, board.in_order()), whole(tiled.layers, picture()), atol=1e-5)


def test_deepthings_the_peak_memory_of_a_tile_is_the_formulas_and_falls_with_the_grid() -> None:
    size, seen = (120, 104), list[int]()
    tiled = Tiled(layers(), 3, size)

    def counting(taken: Tensor, layer: nn.Conv2d) -> Tensor:
        given = nn.functional.conv2d(taken, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)
        seen.append(4 * (taken[0].numel() + given[0].numel()))
        return given

    watched = Tiled(layers(), 3, size, counting)
    for rows in (1, 2, 3):
        for tile in watched.grid(rows, rows):
            seen.clear()
            watched.compute(watched.piece(picture(size=size), tile), tile)
            assert max(seen) <= watched.peak_bytes(tile)
    peaks = [max(map(tiled.peak_bytes, tiled.grid(rows, rows))) for rows in (1, 2, 3)]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[2] < 0.5 * peaks[0]


def test_the_front_of_a_network_is_what_can_be_tiled() -> None:
    chain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.MaxPool2d(2), nn.Flatten(), nn.Conv2d(4, 4, 1)
    )
    assert [type(layer) for layer in front(chain)] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert len(front(nn.Sequential(nn.Flatten()))) == 0


def test_what_looks_further_than_a_window_is_refused() -> None:
    for layer in (
        nn.Flatten(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 3, padding="same"), nn.AvgPool2d(3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            Tiled(nn.Sequential(layer), 3, SIZE)
    tiled = Tiled(layers(), 3, SIZE)
    tiles = tiled.grid(2, 2)
    with pytest.raises(ConfigurationError, match="this tile needs"):
        tiled.compute(picture(), tiles[0])
    with pytest.raises(ConfigurationError, match="cover"):
        tiled.stitch(tiles[:3], [tiled.compute(tiled.piece(picture(), tile), tile) for tile in tiles[:3]])
