"""Maps over peers (catalogue of inference, 1.6: MoDNN, DeepThings): stitched tiles are the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.infer.tiles import Tiled
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


def picture(seed: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


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
    whole = tiled.grid(1, 1)
    expected = tiled.compute(picture(), whole[0])
    tiles = tiled.grid(rows, columns)
    results = [tiled.compute(tiled.piece(picture(), tile), tile) for tile in tiles]
    assert torch.equal(tiled.stitch(tiles, results), expected)
    assert torch.allclose(expected, tiled.layers(picture()), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_deepthings_stitched_tiles_are_the_whole_within_1e_5_in_the_librarys(seed: int) -> None:
    tiled = Tiled(layers(seed), 3, SIZE)
    with torch.no_grad():
        expected = tiled.layers(picture(seed))
    for rows, columns in ((1, 1), (2, 3), (3, 3)):
        tiles = tiled.grid(rows, columns)
        found = tiled.stitch(tiles, [tiled.compute(tiled.piece(picture(seed), tile), tile) for tile in tiles])
        assert (found - expected).abs().max() <= 1e-5


def test_modnn_stripes_by_speed_layer_after_layer_are_the_whole() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.MaxPool2d(2))
    tensor, speeds = picture(), [3.0, 1.0, 2.0]
    with torch.no_grad():
        expected = chain(tensor)
    for layer in chain:
        one = Tiled(nn.Sequential(layer), tensor.shape[1], (tensor.shape[2], tensor.shape[3]), direct)
        regions = [Region(span, Span(0, one.given[1])) for span in proportional(one.given[0], speeds)]
        tiles = one.tiles(regions)
        tensor = one.stitch(tiles, [one.compute(one.piece(tensor, tile), tile) for tile in tiles])
    assert torch.allclose(tensor, expected, atol=1e-5)


def test_deepthings_with_stealing_and_a_lost_worker_every_tile_is_done_once_and_the_order_is_kept() -> None:
    tiled = Tiled(layers(), 3, SIZE)
    tiles = tiled.grid(3, 3)
    generator = np.random.default_rng(0)
    board: Stealing[int, Tensor] = Stealing({worker: list(range(*span)) for worker, span in enumerate(even(9, 3))})
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
    with torch.no_grad():
        assert torch.allclose(tiled.stitch(tiles, board.in_order()), tiled.layers(picture()), atol=1e-5)


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
