"""The most value within several limits at once: one option of each group, exactly.

Each option has a value and a size in every dimension (bytes of memory, share of a processor). Groups are taken one after the
other; of the sums reached so far only those are kept that no other beats in value and in every size (Nemhauser and Ullmann,
"Discrete dynamic programming and capital allocation", Management Science 15, 1969). Values and sizes may be any numbers: nothing
is rounded to a grid. A plain knapsack is the case of groups {leave, take}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

SUMS: Final = 200_000  # kept after one group; beyond it the question is too fine to be answered exactly


class Option(NamedTuple):
    """A value, and a size in every dimension."""

    value: float
    sizes: tuple[float, ...]


class Chosen(NamedTuple):
    """The value of all options together, and which one of each group it is."""

    value: float
    picks: tuple[int, ...]


def choose(groups: Sequence[Sequence[Option]], limits: Sequence[float]) -> Chosen | None:
    """One option a group so that no limit is passed and the value is the most; None where nothing fits.

    Raises ValueError for a negative size, for other than len(limits) sizes, and for a question with more than `SUMS` sums that
    do not beat each other.

    >>> choose([[Option(0, (0,)), Option(6, (3,))], [Option(0, (0,)), Option(5, (2,))], [Option(0, (0,)), Option(5, (2,))]], [4])
    Chosen(value=10, picks=(0, 1, 1))
    """
    most = np.asarray(limits, np.float64)
    sums = np.zeros((1, 1 + len(most)))  # value, then sizes
    history: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for group in groups:
        options = np.array([[one.value, *one.sizes] for one in group], np.float64).reshape(len(group), -1)
        if not len(group) or options.shape[1] != 1 + len(most) or not (options[:, 1:] >= 0).all():
            raise ValueError(f"a group needs options with {len(most)} sizes, none below 0")
        reached = (sums[:, None, :] + options[None, :, :]).reshape(-1, options.shape[1])
        fitting = np.flatnonzero((reached[:, 1:] <= most).all(axis=1))
        kept = fitting[_unbeaten(reached[fitting])]
        if len(kept) > SUMS:
            raise ValueError(f"{len(kept)} sums that do not beat each other: round the sizes, or ask for fewer things")
        if not len(kept):
            return None
        history.append((kept // len(group), kept % len(group)))
        sums = reached[kept]
    place = int(np.argmax(sums[:, 0]))
    picks = []
    for came_from, picked in reversed(history):
        picks.append(int(picked[place]))
        place = int(came_from[place])
    picks.reverse()
    return Chosen(sum(group[pick].value for group, pick in zip(groups, picks, strict=True)), tuple(picks))


def knapsack(values: Sequence[float], sizes: Sequence[Sequence[float]], limits: Sequence[float]) -> tuple[int, ...]:
    """Which things to take so that their value is the most within all limits; `sizes` is one row a thing.

    >>> knapsack([6, 5, 5], [[3], [2], [2]], [4])
    (1, 2)
    """
    nothing = Option(0, (0,) * len(limits))
    groups = [[nothing, Option(value, tuple(size))] for value, size in zip(values, sizes, strict=True)]
    chosen = choose(groups, limits)
    return tuple(place for place, pick in enumerate(chosen.picks) if pick) if chosen else ()


def _unbeaten(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The rows (value, sizes...) that no other row beats; of equal rows the first."""
    order: npt.NDArray[np.int64] = np.lexsort(
        (*sums.T[:0:-1], -sums[:, 0])
    )  # the most value first, of equal ones the smallest
    if sums.shape[1] == 2:
        ranked = sums[order, 1]
        least = np.concatenate(([np.inf], np.minimum.accumulate(ranked)[:-1]))
        front: npt.NDArray[np.int64] = order[ranked < least]
        return front
    kept = np.empty((len(order), sums.shape[1] - 1))
    places: list[int] = []
    for place in order:
        sizes = sums[place, 1:]
        if not (kept[: len(places)] <= sizes).all(axis=1).any():
            kept[len(places)] = sizes
            places.append(int(place))
    return np.array(places, np.int64)
