"""What does a straggler cost? Real daemons, the digits, eight devices below two edges.

    make bench Q=schedules

The last device takes ten times as long to train as the others, and the first one dies (kill -9) after some rounds and stays
away. Time to 90 % is counted from the first round's opening to the end of the round that reaches it. The baseline is the run of
the same task without either. Synchronous rounds wait for the straggler in each round and for the dead device once, up to the
deadline; with one backup device an edge nobody waits.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from devnet.bench.report import FOLDER, Row, write
from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape, device_name
from devnet.picture import draw_curves
from nodes.operator import Choices

GOAL, ROUNDS, BAR = 0.90, 14, 1.3
DIES_AFTER = 5.0  # seconds from the fleet's start


async def one_dies(fleet: Fleet) -> None:
    await asyncio.sleep(DIES_AFTER)
    fleet.kill(device_name(0))
    while True:
        await asyncio.sleep(60)


def run(name: str, troubled: bool, **choices: Any) -> dict[str, Any]:
    asked = Choices(
        rounds=ROUNDS, aggregator="mean", min_updates=4, epochs=30, learning_rate=0.002, round_seconds=15.0, **choices
    )  # about half a second of training, so that ten times of it shows
    shape = Shape(liars=0, slow=1 if troubled else 0, split="iid")
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run_demo(shape, asked, Path(folder), Progress(), one_dies if troubled else None))
    print(f"{name}: {seconds_to_goal(report):.1f} s to {GOAL:.0%}", file=sys.stderr, flush=True)
    return report


def seconds_to_goal(report: dict[str, Any]) -> float:
    """From the first opening to the end of the round that reaches the goal; infinite if none does."""
    passed = 0.0
    for accuracy, seconds in zip(report["accuracy"], report["rounds_seconds"], strict=True):
        passed += seconds
        if accuracy >= GOAL:
            return float(passed)
    return float("inf")


def main() -> None:
    calm = run("synchronous, no straggler", False)
    waiting = run("synchronous", True)
    backup = run("backup workers", True, backup_devices=1)
    baseline = seconds_to_goal(calm)
    rows = [Row(f"synchronous, nobody slow: time to {GOAL:.0%}", baseline, "s")]
    for name, report, bar in (("synchronous", waiting, None), ("backup workers, 1 device an edge", backup, BAR)):
        took = seconds_to_goal(report)
        rows += [
            Row(
                f"{name}, one 10x slower, one dies: time to {GOAL:.0%}", took, "s", baseline, took / baseline,
                f"<= {bar:g} x nobody slow" if bar else "visibly worse", took / baseline <= bar if bar else took > 2 * baseline,
            ),
            Row(f"{name}: accuracy of the last round", 100 * report["accuracy"][-1], "%", 100 * calm["accuracy"][-1]),
            Row(f"{name}: longest round", max(report["rounds_seconds"]), "s"),
        ]  # fmt: skip
    write("schedules", rows)
    curves = {"nobody slow": calm, "synchronous": waiting, "backup workers": backup}
    shown = {name: list(report["accuracy"]) for name, report in curves.items()}
    draw_curves(FOLDER / "schedules.png", shown, "digits, one device 10x slower, one dies: accuracy by round")


if __name__ == "__main__":
    main()
