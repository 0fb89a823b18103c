"""Which rule holds against which lie? Twenty devices, four of them liars, 5,000 digits of MNIST, three seeds.

    make bench Q=robustness

The protocol of the catalogue's reference table: each device keeps a momentum of 0.9 over gradients of 25 samples, sends it, and
the model moves by the aggregate times a learning rate that falls to a fifth after two thirds of the steps. Updates are put on
the 16-bit grid and aggregated by the functions that a cloud runs. Test accuracy is the mean of three looks in the last thirty
steps; a cell is the median over the seeds, which is held against the bars, with the worst seed beside it.

Of the training digits 200 belong to the server and to no device: Fang's screens measure on them. Before norm clipping, the
screen by loss is the one configuration that holds in every row: the screen finds what points the wrong way however different
honest devices are, and clipping bounds what hides in their spread.

The backdoor is measured in rounds of local training, as it is used: liars stamp half of their samples, and scale what they
learned by n / f so that it replaces the model.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from devnet import datasets
from devnet.bench.report import Row, write
from devnet.picture import draw_table
from middleware.learn.fleet import train_fleet, use_threads
from middleware.learn.poison import flip_labels, plant, success
from middleware.learn.train import evaluate
from middleware.learn.workload import Classification, Samples, genesis, load_table
from middleware.maths import aggregate, attack, grid, partition
from middleware.policy import Policy, Rule, Training

Floats = npt.NDArray[np.float32]

DEVICES, LIARS, BATCH, MOMENTUM, HIDDEN = 20, 4, 25, 0.9, 16
STEPS, LEARNING_RATE = 120, 0.25
SERVER = 200  # of the training digits
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels, by which the reference standardises
BITS, EXPONENT = 16, -14  # magnitudes up to 2: honest gradients fit, and lies that do not are cut
DECAY = 1e-4
SEEDS: Final = (0, 1, 2)
SPLITS: Final = ("iid", "dirichlet:0.5", "dirichlet:0.1")
LIES: Final = ("none", "label-flip", "sign-flip", "ipm:10", "alie:1.5")
RULES: Final = (
    "mean", "median", "trimmed-mean", "krum", "multi-krum", "bulyan", "geometric-median", "centred-clipping", "norm-clipping",
    "nnm+median", "nnm+trimmed-mean", "bucketing+geometric-median", "fang-lfr:norm-clipping",
)  # fmt: skip
ONE: Final = "fang-lfr:norm-clipping"  # held against the bar in every row
HARD: Final = "dirichlet:0.1"
EASY_BAR, HARD_BAR = 75.0, 70.0
BACKDOOR_ROUNDS, BACKDOOR_SUCCESS, BACKDOOR_LOSS = 30, 20.0, 2.0
GUIDE, PICTURE = Path("docs/guide/robustness.md"), Path("docs/pictures/robustness.png")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
WEAK_NOISE = 0.025  # standard deviation as a share of the clipping bound's root mean square
GUARDS: Final = (
    ("mean", 0.0), ("norm-clipping", 0.0), ("norm-clipping", WEAK_NOISE), ("multi-krum", 0.0), ("multi-krum", WEAK_NOISE),
    ("nnm+trimmed-mean", 0.0),
)  # fmt: skip

HOLDING: Final = ("multi-krum", "nnm+trimmed-mean")  # that leave a backdoor out; clipping alone only weakens it


class Pool(NamedTuple):
    """The digits, dealt: training samples of each device, the workload that evaluates, and what the server measures on."""

    workload: Classification
    measured: Classification
    policy: Policy
    shares: list[Samples]


@cache
def deal(file: Path, split: str, seed: int) -> Pool:
    name = f"mlp:784-{HIDDEN}-10"
    table = load_table(f"table:{file}")
    features = (table.features - np.float32(MEAN)) / np.float32(DEVIATION)
    drawn = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(~table.test))
    server, whole = (Samples(features[some], table.labels[some]) for some in (drawn[:SERVER], drawn[SERVER:]))
    workload = Classification(name, whole, Samples(features[table.test], table.labels[table.test]))
    labels = whole.labels
    shares = partition.deal(split, labels, None, DEVICES, np.random.default_rng([seed, 1]))
    policy = Policy(
        workload="digits", model=name, parameters=784 * HIDDEN + HIDDEN + HIDDEN * 10 + 10, seed=seed, rule=Rule("mean", 0),
        min_updates=1,
    )  # fmt: skip
    measured = Classification(name, server, server)
    return Pool(workload, measured, policy, [Samples(whole.features[one], whole.labels[one]) for one in shares])


def accuracy(pool: Pool, rule: str, lie: str, seed: int) -> float:
    """Test accuracy in per cent after STEPS under attack."""
    generator = np.random.default_rng([seed, 2])
    model, momentum = genesis(pool.policy), np.zeros((DEVICES, pool.policy.parameters), np.float32)
    looks, memory = [], aggregate.Memory()
    f = min(LIARS, (DEVICES - 3) // 4) if rule == "bulyan" else 0 if rule == "mean" else LIARS
    for step in range(STEPS):
        rate = np.float32(LEARNING_RATE if step < STEPS * 2 // 3 else LEARNING_RATE / 5)
        features, labels = batches(pool.shares, BATCH, generator)
        if lie == "label-flip":
            labels[-LIARS:] = flip_labels(Samples(features[-LIARS:], labels[-LIARS:]), 10).labels
        gradients = gradient(pool.policy.model, model, features, labels) + np.float32(DECAY) * model
        if step == 0:
            momentum[:] = gradients
        else:
            momentum *= np.float32(MOMENTUM)
            momentum += np.float32(1 - MOMENTUM) * gradients
        sent = momentum.copy()
        if lie not in ("none", "label-flip"):
            told = attack.parse(lie)
            sent[-LIARS:] = told.tell(attack.Seen(sent[-1], sent[:-LIARS], generator, None, LIARS))
        rows = [grid.to_grid(row, BITS, EXPONENT)[0] for row in sent]
        given = aggregate.Given(tuple(range(1, DEVICES + 1)), f"{seed}/{step}".encode(), memory)
        given = given._replace(evaluate=partial(measure, pool.measured, model, rate))
        result = aggregate.aggregate(rule, rows, [BATCH] * DEVICES, f, given)
        memory = result.memory
        model = stepped(model, rate, aggregate.divide(result.sums, result.total))
        if step >= STEPS - 30 and step % 10 == 9:
            looks.append(100 * evaluate(pool.workload, model)[0])
    return statistics.mean(looks)


def stepped(model: Floats, rate: np.float32, gradient: aggregate.Integers) -> Floats:
    return model - rate * grid.from_grid(gradient, EXPONENT)


def measure(
    server: Classification, model: Floats, rate: np.float32, gradient: aggregate.Integers
) -> tuple[float, float]:
    """(error, loss) on the server's digits after a step by this aggregate."""
    right, loss = evaluate(server, stepped(model, rate, gradient))
    return 1 - right, loss


