"""What does the server's step give, and what does it cost? FedOpt and SLSGD against the plain step by the aggregate.

Eight devices train one local epoch a round on digits that are dealt unevenly (Dirichlet 0.3); the rule is the mean on the grid,
and the step is the one that a task's settlement takes. Counted are the rounds until 90 % of the test part is right, median of
three seeds. The cost is that of one step on a million numbers, and of writing what it carries, against the plain step.

make bench Q=server
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from devnet.bench.report import Row, write
from middleware.learn.train import evaluate, train
from middleware.learn.workload import Classification, Samples, Workload, genesis, load_workload
from middleware.maths import aggregate, grid, partition
from middleware.policy import Policy, Rule, Server
from middleware.protocol import memory
from middleware.protocol.update import Floats
from middleware.wire.state import State
from nodes.operator import Choices, policy_of

DEVICES: Final = 8
CONCENTRATION: Final = 0.3
ROUNDS: Final = 20
WANTED: Final = 0.9
SEEDS: Final = range(3)
NUMBERS: Final = 1_000_000
REPEATS: Final = 9
STEPS: Final[dict[str, Server | None]] = {
    "plain": None,
    "step, alpha 128 of 256": Server("step", alpha=128),
    "momentum 0.9, rate 1": Server("momentum"),
    "adagrad, rate 0.1": Server("adagrad", rate=0.1),
    "adam, rate 0.1": Server("adam", rate=0.1),
    "yogi, rate 0.1": Server("yogi", rate=0.1),
}


def shares(whole: Workload, model: str, seed: int) -> list[Workload]:
    """The devices' data."""
    data, generator = whole.data(), np.random.default_rng(seed)
    parts = partition.dirichlet(data.labels, DEVICES, CONCENTRATION, generator)
    return [Classification(model, Samples(data.features[p], data.labels[p]), whole.test()) for p in parts]


def curve(policy: Policy, whole: Workload, devices: list[Workload]) -> list[float]:
    """The accuracy after each round."""
    model, found = genesis(policy), []
    carried: tuple[Floats, ...] = ()
    for round in range(1, ROUNDS + 1):
        trained = [train(device, policy, model, round, number) for number, device in enumerate(devices)]
        rows = [grid.to_grid(one.update, policy.grid.bits, policy.grid.exponent)[0] for one in trained]
        result = aggregate.aggregate("mean", rows, [one.samples for one in trained], 0)
        applied = aggregate.divide(result.sums, result.total)
        model, carried = memory.move(policy, model, applied, carried)
        found.append(evaluate(whole, model)[0])
    return found


def rounds_to(wanted: float, accuracy: list[float]) -> float:
    """The first round that is as good; one more than there are when none is."""
    return next((number for number, one in enumerate(accuracy, start=1) if one >= wanted), ROUNDS + 1)


def milliseconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    made = policy_of(Choices(aggregator="mean", tolerate=0, min_updates=1, epochs=1))
    whole = load_workload("digits", made.model)
    reached, last = {}, {}
    for name, server in STEPS.items():
        curves = []
        for seed in SEEDS:
            policy = msgspec.structs.replace(made, server=server, seed=seed)
            curves.append(curve(policy, whole, shares(whole, made.model, seed)))
        reached[name] = statistics.median(rounds_to(WANTED, one) for one in curves)
        last[name] = statistics.median(one[-1] for one in curves)
        print(f"{name}: {reached[name]} rounds, {last[name]:.4f} at the end", flush=True)
    rows = []
    for name in STEPS:
        base = reached["plain"]
        rows.append(Row(f"{name}: rounds to {WANTED:.0%}", reached[name], "rounds", base, reached[name] / base))
        rows.append(Row(f"{name}: accuracy after {ROUNDS}", last[name], "", last["plain"], last[name] / last["plain"]))
    write("server", rows + costs())


def costs() -> list[Row]:
    """One step on a million numbers, and writing what it carries."""
    generator = np.random.default_rng(0)
    model = generator.normal(0, 0.1, NUMBERS).astype(np.float32)
    applied = generator.integers(-900, 900, NUMBERS)
    rows, base = [], 0.0
    for name, server in STEPS.items():
        policy = Policy("digits", "mlp", NUMBERS, rule=Rule("mean", 0), server=server)
        _, carried = memory.move(policy, model, applied, ())
        state = State(vectors=carried)
        moved = milliseconds(lambda p=policy, c=carried: memory.move(p, model, applied, c))  # type: ignore[misc]
        base = base or moved
        rows.append(Row(f"{name}: one step, {NUMBERS:,} numbers", moved, "ms", base, moved / base))
        if carried:
            written = milliseconds(lambda p=policy, s=state: memory.digest(memory.blob_of(p, s)))  # type: ignore[misc]
            rows.append(Row(f"{name}: its state, written and hashed", written, "ms", base, written / base))
    return rows


if __name__ == "__main__":
    main()
