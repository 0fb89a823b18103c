"""Several apps on one stream of frames: what their networks have in common runs once a frame.

Apps whose networks were fine-tuned from one base keep its first segments as they were. `SharedTrunk` runs those once for all apps
that look at a frame, up to where the last of them forks off, and each app's own part behind its fork (Jiang et al., "Mainstream:
dynamic stem-sharing for multi-tenant video processing", USENIX ATC 2018).

How much an app shares is a choice: what it shares was not trained for it, so it sees less in a frame, but shared work leaves time
for more frames. `choose` finds the best depths and frame rates within a budget of milliseconds a second, exactly: for every way
in which the rate at which the trunk runs can fall from segment to segment, the trunk's cost is known and what is left is one
option an app (`maths.knapsack`). An event is found if it is seen in one frame at least (`event_f1`), so frames and accuracy can
be traded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations_with_replacement, pairwise
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import require
from middleware.maths.knapsack import Option
from middleware.maths.knapsack import choose as choose_options

Floats = npt.NDArray[np.float32]
Stretch = Callable[[int, int, Floats], Floats]
"""(first, last, tensor) -> what segments [first, last) of the trunk make of it, as `segments.Runner.run`."""

PROFILES: Final = 20_000  # ways in which rates fall along the trunk; more are too many to try


class Head(NamedTuple):
    """An app's own part: it takes what the trunk gives behind its first `depth` segments."""

    depth: int
    run: Callable[[Floats], Floats]


class SharedTrunk:
    """One trunk and the apps on it. `ran` counts how often each of its segments ran."""

    def __init__(self, trunk: Stretch, segments: int, heads: Mapping[str, Head]) -> None:
        require(bool(heads), "no app: give one head at least")
        for name, head in heads.items():
            require(0 <= head.depth <= segments, f"app {name} forks off behind segment {head.depth} of {segments}")
        self.trunk, self.heads = trunk, dict(heads)
        self.ran = [0] * segments

    def frame(self, tensor: Floats, apps: Iterable[str] | None = None) -> dict[str, Floats]:
        """Each app's output for one frame (or batch of them); all apps, or those that look at this frame."""
        names = list(self.heads) if apps is None else list(apps)
        unknown = [name for name in names if name not in self.heads]
        require(not unknown, f"apps {unknown} are not on this trunk")
        found, place = dict[str, Floats](), 0
        for name in sorted(names, key=lambda one: self.heads[one].depth):
            head = self.heads[name]
            if head.depth > place:
                tensor = self.trunk(place, head.depth, tensor)
                for segment in range(place, head.depth):
                    self.ran[segment] += 1
                place = head.depth
            found[name] = head.run(tensor)
        return {name: found[name] for name in names}


class App(msgspec.Struct, frozen=True):
    """An app that may fork off behind `forks[i]` segments of the trunk and then costs `own_ms[i]` a frame by itself, recognises
    what is there with probability `recalls[i]` a frame, and is right with probability `precisions[i]` when it says so."""

    name: str
    forks: tuple[int, ...]
    own_ms: tuple[float, ...]
    recalls: tuple[float, ...]
    precisions: tuple[float, ...]
    event_seconds: float  # for which what it looks for can be seen

    def __post_init__(self) -> None:
        columns = self.own_ms, self.recalls, self.precisions
        require(
            bool(self.forks) and all(len(one) == len(self.forks) for one in columns), f"{self.name}: a value a fork"
        )
        require(all(0 <= one <= 1 for one in (*self.recalls, *self.precisions)), f"{self.name}: shares, 0 to 1")
        require(min(*self.own_ms, self.event_seconds, *self.forks) >= 0, f"{self.name}: nothing is below 0")


class Share(NamedTuple):
    """Where an app forks off, and at how many frames a second it looks."""

    depth: int
    rate: float


class Sharing(NamedTuple):
    """The mean F1 of all apps, milliseconds of work a second, and each app's share."""

    quality: float
    ms_per_second: float
    shares: dict[str, Share]


def choose(apps: Sequence[App], trunk_ms: Sequence[float], rates: Sequence[float], budget: float) -> Sharing:
    """The depths and rates with the best mean F1 within `budget` milliseconds a second; a rate may be 0 (not looked at).
    `trunk_ms` is a frame's cost a segment. ConfigurationError for a question with too many rates and segments to be answered
    exactly."""
    require(bool(apps) and budget >= 0, "apps, and a budget not below 0")
    require(
        all(fork <= len(trunk_ms) for app in apps for fork in app.forks), f"an app forks off behind {len(trunk_ms)}"
    )
    speeds = sorted({0.0, *rates}, reverse=True)
    require(speeds[-1] == 0.0, "a rate is not below 0")
    borders = sorted({fork for app in apps for fork in app.forks if fork})
    stretches = [math.fsum(trunk_ms[first:last]) for first, last in pairwise([0, *borders])]
    ways = math.comb(len(stretches) + len(speeds) - 1, len(stretches))
    require(ways <= PROFILES, f"{ways} ways to run the trunk, at most {PROFILES}: fewer rates, or fewer places to fork")
    best = Sharing(-1.0, 0.0, {})
    for falling in combinations_with_replacement(speeds, len(stretches)):
        trunk = math.fsum(rate * ms for rate, ms in zip(falling, stretches, strict=True))
        if trunk > budget:
            continue
        shares = [_allowed(app, borders, falling, speeds) for app in apps]
        options = [[_option(app, share) for share in some] for app, some in zip(apps, shares, strict=True)]
        found = choose_options(options, [budget - trunk])  # not looking at anything always fits
        if found is not None and found.value > best.quality * len(apps):
            own = math.fsum(some[pick].sizes[0] for some, pick in zip(options, found.picks, strict=True))
            picked = {app.name: some[pick] for app, some, pick in zip(apps, shares, found.picks, strict=True)}
            best = Sharing(found.value / len(apps), trunk + own, picked)
    return best


def cost(apps: Sequence[App], trunk_ms: Sequence[float], shares: Mapping[str, Share]) -> float:
    """Milliseconds a second: each segment of the trunk at the highest rate of those who need it, and each app's own part."""
    trunk = math.fsum(
        ms * max((share.rate for share in shares.values() if share.depth > place), default=0.0)
        for place, ms in enumerate(trunk_ms)
    )
    own = (shares[app.name].rate * app.own_ms[app.forks.index(shares[app.name].depth)] for app in apps)
    return trunk + math.fsum(own)


def event_f1(app: App, share: Share) -> float:
    """The F1 of events: precision as in a frame, recall that of at least one frame, of as many as fall into an event at that rate
    and any phase, taken as independent."""
    place = app.forks.index(share.depth)
    frames = app.event_seconds * share.rate
    whole, rest = math.floor(frames), frames % 1.0
    missed = (1.0 - app.recalls[place]) ** whole
    recall = 1.0 - missed * (1.0 - rest * app.recalls[place])
    both = app.precisions[place] + recall
    return 2 * app.precisions[place] * recall / both if both and recall else 0.0


def _allowed(app: App, borders: Sequence[int], falling: Sequence[float], speeds: Sequence[float]) -> list[Share]:
    """The shares for which the trunk runs often enough."""
    runs = {0: math.inf, **dict(zip(borders, falling, strict=True))}
    return [Share(fork, rate) for fork in app.forks for rate in speeds if rate <= runs[fork]]


def _option(app: App, share: Share) -> Option:
    return Option(event_f1(app, share), (share.rate * app.own_ms[app.forks.index(share.depth)],))