def batches(
    shares: Sequence[Samples], batch: int, generator: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Features (n, batch, ...) and labels (n, batch) of one step, drawn from each device's samples."""
    places = [generator.choice(len(share), batch, replace=len(share) < batch) for share in shares]
    drawn = list(zip(shares, places, strict=True))
    return (
        np.stack([share.features[place] for share, place in drawn]),
        np.stack([share.labels[place] for share, place in drawn]),
    )


def gradient(name: str, model: Floats, features: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Each device's gradient (n, d): one step of training at a learning rate of 1, turned around."""
    batch = labels.shape[1]
    once = Training(epochs=1, batch=batch, learning_rate=1.0, momentum=0.0)
    counts, seeds = [batch] * len(labels), list(range(len(labels)))
    return np.negative(train_fleet(name, model, features, labels, counts, once, seeds)[0])


def backdoor(pool: Pool, rule: str, lies: bool, seed: int, noise: float = 0.0) -> tuple[float, float]:
    """(test accuracy, success of the backdoor) in per cent after rounds of local training; liars are the last devices."""
    generator = np.random.default_rng([seed, 3])
    shares = list(pool.shares)
    if lies:
        shares[-LIARS:] = [plant(share, generator) for share in shares[-LIARS:]]
    most = max(len(share) for share in shares)
    features = np.zeros((DEVICES, most, *shares[0].features.shape[1:]), np.float32)
    labels = np.zeros((DEVICES, most), np.int64)
    for place, share in enumerate(shares):
        features[place, : len(share)], labels[place, : len(share)] = share
    counts = [len(share) for share in shares]
    model, local = genesis(pool.policy), Training(epochs=2, batch=BATCH, learning_rate=0.05, momentum=0.9)
    for number in range(BACKDOOR_ROUNDS):
        seeds = [[seed, number, device] for device in range(DEVICES)]
        updates, _ = train_fleet(pool.policy.model, model, features, labels, counts, local, seeds)
        if lies:
            updates[-LIARS:] *= np.float32(DEVICES / LIARS)
        rows = [grid.to_grid(row, BITS, EXPONENT)[0] for row in updates]
        result = aggregate.aggregate(rule, rows, counts, 0 if rule == "mean" else LIARS)
        moved = grid.from_grid(aggregate.divide(result.sums, result.total), EXPONENT)
        if noise:
            bound = statistics.median(float(np.linalg.norm(row)) for row in updates)
            moved = moved + generator.normal(0, noise * bound / np.sqrt(len(model)), len(model)).astype(np.float32)
        model = model + moved
    return 100 * evaluate(pool.workload, model)[0], 100 * success(pool.workload, model)


def cell(place: tuple[Path, str, str, str, int]) -> float:
    """`accuracy` of (file, split, lie, rule, seed)."""
    file, split, lie, rule, seed = place
    return accuracy(deal(file, split, seed), rule, lie, seed)


def table(file: Path) -> dict[tuple[str, str, str], list[float]]:
    """Accuracy of each seed by split, lie and rule; every core works on cells of its own."""
    found: dict[tuple[str, str, str], list[float]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=use_threads, initargs=(1,)) as workers:
        for split in SPLITS:
            for lie in LIES:
                places = [(file, split, lie, rule, seed) for rule in RULES for seed in SEEDS]
                values = list(workers.map(cell, places))
                for place, rule in enumerate(RULES):
                    found[split, lie, rule] = values[place * len(SEEDS) : (place + 1) * len(SEEDS)]
                line = "  ".join(f"{rule} {statistics.median(found[split, lie, rule]):.1f}" for rule in RULES)
                print(f"{split} {lie}: {line}", file=sys.stderr, flush=True)
    return found


def backdoors(file: Path) -> dict[tuple[str, float], tuple[float, float]]:
    """(accuracy, success) by (rule, noise), medians over the seeds; ("nobody lies", 0) is the run without liars."""
    pools = [deal(file, "iid", seed) for seed in SEEDS]
    found = {}
    for rule, noise in (("nobody lies", 0.0), *GUARDS):
        lies = rule != "nobody lies"
        told = [
            backdoor(pool, rule if lies else "mean", lies, seed, noise) for pool, seed in zip(pools, SEEDS, strict=True)
        ]
        kept, reached = (statistics.median(one[place] for one in told) for place in (0, 1))
        found[rule, noise] = (kept, reached)
        print(
            f"backdoor, {rule}, noise {noise}: accuracy {kept:.1f}, success {reached:.1f}", file=sys.stderr, flush=True
        )
    return found


def publish(
    found: dict[tuple[str, str, str], list[float]], planted: dict[tuple[str, float], tuple[float, float]]
) -> None:
    """The JSON, the picture and the guide's table."""
    rows = []
    for (split, lie, rule), values in found.items():
        bar, middle = None, statistics.median(values)
        if rule == "nnm+trimmed-mean" and (split != HARD or lie != "sign-flip"):
            bar = HARD_BAR if split == HARD else EASY_BAR
        if rule == ONE:
            bar = HARD_BAR if split == HARD else EASY_BAR
        rows.append(
            Row(
                f"{split}, {lie}: {rule}", middle, "% (worst seed beside)", min(values), None,
                f">= {bar:.0f} %" if bar else None, middle >= bar if bar else None,
            )
        )  # fmt: skip
    baseline = planted["nobody lies", 0.0][0]
    for (rule, noise), (kept, reached) in planted.items():
        kind = f"backdoor, {rule}" + (", weak noise" if noise else "")
        guard = rule in HOLDING
        rows += [
            Row(
                f"{kind}: accuracy", kept, "%", baseline, None, "under 2 points lost" if guard else None,
                baseline - kept < BACKDOOR_LOSS if guard else None,
            ),
            Row(
                f"{kind}: success", reached, "%", None, None, "< 20 %" if guard else None,
                reached < BACKDOOR_SUCCESS if guard else None,
            ),
        ]  # fmt: skip
    write("robustness", rows)
    columns, lines = list(RULES), [f"{split}, {lie}" for split in SPLITS for lie in LIES]
    cells = {(f"{split}, {lie}", rule): statistics.median(seeds) for (split, lie, rule), seeds in found.items()}
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw_table(PICTURE, cells, lines, columns, "test accuracy in %, median of 3 seeds: 20 devices, 4 liars, MNIST 5k")
    before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    GUIDE.write_text(f"{before}{BEGIN}\n{markdown(found)}{END}{after}", encoding="utf-8")


def markdown(found: dict[tuple[str, str, str], list[float]]) -> str:
    """Medians, and the worst seed in brackets, a line for each split and lie."""
    columns = list(dict.fromkeys(rule for _, _, rule in found))
    lines = ["| split | lie | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for split, lie in dict.fromkeys((split, lie) for split, lie, _ in found):
        told = [found.get((split, lie, rule)) for rule in columns]
        cells = [f"{statistics.median(one):.0f} ({min(one):.0f})" if one else "" for one in told]
        lines.append(f"| {split} | {lie} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    use_threads(1)
    file = datasets.mnist().save(Path("runs/data/mnist.npz"))
    publish(table(file), backdoors(file))


if __name__ == "__main__":
    main()
