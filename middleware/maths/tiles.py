"""Which part of a map a tile needs: windows (convolutions, pools) one after the other, traced back from the output.

A window with kernel k, stride s, padding p and dilation d makes output rows [a, b) from input rows

    [a s - p, (b - 1) s - p + d (k - 1) + 1)

and what of that lies outside of the map is padding, at the map's border and nowhere else. Traced through all layers, a tile of
the output needs one region of the input, with a halo that neighbouring tiles need too; run on its own it gives exactly the
whole's values there (Zhao, Barijough and Gerstlauer, "DeepThings", TCAD 2018, algorithm 1). With tiles in stripes whose heights
follow the workers' speeds, layer by layer, it is the partition of Mao et al., "MoDNN", DATE 2017 (BODP).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Size = tuple[int, int]


class Span(NamedTuple):
    """Places start .. stop - 1 along one axis."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


class Region(NamedTuple):
    """Rows and columns of a map."""

    rows: Span
    columns: Span

    @property
    def area(self) -> int:
        return self.rows.length * self.columns.length


class Window(NamedTuple):
    """A layer's window by (rows, columns); `channels` it gives. What works on each number alone has a kernel of 1."""

    channels: int
    kernel: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)


class Step(NamedTuple):
    """One layer of one tile: the region it reads, the zeros around it (top, bottom, left, right), the region it gives."""

    taken: Region
    padding: tuple[int, int, int, int]
    given: Region


def sizes(windows: Sequence[Window], size: Size) -> list[Size]:
    """(rows, columns) in front of every layer and behind the last. ValueError where a map becomes empty, or a window can lie in
    padding alone."""
    found = [size]
    for window in windows:
        if any(window.padding[axis] >= _reach(window, axis) for axis in (0, 1)):
            raise ValueError(f"a padding of {window.padding} is as wide as the kernel of {window.kernel}")
        rows, columns = (_length(window, axis, found[-1][axis]) for axis in (0, 1))
        if rows < 1 or columns < 1:
            raise ValueError(f"a map of {found[-1]} is too small for a kernel of {window.kernel}")
        found.append((rows, columns))
    return found


def steps(windows: Sequence[Window], size: Size, tile: Region) -> tuple[Step, ...]:
    """What every layer reads and gives for one tile of the output. ValueError for a tile outside of the output."""
    maps = sizes(windows, size)
    rows, columns = maps[-1]
    if not (0 <= tile.rows.start < tile.rows.stop <= rows and 0 <= tile.columns.start < tile.columns.stop <= columns):
        raise ValueError(f"tile {tile} lies outside of the output of {rows} x {columns}")
    found: list[Step] = []
    for window, (height, width) in zip(reversed(windows), reversed(maps[:-1]), strict=True):
        over, top, bottom = _needed(window, 0, tile.rows, height)
        across, left, right = _needed(window, 1, tile.columns, width)
        found.append(Step(Region(over, across), (top, bottom, left, right), tile))
        tile = Region(over, across)
    return tuple(reversed(found))


def grid(size: Size, rows: int, columns: int) -> list[Region]:
    """A map of `size` as rows x columns tiles, as even as can be, row by row. ValueError for more than there are places."""
    return [Region(over, across) for over in even(size[0], rows) for across in even(size[1], columns)]


def even(length: int, parts: int) -> list[Span]:
    """`length` places in `parts` neighbouring spans that differ by at most one. ValueError for more parts than places.

    >>> even(7, 3)
    [Span(start=0, stop=2), Span(start=2, stop=4), Span(start=4, stop=7)]
    """
    if not 0 < parts <= length:
        raise ValueError(f"{parts} parts of {length} places: choose 1 to {length}")
    borders = [length * part // parts for part in range(parts + 1)]
    return [Span(*pair) for pair in zip(borders[:-1], borders[1:], strict=True)]


def proportional(length: int, speeds: Sequence[float]) -> list[Span]:
    """`length` places in spans in proportion to speeds, by largest remainders; a span may be empty. The time of the slowest, span
    over speed, exceeds length / sum of speeds by less than one place at that speed. ValueError without a speed above 0.

    >>> [span.length for span in proportional(10, [3, 1, 1])]
    [6, 2, 2]
    """
    total = math.fsum(speeds)
    if length < 0 or min(speeds, default=-1) < 0 or not 0 < total < math.inf:
        raise ValueError(f"speeds {list(speeds)}: none below 0, and one above")
    wanted = [length * speed / total for speed in speeds]
    counts = [math.floor(one) for one in wanted]
    order = sorted(range(len(speeds)), key=lambda place: counts[place] - wanted[place])
    for place in order[: length - sum(counts)]:
        counts[place] += 1
    spans, start = [], 0
    for count in counts:
        spans.append(Span(start, start + count))
        start += count
    return spans


def peak_numbers(windows: Sequence[Window], channels: int, found: Sequence[Step]) -> int:
    """The most numbers that a tile holds at once: a layer's padded input and its output."""
    most, given = 0, channels
    for window, step in zip(windows, found, strict=True):
        top, bottom, left, right = step.padding
        padded = (step.taken.rows.length + top + bottom) * (step.taken.columns.length + left + right)
        most = max(most, given * padded + window.channels * step.given.area)
        given = window.channels
    return most


def _length(window: Window, axis: int, length: int) -> int:
    return (length + 2 * window.padding[axis] - _reach(window, axis)) // window.stride[axis] + 1


def _reach(window: Window, axis: int) -> int:
    return window.dilation[axis] * (window.kernel[axis] - 1) + 1


def _needed(window: Window, axis: int, span: Span, length: int) -> tuple[Span, int, int]:
    start = span.start * window.stride[axis] - window.padding[axis]
    stop = (span.stop - 1) * window.stride[axis] - window.padding[axis] + _reach(window, axis)
    kept = Span(max(0, start), min(length, stop))
    return kept, kept.start - start, stop - kept.stop
