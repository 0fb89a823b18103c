"""How long does an outsider need to recompute a whole task? A simulated fleet writes what a real one would: the ledger's
record and every blob, in wire form; `drystone audit replay` reads them as a stranger's, in a process of its own.

make bench Q=replay
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import track

from devnet.bench.report import Row, write
from devnet.chain import operator_key
from devnet.simulation import Simulation, in_memory
from ledger.audit.check import examine
from ledger.audit.evidence import Addresses, read
from ledger.record import export_record
from middleware.policy import Policy, Rule
from middleware.protocol.update import Floats
from nodes.records import Copies
from nodes.store import Blobs

ROUNDS = 100
DEVICES = 100
EDGES = 10
PARAMETERS = 250_000
BAR_SECONDS = 120.0
BAR_BYTES = 1 << 30
PROFILED_ROUNDS = 3
NATIVE = ("{built-in", "{method", "<built-in", "<method")  # how the profiler names what is not Python


class Kept(dict[bytes, bytes]):
    """Blobs that go to a folder, as a node's do, and not into memory."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__()
        self.blobs = blobs

    def __setitem__(self, digest: bytes, data: bytes) -> None:
        self.blobs.put(data, digest)


def learned(device: int, round: int, model: Floats) -> Floats:
    """Noise of the size of a real update, from a pool: drawing it is not what is measured."""
    return np.roll(POOL[device % len(POOL)], round * 97 + device)


POOL = np.random.default_rng(0).normal(0, 0.02, (16, PARAMETERS)).astype(np.float32)


async def play(folder: Path) -> int:
    """Write the record and the blobs of the whole task; returns the bytes of the blobs."""
    operator = operator_key().account
    ledger, context, registry = in_memory(operator)
    policy = Policy(
        workload="digits",
        model="mlp:64-256-10",
        parameters=PARAMETERS,
        rounds=ROUNDS,
        rule=Rule("mean", 0),
        min_updates=1,
    )
    world = Simulation(ledger, context, registry, operator, policy, learned, DEVICES, EDGES)
    world.blobs = Kept(Blobs(folder / "blobs"))
    await world.join()
    for _ in track(range(ROUNDS), "writing the history"):
        await world.play()
    await world.refresh()
    batch = await ledger.entries(None)
    addresses = Addresses(context.chain_id, registry, context.ledger, bytes(20))
    (folder / "ledger.jsonl").write_bytes(export_record(batch.entries, batch.head, addresses.about()))
    return sum(path.stat().st_size for path in (folder / "blobs").rglob("*") if path.is_file())


def replay(folder: Path) -> tuple[float, int, bool]:
    """(seconds, most resident bytes, every round equal) of the command, as a user types it."""
    command = [
        sys.executable, "-m", "nodes.cli.main", "audit", "replay", "--log", str(folder / "ledger.jsonl"),
        "--blobs", str(folder / "blobs"), "--json",
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    seconds = time.perf_counter() - began
    rounds = msgspec.json.decode(done.stdout)
    equal = len(rounds) == ROUNDS and all(row[what]["equal"] for row in rounds for what in ("sums", "model", "rewards"))
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, equal and done.returncode == 0


def native_share(folder: Path) -> tuple[float, list[tuple[str, float]]]:
    """(the share of an audit's time inside native code, the ten functions that take most)."""
    record = read((folder / "ledger.jsonl").read_bytes())
    kept = tuple(entry for entry in record.entries if getattr(entry.event, "round", 0) <= PROFILED_ROUNDS)
    short = msgspec.structs.replace(record, entries=kept)
    profile = cProfile.Profile()
    profile.runcall(examine, short, Copies([folder / "blobs"]))
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own = {f"{Path(place[0]).name}:{place[2]}" if place[0] != "~" else place[2]: row[2] for place, row in stats.items()}
    total = sum(own.values())
    native = sum(seconds for name, seconds in own.items() if name.startswith(NATIVE))
    most = sorted(own.items(), key=lambda item: -item[1])[:10]
    return native / total, [(name, seconds / total) for name, seconds in most]


def main() -> None:
    folder = Path("runs/replay")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        size = asyncio.run(play(folder))
        os.sync()
        seconds, memory, equal = replay(folder)
        share, most = native_share(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, part in most:
        print(f"  {part:6.1%}  {name}")
    write(
        "replay",
        [
            Row(
                f"replay of {ROUNDS} rounds x {DEVICES} devices x {PARAMETERS:,} parameters", seconds, "s", BAR_SECONDS,
                seconds / BAR_SECONDS, f"<= {BAR_SECONDS:g} s", seconds <= BAR_SECONDS,
            ),
            Row("most memory resident", memory / 1e6, "MB", BAR_BYTES / 1e6, memory / BAR_BYTES, "<= 1 GiB", memory <= BAR_BYTES),
            Row("rounds that replay to the bit", ROUNDS if equal else 0, "rounds", ROUNDS, None, "all", equal),
            Row("blobs read", size / 1e9, "GB"),
            Row("share of the time inside native code (profiled)", share, "", 0.5, None, "> 0.5", share > 0.5),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
