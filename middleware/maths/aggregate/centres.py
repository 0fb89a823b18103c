"""Rules about how long updates are and how far from each other: geometric median, centred clipping, norm clipping.

    geometric-median  the point with the least sum of distances to the updates, by Weiszfeld's iteration (Pillutla, Kakade,
                      Harchaoui 2022, algorithm 2). The point stays a weighted mean of the updates, so the iteration needs
                      only the n x n squared distances: ||x_i - c||^2 = sum_j w_j D_ij - 1/2 sum_jk w_j w_k D_jk. Its weights
                      are cut down to integers of `UNIT`
    centred-clipping  v + (1/n) sum min(1, t / ||x_i - v||) (x_i - v), v the aggregate of the round before (Karimireddy, He,
                      Jaggi 2021, algorithm 2), one step
    norm-clipping     (1/n) sum min(1, M / ||x_i||) x_i (Sun et al. 2019, section 4; the weak noise that may follow is not here)

The radius t and the bound M are the median of the lengths in question (of two middle ones the smaller): with n >= 2f + 1 no f
liars can put it above the longest honest one or below the shortest, and nobody has to know the task's scale beforehand.

Everything is the same to the bit anywhere, in any order of updates. Squared lengths are exact integers. A clipping factor is
floor(UNIT * bound / length), found by an integer square root, so a clipped update is never longer than the bound. Weiszfeld's
numbers are float64: products, quotients and roots that IEEE 754 rounds correctly, and sums by `fsum`, which are rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, isqrt, sqrt
from typing import Final

import numpy as np

from middleware.maths.aggregate.distances import Products, squared_distances
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Memory, Rows
from middleware.maths.aggregate.linear import add_weighted, divide, linear, squared_lengths, weighted_sums

UNIT: Final = 1 << 12  # what a weight or a factor of 1 is
ITERATIONS: Final = 50
NEAREST: Final = 1.0  # steps of the grid: a nearer update counts as being this far off, so that no weight is infinite


def weiszfeld(distances: Products) -> list[float]:
    """The weights (n,), which sum to 1, of the geometric median of points with these squared distances (n, n)."""
    count = len(distances)
    squares = np.array([[float(value) for value in line] for line in distances.tolist()])
    shares = np.full(count, 1 / count)
    for _ in range(ITERATIONS):
        towards = [fsum(line) for line in (squares * shares).tolist()]
        spread = fsum((np.array(towards) * shares).tolist()) / 2
        nearness = [1 / max(NEAREST, sqrt(max(0.0, one - spread))) for one in towards]
        whole = fsum(nearness)
        moved = np.array([one / whole for one in nearness])
        if np.array_equal(moved, shares):
            break
        shares = moved
    return [float(share) for share in shares]


def geometric_median_weights(
    rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN
) -> tuple[int, ...]:
    """Integer weights that sum to at most `UNIT`, or to at most 64 n for more than 64 rows. ValueError unless n >= 2f + 1."""
    count = len(rows)
    _require_majority("geometric-median", count, f)
    scale = max(UNIT, 64 * count)
    return tuple(int(share * scale) for share in weiszfeld(squared_distances(rows)))


def geometric_median(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The point with the least sum of distances to the rows."""
    return linear(rows, geometric_median_weights(rows, weights, f))


def factor(bound: int, length: int) -> int:
    """floor(UNIT * min(1, bound / length)), of squared lengths."""
    return UNIT if length <= bound else isqrt(UNIT * UNIT * bound // length)


def centred_clipping(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The remembered centre, moved by the mean of the clipped differences to it. ValueError unless n >= 2f + 1.

    The result is the next round's centre. A weight is the row's clipping factor.
    """
    count, centre = len(rows), given.memory.centre
    _require_majority("centred-clipping", count, f)
    if centre is not None and centre.shape != rows[0].shape:
        raise ValueError(f"a centre of {centre.shape} numbers is not one of updates of {len(rows[0])}")
    factors = _clipped(squared_lengths(rows, centre))
    sums, total = weighted_sums(rows, factors), count * UNIT
    if centre is not None:
        add_weighted(sums, centre, total - sum(factors))
    return Aggregate(factors, sums, total, Memory(divide(sums, total), given.memory.standing))


def norm_clipping(rows: Rows, weights: Sequence[int], f: int = 0, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The mean of the rows, each cut to the median length. A weight is the row's clipping factor."""
    factors = _clipped(squared_lengths(rows))
    return Aggregate(factors, weighted_sums(rows, factors), len(rows) * UNIT)


def _clipped(lengths: Sequence[int]) -> tuple[int, ...]:
    bound = sorted(lengths)[(len(lengths) - 1) // 2]
    return tuple(factor(bound, length) for length in lengths)


def _require_majority(rule: str, count: int, f: int) -> None:
    if count < 2 * f + 1:
        raise ValueError(f"{rule} with f={f} needs at least {2 * f + 1} updates, not {count}")
