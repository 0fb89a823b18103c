"""Pictures of results: the accuracy of each round beside the central run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw_accuracy(path: Path, report: dict[str, Any]) -> None:
    """A PNG of the run's accuracy curve, the central one and the void rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    rounds = range(1, len(report["accuracy"]) + 1)
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    axes.plot(rounds, report["accuracy"], marker="o", label=f"federated, {report['devices']} devices", color="#2a6f97")
    axes.plot(rounds, report["central"], linestyle="--", label="central, same gradient steps", color="#a44a3f")
    for void in report["void_rounds"]:
        axes.axvspan(void - 0.5, void + 0.5, color="#dddddd", label="_void")
    rule = report["policy"]["rule"]["name"]
    liars = ", ".join(report["byzantine"]) or "nobody"
    axes.set(
        xlabel="round",
        ylabel="test accuracy",
        ylim=(0, 1.02),
        title=f"{rule}; lying: {liars}; caught: {', '.join(report['caught']) or 'nobody'}",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_simulation(path: Path, report: dict[str, Any]) -> None:
    """A PNG of a simulation: accuracy after each round, and the seconds that the round took, training apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    rounds = [round["round"] for round in report["rounds"]]
    training = [round["training_seconds"] for round in report["rounds"]]
    rest = [round["seconds"] - round["training_seconds"] for round in report["rounds"]]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    axes.plot(rounds, report["accuracy"], marker="o", color="#2a6f97", label="test accuracy")
    axes.set(
        xlabel="round", ylabel="test accuracy", ylim=(0, 1.02),
        title=f"{report['devices']:,} devices, {report['policy']['rule']['name']}, {report['shape']['liars']:,} lying",
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    beside = axes.twinx()
    beside.bar(rounds, training, width=0.5, alpha=0.3, color="#a44a3f", label="training")
    beside.bar(rounds, rest, width=0.5, alpha=0.3, bottom=training, color="#555555", label="all else")
    beside.set_ylabel("seconds a round")
    figure.legend(loc="lower right", bbox_to_anchor=(0.9, 0.15))
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_table(
    path: Path, cells: dict[tuple[str, str], float], rows: list[str], columns: list[str], title: str
) -> None:
    """A PNG of a table of percentages, darker where they are lower."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = [[cells[row, column] for column in columns] for row in rows]
    figure, axes = pyplot.subplots(figsize=(2.5 + 0.75 * len(columns), 1.8 + 0.32 * len(rows)), dpi=120)
    axes.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            axes.text(
                x, y, f"{value:.0f}", ha="center", va="center", color="white" if value < 60 else "black", fontsize=8
            )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_privacy(path: Path, accuracy: dict[float, float], plain: float) -> None:
    """A PNG of the accuracy at each epsilon, and without privacy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    axes.plot(list(accuracy), list(accuracy.values()), marker="o", color="#2a6f97", label="client-level privacy")
    axes.axhline(plain, linestyle="--", color="#a44a3f", label="no privacy")
    axes.set(xlabel="epsilon of the whole task", ylabel="test accuracy", ylim=(0, 1.02), xscale="log")
    axes.set_xticks(list(accuracy), [f"{epsilon:g}" for epsilon in accuracy])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def draw_curves(path: Path, curves: dict[str, list[float]], title: str, across: str = "round") -> None:
    """A PNG of one line a name, from 1 on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set(xlabel=across, ylabel="test accuracy", ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
