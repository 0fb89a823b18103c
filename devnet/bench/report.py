"""How a benchmark says what it measured: rows with a baseline from the same run, a table for people, JSON for later.

    runs/bench/NAME.json    {commit, machine, rows: [{what, value, unit, baseline, ratio, bar, ok}]}

`ratio` is value / baseline where there is a baseline; `bar` says in words what was asked for, `ok` whether it was met.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

FOLDER = Path("runs/bench")


class Row(msgspec.Struct, frozen=True):
    """One number. `baseline`, `ratio`, `bar` and `ok` are None where nothing was asked for."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    bar: str | None = None
    ok: bool | None = None


class Bench(msgspec.Struct, frozen=True):
    """One run of one benchmark."""

    commit: str
    machine: str
    rows: list[Row]


def against(what: str, value: float, unit: str, baseline: float, bar: str, most_ratio: float) -> Row:
    """A row whose value may be at most `most_ratio` times its baseline."""
    ratio = value / baseline if baseline else float("inf")
    return Row(what, value, unit, baseline, ratio, bar, ratio <= most_ratio)


def write(name: str, rows: Sequence[Row], folder: Path = FOLDER) -> Path:
    """Print the table and write `folder/name.json`; returns its path."""
    bench = Bench(_commit(), machine(), list(rows))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(bench), indent=2) + b"\n")
    _print(name, bench)
    return path


def machine() -> str:
    """The processor, how many of them this process may use, and the interpreter."""
    model = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():  # Linux
        lines = listed.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _print(name: str, bench: Bench) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name} at {bench.commit} on {bench.machine}", title_justify="left")
    for column in ("what", "value", "unit", "baseline", "ratio", "bar", "ok"):
        table.add_column(column, justify="right" if column in ("value", "baseline", "ratio") else "left")
    for row in bench.rows:
        table.add_row(
            row.what, number(row.value), row.unit, number(row.baseline), number(row.ratio), row.bar or "",
            "" if row.ok is None else ("yes" if row.ok else "NO"),
        )  # fmt: skip
    Console().print(table)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def page(folder: Path = FOLDER) -> str:
    """Every benchmark's last table as one Markdown page."""
    parts = [
        "# Benchmarks\n",
        "Written by `python -m devnet.bench.report` from what `make bench Q=NAME` measured last. A ratio is against a",
        "baseline in the same run; machines are noisy, so read ratios and medians.\n",
    ]
    for path in sorted(folder.glob("*.json")):
        bench = msgspec.json.decode(path.read_bytes(), type=Bench)
        parts += [f"## {path.stem}\n", f"At {bench.commit}, on {bench.machine}.\n"]
        parts += ["| what | value | unit | baseline | ratio | bar | ok |", "|---|---:|---|---:|---:|---|---|"]
        for row in bench.rows:
            met = "" if row.ok is None else ("yes" if row.ok else "**no**")
            cells = (
                row.what,
                number(row.value),
                row.unit,
                number(row.baseline),
                number(row.ratio),
                row.bar or "",
                met,
            )
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
        parts += [f"![{path.stem}](pictures/{drawn.name})\n" for drawn in sorted(folder.glob(f"{path.stem}*.png"))]
    return "\n".join(parts)


def publish(folder: Path = FOLDER, docs: Path = Path("docs")) -> None:
    """Write the page, and the pictures beside it."""
    (docs / "pictures").mkdir(exist_ok=True)
    for drawn in folder.glob("*.png"):
        shutil.copyfile(drawn, docs / "pictures" / drawn.name)
    (docs / "benchmarks.md").write_text(page(folder))


if __name__ == "__main__":
    publish()
