"""Tiles of maps: what is needed, no more, and everything once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.tiles import Region, Span, Window, even, grid, peak_numbers, proportional, sizes, steps

windows = st.builds(
    lambda kernel, stride, padding, dilation: Window(
        1, (kernel, 1), (stride, 1), (min(padding, dilation * (kernel - 1) // 2), 0), (dilation, 1)
    ),
    st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2),
)  # fmt: skip


def read_by(window: Window, place: int, length: int) -> set[int]:
    """The input rows that one output row reads, told one by one."""
    start = place * window.stride[0] - window.padding[0]
    rows = range(start, start + window.dilation[0] * window.kernel[0], window.dilation[0])
    return {row for row in rows if 0 <= row < length}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(windows, min_size=1, max_size=4), st.integers(12, 60), st.data())
def test_a_tile_needs_the_rows_that_its_outputs_read_traced_one_by_one(
    chain: list[Window], length: int, data: st.DataObject
) -> None:
    try:
        maps = sizes(chain, (length, 1))
    except ValueError:
        return
    rows = maps[-1][0]
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    found = steps(chain, (length, 1), Region(Span(start, stop), Span(0, 1)))
    wanted = set(range(start, stop))
    for window, (before, _), step in zip(reversed(chain), reversed(maps[:-1]), reversed(found), strict=True):
        wanted = set().union(*(read_by(window, row, before) for row in wanted))
        taken = step.taken.rows
        assert wanted <= set(range(*taken))
        assert {taken.start, taken.stop - 1} <= wanted or window.stride[0] > 1 or window.dilation[0] > 1
        wanted = set(range(*taken))


def test_a_grid_covers_every_place_once() -> None:
    for size, rows, columns in (((7, 9), 3, 2), ((28, 28), 4, 4), ((5, 1), 5, 1)):
        covered = np.zeros(size, int)
        for region in grid(size, rows, columns):
            covered[region.rows.start : region.rows.stop, region.columns.start : region.columns.stop] += 1
        assert (covered == 1).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 200), st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(lambda one: max(one) > 0.1))
def test_modnn_stripes_follow_the_speeds_to_within_one_row(length: int, speeds: list[float]) -> None:
    spans = proportional(length, speeds)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    for left, right in zip(spans[:-1], spans[1:], strict=True):
        assert left.stop == right.start
    for span, speed in zip(spans, speeds, strict=True):
        assert abs(span.length - length * speed / sum(speeds)) < 1 + 1e-9


def test_the_peak_of_a_tile_is_its_largest_layers_padded_input_and_output() -> None:
    chain = [Window(8, (3, 3), padding=(1, 1)), Window(8), Window(16, (3, 3), (2, 2), (1, 1))]
    corner = steps(chain, (16, 16), Region(Span(0, 4), Span(0, 4)))
    assert corner[0].taken == Region(Span(0, 9), Span(0, 9))
    assert corner[0].padding == (1, 0, 1, 0)
    first, pointwise, last = 3 * 10 * 10 + 8 * 8 * 8, 8 * 8 * 8 + 8 * 8 * 8, 8 * 9 * 9 + 16 * 4 * 4
    assert peak_numbers(chain, 3, corner) == max(first, pointwise, last)


def test_what_cannot_be_tiled_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        sizes([Window(1, (5, 5))], (4, 4))
    with pytest.raises(ValueError, match="as wide as the kernel"):
        sizes([Window(1, (1, 1), padding=(1, 0))], (4, 4))
    with pytest.raises(ValueError, match="outside"):
        steps([Window(1)], (4, 4), Region(Span(0, 5), Span(0, 1)))
    with pytest.raises(ValueError, match="choose 1 to 3"):
        even(3, 4)
    with pytest.raises(ValueError, match="speeds"):
        proportional(3, [0.0, 0.0])
