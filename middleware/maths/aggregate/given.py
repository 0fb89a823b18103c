"""What goes into a rule besides the updates, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]
Sums = npt.NDArray[np.int64]
Rows = Sequence[Integers] | Integers


class Memory(NamedTuple):
    """What a rule carries from round to round: a centre (d,) on the grid, and two integers by sender."""

    centre: Integers | None = None
    standing: Mapping[int, tuple[int, int]] = {}


class Given(NamedTuple):
    """What a rule may need besides the updates: who sent them, a seed, its memory, and a measure (error, loss) of an
    aggregate on the grid. Without senders the updates' places stand for them."""

    senders: tuple[int, ...] = ()
    seed: bytes = b""
    memory: Memory = Memory()
    evaluate: Callable[[Integers], tuple[float, float]] | None = None


class Aggregate(NamedTuple):
    """One integer weight an update (0 = not used), undivided sums (d,), and what `divide` divides them by.

    `total` is 0 where a rule used nobody: there is nothing to divide then, and the model stays.
    """

    weights: tuple[int, ...]
    sums: Sums
    total: int
    memory: Memory = Memory()


NOTHING_GIVEN: Final = Given()


def senders_of(given: Given, count: int) -> tuple[int, ...]:
    """One id an update. ValueError where the ids are not as many, or not different."""
    if not given.senders:
        return tuple(range(count))
    if len(given.senders) != count or len(set(given.senders)) != count:
        raise ValueError(f"{count} updates need {count} different senders, not {len(set(given.senders))}")
    return given.senders
