"""What do early exits bring? Networks trained here on the digits and on inertial windows, run by onnxruntime on one thread,
beside the same networks trained without exits.

Thresholds come from validation samples, figures from test samples. HAPT's test people trained nothing; validation and test people
change places once: two folds, whose mean is shown.

make bench Q=infer-exits
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from devnet.bench.report import FOLDER, Row, write
from devnet.datasets import Data, Split, hapt, mnist, split
from middleware.infer import coding, exits, sensors
from middleware.infer.fitting import Fitting, initialised
from middleware.infer.recurrent import recurrent
from middleware.infer.segments import Runner
from middleware.learn import models
from middleware.learn.fleet import use_threads
from middleware.maths import confidence

Floats = npt.NDArray[np.float32]

POINTS: Final = (
    0.0  # of accuracy that thresholds may lose on validation samples: what the test then shows is their optimism
)
LOST: Final = 0.01  # on test samples
DIGITS: Final = "cnn2d:28x28x1-8-64-256-256-10"
WINDOWS: Final = "cnn1d:128x6-16-64-256-256-6"
PLANS: Final = {
    "digits": Fitting(12, rate=3e-3),
    "windows": Fitting(12, rate=2e-3),
    "gru": Fitting(8, batch=64, rate=6e-3),
}
REPEATS: Final = 3
RAW_BYTES: Final = 128 * 6 * 2  # of one window in half precision


class Task(NamedTuple):
    """A network's name, how it is made, where its heads stand, and its folds."""

    name: str
    make: Any  # () -> a module with fresh parameters
    shape: tuple[int, ...]
    after: tuple[int, ...]
    plan: Fitting
    folds: tuple[Split, ...]
    sequence: bool = False


def standardised(parts: Split) -> Split:
    """Each axis less the training part's mean, over its deviation."""
    mean, deviation = (f(parts.train.samples, (0, 1), dtype=np.float64).astype(np.float32) for f in (np.mean, np.std))
    found = (Data((part.samples.astype(np.float32) - mean) / deviation, part.labels) for part in parts)
    return Split(*found)


