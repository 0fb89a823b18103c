"""Does a plan keep up with a link and an edge that change? A simulated clock: the bandwidth falls to an eighth, then the edge
becomes four times slower too, then both recover. Regret against the best way in hindsight, beside the plan that never changes and
the learner without forced samples. Then the same with real processes, where nothing is simulated but the link's rate
(`devnet.adaptation`). BANDWIDTH=FILE also replays a recorded link (lines of seconds and Mbit/s), DEVICES=FILE compares phones.

make bench Q=infer-adapt
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from devnet.adaptation import WITHIN as LIVE_WITHIN
from devnet.adaptation import Adapted, measured
from devnet.bench.report import FOLDER, Row, write
from devnet.exhaustive import FILE
from middleware.infer.adaptive import LEARNT, best, features
from middleware.infer.plan import Considered, Constraints, Link, Place, Plan, Privacy, Times, World, plan
from middleware.maths.adapt import Settings, observe, start
from middleware.wire.model import Measured, ModelManifest, Segment

PHASES: Final = (
    ("as profiled", 1.0, 1.0),
    ("bandwidth / 8", 8.0, 1.0),
    ("and edge x 4", 8.0, 4.0),
    ("recovered", 1.0, 1.0),
)
FRAMES: Final = 300  # a phase
WITHIN: Final = 100  # frames after a change that learning may take
SEEDS: Final = 20
NOISE: Final = 0.05  # of the logarithm of what links and tiers take
RATE: Final = 5e6  # bytes a second: 40 Mbit/s
SLOWNESS: Final = 6.0  # of the device against the edge
REGRET: Final = 0.10
WORSE: Final = 1.5
LIVE: Final[tuple[Privacy, ...]] = ("lossless", "features")
SHAPES: Final = ((3, 96, 96), (16, 48, 48), (24, 24, 24), (32, 12, 12), (96, 6, 6), (10,))
EDGE_MS: Final = (3.0, 3.5, 3.0, 2.5, 1.0)
RAW_BYTES: Final = 3 * 96 * 96
UPLOADED: Final = {
    "jpeg75": 0.055,
    "jpeg95": 0.13,
    "png": 0.5,
    "raw": 1.0,
}  # of the raw bytes, as photos of 224 x 224 gave
ACCURACY: Final = {"jpeg75": 0.86, "jpeg95": 0.89, "png": 0.9, "raw": 0.9}  # invented: nothing here is chosen by it
Doubles = npt.NDArray[np.float64]


class Arm(NamedTuple):
    """How a run chooses: with what settings, and whether at all."""

    name: str
    settings: Settings
    learns: bool = True


ARMS: Final = (
    Arm("learning", Settings()),
    Arm("without forced samples", Settings(every=0)),
    Arm("static plan", Settings(), learns=False),
)


def world(rate: float = RATE) -> World:
    def place(slow: float) -> Place:
        spans = {(a, b): slow * sum(EDGE_MS[a:b]) for a in range(5) for b in range(a + 1, 6)}
        return Place(Times(spans, 5))

    return World(place(SLOWNESS), place(1.0), Link(rate, 4.0))


def considered(privacy: str) -> list[Considered]:
    """Every allowed way of a small net in the world as it was profiled."""
    chain = tuple(Segment(FILE, SHAPES[k], SHAPES[k + 1], 10_000_000, 10_000) for k in range(5))
    table = tuple(Measured(way, ACCURACY[way], round(share * RAW_BYTES)) for way, share in UPLOADED.items())
    model = ModelManifest("simulated", "image", (), chain, measured=table, scale=(0.5, 0.5, 0.5, 0.2, 0.2, 0.2))
    found = plan(model, world(), Constraints(privacy))  # type: ignore[arg-type]
    if not isinstance(found, Plan):
        raise ValueError(f"no way is allowed: {found.reasons()}")
    return [one for one in (found.best, *found.others) if not one.refused]


def hindsight(ways: list[Considered]) -> list[str]:
    """The name of the best way in each phase."""
    parts = np.array([features(one.predicted) for one in ways])
    own = np.array([one.predicted.ms for one in ways]) - parts.sum(axis=1)
    return [ways[int((own + parts @ np.array(now)).argmin())].way.name(5) for _, *now in PHASES]


def play(arm: Arm, ways: list[Considered], factors: Doubles, seed: int) -> tuple[Doubles, Doubles]:
    """(milliseconds of the way taken, of the best way in hindsight) by frame; factors (frames, 2): links, tiers slower by."""
    random = np.random.default_rng(seed)
    learnt = start(LEARNT, arm.settings)
    parts = np.array([features(one.predicted) for one in ways])
    own = np.array([one.predicted.ms for one in ways]) - parts.sum(axis=1)
    index = {one.way: place for place, one in enumerate(ways)}
    taken, least = [], []
    for frame, now in enumerate(factors):
        real = own + parts @ (now * np.exp(random.normal(0, NOISE, LEARNT)))
        chosen = index[best(ways, learnt, frame, arm.settings).way] if arm.learns else 0
        taken.append(real[chosen])
        least.append((own + parts @ now).min())
        learnt = observe(learnt, ways[chosen].cost, parts[chosen], float(real[chosen]), arm.settings)
    return np.array(taken), np.array(least)


def steps() -> Doubles:
    return np.repeat([[link, tier] for _, link, tier in PHASES], FRAMES, axis=0)


def recorded(path: Path, frames: int) -> Doubles:
    """One frame a second of a recorded link, its Mbit/s against the profiled rate; the trace begins again where it ends."""
    table = np.loadtxt(path, ndmin=2)
    seconds = np.arange(frames) % max(1.0, table[-1, 0])
    rate = np.interp(seconds, table[:, 0], table[:, 1]).clip(0.01) * 1e6 / 8
    return np.column_stack([RATE / rate, np.ones(frames)])


def draw(path: Path, curves: dict[str, Doubles], least: Doubles) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), dpi=120)
    for (name, curve), colour in zip(curves.items(), ("#2a6f97", "#d08c2f", "#a44a3f"), strict=True):
        axes.plot(curve, label=name, color=colour, linewidth=1)
    axes.plot(least, label="best in hindsight", color="black", linestyle="--", linewidth=1)
    for place, (name, *_) in enumerate(PHASES):
        axes.axvline(place * FRAMES, color="#bbbbbb", linewidth=0.8)
        axes.text(place * FRAMES + 5, axes.get_ylim()[1] * 0.97, name, fontsize=8, va="top")
    axes.set(xlabel="frame", ylabel=f"milliseconds, mean of {SEEDS} runs", yscale="log")
    axes.legend(loc="center left", fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def step_rows(privacy: str) -> list[Row]:
    ways = considered(privacy)
    curves, least = {}, np.zeros(0)
    for arm in ARMS:
        runs = [play(arm, ways, steps(), seed) for seed in range(SEEDS)]
        curves[arm.name], least = np.mean([taken for taken, _ in runs], axis=0), runs[0][1]
    rows = []
    for place, ((name, *_), way) in enumerate(zip(PHASES, hindsight(ways), strict=True)):
        late = slice(place * FRAMES + WITHIN, (place + 1) * FRAMES)
        over = {arm: float(curve[late].sum() / least[late].sum()) for arm, curve in curves.items()}
        regret, stuck = over["learning"] - 1, over["without forced samples"] - 1
        rows.append(
            Row(f"{privacy}, {name} (best: {way}): regret from frame {WITHIN} on, baseline without forced samples",
                100 * regret, "%", 100 * stuck, None, f"< {100 * REGRET:g} %", regret < REGRET)
        )  # fmt: skip
    whole = 100 * float(curves["learning"].sum() / least.sum() - 1)
    rows.append(Row(f"{privacy}, the whole run, the frames after each change included: regret", whole, "%"))
    changed = slice(FRAMES, 3 * FRAMES)
    times = float(curves["static plan"][changed].sum() / curves["learning"][changed].sum())
    rows.append(
        Row(f"{privacy}: the static plan while anything is slow, times the learner's", times, "x", 1.0, times,
            f">= {WORSE:g}x", times >= WORSE)
    )  # fmt: skip
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(FOLDER / f"infer-adapt-{privacy}.png", curves, least)
    return rows


def recorded_rows(path: Path) -> list[Row]:
    ways, factors = considered("open"), recorded(path, 4 * FRAMES)
    sums = {arm.name: play(arm, ways, factors, 0) for arm in ARMS}
    return [
        Row(f"{path.name}: {name}, against the best in hindsight", float(taken.mean()), "ms", float(least.mean()),
            float(taken.sum() / least.sum()))
        for name, (taken, least) in sums.items()
    ]  # fmt: skip


def device_rows(path: Path) -> list[Row]:
    """Phones by their score in a table of AI Benchmark: how many are better off alone, and how many with the edge."""
    phones = msgspec.json.decode(path.read_bytes())
    scores = np.array([float(one["CPU_F_AI_Score"]) for one in phones if str(one.get("CPU_F_AI_Score", "")).isdigit()])
    slowness = SLOWNESS * np.median(scores) / scores[scores > 0]
    alone = slowness * sum(EDGE_MS)
    shared = min(one.predicted.ms for one in considered("open") if one.way.front == 0)
    return [
        Row(
            f"{len(slowness)} phones: share faster with the edge",
            float((alone > shared).mean()),
            "share",
        )
    ]


def live_rows(privacy: str, found: Adapted) -> list[Row]:
    """Of a run with real processes."""
    rows = []
    for phase in found.phases:
        settled, best = statistics.median(phase.frames[LIVE_WITHIN:]), min(phase.forced.values())
        way = min(phase.forced, key=lambda name: phase.forced[name])
        rows.append(
            Row(f"live, {privacy}, {phase.name}: {phase.way} from frame {LIVE_WITHIN} on, best by force ({way})", settled, "ms",
                best, settled / best, f"<= {1 + REGRET:g}x", settled <= (1 + REGRET) * best)
        )  # fmt: skip
    changed = found.phases[1:3]
    learnt = sum(statistics.median(phase.frames[LIVE_WITHIN:]) for phase in changed)
    static = sum(phase.static for phase in changed)
    rows.append(
        Row(f"live, {privacy}: the first phase's plan while anything is slow, times the planner's", static / learnt, "x", 1.0,
            static / learnt, f">= {WORSE:g}x", static >= WORSE * learnt)
    )  # fmt: skip
    rows.append(
        Row(
            f"live, {privacy}: frames answered",
            found.answered,
            f"of {found.asked}",
            bar="all",
            ok=found.answered == found.asked,
        )
    )
    rows.append(
        Row(f"live, {privacy}: receipts of the edge, for its answers", found.receipts, "receipts", found.by_edge, None, "equal",
            found.receipts == found.by_edge)
    )  # fmt: skip
    return rows


def draw_live(path: Path, found: dict[str, Adapted]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(found), 1, figsize=(9, 3.2 * len(found)), dpi=120, sharex=True, squeeze=False)
    for (privacy, run), axis in zip(found.items(), axes[:, 0], strict=True):
        start = 0
        for phase in run.phases:
            places = range(start, start + len(phase.frames))
            axis.plot(
                places, phase.frames, ".", color="#2a6f97", markersize=3, label="as planned" if not start else None
            )
            for name, ms, colour in (
                ("best by force", min(phase.forced.values()), "black"),
                ("the first phase's plan", phase.static, "#a44a3f"),
            ):
                axis.plot(
                    places, [ms] * len(places), "--", color=colour, linewidth=1, label=name if not start else None
                )
            axis.axvline(start, color="#bbbbbb", linewidth=0.8)
            axis.annotate(f"{phase.name}: {phase.way}", (start, 1.02), xycoords=("data", "axes fraction"), fontsize=7)
            start += len(phase.frames)
        axis.set(ylabel=f"{privacy}: ms", yscale="log")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(loc="upper left", fontsize=7)
    axes[-1, 0].set_xlabel("frame")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def live() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), LIVE)
    draw_live(FOLDER / "infer-adapt-live.png", found)
    return [row for privacy, run in found.items() for row in live_rows(privacy, run)]


def main() -> None:
    rows = step_rows("open") + step_rows("lossless") + step_rows("features") + live()
    if "BANDWIDTH" in os.environ:
        rows += recorded_rows(Path(os.environ["BANDWIDTH"]))
    if "DEVICES" in os.environ:
        rows += device_rows(Path(os.environ["DEVICES"]))
    write("infer-adapt", rows)


if __name__ == "__main__":
    main()
