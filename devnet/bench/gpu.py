"""What does a GPU give? Training steps and the heavy sums of the rules, beside this machine's processor.

    make bench Q=gpu        where there is a CUDA device; elsewhere it says so and measures nothing

Sums must be equal to the bit; training is compared by the length of the difference over the length of the update.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from devnet import datasets
from devnet.bench.report import Row, write
from middleware.errors import ConfigurationError
from middleware.learn import kernels
from middleware.learn.hardware import CPU, Hardware
from middleware.learn.train import train
from middleware.learn.workload import genesis, load_workload, resolve_model
from middleware.maths import aggregate
from middleware.policy import Policy, Rule, Training

UPDATES, NUMBERS, REPEATS, STEPS_BATCH = 50, 1_000_000, 5, 64
MODELS: Final = ("mlp:784-256-10", "cnn2d:28x28x1-16-32-10")
CUDA: Final = {
    "cuda, eager": Hardware("cuda", graphs=False),
    "cuda, recorded steps": Hardware("cuda"),
    "cuda, recorded steps, bfloat16": Hardware("cuda", "bfloat16"),
}


def fastest(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result) of the fastest of some runs, after one that is not counted."""
    found, result = float("inf"), work()
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = work()
        found = min(found, time.perf_counter() - began)
    return found, result


def sums() -> list[Row]:
    rows = np.random.default_rng(1).integers(-32767, 32768, (UPDATES, NUMBERS), np.int16)
    weights = list(range(1, UPDATES + 1))
    half = UPDATES // 2
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "weighted sums": (
            lambda: aggregate.weighted_sums(rows, weights),
            lambda: kernels.weighted_sums(rows, weights, "cuda"),
        ),
        "inner products": (lambda: aggregate.gram(rows), lambda: kernels.gram(rows, "cuda")),
        "median": (
            lambda: aggregate.aggregate("median", rows, weights, 0).sums,
            lambda: kernels.middle(rows, half - 1, half + 1, "cuda"),
        ),
    }
    found = []
    for name, (ours, theirs) in pairs.items():
        floor, expected = fastest(ours)
        taken, result = fastest(theirs)
        equal = bool(np.array_equal(np.asarray(expected), np.asarray(result)))
        found.append(
            Row(f"{name}, {UPDATES} x {NUMBERS:,}", taken, "s", floor, taken / floor, "equal to the bit", equal)
        )
    return found


def steps(file: Path) -> list[Row]:
    found = []
    for name in MODELS:
        model, count = resolve_model(f"table:{file}", name)
        workload = load_workload(f"table:{file}", model)
        policy = Policy(
            workload="digits", model=model, parameters=count, rule=Rule("mean", 0), min_updates=1,
            training=Training(1, STEPS_BATCH, 0.01),
        )  # fmt: skip
        start = genesis(policy)
        base, expected = fastest(lambda w=workload, p=policy, s=start: train(w, p, s, 1, 1, CPU))  # type: ignore[misc]
        found.append(Row(f"{model}: steps on the processor", expected.steps / base, "a second"))
        for kind, hardware in CUDA.items():
            taken, result = fastest(lambda w=workload, p=policy, s=start, h=hardware: train(w, p, s, 1, 1, h))  # type: ignore[misc]
            apart = float(np.linalg.norm(result.update - expected.update) / np.linalg.norm(expected.update))
            most = 0.1 if hardware.precision == "bfloat16" else 0.01
            found += [
                Row(f"{model}: steps, {kind}", result.steps / taken, "a second", expected.steps / base, base / taken),
                Row(f"{model}: difference, {kind}", apart, "of the update", None, None, f"<= {most}", apart <= most),
            ]
    return found


def main() -> None:
    Hardware("cuda").require()
    file = datasets.mnist().save(Path("runs/data/mnist.npz"))
    write("gpu", [*sums(), *steps(file)])


if __name__ == "__main__":
    try:
        main()
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
