"""What does a codec cost, and what does it lose?

    make bench Q=compress

1. Ten million values at 1 %: seconds to choose them (and, for the codecs of few levels, to encode them), beside numpy's
   argpartition of the same magnitudes as float32. How many are kept, over how many were asked for, on three distributions.
2. Accuracy after the same rounds with and without the codec: 20 devices with MNIST (5,000 digits, iid), and 30 people with
   HAPT, each a device; mean of all updates, no sockets, one seed each. Accuracy is the mean of the last `LAST` rounds. Bytes
   are the payloads that went up.
3. Deep gradient compression at 0.1 %, on a model that has enough coordinates for that (HAPT's default has 3,286: three a
   device). It compresses momentum SGD, one step a round, so that is what it is compared with: the same rounds, rate and
   momentum with everything sent; and besides with FedAvg at its best. Bytes of the whole run, its warm-up included, and of a
   round after that. Without momentum correction is top-k with the same density and feedback, the server having the momentum.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from devnet.bench.report import FOLDER, Row, against, write
from devnet.crowd import Crowd, Shape, simulate, table_of
from devnet.picture import draw_curves
from middleware.maths.compress import encode, select
from middleware.maths.compress.select import SELECTIONS
from middleware.policy import CodecSpec
from nodes.operator import Choices, policy_of

VALUES, DENSITY, REPEATS = 10_000_000, 0.01, 5
DRAWS: Final = ("laplace", "gamma", "normal")
SPEED_BAR = 200.0  # MB of float32 a second
LAST = 20  # rounds, over which accuracy is averaged
ACCURACY: Final = {  # name: codec, density, points that it may lose
    "qsgd": ("qsgd", 1.0, 0.5),
    "terngrad": ("terngrad", 1.0, 0.5),
    "topk 1 % + int8": ("topk+int8", 0.01, None),
}
GOAL = 0.9
DGC_DENSITY, DGC_BAR = 0.001, 1.0  # points
SHAPES: Final = {
    "mnist": Shape(devices=20, edges=1, split="iid", wire=False, ledger=False),
    "hapt": Shape(devices=30, edges=1, split="client", wire=False, ledger=False),
}
FEDERATED: Final[dict[str, dict[str, Any]]] = {
    "mnist": {"model": "mlp:784-64-10", "rounds": 300, "batch": 16, "learning_rate": 0.05},
    "hapt": {"model": "auto", "rounds": 120, "batch": 32, "learning_rate": 0.02},
}
SINGLE_STEP: Final[dict[str, dict[str, Any]]] = {
    "mnist": {"model": "mlp:784-64-10", "rounds": 600, "batch": 1024, "learning_rate": 0.05, "momentum": 0.0},
    "hapt": {"model": "mlp:768-64-6", "rounds": 600, "batch": 1024, "learning_rate": 0.05, "momentum": 0.0},
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
            if name == "topk":
                magnitudes = np.abs(integers)
                once = fastest(lambda magnitudes=magnitudes: select._largest(magnitudes, count))  # type: ignore[misc]
                twice = fastest(lambda magnitudes=magnitudes: select.topk(magnitudes, count))  # type: ignore[misc]
                rows.append(
                    Row(f"topk of a sample, then of what it left, {kind}", twice, "s in one pass", once, twice / once)
                )
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


class Run(NamedTuple):
    """Accuracy after each round, and the payload bytes that each sent up."""

    accuracy: list[float]
    bytes_up: list[int]

    @property
    def first(self) -> int:
        """The first round after which the goal was reached; one more than there were if none was it."""
        return next((n for n, found in enumerate(self.accuracy, start=1) if found >= GOAL), len(self.accuracy) + 1)

    @property
    def reached(self) -> float:
        """Percent, the mean of the last rounds."""
        return 100 * float(np.mean(self.accuracy[-LAST:]))


def run(data: str, folder: Path, plan: dict[str, Any], codec: CodecSpec = CodecSpec(), server: str = "plain") -> Run:
    source = table_of(data, folder)
    asked = Choices(
        workload=source, aggregator="mean", min_updates=1, epochs=1, grid_exponent=-14, server=server, **plan
    )
    policy = msgspec.structs.replace(policy_of(asked), codec=codec)
    report = asyncio.run(simulate(Crowd(source, policy, SHAPES[data])))
    found = Run(list(report["accuracy"]), [row["bytes_up"] for row in report["rounds"]])
    print(
        f"{data}, {codec.name} at {codec.density:g}, server {server}: {found.reached:.2f} %",
        file=sys.stderr,
        flush=True,
    )
    return found


def accuracy(data: str, folder: Path) -> list[Row]:
    """The rows of part 2."""
    curves = {"dense": run(data, folder, FEDERATED[data])}
    dense = curves["dense"]
    rows = [Row(f"{data}, dense: accuracy", dense.reached, "%")]
    for name, (codec, density, bar) in ACCURACY.items():
        found = curves[name] = run(data, folder, FEDERATED[data], CodecSpec(codec, density))
        share, lost = sum(found.bytes_up) / sum(dense.bytes_up), dense.reached - found.reached
        rows += [
            Row(
                f"{data}, {name}: points lost", lost, "points", None, None, f"<= {bar:g}" if bar else None,
                lost <= bar if bar else None,
            ),
            Row(f"{data}, {name}: bytes", share, "of dense", 1.0, share),
        ]  # fmt: skip
    shown = {name: found.accuracy for name, found in curves.items()}
    draw_curves(FOLDER / f"compress-{data}.png", shown, f"{data}: accuracy by round")
    return rows


def deep(data: str, folder: Path) -> list[Row]:
    """The rows of part 3."""
    plan = SINGLE_STEP[data]
    everything = run(data, folder, plan, CodecSpec("dgc", 1.0))
    sparse = run(data, folder, plan, CodecSpec("dgc", DGC_DENSITY))
    plain = run(data, folder, plan, CodecSpec("topk", DGC_DENSITY), "momentum")
    federated = run(data, folder, FEDERATED[data] | {"model": plan["model"], "rounds": plan["rounds"]})
    lost, total = everything.reached - sparse.reached, sum(sparse.bytes_up) / sum(federated.bytes_up)
    steady = sparse.bytes_up[-1] / federated.bytes_up[-1]
    shown = {"everything sent": everything, "dgc": sparse, "no momentum correction": plain, "FedAvg": federated}
    curves = {name: found.accuracy for name, found in shown.items()}
    draw_curves(FOLDER / f"compress-dgc-{data}.png", curves, f"{data}, 0.1 %: accuracy by round")
    return [
        Row(f"{data}, momentum SGD: accuracy", everything.reached, "%"),
        Row(f"{data}, dgc: accuracy", sparse.reached, "%", everything.reached, sparse.reached / everything.reached),
        Row(f"{data}, dgc: points lost", lost, "points", None, None, f"<= {DGC_BAR:g}", lost <= DGC_BAR),
        Row(f"{data}, dgc: points lost against FedAvg", federated.reached - sparse.reached, "points"),
        Row(f"{data}, dgc: bytes of the run", total, "of dense", 1.0, total),
        Row(f"{data}, dgc: bytes of a round after warm-up", steady, "of dense", 1.0, steady, "<= 1/400", steady <= 1 / 400),
        Row(
            f"{data}, no momentum correction: rounds to {GOAL:.0%}", plain.first, "rounds", sparse.first,
            plain.first / sparse.first, "more than dgc", plain.first > sparse.first,
        ),
        Row(f"{data}, no momentum correction: points lost", everything.reached - plain.reached, "points", lost),
    ]  # fmt: skip


def main() -> None:
    from middleware.learn.fleet import use_threads

    use_threads(2)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows, folder = speed(), Path("runs/data")
    for data in SHAPES:
        rows += accuracy(data, folder)
        rows += deep(data, folder)
    write("compress", rows)


if __name__ == "__main__":
    main()
