"""What does a straggler cost? Real daemons, the digits, eight devices below two edges, a local log.

    make bench Q=schedules

The last device takes ten times as long to train as the others, and the first one dies (kill -9) on the way to the goal and stays
away. Time to 90 % is the sum of the rounds' lengths until the end of the round that reaches it; the baseline is the run of the
synchronous task without either. All runs hear as many updates as eight devices send in the synchronous rounds, about.

Synchronous rounds wait for the straggler in each round, and for the dead device once, up to the deadline; with one backup device
an edge nobody waits. Anytime rounds take as long as training took on average in the baseline, and their deadline is a little
behind that. The asynchronous rounds close after one update or four. One full step an update would be eight times the
synchronous rate, so plain asynchronous SGD takes an eighth of it (the server's step), staleness-aware divides by the staleness,
and delay-compensated takes a half with strength 2.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from devnet.bench.report import FOLDER, Row, write
from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape, device_name
from devnet.picture import draw_curves
from nodes.operator import Choices

GOAL, ROUNDS, BAR, POINTS = 0.90, 20, 1.3, 1.0
DEVICES: Final = 8
DIES_AFTER: Final = 2 * DEVICES  # updates that the cloud has heard


class Run(NamedTuple):
    """One row: what is asked for, and after how many rounds `DIES_AFTER` updates were heard."""

    choices: dict[str, Any]
    dies_after: int = DIES_AFTER // DEVICES
    troubled: bool = True


RUNS: Final = {
    "synchronous, nobody slow": Run({}, troubled=False),
    "anytime minibatch": Run({}),  # its time is that of the baseline, which has just been measured
    "backup workers, 1 device an edge": Run({"backup_devices": 1}),
    "synchronous": Run({}),
    "asynchronous": Run({"arrivals": 1, "server": "step:32"}, DIES_AFTER),
    "staleness-aware": Run({"arrivals": 1, "staleness": "inverse"}, DIES_AFTER),
    "buffered, 4 arrivals": Run({"arrivals": 4, "staleness": "polynomial"}, DIES_AFTER // 4),
    "delay-compensated (DC-ASGD)": Run({"arrivals": 1, "server": "step:64", "compensation": 2.0}, DIES_AFTER),
}


class Told(Progress):
    """Knows when a round is reached."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.reached = wanted, asyncio.Event()

    def round(self, number: int, total: int, accuracy: float) -> None:
        if number >= self.wanted:
            self.reached.set()


async def play(run: Run, rounds: int, folder: Path) -> dict[str, Any]:
    told = Told(run.dies_after)

    async def one_dies(fleet: Fleet) -> None:
        await told.reached.wait()
        fleet.kill(device_name(0))
        await asyncio.Event().wait()

    settings = {"round_seconds": 15.0, **run.choices}
    asked = Choices(rounds=rounds, aggregator="mean", min_updates=1, epochs=30, learning_rate=0.0005, **settings)
    shape = Shape(devices=DEVICES, slow=int(run.troubled), split="iid")
    return await run_demo(shape, asked, folder, told, one_dies if run.troubled else None, on="local")


def measured(name: str, run: Run) -> dict[str, Any]:
    rounds = ROUNDS * DEVICES // run.choices["arrivals"] if "arrivals" in run.choices else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(play(run, rounds, Path(folder)))
    print(f"{name}: {seconds_to_goal(report):.1f} s to {GOAL:.0%}, {report['audit']}", file=sys.stderr, flush=True)
    if report["audit"]["invalid"] or report["audit"]["unverifiable"]:
        raise RuntimeError(f"{name}: the audit found {report['audit']}")
    return report


def seconds_to_goal(report: dict[str, Any]) -> float:
    """From the first opening to the end of the round that reaches the goal; infinite if none does."""
    passed = 0.0
    for accuracy, seconds in zip(report["accuracy"], report["rounds_seconds"], strict=True):
        passed += seconds
        if accuracy >= GOAL:
            return float(passed)
    return float("inf")


def anytime(calm: dict[str, Any]) -> Run:
    """Rounds in which each device trains for as long as the baseline's devices did on average."""
    seconds = round(calm["seconds"]["training"] / calm["rounds"], 2)
    return Run({"seconds": seconds, "round_seconds": 1.25 * seconds + 0.3})


def rows_of(name: str, report: dict[str, Any], calm: dict[str, Any]) -> list[Row]:
    took, baseline = seconds_to_goal(report), seconds_to_goal(calm)
    ratio, last, first = took / baseline, 100 * report["accuracy"][-1], 100 * calm["accuracy"][-1]
    says, good = "", None
    if name == "synchronous":
        says, good = "visibly worse", ratio > 2
    elif name.startswith(("backup", "anytime")):
        says, good = f"<= {BAR:g} x nobody slow", ratio <= BAR
    within = None if name == "synchronous" else last >= first - POINTS
    return [
        Row(f"{name}, one 10x slower, one dies: time to {GOAL:.0%}", took, "s", baseline, ratio, says, good),
        Row(
            f"{name}: accuracy of the last round", last, "%", first, None,
            "" if within is None else f"within {POINTS:g} point", within,
        ),
        Row(f"{name}: longest round", max(report["rounds_seconds"]), "s"),
    ]  # fmt: skip


def main() -> None:
    reports: dict[str, dict[str, Any]] = {}
    for name, run in RUNS.items():
        reports[name] = measured(name, anytime(next(iter(reports.values()))) if name.startswith("anytime") else run)
    (nobody, calm), *others = reports.items()
    rows = [
        Row(f"{nobody}: time to {GOAL:.0%}", seconds_to_goal(calm), "s"),
        Row(f"{nobody}: accuracy of the last round", 100 * calm["accuracy"][-1], "%"),
    ]
    for name, report in others:
        rows += rows_of(name, report, calm)
    write("schedules", rows)
    draw_curves(
        FOLDER / "schedules.png", by_time(reports), "digits, one device 10x slower, one dies: accuracy by second"
    )


def by_time(reports: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Accuracy at the end of each second, as long as the baseline ran twice."""
    calm = next(iter(reports.values()))
    end = int(2 * sum(calm["rounds_seconds"]))
    curves = {}
    for name, report in reports.items():
        passed, shown, number = 0.0, list[float](), 0
        for second in range(1, end + 1):
            while number < len(report["accuracy"]) and passed + report["rounds_seconds"][number] <= second:
                passed += report["rounds_seconds"][number]
                number += 1
            shown.append(report["accuracy"][number - 1] if number else 0.1)
        curves[name] = shown
    return curves


if __name__ == "__main__":
    main()
