"""Variants of one network that share its numbers: what a switch moves, which app runs which, how narrow for now.

A narrow variant's parameters are the corners of the wide one's (`maths.nested`), so all are held in the memory of the widest:
changing to a wider one loads what is new, changing to a narrower one loads nothing (Fang, Zeng and Zhang 2018, "NestDNN",
section 4.1).

Several apps share a node's memory and time. Each must run one of its variants; a choice is worth the sum over the apps of their
accuracies (the paper's MinTotalCost), or that of the app that is worst off (MinMaxCost; section 4.2). Finding the best one is
a knapsack in two resources. For the sum, the greedy way starts with the smallest variants and raises one app at a time, the one
that gains most for the share of the resources that it takes, while there is room; then it looks for changes of up to three
apps that are still an improvement. For the app that is worst off, the answer is exact: of all accuracies the highest for which
every app's first variant that reaches it fits.

At run time the device's pace, measured over predicted milliseconds, is followed by a moving average; the variant is the most
accurate one that is expected to keep the deadline at that pace.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.maths.nested import Mask

Goal = Literal["total", "worst"]
Choice = tuple[int, ...]

CHANGED: Final = 3  # apps at once
PACE_WEIGHT: Final = 0.6  # of the newest measurement: three of them outweigh what came before by 15 to 1


class Variant(NamedTuple):
    """Accuracy as a share, resident bytes, milliseconds of one request alone on the node."""

    accuracy: float
    bytes: int
    ms: float


class App(NamedTuple):
    """Its variants, each larger, slower and more accurate than the one before, and how many requests a second it makes."""

    variants: tuple[Variant, ...]
    rate: float

    def load(self, variant: int) -> float:
        """The share of the node's time that this variant takes."""
        return self.rate * self.variants[variant].ms / 1000


def shared_digest(wide: npt.NDArray[Any], mask: Mask) -> bytes:
    """SHA-256 of the numbers of the wide vector (d,) that the narrow variant of this mask holds, in order."""
    return hashlib.sha256(np.ascontiguousarray(wide[mask]).tobytes()).digest()


def switch_bytes(held: Mask, wanted: Mask, item: int = 4) -> int:
    """What is loaded to go from one variant to another, both as masks of the widest: `item` bytes a number that is new."""
    return item * int(np.count_nonzero(wanted & ~held))


def fits(apps: Sequence[App], choice: Choice, memory: int, time: float = 1.0) -> bool:
    """Whether these variants together keep to the bytes and to the share of the node's time."""
    used = sum(app.variants[one].bytes for app, one in zip(apps, choice, strict=True))
    return used <= memory and sum(app.load(one) for app, one in zip(apps, choice, strict=True)) <= time


def worth(apps: Sequence[App], choice: Choice, goal: Goal) -> float:
    """The sum of the accuracies, or the least of them."""
    found = [app.variants[one].accuracy for app, one in zip(apps, choice, strict=True)]
    return sum(found) if goal == "total" else min(found)


def exhaustive(apps: Sequence[App], memory: int, time: float = 1.0, goal: Goal = "total") -> Choice:
    """The best of all choices. ValueError where not even the smallest variants fit."""
    every = itertools.product(*(range(len(app.variants)) for app in apps))
    allowed = [choice for choice in every if fits(apps, choice, memory, time)]
    if not allowed:
        raise ValueError("not even the smallest variants fit together: admit fewer apps")
    return max(allowed, key=lambda choice: worth(apps, choice, goal))


def greedy(apps: Sequence[App], memory: int, time: float = 1.0, goal: Goal = "total") -> Choice:
    """A good choice, in time that grows with the cube of the number of variants. ValueError as above."""
    choice = tuple(0 for _ in apps)
    if not fits(apps, choice, memory, time):
        raise ValueError("not even the smallest variants fit together: admit fewer apps")
    if goal == "worst":
        return _worst_off(apps, memory, time)
    while raised := _raises(apps, choice, memory, time):
        choice = max(raised)[1]
    while (better := _improved(apps, choice, memory, time)) is not None:
        choice = better
    return choice


def _worst_off(apps: Sequence[App], memory: int, time: float) -> Choice:
    found = tuple(0 for _ in apps)
    highest = min(app.variants[-1].accuracy for app in apps)
    for wanted in sorted({one.accuracy for app in apps for one in app.variants if one.accuracy <= highest}):
        choice = tuple(next(at for at, one in enumerate(app.variants) if one.accuracy >= wanted) for app in apps)
        if fits(apps, choice, memory, time):
            found = choice
    return found


def _raises(apps: Sequence[App], choice: Choice, memory: int, time: float) -> list[tuple[float, Choice]]:
    """(gain for what it takes, the choice after it) of every step up of one app that fits."""
    found = []
    for at, app in enumerate(apps):
        for variant in range(choice[at] + 1, len(app.variants)):
            other = (*choice[:at], variant, *choice[at + 1 :])
            if fits(apps, other, memory, time):
                now, then = app.variants[choice[at]], app.variants[variant]
                taken = (then.bytes - now.bytes) / memory + (app.load(variant) - app.load(choice[at])) / time
                found.append(((then.accuracy - now.accuracy) / max(taken, 1e-12), other))
    return found


def _improved(apps: Sequence[App], choice: Choice, memory: int, time: float) -> Choice | None:
    """The best choice that differs in at most `CHANGED` apps, if it is worth more."""
    best, found = worth(apps, choice, "total"), None
    for places in itertools.combinations(range(len(apps)), min(CHANGED, len(apps))):
        for wanted in itertools.product(*(range(len(apps[place].variants)) for place in places)):
            changed = list(choice)
            for place, variant in zip(places, wanted, strict=True):
                changed[place] = variant
            tried = tuple(changed)
            if worth(apps, tried, "total") > best + 1e-12 and fits(apps, tried, memory, time):
                best, found = worth(apps, tried, "total"), tried
    return found


def paced(pace: float, measured_ms: float, predicted_ms: float) -> float:
    """The device's pace after one more request: 1 is as profiled, 2 is half as fast."""
    return (1 - PACE_WEIGHT) * pace + PACE_WEIGHT * measured_ms / predicted_ms


def within(variants: Sequence[Variant], pace: float, deadline_ms: float) -> int:
    """The most accurate variant that keeps the deadline at this pace; the quickest one where none does."""
    kept = [at for at, one in enumerate(variants) if pace * one.ms <= deadline_ms]
    if not kept:
        return min(range(len(variants)), key=lambda at: variants[at].ms)
    return max(kept, key=lambda at: variants[at].accuracy)
