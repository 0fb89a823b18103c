"""The front of a network over several peers: each computes tiles of the output from the part of the input that they need.

`Tiled` takes convolutions and pools in a row, with what works on each number alone between them, and says for every tile which
piece of the input it needs (`maths.tiles`). Tiles are computed anywhere, in any order (`maths.stealing`), and stitched. Each
value is the sum of the same products as in the whole, so it is the same to the bit where the convolution adds in a fixed order;
libraries choose the order by the map's size, and then it is within 1e-5.

A tile holds a small part of the maps in memory, and computes its halo again: tiles across many layers save memory and messages
and cost work, stripes of single layers the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError, require
from middleware.maths.tiles import Region, Size, Step, Window, grid, peak_numbers, sizes, steps

POINTWISE: Final = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.GELU, nn.Identity,
    nn.Dropout, nn.BatchNorm2d,
)  # fmt: skip
FLOAT_BYTES: Final = 4

Floats = npt.NDArray[np.float32]

Convolve = Callable[[Tensor, nn.Conv2d], Tensor]
"""(input with its padding, layer) -> output."""


class Tile(NamedTuple):
    """Which region of the output, and what every layer reads and gives for it."""

    number: int
    region: Region
    steps: tuple[Step, ...]

    @property
    def needed(self) -> Region:
        return self.steps[0].taken


def library(taken: Tensor, layer: nn.Conv2d) -> Tensor:
    """The convolution of torch, without its own padding."""
    return nn.functional.conv2d(taken, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


class Tiled:
    """A chain of layers (n, channels, rows, columns) -> (n, ...), in evaluation mode, that can be computed by tiles."""

    def __init__(self, layers: Iterable[nn.Module], channels: int, size: Size, convolve: Convolve = library) -> None:
        """Raises ConfigurationError for a layer that looks further than a window."""
        self.layers = nn.Sequential(*layers).eval()
        self.channels, self.size, self.convolve = channels, size, convolve
        self.windows: list[Window] = []
        for layer in self.layers:
            given = self.windows[-1].channels if self.windows else channels
            self.windows.append(_window(layer, given))
        require(bool(self.windows), "no layers: give a chain of at least one")
        try:
            self.given = sizes(self.windows, size)[-1]
        except ValueError as error:
            raise ConfigurationError(f"these layers cannot be tiled: {error}") from error

    def grid(self, rows: int, columns: int) -> list[Tile]:
        """The output as rows x columns tiles."""
        return self.tiles(grid(self.given, rows, columns))

    def tiles(self, regions: Sequence[Region]) -> list[Tile]:
        return [Tile(number, one, steps(self.windows, self.size, one)) for number, one in enumerate(regions)]

    def piece(self, tensor: Floats, tile: Tile) -> Floats:
        """What of the input (n, channels, rows, columns) a tile needs."""
        return tensor[:, :, slice(*tile.needed.rows), slice(*tile.needed.columns)].copy()

    def compute(self, piece: Floats, tile: Tile) -> Floats:
        """The tile's region of the output (n, ...). ConfigurationError for a piece of another tile."""
        area = (tile.needed.rows.length, tile.needed.columns.length)
        require(tuple(piece.shape[2:]) == area, f"a piece of {tuple(piece.shape[2:])}: this tile needs {area}")
        tensor = torch.from_numpy(piece)
        with torch.no_grad():
            for layer, step in zip(self.layers, tile.steps, strict=True):
                tensor = self._layer(layer, tensor, step.padding)
        given: Floats = tensor.numpy()
        return given

    def stitch(self, tiles: Sequence[Tile], results: Sequence[Floats]) -> Floats:
        """The whole output from its tiles. ConfigurationError where they leave a hole."""
        whole = np.empty((*results[0].shape[:2], *self.given), np.float32)
        covered = np.zeros(self.given, np.bool_)
        for tile, result in zip(tiles, results, strict=True):
            place = slice(*tile.region.rows), slice(*tile.region.columns)
            whole[:, :, *place] = result
            covered[place] = True
        require(bool(covered.all()), f"the tiles cover {int(covered.sum())} places of {covered.size}")
        return whole

    def peak_bytes(self, tile: Tile) -> int:
        """The most bytes of maps that a tile of one sample holds at once."""
        return FLOAT_BYTES * peak_numbers(self.windows, self.channels, tile.steps)

    def _layer(self, layer: nn.Module, taken: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        top, bottom, left, right = padding
        if any(padding):
            edge = -math.inf if isinstance(layer, nn.MaxPool2d) else 0.0
            taken = nn.functional.pad(taken, (left, right, top, bottom), value=edge)
        if isinstance(layer, nn.Conv2d):
            return self.convolve(taken, layer)
        if isinstance(layer, nn.MaxPool2d):
            return nn.functional.max_pool2d(taken, layer.kernel_size, layer.stride, 0, layer.dilation)
        given: Tensor = layer(taken)
        return given


def front(module: nn.Module) -> nn.Sequential:
    """The layers at a network's beginning that can be tiled, as one chain; chains within chains are taken apart."""
    found: list[nn.Module] = []
    pending = [module]
    while pending:
        layer = pending.pop(0)
        if isinstance(layer, nn.Sequential):
            pending[:0] = layer
            continue
        try:
            _window(layer, 1)
        except ConfigurationError:
            break
        found.append(layer)
    return nn.Sequential(*found)


def _window(layer: nn.Module, channels: int) -> Window:
    if isinstance(layer, POINTWISE):
        return Window(channels)
    if isinstance(layer, nn.Conv2d):
        plain = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
        require(plain, "a convolution is tiled with numbers for its padding, and zeros in it")
        return Window(
            layer.out_channels, _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding), _pair(layer.dilation)
        )  # fmt: skip
    if isinstance(layer, nn.MaxPool2d):
        require(not layer.ceil_mode, "a pool is tiled without ceil_mode")
        return Window(
            channels, _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding), _pair(layer.dilation)
        )  # fmt: skip
    if isinstance(layer, nn.AvgPool2d):
        require(not layer.ceil_mode and layer.padding in (0, (0, 0)), "a mean is tiled without padding and ceil_mode")
        return Window(channels, _pair(layer.kernel_size), _pair(layer.stride))
    raise ConfigurationError(f"{type(layer).__name__} looks further than a window: tile the layers in front of it")


def _pair(value: int | str | tuple[int, ...]) -> Size:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
