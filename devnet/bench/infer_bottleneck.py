"""How little can cross a border, and what does it cost in accuracy? Pairs of coders distilled into trained networks, coarse codes
without training, lost symbols, and what an attacker makes of what crosses; the digits and HAPT's windows.

make bench Q=infer-bottleneck

Baselines in the same run: float32 and u8 at the same border, the input compressed without loss (PNG; float16 deflated), and for
the digits JPEG of as many bytes. JPEG's tables count as known to both sides, so only its scan is counted, and pictures may be
made smaller first: of all sizes and qualities that fit, the one that is best on validation samples. HAPT's people are as in
infer-exits, one fold.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from devnet.bench.infer_exits import DIGITS, PLANS, WINDOWS, standardised
from devnet.bench.report import FOLDER, Row, write
from devnet.datasets import Data, Split, hapt, mnist, split
from middleware.infer import activations, bottleneck, coding, exits
from middleware.infer.export import export
from middleware.infer.fitting import Fitting, initialised
from middleware.infer.inversion import Leak, leak
from middleware.infer.lightweight import build
from middleware.infer.segments import Runner, cut
from middleware.learn import models
from middleware.learn.fleet import use_threads
from middleware.maths.quantiser import information

Floats = npt.NDArray[np.float32]

LOST: Final = 2.0  # points that a bottleneck may cost
PAIRS: Final = Fitting(20, rate=4e-3)
ERASED: Final = 0.1
TRAINED_AT: Final = 0.15  # erasures in training: a little more than is expected
TRIES: Final = 5  # draws of a channel, of which the mean is shown
WEIGHTS: Final = (0.003, 0.01, 0.02, 0.04, 0.08, 0.15)  # of a bit, when coarse codes are designed
QUALITIES: Final = (1, 5, 10, 20, 35, 50, 75)


class Task(NamedTuple):
    """A trained network, the border behind its first `place` stages, and how small the pair makes what crosses."""

    name: str
    net: exits.Branched
    parts: Split
    place: int
    pair: tuple[int, int]  # maps, halvings
    lossy: tuple[int, int]  # likewise, where symbols may be lost

    def border(self, data: Data) -> Floats:
        return exits.run(self.net, 0, self.place, data.samples)

    def accuracy(self, border: Floats, data: Data) -> float:
        """Of what the stages behind the border make of these tensors, in per cent."""
        told = exits.run(self.net, self.place, len(self.net.stages), border)
        return 100 * float((told.argmax(1) == data.labels).mean())


def trained(name: str, network: str, parts: Split, plan: Fitting, *rest: Any) -> Task:
    net = exits.branched(initialised(models.build(network), 0), parts.train.samples.shape[1:], [])
    exits.train(net, parts.train.samples, parts.train.labels, plan)
    return Task(name, net, parts, *rest)


# ------------------------------------------------------------------------------------------------------ the input itself


def picture(sample: Floats, pixels: int = 28) -> Image.Image:
    image = Image.fromarray(np.rint(255 * sample[..., 0]).astype(np.uint8))
    return image if pixels == 28 else image.resize((pixels, pixels), Image.Resampling.BOX)


def lossless_bytes(task: Task) -> float:
    """A sample of the test part, as PNG or as deflated float16."""
    if task.parts.test.samples.ndim == 3:
        found = [len(zlib.compress(one.astype("<f2").tobytes(), 9)) for one in task.parts.test.samples]
        return float(np.mean(found))
    found = []
    for one in task.parts.test.samples:
        stream = io.BytesIO()
        picture(one).save(stream, "PNG", optimize=True)
        found.append(len(stream.getvalue()))
    return float(np.mean(found))


def through_jpeg(sample: Floats, pixels: int, quality: int) -> tuple[Floats, int]:
    """(the sample as it comes back, bytes of the scan alone)."""
    stream = io.BytesIO()
    picture(sample, pixels).save(stream, "JPEG", quality=quality, optimize=True)
    data = stream.getvalue()
    scan = data[data.index(b"\xff\xda") :]
    with Image.open(io.BytesIO(data)) as image:
        back = np.asarray(image.resize((28, 28), Image.Resampling.BICUBIC), np.float32) / np.float32(255)
    return back[..., None], len(scan) - 2 - int.from_bytes(scan[2:4], "big") - 2


def jpeg_row(task: Task, budget: float) -> Row:
    """The best accuracy that JPEG has within `budget` bytes a picture, on test samples."""

    def tried(data: Data, pixels: int, quality: int) -> tuple[float, float]:
        pairs = [through_jpeg(one, pixels, quality) for one in data.samples]
        told = exits.run(task.net, 0, len(task.net.stages), np.stack([one for one, _ in pairs]))
        return 100 * float((told.argmax(1) == data.labels).mean()), float(np.mean([size for _, size in pairs]))

    found = [(*tried(task.parts.validation, p, q), p, q) for p in (8, 10, 12, 14, 18, 28) for q in QUALITIES]
    _, _, pixels, quality = max(one for one in found if one[1] <= budget)
    accuracy, size = tried(task.parts.test, pixels, quality)
    return Row(f"{task.name}: JPEG, {pixels} pixels wide, quality {quality}, {size:.0f} B of scan", accuracy, "%")


# ------------------------------------------------------------------------------------------------------ bottlenecks


def pair_rows(task: Task) -> list[Row]:
    train, test = task.border(task.parts.train), task.border(task.parts.test)
    behind, shape = list(task.net.stages[task.place :]), train.shape[1:]
    before, whole = bottleneck.digest(behind), task.accuracy(test, task.parts.test)
    coders = bottleneck.pair(shape, shape, *task.pair, seed=1)
    bottleneck.distil(coders, train, train, behind, PAIRS, "u4")
    data = bottleneck.sent(coders, test, "u4")
    size = float(np.mean([len(one) for one in data]))
    accuracy = task.accuracy(bottleneck.received(coders, data, "u4"), task.parts.test)
    rows = [
        Row(f"{task.name}: float32 at the border", whole, "%"),
        Row(f"{task.name}: its bytes", 4.0 * test[0].size, "B"),
    ]
    for codec in ("u8", "u4"):
        back = np.stack([coding.decode(codec, coding.encode(codec, one), shape) for one in test])
        rows.append(Row(f"{task.name}: {codec} at the border", task.accuracy(back, task.parts.test), "%", whole))
        rows.append(Row(f"{task.name}: its bytes", float(coding.size(codec, test[0].size)), "B"))
    lossless = lossless_bytes(task)
    tail_kept = bottleneck.digest(behind) == before
    rows += [
        Row(f"{task.name}: bottleneck of {coders.given} in u4", accuracy, "%", whole, bar="at most 2 points less",
            ok=whole - accuracy <= LOST),
        Row(f"{task.name}: its bytes against float32", size, "B", 4.0 * test[0].size, size / (4 * test[0].size),
            "at most 1/20", size <= test[0].size / 5),
        Row(f"{task.name}: its bytes against the input without loss", size, "B", lossless, size / lossless,
            "at most 1/4", size <= lossless / 4),
        Row(f"{task.name}: the tail's weights have the same digest", float(tail_kept), "holds", bar="it does", ok=tail_kept),
    ]  # fmt: skip
    if task.parts.test.samples.ndim == 4:
        rows.append(jpeg_row(task, size))
    return [*rows, *student_rows(task, train, behind, whole)]


def student_rows(task: Task, train: Floats, behind: list[Any], whole: float) -> list[Row]:
    """A small front distilled from the large one, down to the bottleneck, in place of the large one and an encoder."""

    def turned(data: Data) -> Floats:
        return np.ascontiguousarray(np.moveaxis(data.samples, -1, 1))

    axes = task.parts.test.samples.shape[1:-1]
    student = bottleneck.pair(
        (task.parts.test.samples.shape[-1], *axes), train.shape[1:], *task.pair, seed=2, hidden=16
    )
    bottleneck.distil(student, turned(task.parts.train), train, behind, PAIRS, "u4")
    data = bottleneck.sent(student, turned(task.parts.test), "u4")
    accuracy = task.accuracy(bottleneck.received(student, data, "u4"), task.parts.test)
    named, _ = bottleneck.published(student, task.place, "u4")
    chain = exits.parts(task.net, task.parts.test.samples.shape[1:])
    front = sum(part.macs for part in chain[: task.place])
    return [
        Row(f"{task.name}: distilled front, {len(data[0])} B", accuracy, "%", whole, bar="at most 2 points less",
            ok=whole - accuracy <= LOST),
        Row(f"{task.name}: its multiply-accumulates against the front's", float(named.encoder_macs), "", float(front),
            named.encoder_macs / front),
    ]  # fmt: skip


def channel_rows(task: Task) -> list[Row]:
    train, test = task.border(task.parts.train), task.border(task.parts.test)
    behind, shape = list(task.net.stages[task.place :]), train.shape[1:]
    rows = []
    channels: list[tuple[str, bottleneck.Channel, bottleneck.Channel]] = [
        ("10 % of the numbers erased", bottleneck.Erasures(TRAINED_AT), bottleneck.Erasures(ERASED)),
        ("noise at 5 dB", bottleneck.Noise(4), bottleneck.Noise(5)),
    ]
    plain = None
    for what, taught, met in channels:
        lost = []
        for channel in (None, taught):
            if channel is None and plain is not None:
                coders = plain
            else:
                coders = bottleneck.pair(shape, shape, *task.lossy, seed=1)
                bottleneck.distil(coders, train, train, behind, PAIRS, "u4", channel)
                plain = plain or coders
            data = bottleneck.sent(coders, test, "u4")
            clean = task.accuracy(bottleneck.received(coders, data, "u4"), task.parts.test)
            tries = [
                task.accuracy(bottleneck.received(coders, data, "u4", met, seed), task.parts.test)
                for seed in range(TRIES)
            ]
            lost.append(clean - float(np.mean(tries)))
        erased = isinstance(met, bottleneck.Erasures)
        name = f"{task.name}: lost with {what}, {task.lossy[0]} maps"
        rows.append(Row(f"{name}, trained without", lost[0], "points", bar="at least 10" if erased else None,
                        ok=lost[0] >= 10 if erased else None))  # fmt: skip
        rows.append(Row(f"{name}, trained with it", lost[1], "points", lost[0], bar="at most 2" if erased else None,
                        ok=lost[1] <= 2 if erased else None))  # fmt: skip
    return rows


# ------------------------------------------------------------------------------------------------------ coarse codes


def fastest(work: Callable[[], object], rounds: int = 50) -> float:
    """Milliseconds."""
    found = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - began)
    return 1000 * found


def coarse_rows(task: Task) -> list[Row]:
    """The fewest bits that lose at most a point on validation samples, over levels and weights of a bit."""
    train, seen, test = (task.border(part) for part in task.parts)
    floor = task.accuracy(seen, task.parts.validation) - 0.5

    def through(code: activations.Code, border: Floats) -> tuple[Floats, float]:
        coded = [activations.encode(code, one) for one in border]
        back = np.stack([activations.decode(code, one, border.shape[1:]) for one in coded])
        return back, 8 * sum(map(len, coded)) / border.size

    found = []
    for levels in (2, 3, 4, 5):
        for weight in WEIGHTS:
            code = activations.designed(train[:500], levels, weight)
            back, bits = through(code, seen)
            if task.accuracy(back, task.parts.validation) >= floor:
                found.append((bits, levels, weight, code))
    _, levels, _, code = min(found, key=lambda one: one[0])
    back, bits = through(code, test)
    whole, accuracy = task.accuracy(test, task.parts.test), task.accuracy(back, task.parts.test)
    chain = exits.parts(task.net, task.parts.test.samples.shape[1:])
    runner = Runner([part.onnx for part in chain])
    head = fastest(lambda: runner.run(0, task.place, task.parts.test.samples[:1]))
    spent = fastest(lambda: activations.encode(code, test[0]))
    told = information(code.quantiser.symbols(test))
    return [
        Row(f"{task.name}: coarse code of {levels} levels", bits, "bits a number", told, bits / told, "at most 1", bits <= 1),
        Row(f"{task.name}: accuracy with it", accuracy, "%", whole, bar="at most 1 point less", ok=whole - accuracy <= 1),
        Row(f"{task.name}: time to encode, against the front's", spent, "ms", head, spent / head, "at most 10 %",
            spent <= head / 10),
    ]  # fmt: skip


def coarse_at_scale() -> Row:
    """The time to encode at a border of a network of the size that phones run, against its front: weights are random, for
    neither time depends on them."""
    parts = cut(export(build("mobilenet-v2", 1000), (3, 224, 224)))
    place = next(at for at, part in enumerate(parts, start=1) if part.given[-2:] == (14, 14))
    runner = Runner([part.onnx for part in parts])
    sample = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    crossing = runner.run(0, place, sample)
    code = activations.designed(crossing, 3, 0.04)
    head = fastest(lambda: runner.run(0, place, sample), 20)
    spent = fastest(lambda: activations.encode(code, crossing[0]))
    what = f"MobileNetV2 at {crossing.shape[1:]}: time to encode, against the front's"
    return Row(what, spent, "ms", head, spent / head, "at most 10 %", spent <= head / 10)


# ------------------------------------------------------------------------------------------------------ privacy


def leaks(task: Task) -> dict[str, Leak]:
    """By what crosses: how well an attacker gets the sample back."""
    train, test = task.parts.train.samples, task.parts.test.samples[:500]
    found = {"the input": leak(train, train, test, test)}
    for place in range(1, len(task.net.stages)):
        found[f"stage {place}"] = leak(
            exits.run(task.net, 0, place, train), train, exits.run(task.net, 0, place, test), test
        )
    border = exits.run(task.net, 0, task.place, train)
    coders = bottleneck.pair(border.shape[1:], border.shape[1:], *task.pair, seed=1)
    bottleneck.distil(coders, border, border, list(task.net.stages[task.place :]), PAIRS, "u4")

    def crossing(samples: Floats) -> Floats:
        coded = bottleneck.sent(coders, exits.run(task.net, 0, task.place, samples), "u4")
        return np.stack([coding.decode("u4", one, coders.given) for one in coded])

    found[f"bottleneck {task.place}"] = leak(crossing(train), train, crossing(test), test)
    return found


def leak_rows(task: Task, found: dict[str, Leak]) -> list[Row]:
    return [
        Row(f"{task.name}: SSIM of what an attacker makes of {what}", one.ssim, "", one.blind_ssim)
        for what, one in found.items()
    ]


def draw(path: Path, found: dict[str, dict[str, Leak]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(5.5 * len(found), 3.8), dpi=120)
    for panel, (name, leaks) in zip(panels, found.items(), strict=True):
        panel.barh(list(leaks), [one.ssim for one in leaks.values()], color="#2a6f97")
        blind = next(iter(leaks.values())).blind_ssim
        panel.axvline(blind, color="#a44a3f", linestyle="--", label="the mean sample, blind")
        panel.set(title=f"{name}: what crosses, inverted", xlabel="SSIM to the sample", xlim=(0, 1.02))
        panel.invert_yaxis()
        panel.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def tasks() -> Sequence[Task]:
    return (
        trained("digits", DIGITS, split(mnist()), PLANS["digits"], 2, (6, 1), (3, 1)),
        trained("HAPT", WINDOWS, standardised(split(hapt(), seed=0)), PLANS["windows"], 2, (16, 1), (4, 2)),
    )


def main() -> None:
    use_threads(1)
    rows: list[Row] = []
    inverted = {}
    for task in tasks():
        for part in (pair_rows, channel_rows, coarse_rows):
            rows += part(task)
            print(*rows[-16:], sep="\n", flush=True)
        inverted[task.name] = leaks(task)
        rows += leak_rows(task, inverted[task.name])
    rows.append(coarse_at_scale())
    print(rows[-1])
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(FOLDER / "infer-bottleneck.png", inverted)
    write("infer-bottleneck", rows)


if __name__ == "__main__":
    main()
