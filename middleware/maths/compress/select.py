"""Which coordinates are sent: the density * d largest magnitudes, exactly, nearly, or any.

    topk       the k largest magnitudes exactly; of equal ones the first. In two passes (Lin et al. 2018, section 4: sample, then
               refine): a sample's threshold leaves few candidates, a histogram chooses among them. Unlike the paper's the
               first threshold is set low enough to leave k of them, and where it was not, all are candidates: so the
               result is that of one pass
    randomk    k coordinates drawn without replacement (Stich, Cordonnier and Jaggi 2018, section 2)
    gaussiank  a threshold from a normal fit: mu + sigma Phi^-1(1 - k / 2d) (Shi et al. 2019, section 4)
    sidco      a threshold from a sparse distribution, in stages: fit an exponential to the excess over the last threshold,
               eta += mean(excess) ln(1 / delta_s), until the product of the delta_s is k / d (Abdelmoniem et al. 2021,
               section 2.4)

A fit is wrong where the distribution is another one: the normal one keeps 2.6 times too many of Laplace's. So both end with the
same correction, which counts what a threshold keeps and moves it along the tail until that is within `SLACK` of k.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]
Places = npt.NDArray[np.int64]

STAGE: Final = 0.25  # share that a stage of sidco keeps
SLACK: Final = 0.04  # of k: how far the number kept may be off
CORRECTIONS: Final = 16
SAMPLE: Final = 1 << 16  # coordinates, evenly spaced, that a fit or a first threshold looks at
LEAST_STRIDE: Final = 4  # between them: below, a sample costs what it saves
MARGIN: Final = 4.0  # standard deviations of the sample's count, so that a first threshold is seldom too high
MOST_CANDIDATES: Final = 8  # times as many as are wanted: with more, one pass is as fast
BINS: Final = 1 << 16  # values that a histogram is made of; a wider one would leave the cache


def topk(magnitudes: Integers, count: int) -> Places:
    """Ascending places of the `count` largest of d magnitudes; of equal ones those that come first."""
    if count >= magnitudes.size:
        return np.arange(magnitudes.size)
    candidates = _candidates(magnitudes, count)
    return _largest(magnitudes, count) if candidates is None else candidates[_largest(magnitudes[candidates], count)]


def _candidates(magnitudes: Integers, count: int) -> Places | None:
    """Ascending places among which the `count` largest are; None where a sample would not leave few."""
    stride = magnitudes.size // SAMPLE
    if stride < LEAST_STRIDE:
        return None
    sample = magnitudes[::stride]
    expected = count * sample.size / magnitudes.size
    rank = int(expected + MARGIN * sqrt(expected)) + 1
    if rank >= sample.size:
        return None
    places = np.flatnonzero(magnitudes >= np.partition(sample, sample.size - rank)[sample.size - rank])
    return places if count <= len(places) <= MOST_CANDIDATES * count else None


def _largest(magnitudes: Integers, count: int) -> Places:
    """`topk` in one pass: the threshold from a histogram, where the magnitudes are those of a 16-bit grid."""
    if count >= magnitudes.size:
        return np.arange(magnitudes.size)
    if int(magnitudes.max()) < BINS:
        above = np.cumsum(np.bincount(magnitudes)[::-1])[::-1]  # how many are at least as large as each value
        threshold = int(np.searchsorted(-above, -count, side="right")) - 1
    else:
        threshold = int(np.partition(magnitudes, magnitudes.size - count)[magnitudes.size - count])
    places = np.flatnonzero(magnitudes >= threshold)
    surplus = len(places) - count
    if surplus:
        equal = np.flatnonzero(magnitudes[places] == threshold)
        places = np.delete(places, equal[len(equal) - surplus :])
    return places


def randomk(length: int, count: int, generator: np.random.Generator) -> Places:
    """Ascending places of `count` of `length` coordinates, each as likely."""
    return np.sort(generator.choice(length, min(count, length), replace=False, shuffle=False))


def gaussiank(integers: Integers, magnitudes: Integers, count: int) -> Places:
    """Ascending places of about `count` coordinates above a threshold from a normal fit of all of them."""
    share = count / integers.size
    sample = integers[:: max(1, integers.size // SAMPLE)].astype(np.float64)
    start = float(np.abs(sample.mean()) + sample.std() * NormalDist().inv_cdf(1 - share / 2)) if share < 1 else 0.0
    return above(magnitudes, count, start)


def sidco(magnitudes: Integers, count: int) -> Places:
    """Ascending places of about `count` coordinates above a threshold from exponential fits of the tail, in stages."""
    left, threshold = count / magnitudes.size, 0.0
    tail = magnitudes[:: max(1, magnitudes.size // SAMPLE)].astype(np.float64)
    while left < 1:
        kept = max(left, STAGE)
        tail = tail[tail >= threshold]
        if not tail.size:
            break
        threshold += float((tail - threshold).mean()) * log(1 / kept)
        left /= kept
    return above(magnitudes, count, threshold)


def above(magnitudes: Integers, count: int, threshold: float) -> Places:
    """Ascending places of the magnitudes above a threshold that is moved until about `count` are.

    Each look counts; the next threshold lies where an exponential tail through the last two would keep `count`, and always
    between the closest one that keeps too many and the closest that keeps too few. On a coarse grid no threshold may be
    within `SLACK`: then the one that keeps more is taken.
    """
    low, high = 0, int(magnitudes.max(initial=0)) + 1  # low keeps too many, high keeps none
    many = magnitudes.size
    few = 0
    cut = min(max(round(threshold), 1), high)
    for _ in range(CORRECTIONS):
        kept = int(np.count_nonzero(magnitudes >= cut))
        if abs(kept - count) <= SLACK * count or high - low <= 1:
            break
        if kept > count:
            low, many = cut, kept
        else:
            high, few = cut, kept
        cut = _between(low, many, high, few, count)
    if np.count_nonzero(magnitudes >= cut) < count * (1 - SLACK):
        cut = low
    return np.flatnonzero(magnitudes >= max(cut, 1))


def _between(low: int, many: int, high: int, few: int, count: int) -> int:
    """Where a line through the logarithms of two counts passes `count`; strictly between the two where there is room."""
    if few:
        place = low + (high - low) * log(many / count) / log(many / few)
    else:
        place = (low + high) / 2
    return min(max(round(place), low + 1), high - 1) if high - low > 1 else low


SELECTIONS: Final[dict[str, Callable[[Integers, int, np.random.Generator], Places]]] = {
    "topk": lambda integers, count, generator: topk(np.abs(integers), count),
    "randomk": lambda integers, count, generator: randomk(integers.size, count, generator),
    "gaussiank": lambda integers, count, generator: gaussiank(integers, np.abs(integers), count),
    "sidco": lambda integers, count, generator: sidco(np.abs(integers), count),
}
