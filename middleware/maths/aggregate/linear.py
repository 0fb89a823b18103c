"""Sums of updates times integer weights, and the one division at the top.

Undivided sums add up, so two levels equal one exactly; `divide` is applied once. A sum stays below 2**63: at most 2**16
updates, of weight at most 2**20, on a grid of at most 24 bits.

The fast way is a floating-point product of integers, which is exact as long as every partial sum is an integer that the
type holds (2**24 for float32, 2**53 for float64), whatever the order of additions. Where the weights are too large for
that, integers are added one update after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from middleware.maths.aggregate.blocks import blocks, columns_that_fit, gather, in_spans, largest_of
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Integers, Rows, Sums

BLOCK: Final = 1 << 15  # columns worked on at once: their int64 form stays in the cache
EXACT: Final = ((np.dtype(np.float32), 1 << 24), (np.dtype(np.float64), 1 << 53))  # integers that a float type holds


def add_weighted(sums: Sums, integers: Integers, weight: int) -> None:
    """sums += weight * integers, in place, (d,) each; needs no second vector of that length."""
    if sums.shape != integers.shape:
        raise ValueError(f"{integers.shape} numbers do not add to {sums.shape}")
    product = np.empty(min(BLOCK, sums.size), np.int64)
    for start in range(0, sums.size, BLOCK):
        part = sums[start : start + BLOCK]
        np.multiply(integers[start : start + BLOCK], weight, out=product[: part.size], dtype=np.int64)
        part += product[: part.size]


def weighted_sums(rows: Rows, weights: Sequence[int]) -> Sums:
    """The int64 sums (d,) of n integer rows (d,) times n weights; rows of weight 0 add nothing."""
    length, used = len(rows[0]), [index for index, weight in enumerate(weights) if weight]
    if not used:
        return np.zeros(length, np.int64)
    if 2 * len(used) <= len(rows) or not isinstance(
        rows, np.ndarray
    ):  # else a row times 0 costs less than to pick rows
        rows, weights = [rows[index] for index in used], [weights[index] for index in used]
    kind = _float_for(sum(abs(weight) for weight in weights) * largest_of(rows))
    if kind is None:
        sums: Sums = np.zeros(length, np.int64)
        for row, weight in zip(rows, weights, strict=True):
            if weight:
                add_weighted(sums, row, weight)
        return sums
    sums, factors = np.empty(length, np.int64), np.array(weights, kind)

    def work(first: int, end: int) -> None:
        width = max(1, min(columns_that_fit(len(rows), kind.itemsize), end - first))
        buffer = np.empty((len(rows), width), kind)
        for part in blocks(first, end, width):
            sums[part] = np.einsum("i,ij->j", factors, gather(rows, part, buffer))

    in_spans(work, len(rows), length)
    return sums


def _float_for(largest: int) -> np.dtype[np.floating[Any]] | None:
    """The narrowest float type in which integers up to this magnitude are exact; None where none is."""
    return next((kind for kind, exact in EXACT if largest < exact), None)


def divide(sums: Sums, total: int) -> Sums:
    """The aggregate (d,): sums / total rounded to nearest, halves up, as floor((2 sums + total) / (2 total))."""
    if total <= 0:
        raise ValueError(f"nothing to divide by: the weights add up to {total}")
    quotients = np.empty_like(sums)
    for start in range(0, sums.size, BLOCK):
        part = slice(start, start + BLOCK)
        np.floor_divide(2 * sums[part] + total, 2 * total, out=quotients[part])
    return quotients


def linear(rows: Rows, weights: Sequence[int]) -> Aggregate:
    """The average of the rows by these weights; a total of 0 where all of them are 0."""
    return Aggregate(tuple(weights), weighted_sums(rows, weights), sum(weights))


def mean(rows: Rows, weights: Sequence[int], f: int = 0, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The mean weighted by declared samples (FedAvg; McMahan et al. 2017, algorithm 1). One liar is enough against it:
    `f` has no meaning here."""
    return linear(rows, weights)


def mean_weights(rows: Rows, weights: Sequence[int], f: int = 0, given: Given = NOTHING_GIVEN) -> tuple[int, ...]:
    """The declared samples."""
    return tuple(weights)


def squared_lengths(rows: Rows, centre: Integers | None = None) -> list[int]:
    """The squared length of each row (d,), or of its difference to a centre (d,), exact: |x|^2 - 2 x.c + |c|^2."""
    count, length = len(rows), len(rows[0])
    largest = max(1, largest_of(rows), 0 if centre is None else largest_of([centre]))

    def work(first: int, end: int) -> list[int]:
        width = max(1, min(columns_that_fit(count, 8), end - first, (1 << 53) // (largest * largest) - 1))
        buffer, totals = np.empty((count, width)), [0] * count
        for part in blocks(first, end, width):
            block = gather(rows, part, buffer)
            found = [int(one) for one in np.vecdot(block, block)]
            if centre is not None:
                middle = centre[part].astype(np.float64)
                own = int(np.vecdot(middle, middle))
                found = [one - 2 * int(dot) + own for one, dot in zip(found, np.vecdot(block, middle), strict=True)]
            totals = [total + one for total, one in zip(totals, found, strict=True)]
        return totals

    return [sum(parts) for parts in zip(*in_spans(work, count, length), strict=True)]
