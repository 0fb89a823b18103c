"""What does a stream of 500 requests lose when the edge is killed in the middle, comes back, and then the cloud is killed?

Once with a model that the device holds whole, and so goes on alone; as the baseline once with one whose tail the licence keeps
at the edge, without a branch to answer in its place: the same stream without a fallback. A request is lost when it raises.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from devnet.bench.report import FOLDER, Row, write
from devnet.examples.networks import efficientnet, photographs
from devnet.serving import MEGABIT, ServingWorld, serving
from middleware.errors import Unavailable

REQUESTS: Final = 500
KILL_EDGE, RESTART_EDGE, KILL_CLOUD = 150, 250, 380  # requests
EVERY_SECONDS: Final = 0.05  # between two requests: a stream of frames


async def stream(world: ServingWorld, model: str, samples: Any) -> dict[str, Any]:
    """(milliseconds, tier) of every request; a tier of "" is one that was lost."""
    told: list[tuple[float, str]] = []
    back = killed = 0.0
    async with world.session(model, forced="jpeg75") as session:
        for number in range(REQUESTS):
            if number == KILL_EDGE:
                world.fleet.kill("edge-1")
                killed = time.perf_counter()
            if number == RESTART_EDGE:
                world.fleet.restart("edge-1")
            if number == KILL_CLOUD:
                world.fleet.kill("cloud")
            began = time.perf_counter()
            try:
                tier = (await session(samples[number % len(samples)])).tier
            except Unavailable:
                tier = ""
            took = time.perf_counter() - began
            told.append((1000 * took, tier))
            if number >= KILL_EDGE and tier and not back:
                back = time.perf_counter() - killed
            await asyncio.sleep(max(0.0, EVERY_SECONDS - took))
    world.fleet.restart("cloud")
    return {"told": told, "recovered": back}


async def measure(home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    model, files = efficientnet(6, 4)
    head = msgspec.structs.replace(model, name="head-only", held=2)
    samples = photographs(20)
    async with serving(home) as world:
        for one in (model, head):
            await world.publish(one, files)
            async with world.session(one.name):
                pass
        await world.shape("edge", 100 * MEGABIT, 2.5)
        whole = await stream(world, model.name, samples)
        return whole, await stream(world, head.name, samples)


def rows(whole: dict[str, Any], head: dict[str, Any]) -> list[Row]:
    answered = sum(bool(tier) for _, tier in whole["told"])
    gaps = [ms for ms, _ in whole["told"]]
    tiers = [tier for _, tier in whole["told"]]
    p99 = float(np.quantile(gaps, 0.99))
    lost = sum(not tier for _, tier in head["told"])
    return [
        Row("requests answered", answered, f"of {REQUESTS}", bar="all", ok=answered == REQUESTS),
        Row("by the device alone", tiers.count("device"), "requests"),
        Row("by the edge", tiers.count("edge"), "requests"),
        Row("longest request", max(gaps), "ms"),
        Row("gap, p99", p99, "ms", bar="<= 1000 ms", ok=p99 <= 1000),
        Row(
            "first answer after the edge was killed", whole["recovered"], "s", bar="<= 3 s", ok=whole["recovered"] <= 3
        ),
        Row("lost without a fallback (baseline)", lost, f"of {REQUESTS}"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, head = asyncio.run(measure(Path(folder)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("infer-failure", rows(whole, head))


if __name__ == "__main__":
    main()
