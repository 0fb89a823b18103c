"""What does a round cost beside the training? And how far is a large update from the floor?

1. The default demo: opened to settled, minus the time in which any device trained, median over the rounds.
2. Ten million parameters, eight devices, dense: a round's seconds and MB/s, beside the floor in the same run: the same bytes
   through bare aiohttp uploads into memory, eight at once, and one numpy sum of them.

    make bench Q=round
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from aiohttp import web

from devnet.bench.report import Row, write
from devnet.chain import free_port
from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape
from middleware.maths.partition import MINIMUM
from nodes.operator import Choices

DEVICES = 8
HIDDEN = 3126  # mlp:64-3126-3126-10 has 10,009,462 numbers
ROUND_BAR_SECONDS = 0.150
FLOOR_BAR = 3.0
LARGE_ROUNDS = 6


def small() -> list[Row]:
    """Overhead of a round of the default demo."""
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run_demo(Shape(liars=1), Choices(), Path(folder), Progress()))
    overhead = report["overhead_seconds"]
    whole = statistics.median(report["rounds_seconds"])
    median = statistics.median(overhead)
    share = report["seconds"]["ledger"] / report["seconds"]["total"]
    return [
        Row(
            "a round beside training, 8 devices", median, "s", whole, median / whole,
            f"<= {ROUND_BAR_SECONDS} s", median <= ROUND_BAR_SECONDS,
        ),
        Row("ledger's share of the run", share, "of total", 1.0, share, "<= 0.05", share <= 0.05),
    ]  # fmt: skip


def large_table(path: Path) -> None:
    """As few samples as a device may have: training is one step, so that a round is nearly all transport."""
    generator = np.random.default_rng(0)
    count = MINIMUM * DEVICES
    features = generator.standard_normal((count + 10, 64)).astype(np.float32)
    test = np.arange(count + 10) >= count
    np.savez(path, X=features, y=np.arange(count + 10) % 10, test=test.astype(np.int8))


def large() -> list[Row]:
    """Ten million parameters through real processes, and the floor."""
    memory: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "large.npz"
        large_table(table)
        source = f"table:{table}"
        for devices in (2, DEVICES):
            shape = Shape(devices=devices, workload=source, split="iid")
            choices = Choices(
                workload=source, model=f"mlp:64-{HIDDEN}-{HIDDEN}-10", rounds=LARGE_ROUNDS, aggregator="mean", min_updates=1,
                epochs=1, batch=64, round_seconds=120.0,
            )  # fmt: skip
            peaks: dict[str, float] = {}
            out = Path(folder) / f"run-{devices}"
            report = asyncio.run(run_demo(shape, choices, out, Progress(), partial(watch, peaks)))
            memory[devices] = peaks["cloud"]
    seconds = statistics.median(report["overhead_seconds"][1:])
    whole = statistics.median(report["rounds_seconds"][1:])
    moved = report["bytes_up_sent"] / report["rounds"]
    floor = statistics.median(measure_floor(int(moved / DEVICES)) for _ in range(3))
    growth = memory[DEVICES] / memory[2]
    return [
        Row(
            "10M parameters, 8 devices, dense: a round", whole, "s", floor, whole / floor,
            f"<= {FLOOR_BAR} x floor", whole <= FLOOR_BAR * floor,
        ),
        Row("10M parameters: a round beside training", seconds, "s", floor, seconds / floor),
        Row("10M parameters: updates moved", moved / whole / 1e6, "MB/s", moved / floor / 1e6, floor / whole),
        Row(
            "cloud's peak memory, 8 devices against 2, mean", memory[DEVICES] / 1e6, "MB", memory[2] / 1e6, growth,
            "<= 1.2", growth <= 1.2,
        ),
    ]  # fmt: skip


async def watch(peaks: dict[str, float], fleet: Fleet) -> None:
    """The cloud's peak resident bytes, looked at twenty times a second until cancelled."""
    while True:
        child = fleet.processes.all["cloud"].child
        if child is not None:
            peaks["cloud"] = max(peaks.get("cloud", 0.0), float(psutil.Process(child.pid).memory_info().rss))
        await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------------------------- the floor


def measure_floor(size: int) -> float:
    """Seconds for `DEVICES` processes to upload `size` bytes each to one bare aiohttp server, and to sum them as int16."""
    port = free_port()
    ready, go = multiprocessing.Event(), multiprocessing.Event()
    results: multiprocessing.Queue[float] = multiprocessing.Queue()
    server = multiprocessing.Process(target=_serve, args=(port, size, ready, results), daemon=True)
    server.start()
    ready.wait(30)
    senders = [multiprocessing.Process(target=_send, args=(port, size, go), daemon=True) for _ in range(DEVICES)]
    for sender in senders:
        sender.start()
    time.sleep(1.0)  # until every sender has its bytes
    began = time.perf_counter()
    go.set()
    results.get(timeout=120)
    seconds = time.perf_counter() - began
    for process in (*senders, server):
        process.terminate()
        process.join()
    return seconds


def _serve(port: int, size: int, ready: Any, results: Any) -> None:
    async def main() -> None:
        sums = np.zeros(size // 2, np.int64)
        done = asyncio.Event()
        arrived = 0

        async def take(request: web.Request) -> web.Response:
            nonlocal arrived
            data = bytearray(size)
            at = 0
            async for chunk in request.content.iter_any():
                data[at : at + len(chunk)] = chunk
                at += len(chunk)
            np.add(sums, np.frombuffer(data, np.int16)[: len(sums)], out=sums)
            arrived += 1
            if arrived == DEVICES:
                done.set()
            return web.Response()

        app = web.Application(client_max_size=0)
        app.router.add_post("/", take)
        runner = web.AppRunner(app, access_log=None, read_bufsize=1 << 20)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()
        await done.wait()
        results.put(float(sums[0]))
        await asyncio.sleep(0.5)

    asyncio.run(main())


def _send(port: int, size: int, go: Any) -> None:
    async def main() -> None:
        data = bytes(size)
        go.wait()
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data=data) as answer:
            await answer.read()

    asyncio.run(main())


if __name__ == "__main__":
    write("round", [*small(), *large()])
