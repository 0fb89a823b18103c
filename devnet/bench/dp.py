"""What does client-level privacy cost? Accuracy against epsilon on MNIST, and whether the noise and the claim are what they say.

A thousand simulated devices of four or five images each train five local full-batch steps a round. Their updates go onto
the grid, are cut as a device cuts them and summed; noise, division and accounting are those of a task's settlement. The noise
is the least with which all rounds fit the epsilon. The run without privacy is the same but for the noise and the cut.

The claim is attacked as well: two neighbouring sums, one observer who sees the release and thresholds the likelihood ratio;
the 99.9 % lower bound (Clopper and Pearson) of the loss so seen must stay below epsilon.

make bench Q=dp
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from devnet.bench.report import Row, write
from devnet.datasets import mnist
from devnet.picture import draw_privacy
from middleware.learn import fleet, models
from middleware.learn.train import evaluate
from middleware.learn.workload import Classification, Samples, genesis
from middleware.maths import grid
from middleware.maths.privacy import accountant
from middleware.maths.privacy.clip import clip
from middleware.maths.privacy.noise import discrete_gaussian
from middleware.policy import MICRO, NOISE_ONE, Grid, Policy, Privacy, Rule, Training
from middleware.protocol import budget
from middleware.protocol.sums import alone
from middleware.protocol.update import Integers
from middleware.trust.stream import KeyStream
from middleware.types import ZERO32

DEVICES: Final = 1000
MODEL: Final = "mlp:784-32-10"
ROUNDS: Final = 15
EPSILONS: Final = (1, 2, 4, 8)
SEEDS: Final = range(1)  # a run of one seed takes minutes; more need a longer wait
TEST: Final = 1000
BOUND: Final = 1.0  # L2 length
DELTA: Final = 1e-5
POINTS: Final = 3
SECRET: Final = bytes(budget.SECRET_BYTES)
RUNS: Final = 200_000
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


def run(policy: Policy, train: Samples, whole: Classification, seed: int) -> float:
    """The accuracy after all rounds."""
    generator = np.random.default_rng(seed)
    shares = np.array_split(generator.permutation(len(train)), DEVICES)
    model = genesis(policy)
    for number in range(1, ROUNDS + 1):
        total = np.zeros(policy.parameters, np.int64)
        seeds = [(seed, number, device) for device in range(DEVICES)]
        for taught in fleet.teach(MODEL, model, train, shares, policy.training, seeds):
            for update in taught.updates:
                integers, _ = grid.to_grid(update, policy.grid.bits, policy.grid.exponent)
                total += integers if policy.privacy is None else clip(integers, policy.privacy.bound)
        model = grid.apply(model, released(policy, total, number), policy.grid.exponent)
    return evaluate(whole, model)[0]


def released(policy: Policy, total: Integers, number: int) -> Integers:
    if policy.privacy is None:
        return np.floor_divide(total, DEVICES)
    budget.committed(policy, ZERO32, number)  # refuses a round that would pass the epsilon
    key = budget.noise_key(policy.privacy, SECRET, policy.seed.to_bytes(32, "big"), 1, number)
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


def main() -> None:
    data = mnist()
    order = np.random.default_rng(0).permutation(len(data.labels))
    features, labels = data.samples.reshape(len(order), -1)[order], data.labels.astype(np.int64)[order]
    train, test = Samples(features[TEST:], labels[TEST:]), Samples(features[:TEST], labels[:TEST])
    whole = Classification(MODEL, train, test)
    found: dict[float | None, float] = {}
    for epsilon in (None, *EPSILONS):
        found[epsilon] = statistics.median(run(policy_for(epsilon, seed), train, whole, seed) for seed in SEEDS)
        print(f"epsilon {epsilon or 'none'}: {found[epsilon]:.4f}", flush=True)
    plain = found[None]
    rows = [Row("no privacy: accuracy", plain, "")]
    for epsilon in EPSILONS:
        bar, ok = None, None
        if epsilon == max(EPSILONS):
            bar, ok = f"within {POINTS} points of no privacy", found[epsilon] >= plain - POINTS / 100
        rows.append(Row(f"epsilon {epsilon}: accuracy", found[epsilon], "", plain, found[epsilon] / plain, bar, ok))
    rows += [*claims(), *noise_rows()]
    draw_privacy(PICTURE, {float(epsilon): found[epsilon] for epsilon in EPSILONS}, plain)
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