def tasks() -> list[Task]:
    people = standardised(split(hapt(), seed=0))
    both = (people, people.swapped())
    return [
        Task("digits", lambda: initialised(models.build(DIGITS), 0), (28, 28, 1), (1, 2), PLANS["digits"],
             (split(mnist()),)),
        Task("HAPT, convolutions", lambda: initialised(models.build(WINDOWS), 0), (128, 6), (1, 2), PLANS["windows"], both),
        Task("HAPT, GRU", lambda: recurrent(6, 24, 96, 6), (128, 6), (1,), PLANS["gru"], both, True),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ one network's exits


class Files:
    """A network with its heads as onnxruntime runs it."""

    def __init__(self, net: exits.Branched, shape: tuple[int, ...], calibrated: exits.Calibrated) -> None:
        self.chain = exits.parts(net, shape)
        self.branches, files = exits.published(net.by_place, lambda after: self.chain[after - 1].given[1:], calibrated)
        self.runner = Runner([part.onnx for part in self.chain])
        self.heads = [Runner([files[branch.file.digest]]) for branch in self.branches]

    def answer(self, sample: Floats) -> tuple[int, int]:
        """(class, exit) of one sample (1, ...)."""
        place = 0
        for at, (branch, head) in enumerate(zip(self.branches, self.heads, strict=True)):
            sample = self.runner.run(place, branch.after, sample)
            place = branch.after
            logits = head.run(0, 1, sample)
            if confidence.entropies(logits, branch.temperature)[0] < branch.threshold:
                return int(logits.argmax()), at
        return int(self.runner.run(place, len(self.chain), sample).argmax()), len(self.branches)

    def alone(self, sample: Floats) -> int:
        return int(self.runner.run(0, len(self.chain), sample).argmax())


def mean_ms(work: Any, samples: Floats) -> float:
    """The best of `REPEATS` passes over the samples, one by one, in milliseconds a sample."""
    found = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for at in range(len(samples)):
            work(samples[at : at + 1])
        found = min(found, time.perf_counter() - began)
    return 1000 * found / len(samples)


def path_costs(files: Files, sample: Floats) -> list[float]:
    """Milliseconds of a sample that leaves at each exit."""
    found, total, place = [], 0.0, 0
    for branch, head in zip(files.branches, files.heads, strict=True):
        total += mean_ms(lambda one, a=place, b=branch.after: files.runner.run(a, b, one), np.repeat(sample, 50, 0))
        sample = files.runner.run(place, branch.after, sample)
        total += mean_ms(lambda one, head=head: head.run(0, 1, one), np.repeat(sample, 50, 0))
        found.append(total)
        place = branch.after
    last = len(files.chain)
    tail = mean_ms(lambda one, a=place: files.runner.run(a, last, one), np.repeat(sample, 50, 0))
    return [*found, total + tail]


class Found(NamedTuple):
    """Of one fold, or the mean over folds."""

    plain: float  # accuracy of the network trained without heads
    accuracy: float
    plain_ms: float
    ms: float
    shares: tuple[float, ...]
    full: float  # bytes a sample that the border behind the last head would need in u8
    sent: float  # bytes a sample that were sent there
    tail: float  # milliseconds a sample that the stages behind that border take, without and with exits
    tail_used: float
    curve: tuple[tuple[float, float, float], ...]  # threshold, expected milliseconds, accuracy
    identities: bool


def measured(task: Task, parts: Split) -> Found:
    train, validation, test = parts
    plain = exits.branched(task.make(), task.shape, [], sequence=task.sequence)
    exits.train(plain, train.samples, train.labels, task.plan)
    told = exits.logits(plain, test.samples)
    net = exits.branched(task.make(), task.shape, task.after, sequence=task.sequence)
    exits.train(net, train.samples, train.labels, task.plan)
    seen = exits.logits(net, validation.samples)
    work = Files(net, task.shape, exits.calibrate(seen, validation.labels, range(1, len(task.after) + 2)))
    costs = path_costs(work, test.samples[:1])
    calibrated = exits.calibrate(seen, validation.labels, costs, POINTS)
    files = Files(net, task.shape, calibrated)
    answers = np.array([files.answer(test.samples[at : at + 1]) for at in range(len(test.labels))])
    given = exits.logits(net, test.samples)
    unsure, right = exits.unsure(given, calibrated.temperatures), exits.right(given, test.labels)
    ladder = [0.0, *np.quantile(unsure, np.linspace(0.02, 1, 50)), np.inf]
    outcomes = [confidence.outcome(unsure, right, costs, (value,) * len(unsure)) for value in ladder]
    place, last = task.after[-1], len(files.chain)
    border = exits.run(net, 0, place, test.samples)
    staying = answers[:, 1] == len(task.after)
    tail = mean_ms(lambda one: files.runner.run(place, last, one), border[:200])
    sizes = np.array([len(coding.encode("u8", one)) for one in border])
    alone = np.array_equal(given[-1], exits.run(net, 0, last, test.samples))
    return Found(
        float(exits.right(told, test.labels)[-1].mean()),
        float((answers[:, 0] == test.labels).mean()),
        mean_ms(files.alone, test.samples[:500]),
        mean_ms(files.answer, test.samples[:500]),
        tuple(np.bincount(answers[:, 1], minlength=len(task.after) + 1) / len(answers)),
        float(sizes.mean()),
        float(sizes[staying].sum() / len(sizes)),
        tail,
        tail * float(staying.mean()),
        tuple((float(t), one.cost, one.accuracy) for t, one in zip(ladder, outcomes, strict=True)),
        alone and outcomes[0].shares[-1] == 1 and outcomes[-1].shares[0] == 1,
    )


def mean(found: Sequence[Found], field: str) -> float:
    return float(np.mean([getattr(one, field) for one in found]))


def exit_rows(task: Task, found: Sequence[Found]) -> list[Row]:
    lost = mean(found, "plain") - mean(found, "accuracy")
    faster = mean(found, "ms") / mean(found, "plain_ms")
    rises = max(
        max(0.0, b - a) for one in found for (_, _, a), (_, _, b) in zip(one.curve[:-1], one.curve[1:], strict=True)
    )
    ordered = all(b[1] <= a[1] + 1e-9 for one in found for a, b in zip(one.curve[:-1], one.curve[1:], strict=True))
    shares = np.mean([one.shares for one in found], axis=0)
    wanted = float(np.mean([one.full * one.shares[-1] for one in found]))
    name = task.name
    return [
        Row(f"{name}: accuracy without exits", 100 * mean(found, "plain"), "%"),
        Row(f"{name}: accuracy with exits", 100 * mean(found, "accuracy"), "%", 100 * mean(found, "plain"),
            bar="at most 1 point less", ok=lost <= LOST),
        Row(f"{name}: mean latency", mean(found, "ms"), "ms", mean(found, "plain_ms"), faster, "at least 2x faster",
            faster <= 0.5),
        *(Row(f"{name}: leave at exit {at + 1}", 100 * float(share), "%") for at, share in enumerate(shares[:-1])),
        Row(f"{name}: threshold 0 is the net alone, infinity the first exit", float(all(one.identities for one in found)),
            "holds", bar="it does", ok=all(one.identities for one in found)),
        Row(f"{name}: latency never rises with the threshold", float(ordered), "holds", bar="it does", ok=ordered),
        Row(f"{name}: most that accuracy rises from one threshold to the next", 100 * rises, "points"),
        Row(f"{name}: bytes that cross behind the last exit (u8)", mean(found, "sent"), "B", mean(found, "full"),
            mean(found, "sent") / mean(found, "full")),
        Row(f"{name}: the same by formula, bytes x share that stays", wanted, "B", mean(found, "sent"),
            bar="equal within 2 % of what all would send", ok=abs(wanted - mean(found, "sent")) <= 0.02 * mean(found, "full")),
        Row(f"{name}: server time behind the last exit", mean(found, "tail_used"), "ms", mean(found, "tail"),
            mean(found, "tail_used") / mean(found, "tail"), "at least 2x less",
            mean(found, "tail_used") <= 0.5 * mean(found, "tail")),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ a cascade


def cascade_rows(parts: Split) -> list[Row]:
    """A small network before a large one, on the digits."""
    made = []
    for name, epochs in (("mlp:784-32-10", 12), (DIGITS, PLANS["digits"].epochs)):
        net = exits.branched(initialised(models.build(name), 0), (28, 28, 1), [])
        exits.train(net, parts.train.samples, parts.train.labels, Fitting(epochs, rate=3e-3))
        made.append(net)
    seen, told = ([exits.logits(net, part.samples)[0] for net in made] for part in (parts.validation, parts.test))
    small, large = (one.argmax(1) == parts.validation.labels for one in seen)
    heat = confidence.temperature(seen[0], parts.validation.labels)
    chosen = confidence.escalation(confidence.entropies(seen[0], heat), small, large)
    small, large = (one.argmax(1) == parts.test.labels for one in told)
    found = confidence.outcome(
        confidence.entropies(told[0], heat)[None], np.stack([small, large]), (0.0, 1.0), chosen.thresholds
    )
    wanted = small.mean() + 0.8 * (large.mean() - small.mean())
    return [
        Row("cascade, digits: the small network alone", 100 * float(small.mean()), "%"),
        Row("cascade, digits: the large network alone", 100 * float(large.mean()), "%"),
        Row("cascade, digits: both", 100 * found.accuracy, "%", 100 * float(wanted),
            bar="small + 80 % of the difference", ok=bool(found.accuracy >= wanted)),
        Row("cascade, digits: escalated", 100 * found.cost, "%", bar="at most 40 %", ok=found.cost <= 0.4),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ several sensors

LAYOUTS: Final = {"accelerometer and gyroscope": ((0, 1, 2), (3, 4, 5)), "three axes": ((0, 3), (1, 4), (2, 5))}


def seen_by(samples: Floats, layout: Sequence[Sequence[int]]) -> Floats:
    """Windows (n, sensors, time, axes) of (n, time, 6)."""
    return np.ascontiguousarray(np.stack([samples[:, :, list(axes)] for axes in layout], axis=1))


def sensor_rows(folds: Sequence[Split]) -> list[Row]:
    rows = []
    whole = []
    for parts in folds:
        net = exits.branched(initialised(models.build(WINDOWS), 0), (128, 6), [])
        exits.train(net, parts.train.samples, parts.train.labels, PLANS["windows"])
        whole.append(exits.right(exits.logits(net, parts.test.samples), parts.test.labels)[-1].mean())
    raw = float(np.mean(whole))
    rows.append(Row("DDNN: raw offload, one network in the cloud", 100 * raw, "%"))
    for name, layout in LAYOUTS.items():
        shape = sensors.Shape(len(layout), 128, len(layout[0]), 6, maps=16, beyond=16)
        costs = shape.bytes_at(len(layout))
        told = []
        for parts in folds:
            train, validation, test = (seen_by(part.samples, layout) for part in parts)
            dnn = sensors.distributed(shape)
            sensors.train(dnn, train, parts.train.labels, Fitting(12, rate=3e-3), absent=0.3)
            calibrated = exits.calibrate(sensors.logits(dnn, validation), parts.validation.labels, costs, POINTS)
            given = sensors.logits(dnn, test)
            found = confidence.outcome(
                exits.unsure(given, calibrated.temperatures), exits.right(given, parts.test.labels), costs,
                calibrated.chosen.thresholds,
            )  # fmt: skip
            dead = [
                float(exits.right(sensors.logits(dnn, test, [at]), parts.test.labels)[-1].mean())
                for at in range(len(layout))
            ]
            told.append(
                (found.accuracy, found.cost, found.shares, exits.right(given, parts.test.labels)[-1].mean(), dead)
            )
        accuracy, sent, last = (float(np.mean([one[at] for one in told])) for at in (0, 1, 3))
        shares = np.mean([one[2] for one in told], axis=0)
        lost = [100 * (last - float(np.mean([one[4][at] for one in told]))) for at in range(len(layout))]
        rows += [
            Row(f"DDNN, {name}: accuracy with exits", 100 * accuracy, "%", 100 * raw, bar="at most 1 point less",
                ok=raw - accuracy <= LOST),
            Row(f"DDNN, {name}: bytes a window", sent, "B", RAW_BYTES, sent / RAW_BYTES, "at least 20x fewer than raw",
                sent <= RAW_BYTES / 20),
            Row(f"DDNN, {name}: answered by the device's exit", 100 * float(shares[0]), "%"),
            Row(f"DDNN, {name}: answered by the edge's exit", 100 * float(shares[1]), "%"),
            Row(f"DDNN, {name}: lost with the least needed sensor dead", min(lost), "points"),
            Row(f"DDNN, {name}: lost with the most needed sensor dead", max(lost), "points", bar="at most 5",
                ok=max(lost) <= 5),
        ]  # fmt: skip
    return rows


def draw(path: Path, found: dict[str, Found]) -> None:
    """Accuracy over latency as the threshold goes from infinity to 0, one panel a network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4.2 * len(found), 3.8), dpi=120)
    for panel, (name, one) in zip(panels, found.items(), strict=True):
        panel.plot([ms for _, ms, _ in one.curve], [100 * accuracy for _, _, accuracy in one.curve], color="#2a6f97")
        panel.scatter([one.curve[0][1]], [100 * one.plain], color="#a44a3f", label="without exits")
        panel.set(title=name, xlabel="milliseconds a sample, onnxruntime, one thread", ylabel="test accuracy, %")
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    use_threads(1)
    rows, drawn = [], {}
    for task in tasks():
        found = [measured(task, parts) for parts in task.folds]
        rows += exit_rows(task, found)
        drawn[task.name] = found[0]
        print(*rows[-11:], sep="\n", flush=True)
    rows += cascade_rows(split(mnist()))
    people = standardised(split(hapt(), seed=0))
    rows += sensor_rows((people, people.swapped()))
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(FOLDER / "infer-exits.png", drawn)
    write("infer-exits", rows)


if __name__ == "__main__":
    main()
