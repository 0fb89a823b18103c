"""A device that plans while its link and its edge change under it: real processes, a shaped link (`devnet.shaping`), an edge that
is slowed (`devnet.throttle`). In every phase the ways that could be best are then run by force, under the same conditions: the
fastest of them is what hindsight would have taken."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import Any, Final, NamedTuple

from devnet.examples.networks import efficientnet, photographs
from devnet.serving import MEGABIT, ServingWorld, serving
from devnet.throttle import Throttle
from middleware.infer.plan import Constraints, Privacy
from nodes.session import Session

PHASES: Final = (
    ("as profiled", 1.0, 1.0),
    ("bandwidth / 8", 8.0, 1.0),
    ("and edge x 4", 8.0, 4.0),
    ("recovered", 1.0, 1.0),
)
FRAMES: Final = 140  # a phase
WITHIN: Final = 100  # frames after a change that learning may take
TRIED: Final = 4  # ways a phase that are run by force
FORCED: Final = 15  # frames of each
WARM: Final = 4  # of those, that do not count
LINK: Final = 24 * MEGABIT
DELAY_MS: Final = 2.5
SLOWDOWN: Final = 12.0  # of the device


class Phase(NamedTuple):
    """Milliseconds of every frame as planned, medians by way and by force, the last frame's way, the first phase's plan now."""

    name: str
    frames: tuple[float, ...]
    forced: dict[str, float]
    way: str
    static: float


class Adapted(NamedTuple):
    """The phases; frames that were asked, answered, and answered by the edge or past it; receipts that the edge gave."""

    phases: tuple[Phase, ...]
    asked: int
    answered: int
    by_edge: int
    receipts: int


async def forced(session: Session, way: str, samples: Any) -> float:
    """The median of some frames that go one way."""
    session.running.force(way)
    times = [(await session(samples[number % len(samples)])).ms for number in range(FORCED)]
    return statistics.median(times[WARM:])


async def phase(name: str, session: Session, other: Session, samples: Any, static: str) -> tuple[Phase, list[Any]]:
    """One phase under conditions that hold by now."""
    replies = [await session(samples[number % len(samples)]) for number in range(FRAMES)]
    last = len(session.running.model.segments)
    likely = [one for one in session.explain() if not one.refused and not one.way.branches and one.way.middle == last]
    likely.sort(key=lambda one: one.predicted.ms)
    names = dict.fromkeys(
        [replies[-1].way, *(one.way.name(last) for one in likely[:TRIED]), "device", static or replies[-1].way]
    )
    times = {way: await forced(other, way, samples) for way in names}
    found = Phase(name, tuple(reply.ms for reply in replies), times, replies[-1].way, times[static or replies[-1].way])
    return found, replies


async def _phases(world: ServingWorld, throttle: Throttle, privacy: Privacy, samples: Any) -> Adapted:
    constraints = Constraints(privacy=privacy)
    found: list[Phase] = []
    told: list[Any] = []
    await world.shape("edge", LINK, DELAY_MS)
    async with (
        world.session("efficientnet-lite0", constraints, slowdown=SLOWDOWN) as session,
        world.session("efficientnet-lite0", constraints, slowdown=SLOWDOWN) as other,
    ):
        for name, thinner, slower in PHASES:
            await world.shape("edge", LINK / thinner, DELAY_MS)
            throttle.change(slower)
            one, replies = await phase(name, session, other, samples, found[0].way if found else "")
            found.append(one)
            told += replies
            print(f"{privacy}, {name}: {one.way} {one.frames[-1]:.1f} ms, by force {one.forced}", flush=True)
        line = session.running.line
        receipts = line.state.ledger.count if line is not None else -1
    by_edge = sum(reply.tier in ("edge", "cloud") for reply in told)
    return Adapted(tuple(found), FRAMES * len(PHASES), len(told), by_edge, receipts)


async def adapted(home: Path, privacies: tuple[Privacy, ...]) -> dict[str, Adapted]:
    """By what may leave the device."""
    model, files = efficientnet(6, 8)
    samples = photographs(12)
    async with serving(home) as world:
        await world.publish(model, files)
        async with world.session(model.name):
            pass  # the files are fetched over a fast link
        pid = world.fleet.processes.all["edge-1"].pid
        if pid is None:
            raise RuntimeError("the edge does not run")
        throttle = Throttle(world.fleet.processes, "throttle", pid)
        return {privacy: await _phases(world, throttle, privacy, samples) for privacy in privacies}


def measured(home: Path, privacies: tuple[Privacy, ...]) -> dict[str, Adapted]:
    return asyncio.run(adapted(home, privacies))
