"""Rules that take each coordinate by itself: median, trimmed mean, Bulyan's second stage, the majority of signs.

    median        the middle value and total 1, or the sum of the two middle ones and total 2
    trimmed-mean  the sum of what is left without the f largest and the f smallest, total n - 2f
                  (both Yin et al. 2018, definitions 1 and 2)
    bulyan        of the n - 2f updates that Krum chooses again and again, in each coordinate the n - 4f values nearest to
                  their median; of two equally near the smaller (El Mhamdi et al. 2018, section 4; n >= 4f + 3)
    sign-majority the sign that most updates have (Bernstein et al. 2019, algorithm 1), a tie being 0, times the median of the
                  updates' mean magnitudes, rounded up: the updates are of the grid and not signs, and no f of 2f + 1 senders
                  can choose that step

A weight of 1 says that the update took part in every coordinate.

Sorting a column of n values is done by a network of comparators, the same for every column: each comparator is one minimum
and one maximum of two rows of a block, which the processor does for 16 or 32 columns in one instruction. The network is
Batcher's merge exchange (Knuth, volume 3, 5.2.2, algorithm M), without the comparators that no wanted value depends on. Where
only the sum over a range of ranks is wanted, a comparator whose two values both end within the range, or both outside, changes
nothing and is left out as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.maths.aggregate.blocks import blocks, columns_that_fit, gather, in_spans
from middleware.maths.aggregate.distances import squared_distances
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Integers, Rows, Sums
from middleware.maths.aggregate.selection import krum_again_and_again

NETWORK_ROWS: Final = 512  # above, the network's n log(n)**2 comparators are more work than sorting


class Comparator(NamedTuple):
    """Puts the smaller of two wires on `low` and the larger on `high`; or only one of the two, the other being unused."""

    low: int
    high: int
    keep: Literal["both", "low", "high"]


@lru_cache(maxsize=64)
def network(count: int, first: int, end: int, ordered: bool) -> tuple[Comparator, ...]:
    """The comparators that bring the sorted values number first to end - 1 of `count` to the wires of these numbers: each to
    its own if `ordered`, else in any order."""
    exact = range(first, end) if ordered else range(0)
    together = range(0) if ordered else range(first, end)
    state = ["exact" if wire in exact else "sum" if wire in together else "unused" for wire in range(count)]
    kept: list[Comparator] = []
    for low, high in reversed(_merge_exchange(count)):
        below, above = state[low], state[high]
        if below == above and below != "exact":
            continue
        keep: Literal["both", "low", "high"] = "high" if below == "unused" else "low" if above == "unused" else "both"
        kept.append(Comparator(low, high, keep))
        state[low] = state[high] = "exact"
    return tuple(reversed(kept))


def _merge_exchange(count: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


def sort_wires(wires: list[npt.NDArray[Any]], spare: npt.NDArray[Any], comparators: Sequence[Comparator]) -> None:
    """Run the network over a list of rows (width,), which is reordered; `spare` is one more row of that kind."""
    for low, high, keep in comparators:
        one, other = wires[low], wires[high]
        if keep == "low":
            np.minimum(one, other, out=one)
        elif keep == "high":
            np.maximum(one, other, out=other)
        else:
            np.minimum(one, other, out=spare)
            np.maximum(one, other, out=other)
            wires[low], spare = spare, one


def ranks(
    block: npt.NDArray[Any], spare: npt.NDArray[Any], first: int, end: int, ordered: bool
) -> list[npt.NDArray[Any]]:
    """The rows of values number first to end - 1 of each column of a block (n, width), which is overwritten."""
    if len(block) > NETWORK_ROWS:
        block.sort(axis=0)
        return list(block[first:end])
    wires = list(block)
    sort_wires(wires, spare, network(len(wires), first, end, ordered))
    return wires[first:end]


Read = Callable[[slice, npt.NDArray[Any]], npt.NDArray[Any]]


def _each_block(
    count: int, length: int, kind: np.dtype[Any], read: Read, each: Callable[[slice, npt.NDArray[Any], npt.NDArray[Any]], None]
) -> None:  # fmt: skip
    """Call `each(part, block (count, width), spare (width,))` for all columns; the block may be overwritten."""

    def work(first: int, end: int) -> None:
        width = max(1, min(columns_that_fit(count + 1, kind.itemsize), end - first))
        buffer = np.empty((count + 1, width), kind)
        for part in blocks(first, end, width):
            each(part, read(part, buffer[:count]), buffer[count, : part.stop - part.start])

    in_spans(work, count, length)


def middle(count: int, length: int, kind: np.dtype[Any], read: Read, first: int, end: int) -> Sums:
    """For each coordinate, the sum of its sorted values number first to end - 1; `read(part, buffer)` gives the block."""
    sums: Sums = np.empty(length, np.int64)
    narrow = kind.itemsize <= 2 and count < 1 << 16  # a sum of so many narrow values fits 32 bits

    def each(part: slice, block: npt.NDArray[Any], spare: npt.NDArray[Any]) -> None:
        wires = ranks(block, spare, first, end, False)
        total: Integers = wires[0].astype(np.int32 if narrow else np.int64)
        for wire in wires[1:]:
            np.add(total, wire, out=total)
        sums[part] = total

    _each_block(count, length, kind, read, each)
    return sums


def _kind(rows: Rows) -> np.dtype[Any]:
    return rows.dtype if isinstance(rows, np.ndarray) else np.result_type(*{row.dtype for row in rows})


def _middle_of(rows: Rows, first: int, end: int) -> Sums:
    return middle(len(rows), len(rows[0]), _kind(rows), lambda part, out: gather(rows, part, out), first, end)


def middle_ranks(rule: str, count: int, f: int) -> tuple[int, int]:
    """Which sorted values, from the first to before the second, median or trimmed-mean averages. ValueError unless
    n >= 2f + 1."""
    if count < 2 * f + 1:
        raise ValueError(f"{rule} with f={f} needs at least {2 * f + 1} updates, not {count}")
    return ((count - 1) // 2, count // 2 + 1) if rule == "median" else (f, count - f)


def median(rows: Rows, weights: Sequence[int], f: int = 0, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The coordinatewise median; with an even number of rows the mean of the two middle values."""
    first, end = middle_ranks("median", len(rows), 0)
    return Aggregate((1,) * len(rows), _middle_of(rows, first, end), end - first)


