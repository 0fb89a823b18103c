"""How many devices fit one process, and how much faster is that than a process each?

1. 1,000 to 10,000 devices, one round with everything on the wire and a trimmed mean with a twentieth of them lying, each size
   in a fresh process after a small round that loads what is loaded once. A size's seconds and memory, and what each further
   thousand devices costs beyond the size before: on a straight line all of these are equal. What does not grow with the
   crowd, such as the buffers of the group that is being trained, is in the first size alone.
2. 100 devices, or as many as memory holds, on the same data, model and rule: rounds an hour as real processes (`drystone
   demo` on a signed log, from the round's opening to its settlement, start-up left out) and simulated.

    make bench Q=scale
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil

from devnet.bench.report import Row, write
from devnet.crowd import Crowd, peak_bytes, simulate, table_of
from devnet.crowd import Shape as CrowdShape
from devnet.demo import Progress, run_demo
from devnet.fleet import Shape as FleetShape
from middleware.errors import ConfigurationError
from nodes.operator import Choices, policy_of

SIZES = (1_000, 2_000, 5_000, 10_000)
REPEATS = 3  # fresh processes a size; their median counts
WARM = 128
# What is freed goes back to the system at once, so that what a process holds is what it uses. Training is a third slower for it.
GIVEN_BACK = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
LINEAR = 0.2
PROCESSES = 100
PROCESS_ROUNDS = 4
DEVICE_BYTES = 300e6  # a device's process with torch loaded (measured: 184 to 260 MB of its own), and room for others
SPEED_BAR = 20.0
MODEL = "mlp:784-32-10"


def choices(devices: int, **changes: Any) -> Choices:
    return Choices(**{"aggregator": "trimmed-mean", "tolerate": devices // 20, "rounds": 1, **changes})


def one(devices: int) -> dict[str, float]:
    """One round in this process: its seconds, training's part, seconds of joining, and bytes beyond the warm process."""
    from middleware.learn.fleet import use_threads

    use_threads(1)
    found: dict[str, Any] = {}
    before = 0
    for size in (WARM, devices):
        before = psutil.Process().memory_info().rss
        shape = CrowdShape(devices=size, edges=max(1, size // 100), liars=size // 20, attack="negate")
        found = asyncio.run(simulate(Crowd("digits", policy_of(choices(size)), shape)))
    return {
        "seconds": found["seconds"]["rounds"],
        "training": found["seconds"]["training"],
        "joining": found["seconds"]["joining"],
        "bytes": peak_bytes() - before,
    }


def sizes() -> list[Row]:
    found = {}
    for devices in SIZES:
        runs = [_fresh(devices) for _ in range(REPEATS)]
        found[devices] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    rows: list[Row] = []
    for devices, cost in found.items():
        rows.append(Row(f"{devices:,} devices: a round", cost["seconds"], "s"))
        rows.append(Row(f"{devices:,} devices: of that, training", cost["training"], "s"))
        rows.append(Row(f"{devices:,} devices: joining", cost["joining"], "s"))
        rows.append(Row(f"{devices:,} devices: memory beyond the small round's", cost["bytes"] / 1e6, "MB"))
    whole = (SIZES[0], SIZES[-1])
    for name, unit, scale in (("seconds", "s", 1.0), ("bytes", "MB", 1e-6)):
        line = _further(found, whole, name) * scale
        for pair in pairwise(SIZES):
            step = _further(found, pair, name) * scale
            what = f"{pair[0]:,} to {pair[1]:,} devices: {'time' if unit == 's' else 'memory'} of a further thousand"
            bar, ok = f"{1 - LINEAR:g} to {1 + LINEAR:g} x of the whole line", abs(step / line - 1) <= LINEAR
            rows.append(Row(what, step, unit, line, step / line, bar, ok))
    return rows


def _further(found: dict[int, dict[str, float]], sizes: tuple[int, int], name: str) -> float:
    """What a thousand devices more cost from one size to another."""
    few, many = sizes
    return (found[many][name] - found[few][name]) / (many - few) * 1000


def _fresh(devices: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "devnet.bench.scale", str(devices)], stdout=subprocess.PIPE, check=True,
        env={**os.environ, **GIVEN_BACK},
    )  # fmt: skip
    found = msgspec.json.decode(done.stdout, type=dict[str, float])
    print(devices, found, file=sys.stderr, flush=True)
    return found


def fitting() -> int:
    """How many devices' processes memory holds, in tens, at most `PROCESSES`."""
    return min(PROCESSES, int(psutil.virtual_memory().available / DEVICE_BYTES) // 10 * 10)


def processes(devices: int) -> list[Row]:
    """Rounds an hour of so many devices as processes and in one."""
    from middleware.learn.fleet import use_threads

    free = psutil.virtual_memory().available
    if free < devices * DEVICE_BYTES:
        raise ConfigurationError(f"{devices} processes do not fit {free / 1e9:.0f} GB: give a number after `processes`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = table_of("mnist", folder)
        asked = choices(devices, workload=source, model=MODEL, rounds=PROCESS_ROUNDS, round_seconds=300.0)
        lies: dict[str, Any] = {
            "liars": devices // 20,
            "attack": "negate",
            "split": "iid",
            "edges": max(2, devices // 25),
        }
        fleet = FleetShape(devices=devices, workload=source, **lies)
        use_threads(1)
        shape = CrowdShape(devices=devices, **lies)
        bare_shape = msgspec.structs.replace(shape, wire=False, ledger=False)
        simulated, bare = [asyncio.run(simulate(Crowd(source, policy_of(asked), made))) for made in (shape, bare_shape)]
        real = asyncio.run(run_demo(fleet, asked, folder / "demo", Progress(), on="local"))
    slow = 3600 / statistics.median(real["rounds_seconds"])
    rows = []
    for how, found in (("with wire and ledger", simulated), ("without", bare)):
        fast = 3600 / statistics.median(round["seconds"] for round in found["rounds"])
        what = f"{devices} devices on MNIST, simulated {how}, against processes"
        rows.append(
            Row(what, fast, "rounds an hour", slow, fast / slow, f">= {SPEED_BAR:g} x", fast / slow >= SPEED_BAR)
        )
    first, second = real["accuracy"][-1], simulated["accuracy"][-1]
    rows.append(
        Row(
            "the same: accuracy after the last round, processes beside simulated",
            first,
            "accuracy",
            second,
            first / second,
        )
    )
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["processes"]:
        write("scale-processes", processes(int(sys.argv[2])))
    elif sys.argv[1:2] == ["sizes"]:
        write("scale-sizes", sizes())
    elif sys.argv[1:]:
        print(msgspec.json.encode(one(int(sys.argv[1]))).decode())
    else:
        write("scale", [*sizes(), *processes(fitting())])
