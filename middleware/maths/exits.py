"""Which exit a request takes when nobody knows how long anything lasts, and when a queue of frames must do without the edge.

Bandit. Each exit is an arm: taking it yields a reward (confidence less the price of waiting) and lasts a random time. The run
ends at an unknown moment, so what counts is reward per time, not per frame. The arm with the largest optimistic rate is taken,

    (mean reward + c) / (mean duration - c D),    c = sqrt(ln(pulls so far) / (2 pulls of the arm))

with rewards in [0, 1] and durations in (0, D]; the denominator stays at least the shortest duration possible. Ju, Bao, Ge and
Zhang, "Dynamic early exit scheduling for deep neural network inference through contextual bandits" (LEE) ask the same question;
the index is that of upper confidence bounds (Auer et al. 2002) on a ratio (renewal reward).

Outage. While the edge is away, n frames with arrival and deadline, both in order, wait for one processor. Frame j may leave at
any of m exits, after `times[i]` more milliseconds and with utility `utilities[j][i]`, or be dropped. Swapping two neighbours
that run out of order delays neither past a deadline, so some best schedule runs the frames in their order (the ordered-schedule
lemma of Wang et al., "SEE", 2019). Then all that matters of the past is when the processor is free and what was earned: the
dynamic programme keeps, frame by frame, the pairs that no other beats. With times in whole ticks there are at most as many as
ticks a frame can be late, which grows with n: n frames of that many pairs with m exits each, O(n^2 m).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Row = Sequence[float]


class Pulls(NamedTuple):
    """By arm: how often it was taken, the sums of its rewards and durations."""

    times: tuple[int, ...]
    reward: tuple[float, ...]
    duration: tuple[float, ...]


def unpulled(arms: int) -> Pulls:
    """No arm taken yet."""
    if arms < 1:
        raise ValueError(f"{arms} exits: there is at least one")
    return Pulls((0,) * arms, (0.0,) * arms, (0.0,) * arms)


def take(pulls: Pulls, shortest: float, longest: float) -> int:
    """The exit to take: each once, then the largest optimistic reward per time. Durations lie between the two bounds."""
    if not 0 < shortest <= longest:
        raise ValueError(f"durations from {shortest} to {longest}: above 0, and in order")
    if 0 in pulls.times:
        return pulls.times.index(0)
    known = math.log(sum(pulls.times))

    def rate(arm: int) -> float:
        count = pulls.times[arm]
        unsure = math.sqrt(known / (2 * count))
        lasts = max(shortest, pulls.duration[arm] / count - unsure * longest)
        return min(1.0, pulls.reward[arm] / count + unsure) / lasts

    return max(range(len(pulls.times)), key=rate)


def taken(pulls: Pulls, arm: int, reward: float, duration: float) -> Pulls:
    """After an exit was taken. ValueError for a reward outside [0, 1] or a duration that is not above 0."""
    if not 0 <= reward <= 1 or not 0 < duration < math.inf:
        raise ValueError(f"reward {reward} in [0, 1], duration {duration} above 0: scale them first")

    def plus(row: Sequence[float], more: float) -> tuple[float, ...]:
        return tuple(value + more * (place == arm) for place, value in enumerate(row))

    count = tuple(value + (place == arm) for place, value in enumerate(pulls.times))
    return Pulls(count, plus(pulls.reward, reward), plus(pulls.duration, duration))


class Frame(NamedTuple):
    """Waits from `arrival` and is worthless after `deadline`; `utilities` are by exit."""

    arrival: float
    deadline: float
    utilities: tuple[float, ...]


class Scheduled(NamedTuple):
    """The exit of each frame, None where it is dropped; what all earn; how many (pair, exit) the search looked at."""

    exits: tuple[int | None, ...]
    utility: float
    steps: int


class _Pair(NamedTuple):
    free: float
    utility: float
    exits: tuple[int | None, ...]


def schedule(frames: Sequence[Frame], times: Row, free: float = 0.0) -> Scheduled:
    """The schedule of the largest sum of utilities; of equal ones the one that is done first. `times` (m,) is how long each
    exit takes, `free` when the processor is."""
    _require_frames(frames, times)
    pairs, steps = [_Pair(free, 0.0, ())], 0
    for frame in frames:
        found = []
        for pair in pairs:
            found.append(pair._replace(exits=(*pair.exits, None)))
            for place, lasts in enumerate(times):
                steps += 1
                done = max(pair.free, frame.arrival) + lasts
                if done <= frame.deadline:
                    found.append(_Pair(done, pair.utility + frame.utilities[place], (*pair.exits, place)))
        pairs = _unbeaten(found)
    best = max(pairs, key=lambda pair: (pair.utility, -pair.free))
    return Scheduled(best.exits, best.utility, steps)


def greedy(frames: Sequence[Frame], times: Row, free: float = 0.0) -> Scheduled:
    """For each frame in turn the most useful exit that still meets its deadline: the baseline."""
    _require_frames(frames, times)
    exits: list[int | None] = []
    utility, steps = 0.0, 0
    for frame in frames:
        steps += len(times)
        begins = max(free, frame.arrival)
        met = [place for place, lasts in enumerate(times) if begins + lasts <= frame.deadline]
        chosen = max(met, key=lambda place: frame.utilities[place], default=None)
        exits.append(chosen)
        if chosen is not None:
            free, utility = begins + times[chosen], utility + frame.utilities[chosen]
    return Scheduled(tuple(exits), utility, steps)


def _unbeaten(pairs: list[_Pair]) -> list[_Pair]:
    """Those for which none is free earlier with as much earned."""
    kept: list[_Pair] = []
    for pair in sorted(pairs, key=lambda pair: (pair.free, -pair.utility)):
        if not kept or pair.utility > kept[-1].utility:
            kept.append(pair)
    return kept


def _require_frames(frames: Sequence[Frame], times: Row) -> None:
    if not times or min(times) <= 0:
        raise ValueError(f"exits take {list(times)}: give at least one time, all above 0")
    for frame in frames:
        if len(frame.utilities) != len(times):
            raise ValueError(f"{len(times)} exits need as many utilities a frame, not {len(frame.utilities)}")
    for earlier, later in zip(frames, frames[1:], strict=False):
        if later.arrival < earlier.arrival or later.deadline < earlier.deadline:
            raise ValueError("frames must be in the order of both arrival and deadline: sort them")
