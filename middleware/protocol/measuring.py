"""Measurements on a server's own data: which part of it measures a round, and how what a rule measured is repeated.

A rule that leaves out what does harm (Fang et al. 2020, section 5) asks, for one aggregate after the other, which error and loss
the model would have with it. Those are floating point, and a network's are not the same to the bit on every machine. So
the cloud writes them down in the order in which it was asked, the round's state holds them, and whoever repeats the
round answers the same questions with the same numbers: what follows from them is equal to the bit. Whoever has the data
measures again and compares, within a tolerance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from middleware.maths import grid
from middleware.policy import Policy
from middleware.protocol.update import Floats, Integers

SLICE_PURPOSE = b"drystone/slice/1"
LARGEST_LOSS = 1e9  # in the place of every loss above it, and of one that is not a number
ERROR_TOLERANCE = 0.02  # of the samples: a few predictions may fall the other way on another machine
LOSS_TOLERANCE = 0.01  # of the loss

Measured = tuple[float, float]  # (error: the fraction of samples that the model gets wrong, mean loss)
Measure = Callable[[Floats, int], Measured]  # (model, evaluation slice) -> its error and loss there


def slice_of(inputs_root: bytes, task: int, round: int, slices: int) -> int:
    """Which evaluation slice measures a round: it follows from the inputs, so nobody knows it while updates are made."""
    seed = hashlib.sha256(SLICE_PURPOSE + inputs_root + task.to_bytes(8, "big") + round.to_bytes(8, "big")).digest()
    return int.from_bytes(seed, "big") % slices


class Questions:
    """What a rule asks in one round, answered by `measure` and written down."""

    def __init__(self, policy: Policy, model: Floats, slice: int, measure: Measure) -> None:
        self.policy, self.model, self.slice, self.measure = policy, model, slice, measure
        self.answers: list[Measured] = []

    def __call__(self, aggregate: Integers) -> Measured:
        """(error, loss) of the model moved by `aggregate` (d,), which is on the grid."""
        moved = grid.apply(self.model, aggregate, self.policy.grid.exponent)
        error, loss = self.measure(moved, self.slice)
        answer = (float(error), float(loss) if math.isfinite(loss) and loss < LARGEST_LOSS else LARGEST_LOSS)
        self.answers.append(answer)
        return answer


class Recorded:
    """A `Measure` that answers from a round's record, and compares with `again` where that is given."""

    def __init__(self, answers: Sequence[Measured], again: Callable[[Floats, int], Measured | None]) -> None:
        self.left = list(reversed(answers))
        self.again = again
        self.apart = 0  # answers that the data does not give

    def __call__(self, model: Floats, slice: int) -> Measured:
        """The next answer. ValueError when the rule asks for more than was written down."""
        if not self.left:
            raise ValueError("the rule measures more often than the round's state says")
        answer = self.left.pop()
        mine = self.again(model, slice)
        self.apart += mine is not None and differs(answer, mine)
        return answer


def differs(told: Measured, mine: Measured) -> bool:
    """Whether two measurements of one model are further apart than two machines can be."""
    error, loss = abs(told[0] - mine[0]), abs(told[1] - min(mine[1], LARGEST_LOSS))
    return error > ERROR_TOLERANCE or loss > LOSS_TOLERANCE * max(told[1], 0.1)
