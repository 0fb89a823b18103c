"""What does privacy cost? Accuracy against epsilon on MNIST, and whether the noise and the claim are what they say.

A thousand simulated devices of four or five images each train five local full-batch steps a round. Their updates go onto
the grid, are cut as a device cuts them and summed; noise, division and accounting are those of a task's settlement. The noise
is the least with which all rounds fit the epsilon. The run without privacy is the same but for the noise and the cut.

Beside that, what the other promises cost: DP-SGD for single records, eight devices on the digits; and whole clients with the
noise on each device, where the same epsilon costs the root of a thousand times as much noise.

The claim is attacked as well: two neighbouring sums, one observer who sees the release and thresholds the likelihood ratio;
the 99.9 % lower bound (Clopper and Pearson) of the loss so seen must stay below epsilon.

make bench Q=dp
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

from devnet.bench.report import Row, write
from devnet.datasets import mnist
from devnet.picture import draw_privacy
from middleware.learn import fleet, models
from middleware.learn.fleet import use_threads
from middleware.learn.private import ENTROPY_BYTES, train_private
from middleware.learn.train import evaluate
from middleware.learn.train import train as learn
from middleware.learn.workload import Classification, Samples, genesis, load_workload
from middleware.maths import grid
from middleware.maths.aggregate import divide
from middleware.maths.privacy import accountant
from middleware.maths.privacy.clip import clip
from middleware.maths.privacy.noise import discrete_gaussian
from middleware.policy import MICRO, NOISE_ONE, Grid, Policy, Privacy, Rule, Training
from middleware.protocol import budget
from middleware.protocol.sums import alone
from middleware.protocol.update import Integers
from middleware.trust.stream import KeyStream
from middleware.types import ZERO32
from nodes.operator import Choices, policy_of

DEVICES: Final = 1000
MODEL: Final = "mlp:784-32-10"
ROUNDS: Final = 40
EPSILONS: Final = (1, 2, 4, 8)
SEEDS: Final = range(3)
TEST: Final = 1000
BOUND: Final = 1.0  # L2 length
DELTA: Final = 1e-5
POINTS: Final = 3
SECRET: Final = bytes(budget.SECRET_BYTES)
RUNS: Final = 200_000
RECORD_DEVICES, RECORD_ROUNDS = 8, 10
PICTURE: Final = Path("docs/pictures/dp.png")


def policy_for(epsilon: float | None, seed: int) -> Policy:
    """The task, private or not. The grid is fine enough that rounding a short update is nothing beside the noise."""
    made = None
    if epsilon is not None:
        noise = budget.needed_noise(round(epsilon * MICRO), ROUNDS, DELTA)
        bound = int(BOUND * 2**16)
        made = Privacy(round(epsilon * MICRO), noise, bound, DEVICES, budget.commitment(SECRET), DELTA)
    private = {"readers": "auditors", "auditors": ("0" * 64,), "samples_cap": 1} if made else {}
    return Policy(
        "digits", MODEL, models.count(MODEL), rounds=ROUNDS, rule=Rule("mean", 0), grid=Grid(20, -16), privacy=made, seed=seed,
        training=Training(epochs=5, batch=16, learning_rate=0.3, momentum=0.0), **private,  # type: ignore[arg-type]
    )  # fmt: skip


@cache
def images(seed: int) -> tuple[Samples, Classification, list[npt.NDArray[np.int64]]]:
    """(training images, the workload that evaluates, each device's share of the former)."""
    data = mnist()
    order = np.random.default_rng(0).permutation(len(data.labels))
    features, labels = data.samples.reshape(len(order), -1)[order], data.labels.astype(np.int64)[order]
    train, test = Samples(features[TEST:], labels[TEST:]), Samples(features[:TEST], labels[:TEST])
    shares = np.array_split(np.random.default_rng(seed).permutation(len(train)), DEVICES)
    return train, Classification(MODEL, train, test), shares


def run(asked: tuple[float | None, bool, int]) -> float:
    """The accuracy after all rounds of (epsilon, noise on the devices, seed)."""
    epsilon, local, seed = asked
    policy = policy_for(epsilon, seed)
    train, whole, shares = images(seed)
    model = genesis(policy)
    for number in range(1, ROUNDS + 1):
        total = np.zeros(policy.parameters, np.int64)
        seeds = [(seed, number, device) for device in range(DEVICES)]
        for taught in fleet.teach(MODEL, model, train, shares, policy.training, seeds):
            for update in taught.updates:
                integers, _ = grid.to_grid(update, policy.grid.bits, policy.grid.exponent)
                total += integers if policy.privacy is None else clip(integers, policy.privacy.bound)
        model = grid.apply(model, released(policy, total, number, local), policy.grid.exponent)
    return evaluate(whole, model)[0]


def released(policy: Policy, total: Integers, number: int, local: bool) -> Integers:
    if policy.privacy is None:
        return np.floor_divide(total, DEVICES)
    budget.committed(policy, ZERO32, number)  # refuses a round that would pass the epsilon
    key = budget.noise_key(policy.privacy, SECRET, policy.seed.to_bytes(32, "big"), 1, number)
    if local:  # a thousand discrete Gaussians have a thousand times the variance of one, and hardly another shape
        variance = policy.privacy.variance * DEVICES
        return divide(total + discrete_gaussian(variance, policy.parameters, KeyStream(key).words), DEVICES)
    return budget.released(policy.privacy, key, alone(total, DEVICES), policy.parameters)


def observed(noise: int, bound: int) -> float:
    """The loss that an observer of one release is sure of: the best threshold, chosen on other draws than it is judged by."""
    variance = Privacy(MICRO, noise, bound, 1, "0" * 64).variance
    draws = [
        discrete_gaussian(variance, 2 * RUNS, KeyStream(bytes([side]) * 32).words) + side * bound for side in (0, 1)
    ]
    chosen, judged = [one[:RUNS] for one in draws], [one[RUNS:] for one in draws]
    cuts = np.quantile(chosen[1], np.linspace(0.5, 0.999, 40))
    best = max(cuts, key=lambda cut: _sure(*[int((one >= cut).sum()) for one in chosen]))
    return _sure(*[int((one >= best).sum()) for one in judged])


def _sure(without: int, with_: int) -> float:
    low = float(stats.beta.ppf(0.001, max(with_, 1), RUNS - with_ + 1))
    high = float(stats.beta.ppf(0.999, without + 1, RUNS - without))
    return float(np.log(max(low - DELTA, 1e-12) / high))


def fit(variance: int, draws: int) -> float:
    """The p-value of the draws' chi-squared against the exact frequencies."""
    edge = int(12 * variance**0.5) + 2
    support = np.arange(-edge, edge + 1)
    mass = np.exp(-(support.astype(float) ** 2) / (2 * variance))
    mass /= mass.sum()
    seen = np.bincount(discrete_gaussian(variance, draws, KeyStream(b"\x07" * 32).words) + edge, minlength=support.size)
    usual = mass * draws >= 5
    counts = np.append(seen[usual], seen[~usual].sum())
    return float(stats.chisquare(counts, np.append(mass[usual], mass[~usual].sum()) * draws).pvalue)


def with_records(epsilon: float | None) -> float:
    """Accuracy on the digits of eight devices after RECORD_ROUNDS rounds of DP-SGD, or of the same steps without noise."""
    asked = Choices(
        aggregator="mean", rounds=RECORD_ROUNDS, learning_rate=0.5, momentum=0.0, dp=epsilon, dp_mode="records", dp_rate=0.2,
        dp_steps=20, epochs=4, batch=36,
    )  # fmt: skip
    policy = policy_of(asked)
    held = [load_workload("digits", policy.model, index=index, of=RECORD_DEVICES) for index in range(RECORD_DEVICES)]
    model = genesis(policy)
    for number in range(1, RECORD_ROUNDS + 1):
        moves = []
        for device, workload in enumerate(held):
            if policy.records is None:
                moves.append(learn(workload, policy, model, number, device).update)
            else:
                entropy = np.random.default_rng([number, device]).bytes(ENTROPY_BYTES)
                moves.append(train_private(workload, policy, policy.records, model, entropy).update)
        model = model + np.mean(moves, axis=0, dtype=np.float32)
    return evaluate(held[0], model)[0]


def main() -> None:
    asked: list[tuple[float | None, bool, int]] = [
        (epsilon, False, seed) for epsilon in (None, *EPSILONS) for seed in SEEDS
    ]
    asked += [(float(max(EPSILONS)), True, seed) for seed in SEEDS]
    found: dict[tuple[float | None, bool], list[float]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=use_threads, initargs=(1,)) as workers:
        for (epsilon, local, seed), reached in zip(asked, workers.map(run, asked), strict=True):
            found.setdefault((epsilon, local), []).append(reached)
            where = ", noise on the devices" if local else ""
            print(f"epsilon {epsilon or 'none'}{where}, seed {seed}: {reached:.4f}", file=sys.stderr, flush=True)
    middle = {one: statistics.median(reached) for one, reached in found.items()}
    plain = middle[None, False]
    rows = [Row("no privacy: accuracy", plain, "")]
    for epsilon in EPSILONS:
        bar, ok, reached = None, None, middle[epsilon, False]
        if epsilon == max(EPSILONS):
            bar, ok = f"within {POINTS} points of no privacy", reached >= plain - POINTS / 100
        rows.append(Row(f"epsilon {epsilon}: accuracy", reached, "", plain, reached / plain, bar, ok))
    most = max(EPSILONS)
    rows.append(
        Row(
            f"epsilon {most}, noise on each device: accuracy", middle[most, True], "", plain, middle[most, True] / plain
        )
    )
    without = with_records(None)
    for epsilon in (2, 8):
        reached = with_records(epsilon)
        rows.append(Row(f"records, epsilon {epsilon}, digits: accuracy", reached, "", without, reached / without))
    rows += [*claims(), *noise_rows()]
    draw_privacy(PICTURE, {float(epsilon): middle[epsilon, False] for epsilon in EPSILONS}, plain)
    write("dp", rows)


def claims() -> list[Row]:
    """What was seen of one round's loss, beside what one round is said to cost."""
    rows = []
    for multiplier in (1, 2, 4):
        noise = multiplier * NOISE_ONE
        claim = budget.spent_by(Privacy(MICRO, noise, 1000, 1, "0" * 64, DELTA), 1) / MICRO
        seen = observed(noise, 1000)
        tight = accountant.gaussian_epsilon(multiplier, DELTA)
        rows.append(
            Row(
                f"noise {multiplier}: loss seen",
                seen,
                "epsilon",
                claim,
                seen / claim,
                "never above the claim",
                seen <= claim,
            )
        )
        rows.append(Row(f"noise {multiplier}: exact epsilon", tight, "epsilon", claim, tight / claim))
    return rows


def noise_rows() -> list[Row]:
    rows = []
    for variance in (9, 10_000):
        value = fit(variance, 1_000_000)
        rows.append(Row(f"variance {variance}: chi-squared, p", value, "", None, None, "above 0.001", value > 0.001))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        discrete_gaussian(65536**2, 100_000, KeyStream(b"\x01" * 32).words)
        times.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    np.random.default_rng(0).normal(0, 65536, 100_000)
    rows.append(Row("100,000 draws", statistics.median(times), "ms", 1000 * (time.perf_counter() - began)))
    return rows


if __name__ == "__main__":
    main()
