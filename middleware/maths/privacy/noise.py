"""The discrete Gaussian and the discrete Laplace on the integers, exact and the same to the bit on any machine.

N_Z(0, s^2) has P(x) proportional to exp(-x^2 / 2 s^2) on the integers. Added to an integer sum whose L2 sensitivity is S it
has at most the Renyi divergence of the continuous Gaussian, a S^2 / 2 s^2 at order a (Canonne, Kamath, Steinke 2020, "The
Discrete Gaussian for Differential Privacy", theorem 14). It is drawn by their algorithm 3: a discrete Laplace of scale
t = floor(s) + 1, made by algorithm 2, kept with probability exp(-(|y| - s^2/t)^2 / 2 s^2).

Every random decision here is "does an event of probability exp(-a/b) happen", with a and b integers. It compares a uniform
number of 53 bits with the float64 value of exp(-a/b). Where the two are nearer than `MARGIN`, a thousand times more than
any library's exp can err, the number gets 128 more bits and is compared in 80 decimal digits. So the result
does not depend on the processor's exp, and the distribution differs from the true one by less than 2**-170 a decision.

Randomness is an argument: `words(n)` gives n unpredictable uint64. The same words give the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

Words = Callable[[int], npt.NDArray[np.uint64]]
Longs = npt.NDArray[np.int64]

MARGIN: Final = 2.0**-42
MOST_VARIANCE: Final = 1 << 48  # s up to 2**24: every integer below stays inside 63 bits
BLOCK: Final = 1 << 16  # draws at once
_DIGITS: Final = Context(prec=80)


def discrete_gaussian(variance: int, length: int, words: Words) -> Longs:
    """int64 (length,): independent draws of N_Z(0, variance). ValueError for a variance that is not 1 to 2**48."""
    if not 0 < variance <= MOST_VARIANCE:
        raise ValueError(f"a variance of {variance}: choose 1 to {MOST_VARIANCE}, in units of the grid squared")
    scale = math.isqrt(variance) + 1

    def candidates(count: int) -> Longs:
        drawn = discrete_laplace(scale, count, words)
        distance = np.abs(np.abs(drawn) * scale - variance)
        exponents = np.square(distance / scale) / (2.0 * variance)
        return drawn[_happens(exponents, lambda at: (int(distance[at]) ** 2, 2 * variance * scale**2), words)]

    return _collect(candidates, length)


def discrete_laplace(scale: int, length: int, words: Words) -> Longs:
    """int64 (length,): independent draws with P(x) proportional to exp(-|x| / scale), scale an integer of at least 1."""
    if not 0 < scale <= 1 << 25:
        raise ValueError(f"a scale of {scale}: choose 1 to {1 << 25}, in units of the grid")

    def candidates(count: int) -> Longs:
        low = uniform(scale, count, words)
        low = low[_happens(low / scale, lambda at: (int(low[at]), scale), words)]
        high, alive = np.zeros(low.size, np.int64), np.arange(low.size)
        while alive.size:
            alive = alive[_happens(np.ones(alive.size), lambda _: (1, 1), words)]
            high[alive] += 1
        magnitude = low + scale * high
        negative = (words(low.size) >> np.uint64(63)).astype(bool)
        signed: Longs = np.where(negative, -magnitude, magnitude)
        kept: Longs = signed[~(negative & (magnitude == 0))]  # else zero would count twice
        return kept

    return _collect(candidates, length)


def uniform(below: int, length: int, words: Words) -> Longs:
    """int64 (length,): independent uniform integers of 0 to below - 1, for `below` up to 2**63."""
    if not 0 < below <= 1 << 63:
        raise ValueError(f"uniform integers below {below}: choose 1 to 2**63")
    largest = (1 << 64) // below * below - 1

    def candidates(count: int) -> Longs:
        drawn = words(count)
        kept: Longs = (drawn[drawn <= np.uint64(largest)] % np.uint64(below)).astype(np.int64)
        return kept

    return _collect(candidates, length)


def happens(numerator: int, denominator: int, length: int, words: Words) -> npt.NDArray[np.bool_]:
    """bool (length,): independent events of probability exp(-numerator/denominator), neither negative."""
    if numerator < 0 or denominator <= 0:
        raise ValueError("the exponent is a ratio of a non-negative and a positive integer")
    exponents = np.full(length, numerator / denominator)
    return _happens(exponents, lambda _: (numerator, denominator), words)


def _happens(
    exponents: npt.NDArray[np.float64], exact: Callable[[int], tuple[int, int]], words: Words
) -> npt.NDArray[np.bool_]:
    drawn = words(exponents.size) >> np.uint64(11)
    probability = np.exp(-exponents)
    chance = drawn.astype(np.float64) * 2.0**-53
    below = chance < probability
    for at in np.flatnonzero(np.abs(chance - probability) < MARGIN):
        above, under = (int(word) for word in words(2))
        number = (int(drawn[at]) << 128) | (above << 64) | under
        numerator, denominator = exact(int(at))
        power = _DIGITS.exp(_DIGITS.divide(Decimal(-numerator), Decimal(denominator)))
        below[at] = _DIGITS.divide(Decimal(number), Decimal(1 << 181)) < power
    return below


def _collect(candidates: Callable[[int], Longs], length: int) -> Longs:
    out, filled = np.empty(length, np.int64), 0
    while filled < length:
        kept = candidates(min(BLOCK, length - filled))
        out[filled : filled + kept.size] = kept
        filled += kept.size
    return out
