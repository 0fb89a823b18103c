"""Does a crash or a reorganisation lose or double a transaction, or convict an honest node? 1,000 kills and 200
reorganisations on a real chain, and 300 kills of edges and clouds.

A node plans headers, changes and transfers; it is killed at a random write or question, started again on its disk,
killed again; meanwhile the chain replaces or takes back up to eight blocks, sometimes more than the node calls final.
Time and again everything is delivered, and each call has to be on the chain once and the kept index to be the one that a
fresh reading gives. Then edges and clouds are killed between composing, storing and sending, and started again, until each
round is done; whatever left them must not convict them. The baseline is how often that was checked in the same run.

    make bench Q=outbox
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devnet.bench.report import Row, write
from devnet.chain import operator_key
from devnet.kill import Fuse
from devnet.processes import Processes
from devnet.reorganise import Reorganised, Volatile
from devnet.slashing import DEVICES, EDGE, EDGES, Record, a_fleet, all_reports, cloud_lives, edge_lives
from ledger.memory import MemoryLedger
from middleware.errors import OurFault, Unavailable

CRASHES = 1_000
REORGANISATIONS = 200
A_WORLD = 100  # crashes on one set of contracts, with its share of the reorganisations
CHECK_EVERY = 5  # of these, between two deliveries of everything
DEEPEST = 8  # blocks
POINTS = 120  # places where one start of a node can die, more or less
FINALITIES = (0, 2, 6)  # blocks
SEED = 22
ACCUSED_KILLS = 300
A_FLEET = 10  # edges and as many clouds, one after the other, on one set of keys
EDGE_POINTS, CLOUD_POINTS = 35, 180  # places where one start can die, more or less
RULES = ["mean", "median"]


class Count:
    """What happened in all worlds together."""

    def __init__(self) -> None:
        self.crashes = self.reorganisations = self.planned = self.checks = self.broken = 0
        self.faults: list[str] = []


async def play(rpc: str, finality: int, generator: random.Random, count: Count, bar: Progress) -> None:
    """One world: A_WORLD crashes and as many reorganisations as go with them."""
    world = await Reorganised.begin(rpc, operator_key().account, finality, generator)
    share = A_WORLD * REORGANISATIONS // CRASHES
    crashes, reorganisations, _ = bar.task_ids
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


class Accused:
    """How often honest nodes were killed, looked at, and found guilty."""

    def __init__(self) -> None:
        self.kills = self.looks = self.convicted = 0


async def accuse(generator: random.Random, folder: Path, found: Accused, bar: Progress) -> None:
    """One fleet: an edge's round and a cloud's task, each through random kills, until enough died."""
    task, arrangement = bar.task_ids[2], generator.choice(["flat", "two-level"])
    edges_fleet, clouds_fleet = await a_fleet(arrangement, "mean"), await a_fleet("flat", generator.choice(RULES))
    edges_fleet.round, before = (
        1,
        len(clouds_fleet.ledger.blocks) if isinstance(clouds_fleet.ledger, MemoryLedger) else 0,
    )
    reports = all_reports(clouds_fleet)
    for number in range(A_FLEET):
        for role, most in (("edge", EDGE_POINTS), ("cloud", CLOUD_POINTS)):
            record, place = Record(), folder / f"{role}-{number}"
            lives = [Fuse(generator.randint(0, most)) for _ in range(3)] + [Fuse()]
            for fuse in lives:
                if role == "edge":
                    devices = generator.sample(edges_fleet.device_ids(EDGE), DEVICES)
                    early = generator.choice([None, 1, 2]) if fuse is not lives[-1] else None
                    survived = await edge_lives(edges_fleet, place, fuse, record, devices, early)
                else:
                    edges = generator.sample(clouds_fleet.edge_ids(), EDGES)
                    survived = await cloud_lives(clouds_fleet, reports, place, fuse, record, edges)
                found.kills += not survived
                bar.update(task, advance=not survived)
            found.looks += 1
            try:
                record.require_sound()
            except OurFault as fault:
                found.convicted += 1
                bar.console.print(f"{role}: {fault}")
        if isinstance(clouds_fleet.ledger, MemoryLedger):
            clouds_fleet.ledger.roll_back(len(clouds_fleet.ledger.blocks) - before)


def main() -> None:
    logging.disable(logging.CRITICAL)  # a killed node's last words
    accused = Accused()
    generator, count, began = random.Random(SEED), Count(), time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes, Progress(*columns) as bar:
        bar.add_task("crashes", total=CRASHES)
        bar.add_task("reorganisations", total=REORGANISATIONS)
        bar.add_task("kills of edges and clouds", total=ACCUSED_KILLS)
        for number in range(CRASHES // A_WORLD):
            chain = Volatile(Path(folder) / "chain")
            chain.start(processes)
            try:
                asyncio.run(play(chain.rpc, FINALITIES[number % len(FINALITIES)], generator, count, bar))
            except (OurFault, Unavailable) as fault:
                bar.console.print(f"world {number}: {fault}")
            processes.kill("chain")
        number = 0
        while accused.kills < ACCUSED_KILLS:
            asyncio.run(accuse(generator, Path(folder) / f"fleet-{number}", accused, bar))
            number += 1
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
            Row("kills of edges and clouds", accused.kills, "kills", bar=f">= {ACCUSED_KILLS}",
                ok=accused.kills >= ACCUSED_KILLS),
            Row("honest edges and clouds that could be slashed", accused.convicted, "nodes", accused.looks,
                accused.convicted / max(1, accused.looks), "0", accused.convicted == 0 and accused.looks > 0),
            Row("whole run", time.perf_counter() - began, "s", bar="<= 180", ok=time.perf_counter() - began <= 180),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
