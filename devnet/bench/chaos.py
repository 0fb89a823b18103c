"""Does a run survive kill -9? Twenty of them, at random moments, over every daemon and the chain; 200 with LONG=1.

Runs are started until that many kills were done; each victim is started again after a moment. Every run has to complete
with every header anchored exactly once and a VALID audit, in which nobody is found to have signed two things for one place.

    make bench Q=chaos [LONG=1]
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from pathlib import Path

from devnet.bench.report import Row, write
from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape
from nodes.operator import Choices

LONG = bool(os.environ.get("LONG"))
KILLS, PER_RUN, ROUNDS = (200, 20, 60) if LONG else (20, 5, 20)


class Killer:
    """Kills `count` random processes of a fleet, one at a time, and starts each again."""

    def __init__(self, generator: random.Random, count: int) -> None:
        self.generator, self.count = generator, count
        self.killed: list[str] = []

    async def __call__(self, fleet: Fleet) -> None:
        while len(self.killed) < self.count:
            await asyncio.sleep(self.generator.uniform(0.2, 1.5))
            name = self.generator.choice(["chain", *fleet.names()])
            fleet.kill(name)
            self.killed.append(name)
            await asyncio.sleep(self.generator.uniform(0.05, 0.8))
            fleet.restart(name)


def main() -> None:
    generator = random.Random(20)
    killed: list[str] = []
    complete = valid = single = runs = 0
    while len(killed) < KILLS:
        runs += 1
        killer = Killer(generator, min(PER_RUN, KILLS - len(killed)))
        with tempfile.TemporaryDirectory() as folder:
            choices = Choices(rounds=ROUNDS, seed=runs, round_seconds=15.0)
            report = asyncio.run(run_demo(Shape(liars=1, seed=runs), choices, Path(folder), Progress(), killer))
        print(
            f"run {runs}: killed {', '.join(killer.killed)}; {report['rounds']} rounds, audit {report['audit']}",
            flush=True,
        )
        killed += killer.killed
        complete += report["rounds"] == ROUNDS
        single += len(report["gas_per_round"]) == ROUNDS
        valid += report["audit"]["invalid"] == 0 and report["audit"]["unverifiable"] == 0
    write(
        "chaos",
        [
            Row("kill -9", len(killed), "processes", bar=f">= {KILLS}", ok=len(killed) >= KILLS),
            Row("runs that completed all rounds", complete, "runs", runs, complete / runs, "all", complete == runs),
            Row("runs with each header anchored once", single, "runs", runs, single / runs, "all", single == runs),
            Row("runs with a VALID audit", valid, "runs", runs, valid / runs, "all", valid == runs),
        ],
    )


if __name__ == "__main__":
    main()