def trimmed_mean(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The coordinatewise mean without the f largest and f smallest. ValueError unless n >= 2f + 1."""
    first, end = middle_ranks("trimmed-mean", len(rows), f)
    return Aggregate((1,) * len(rows), _middle_of(rows, first, end), end - first)


ALPHA_ONE: Final = 256


def slsgd(rows: Rows, f: int, alpha: int) -> Aggregate:
    """alpha / 256 of the trimmed mean: the model moves to (1 - a) old + a trimmed mean of the new ones (SLSGD; Xie, Koyejo,
    Gupta 2019, algorithm 1), rows being what each new model is away from the old one."""
    if not 0 < alpha <= ALPHA_ONE:
        raise ValueError(f"alpha is a numerator of {ALPHA_ONE}, from 1 to {ALPHA_ONE}, not {alpha}")
    whole = trimmed_mean(rows, (), f)
    return Aggregate(whole.weights, whole.sums * alpha, whole.total * ALPHA_ONE)


def bulyan(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The values nearest to the median of what Krum chooses again and again. ValueError unless n >= 4f + 3."""
    count = len(rows)
    if count < 4 * f + 3:
        raise ValueError(f"bulyan with f={f} needs at least {4 * f + 3} updates, not {count}")
    chosen = krum_again_and_again(squared_distances(rows), f, count - 2 * f)
    sums = nearest_to_median([rows[index] for index in chosen], count - 4 * f)
    used = set(chosen)
    return Aggregate(tuple(int(index in used) for index in range(count)), sums, count - 4 * f)


def nearest_to_median(rows: Rows, many: int) -> Sums:
    """For each coordinate, the sum of its `many` values nearest to its median; of two equally near the smaller is taken.

    Sorted values that are nearest to one of them are neighbours, so they are one of a few windows around the middle. The
    window moves up by one as long as the value that would come in is strictly nearer than the one that would go.
    """
    count, length = len(rows), len(rows[0])
    low, high = (count - 1) // 2, count // 2
    first, end = max(0, low - many + 1), max(high + 1, min(count, low + many))
    wide = np.dtype(np.int32 if _kind(rows).itemsize <= 2 and count < 1 << 16 else np.int64)
    sums: Sums = np.empty(length, np.int64)

    def each(part: slice, block: npt.NDArray[Any], spare: npt.NDArray[Any]) -> None:
        wires = [wire.astype(wide) for wire in ranks(block, spare, first, end, True)]
        twice = wires[low - first] + wires[high - first]  # the median, doubled
        total = wires[0].copy()
        for wire in wires[1:many]:
            total += wire
        for goes, comes in zip(wires, wires[many:], strict=False):
            total += (comes - goes) * (comes + goes < twice)  # comes - m < m - goes; once false, false for all above
        sums[part] = total

    _each_block(count, length, _kind(rows), lambda part, out: gather(rows, part, out), each)
    return sums


def sign_majority(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """One step of common length in the direction that most rows have, coordinate by coordinate. ValueError unless
    n >= 2f + 1."""
    count, length = len(rows), len(rows[0])
    if count < 2 * f + 1:
        raise ValueError(f"sign-majority with f={f} needs at least {2 * f + 1} updates, not {count}")
    magnitudes = sorted(-(-_sum_of_magnitudes(row) // max(1, length)) for row in rows)
    step = magnitudes[(count - 1) // 2]
    sums: Sums = np.empty(length, np.int64)

    def each(part: slice, block: npt.NDArray[Any], spare: npt.NDArray[Any]) -> None:
        np.sign(block, out=block)
        votes = block.sum(axis=0, dtype=np.int32)
        np.multiply(np.sign(votes), step, out=sums[part], dtype=np.int64)

    _each_block(count, length, _kind(rows), lambda part, out: gather(rows, part, out), each)
    return Aggregate((1,) * count, sums, 1)


def _sum_of_magnitudes(row: Integers) -> int:
    return sum(int(np.abs(row[part].astype(np.int64)).sum()) for part in blocks(0, row.size, 1 << 16))
