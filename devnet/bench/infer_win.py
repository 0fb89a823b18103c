"""Which way of running a request wins, on which link, under which constraint? EfficientNet-Lite0 over three real processes: a
device slowed ten times, an edge, a cloud, and relays of 1, 10 and 100 Mbit/s between them (`devnet.shaping`).

Every cell is measured: each way alone, the JPEG always among them, then the planner's own choice. Ways that are predicted to take
longer than LONGEST_MS are not run and say so. Predicted and measured latency of every request are compared.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from devnet.bench.report import FOLDER, Row, write
from devnet.examples.networks import efficientnet, photographs
from devnet.serving import MEGABIT, ServingWorld, serving
from middleware.infer.plan import Constraints
from nodes.session import Session

SLOWDOWN: Final = 10.0
LINKS: Final = (1, 10, 100)  # Mbit/s
DELAY_MS: Final = 2.5  # each way
PRIVACY: Final = ("open", "lossless", "features")
REQUESTS: Final = 5  # of one way in one cell
AUTO: Final = 15
LONGEST_MS: Final = 1500.0
WARM: Final = 3


async def timed(session: Session, samples: Any, count: int) -> tuple[list[float], list[float], str]:
    """(measured, predicted, the last way) of `count` requests after some to warm up."""
    for sample in samples[:WARM]:
        await session(sample)
    measured, predicted, way = [], [], ""
    for sample in samples[WARM : WARM + count]:
        told = session.explain()[0]
        reply = await session(sample)
        measured.append(reply.ms)
        predicted.append(session.running.predicted(told.way)[0])
        way = reply.way
    return measured, predicted, way


def forms(session: Session) -> list[str]:
    """The ways that are run one by one: each upload, the device, and of each codec the split that is predicted to be best."""
    found: dict[str, str] = {}
    for one in sorted(session.explain(), key=lambda one: one.cost):
        name, last = one.way.name(len(session.running.model.segments)), len(session.running.model.segments)
        if one.way.middle == last and one.predicted.ms <= LONGEST_MS and not one.way.branches:
            found.setdefault(one.way.form if one.way.front else name, name)
    return list(found.values())


async def cell(world: ServingWorld, privacy: str, samples: Any) -> dict[str, Any]:
    constraints = Constraints(privacy=privacy)  # type: ignore[arg-type]
    async with world.session("efficientnet-lite0", constraints, slowdown=SLOWDOWN) as session:
        names = forms(session)
        allowed = {one.way.name(len(session.running.model.segments)) for one in session.explain() if not one.refused}
        measured, predicted, way = await timed(session, samples, AUTO)
    found: dict[str, Any] = {"auto": statistics.median(measured), "auto_way": way, "ways": {}, "pairs": []}
    found["pairs"] += list(zip(predicted, measured, strict=True))
    for name in names:
        if name not in allowed:
            continue
        async with world.session("efficientnet-lite0", constraints, forced=name, slowdown=SLOWDOWN) as session:
            measured, predicted, _ = await timed(session, samples, REQUESTS)
        found["ways"][name] = statistics.median(measured)
        found["pairs"] += list(zip(predicted, measured, strict=True))
    return found


async def measure(home: Path) -> dict[str, Any]:
    samples = photographs(WARM + AUTO)
    model, files = efficientnet()
    cells: dict[str, Any] = {}
    async with serving(home) as world:
        await world.publish(model, files)
        async with world.session("efficientnet-lite0"):
            pass  # the files are fetched over a fast link
        for megabits in LINKS:
            await world.shape("edge", megabits * MEGABIT, DELAY_MS)
            for privacy in PRIVACY:
                name = f"{privacy}, {megabits} Mbit/s"
                cells[name] = found = await cell(world, privacy, samples)
                print(
                    f"{name}: {found['auto_way']} {found['auto']:.1f} ms beside {json.dumps(found['ways'])}", flush=True
                )
    return cells


def rows(cells: dict[str, Any]) -> list[Row]:
    found = []
    for name, cell in cells.items():
        way, best = min(cell["ways"].items(), key=lambda pair: pair[1])
        ratio = cell["auto"] / best
        found.append(
            Row(
                f"{name}: auto ({cell['auto_way']}), best alone ({way})",
                cell["auto"],
                "ms",
                best,
                ratio,
                "<= 1.1 x",
                ratio <= 1.1,
            )
        )
        for other, ms in sorted(cell["ways"].items(), key=lambda pair: pair[1]):
            found.append(Row(f"{name}: {other}", ms, "ms"))
        if name.startswith("features") and not name.endswith(" 1 Mbit/s"):
            gain = cell["ways"]["device"] / cell["auto"]
            found.append(Row(f"{name}: gain over the device alone", gain, "x", bar=">= 2 x", ok=gain >= 2))
    pairs = [pair for cell in cells.values() for pair in cell["pairs"]]
    errors = [abs(predicted - measured) / measured for predicted, measured in pairs]
    ninth = float(np.quantile(errors, 0.9))
    found.append(Row("prediction, error p50", statistics.median(errors), f"of {len(pairs)} requests"))
    found.append(Row("prediction, error p90", ninth, f"of {len(pairs)} requests", bar="<= 0.15", ok=ninth <= 0.15))
    return found


def draw(cells: dict[str, Any], path: Path) -> None:
    """Bars of every way in every cell; what is not allowed there is not drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(PRIVACY), len(LINKS), figsize=(13, 8), sharey=True)
    for place, (name, cell) in enumerate(cells.items()):
        axis = axes[place % len(PRIVACY)][place // len(PRIVACY)]
        bars = sorted(cell["ways"].items(), key=lambda pair: pair[1])
        names, values = ["auto", *(way for way, _ in bars)], [cell["auto"], *(ms for _, ms in bars)]
        axis.barh(names, values, color=["#b3541e"] + ["#4f6d7a"] * len(bars))
        axis.set_xscale("log")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.invert_yaxis()
    for axis in axes[-1]:
        axis.set_xlabel("ms a request, median")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(words: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cells = asyncio.run(measure(Path(folder)))
    draw(cells, FOLDER / "infer-win.png")
    write("infer-win", rows(cells))


if __name__ == "__main__":
    main()
