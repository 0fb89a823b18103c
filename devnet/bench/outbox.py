"""Does a crash or a reorganisation lose or double a transaction? 1,000 kills and 200 reorganisations on a real chain.

A node plans headers, changes and transfers; it is killed at a random write or question, started again on its disk,
killed again; meanwhile the chain replaces or takes back up to eight blocks, sometimes more than the node calls final.
Time and again everything is delivered, and each call has to be on the chain once and the kept index to be the one that a
fresh reading gives. The baseline is what was planned in the same run.

    make bench Q=outbox
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devnet.bench.report import Row, write
from devnet.chain import Chain, operator_key
from devnet.processes import Processes
from devnet.reorganise import Reorganised
from middleware.errors import OurFault, Unavailable

CRASHES = 1_000
REORGANISATIONS = 200
A_WORLD = 100  # crashes on one set of contracts, with its share of the reorganisations
CHECK_EVERY = 5  # of these, between two deliveries of everything
DEEPEST = 8  # blocks
POINTS = 120  # places where one start of a node can die, more or less
FINALITIES = (0, 2, 6)  # blocks
SEED = 22


class Volatile(Chain):
    """A chain that keeps everything in memory: a world ends with it."""

    def command(self) -> list[str]:
        command = super().command()
        return command[: command.index("--state")]


class Count:
    """What happened in all worlds together."""

    def __init__(self) -> None:
        self.crashes = self.reorganisations = self.planned = self.checks = self.broken = 0
        self.faults: list[str] = []


async def play(rpc: str, finality: int, generator: random.Random, count: Count, bar: Progress) -> None:
    """One world: A_WORLD crashes and as many reorganisations as go with them."""
    world = await Reorganised.begin(rpc, operator_key().account, finality, generator)
    share = A_WORLD * REORGANISATIONS // CRASHES
    crashes, reorganisations = bar.task_ids
    try:
        while world.crashes < A_WORLD or world.reorganisations < share:
            await world.ask("evm_setAutomine", generator.random() < 0.5)
            for _ in range(CHECK_EVERY):
                world.plan(generator.randint(1, 3))
                died = await world.crash(generator.randint(0, POINTS))
                bar.update(crashes, advance=died)
                if generator.random() < 0.5:
                    await world.mine(1)
                if generator.random() * world.crashes > world.reorganisations * CRASHES / REORGANISATIONS * 0.5:
                    before = world.reorganisations
                    await world.reorganise(generator.randint(1, DEEPEST), generator.random() < 0.5)
                    bar.update(reorganisations, advance=world.reorganisations - before)
                    await world.follow()
            await deliver(world, count)
    finally:
        await world.ask("evm_setAutomine", True)
        count.crashes += world.crashes
        count.reorganisations += world.reorganisations
        count.planned += len(world.wanted)
        await world.close()


async def deliver(world: Reorganised, count: Count) -> None:
    count.checks += 1
    try:
        await world.settle()
        await world.check()
    except (OurFault, Unavailable) as fault:
        count.broken += 1
        count.faults.append(str(fault))
        raise


def main() -> None:
    generator, count, began = random.Random(SEED), Count(), time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes, Progress(*columns) as bar:
        bar.add_task("crashes", total=CRASHES)
        bar.add_task("reorganisations", total=REORGANISATIONS)
        for number in range(CRASHES // A_WORLD):
            chain = Volatile(Path(folder) / "chain")
            chain.start(processes)
            try:
                asyncio.run(play(chain.rpc, FINALITIES[number % len(FINALITIES)], generator, count, bar))
            except (OurFault, Unavailable) as fault:
                bar.console.print(f"world {number}: {fault}")
            processes.kill("chain")
    sound = count.checks - count.broken
    write(
        "outbox",
        [
            Row("kills, each at a random write or question", count.crashes, "kills", bar=f">= {CRASHES:,}",
                ok=count.crashes >= CRASHES),
            Row("reorganisations of 1 to 8 blocks", count.reorganisations, "reorganisations",
                bar=f">= {REORGANISATIONS}", ok=count.reorganisations >= REORGANISATIONS),
            Row("calls planned", count.planned, "transactions"),
            Row("deliveries with a call lost or doubled, or an index unlike a fresh one", count.broken, "deliveries",
                count.checks, count.broken / max(1, count.checks), "0", count.broken == 0),
            Row("deliveries checked and sound", sound, "deliveries", count.checks, sound / max(1, count.checks), "all",
                sound == count.checks and sound > 0),
            Row("whole run", time.perf_counter() - began, "s", bar="<= 180", ok=time.perf_counter() - began <= 180),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
