"""How long does a rule take? 50 updates of a million numbers on the 16-bit grid, buffers warm.

Held against numpy's sum of the same matrix as float32 (the floor: every number read once), against the float32 product of
that matrix with itself (what any rule of pairwise distances needs), and against ByzFL's code on the same floats in torch. Each is
run several times in turn with the others, and the fastest time counts, on both sides: what else the machine does can
only add.

A daemon tells BLAS to use one thread (its `threads`), and so does this: our rules split the columns over two threads
themselves, which more threads inside BLAS would only get in the way of. The float32 product is no faster with two. ByzFL has all
cores.

make bench Q=aggregate
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when numpy is loaded

import numpy as np

from devnet.bench.byzfl import byzfl
from devnet.bench.report import Row, against, write
from middleware.maths.aggregate import RULES, Given, Memory, aggregate, nearest_neighbour_mixing

UPDATES: Final = 50
NUMBERS: Final = 1_000_000
LIARS: Final = 10
BULYAN_LIARS: Final = (UPDATES - 3) // 4
REPEATS: Final = 15
PEER_REPEATS: Final = 4  # their slowest takes ten seconds
PEER_MEAN: Final = 1.5  # times faster than ByzFL that the mean is to be
PEER: Final = 4.0  # and the others

# by rule: at most so many times the floor, or the float32 product
FLOORS: Final = {
    "mean": 2, "geometric-median": 12, "centred-clipping": 12, "median": 20, "trimmed-mean": 20, "bulyan": 40,
}  # fmt: skip
PRODUCTS: Final = {"krum": 2.5, "multi-krum": 2.5, "nnm": 3.0}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fastest(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The fastest of so many runs of each, in turn; each has run once before."""
    for work in works.values():
        work()
    found = {name: float("inf") for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            found[name] = min(found[name], seconds(work))
    return found


def ours(rows: Any) -> dict[str, Callable[[], object]]:
    """Every rule on the grid, and nearest-neighbour mixing alone. Centred clipping has a centre from the round before, and
    once more none, as ByzFL's has."""
    weights = [int(weight) for weight in np.random.default_rng(1).integers(1, 4097, len(rows))]
    mixed = np.empty((len(rows), rows[0].size), np.int32)
    given = Given(memory=Memory(centre=np.sign(rows[0]) * np.int16(100)))

    def runs(rule: str) -> Callable[[], object]:
        f = BULYAN_LIARS if rule == "bulyan" else LIARS
        return lambda: aggregate(rule, rows, weights, f, given)

    works = {rule: runs(rule) for rule in RULES}
    works["centred-clipping, first round"] = lambda: aggregate("centred-clipping", rows, weights, LIARS)
    works["nnm"] = lambda: nearest_neighbour_mixing(rows, LIARS, mixed)
    works["nnm+trimmed-mean"] = runs("nnm+trimmed-mean")
    return works


def theirs(floats: Any) -> dict[str, Callable[[], object]]:
    """ByzFL's rules on torch tensors, by our names."""
    torch = importlib.import_module("torch")  # a baseline is no product path: only learn may import torch
    torch.set_num_threads(os.cpu_count() or 1)
    vectors, peers = torch.from_numpy(floats), byzfl("aggregators")
    rules = {
        "mean": peers.Average(),
        "median": peers.Median(),
        "trimmed-mean": peers.TrMean(f=LIARS),
        "krum": peers.Krum(f=LIARS),
        "multi-krum": peers.MultiKrum(f=LIARS),
        "geometric-median": peers.GeometricMedian(),
        "centred-clipping, first round": peers.CenteredClipping(m=None, L=1, tau=100.0),
        "nnm": peers.NNM(f=LIARS),
    }
    return {name: (lambda rule=rule: rule(vectors)) for name, rule in rules.items()}  # type: ignore[misc]


def main() -> None:
    rows = np.random.default_rng(0).integers(-20_000, 20_001, (UPDATES, NUMBERS)).astype(np.int16)
    rows[:LIARS] += 4_000
    floats = rows.astype(np.float32)
    works = {"floor": lambda: floats.sum(), "product": lambda: floats @ floats.T, **ours(rows)}
    found = fastest(works, REPEATS)
    floor, product = found["floor"], found["product"]
    peers = fastest(theirs(floats), PEER_REPEATS)
    table = [
        Row("floor: numpy's sum of the floats", floor * 1e3, "ms"),
        Row("product: the float32 Gram matrix", product * 1e3, "ms"),
    ]
    for rule in [*RULES, "centred-clipping, first round", "nnm", "nnm+trimmed-mean"]:
        took = found[rule] * 1e3
        if rule in FLOORS:
            most = FLOORS[rule]
            table.append(against(f"{rule}, against the floor", took, "ms", floor * 1e3, f"<= {most:g}x", most))
        elif rule in PRODUCTS:
            least = PRODUCTS[rule]
            table.append(against(f"{rule}, against the product", took, "ms", product * 1e3, f"<= {least:g}x", least))
        else:
            table.append(Row(rule, took, "ms", floor * 1e3, found[rule] / floor))
        if rule in peers:
            times = PEER_MEAN if rule == "mean" else PEER
            faster = peers[rule] / found[rule]
            table.append(
                Row(
                    f"{rule}, ByzFL takes",
                    peers[rule] * 1e3,
                    "ms",
                    took,
                    faster,
                    f">= {times:g}x ours",
                    faster >= times,
                )
            )
    write("aggregate", table)


if __name__ == "__main__":
    main()
