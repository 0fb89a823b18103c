"""What does a codec cost, and what does it lose?

    make bench Q=compress

1. Ten million values at 1 %: seconds to choose them (and, for the codecs of few levels, to encode them), beside numpy's
   argpartition of the same magnitudes as float32. How many are kept, over how many were asked for, on three distributions.
2. Accuracy after the same rounds with and without the codec: 20 devices with MNIST (5,000 digits, iid), and 30 people with
   HAPT, each a device; mean of all updates, no sockets, one seed each. Bytes are the payloads that went up. dgc runs without a
   momentum of its own: local training has one of 0.9, and both together overshoot (86 % on MNIST instead of 94 %).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from devnet.bench.report import FOLDER, Row, against, write
from devnet.crowd import Crowd, Shape, simulate, table_of
from devnet.picture import draw_curves
from middleware.maths.compress import encode
from middleware.maths.compress.select import SELECTIONS
from middleware.policy import CodecSpec
from nodes.operator import Choices, policy_of

VALUES, DENSITY, REPEATS = 10_000_000, 0.01, 5
DRAWS: Final = ("laplace", "gamma", "normal")
SPEED_BAR = 200.0  # MB of float32 a second
ACCURACY: Final = {  # name: codec, density, points that it may lose
    "dgc": ("dgc", 0.001, 1.0),
    "qsgd": ("qsgd", 1.0, 0.5),
    "terngrad": ("terngrad", 1.0, 0.5),
    "topk 1 % + int8": ("topk+int8", 0.01, None),
}


def drawn(kind: str) -> Any:
    generator = np.random.default_rng(1)
    if kind == "laplace":
        values = generator.laplace(0, 1, VALUES)
    elif kind == "gamma":
        values = generator.gamma(0.5, 1, VALUES) * generator.choice([-1.0, 1.0], VALUES)
    else:
        values = generator.normal(0, 1, VALUES)
    return np.clip(np.rint(values * 1500), -32767, 32767).astype(np.int16)


def fastest(work: Callable[[], object]) -> float:
    found = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - began)
    return found


def speed() -> list[Row]:
    rows, count, generator = [], int(VALUES * DENSITY), np.random.default_rng(2)
    for kind in DRAWS:
        integers = drawn(kind)
        floats = integers.astype(np.float32)
        floor = fastest(lambda floats=floats: np.argpartition(np.abs(floats), VALUES - count))  # type: ignore[misc]
        for name, bar in (("topk", 2.0), ("gaussiank", 1.5), ("sidco", 1.5), ("randomk", None)):
            if kind != "laplace" and name in ("topk", "randomk"):
                continue
            choose = SELECTIONS[name]
            taken = fastest(lambda choose=choose, integers=integers: choose(integers, count, generator))  # type: ignore[misc]
            what = f"{name} of {VALUES:,}, {kind}"
            if bar is None:
                rows.append(Row(what, taken, "s", floor, taken / floor))
            else:
                rows.append(against(what, taken, "s", floor, f"<= {bar:g} x argpartition", bar))
            if name in ("gaussiank", "sidco"):
                share = len(choose(integers, count, generator)) / count
                rows.append(
                    Row(f"{what}: kept / asked for", share, "", None, None, "0.95 to 1.05", 0.95 <= share <= 1.05)
                )
        if kind == "laplace":
            for name in ("qsgd", "terngrad", "sign"):
                taken = fastest(lambda name=name, integers=integers: encode(name, integers, 16, 1.0, generator))  # type: ignore[misc]
                rate = 4 * VALUES / taken / 1e6
                bits = 8 * len(encode(name, integers, 16, 1.0, generator)) / VALUES
                rows.append(
                    Row(
                        f"{name}: encoding",
                        rate,
                        "MB/s of float32",
                        SPEED_BAR,
                        rate / SPEED_BAR,
                        ">= 200 MB/s",
                        rate >= SPEED_BAR,
                    )
                )
                rows.append(Row(f"{name}: bits a value", bits, "bits"))
    return rows


def run(data: str, codec: str, density: float, folder: Path) -> tuple[list[float], int]:
    """(accuracy of each round, payload bytes that went up)."""
    source = table_of(data, folder)
    hapt = data == "hapt"
    choices = Choices(
        workload=source, model="auto" if hapt else "mlp:784-64-10", rounds=120 if hapt else 300, aggregator="mean", min_updates=1,
        codec=codec, density=density, epochs=1, batch=32 if hapt else 16, learning_rate=0.02 if hapt else 0.05,
        grid_exponent=-14,
    )  # fmt: skip
    policy = policy_of(choices)
    if codec == "dgc":
        policy = msgspec.structs.replace(policy, codec=CodecSpec(codec, density, momentum=0.0))
    shape = Shape(devices=30 if hapt else 20, edges=1, split="client" if hapt else "iid", wire=False, ledger=False)
    report = asyncio.run(simulate(Crowd(source, policy, shape)))
    return list(report["accuracy"]), int(report["bytes_up_sent"])


def main() -> None:
    from middleware.learn.fleet import use_threads

    use_threads(2)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows, folder = speed(), Path("runs/data")
    for data in ("mnist", "hapt"):
        curves = {"dense": run(data, "none", 1.0, folder)}
        best = max(curves["dense"][0][-5:])
        rows.append(Row(f"{data}, dense: accuracy", 100 * best, "%"))
        for name, (codec, density, bar) in ACCURACY.items():
            curves[name] = run(data, codec, density, folder)
            reached = max(curves[name][0][-5:])
            share = curves[name][1] / curves["dense"][1]
            lost = 100 * (best - reached)
            print(
                f"{data}, {name}: {100 * reached:.1f} % of {100 * best:.1f} %, {share:.4f} of the bytes",
                file=sys.stderr,
            )
            rows += [
                Row(
                    f"{data}, {name}: points lost", lost, "points", None, None, f"<= {bar:g}" if bar else None,
                    lost <= bar if bar else None,
                ),
                Row(f"{data}, {name}: bytes", share, "of dense", 1.0, share),
            ]  # fmt: skip
        draw_curves(
            FOLDER / f"compress-{data}.png",
            {name: curve for name, (curve, _) in curves.items()},
            f"{data}: accuracy by round",
        )
    write("compress", rows)


if __name__ == "__main__":
    main()
