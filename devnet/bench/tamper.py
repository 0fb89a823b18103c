"""What does an audit say of a run that was tampered with, and of one that was not?

First the tamper lab (`devnet.tamperlab`): every class of fault on a copy of a real run, each to be called by its own name.
Then clean runs, of real processes, each with another seed and shape: the audit must have nothing to say. Last, random bytes.

A run's folder is copied; then, one at a time, a random byte of a random file is replaced by another value, the copy is
audited as `drystone audit verify` would, and the byte is put back. Flips are dealt evenly over the three kinds of things
that can rot: blobs of any node, the databases of the cloud and the edges, and the exported record. Each outcome is

    named         INVALID, and a finding names the very object: the blob, the database, the line of the record
    elsewhere     INVALID, but only other objects are named
    unverifiable  UNVERIFIABLE
    outside       VALID, and every row that the audit reads from the database is what it was: the byte was in free space,
                  or in a column that promises nothing
    missed        VALID, although something of the record changed

A node that stops in order notes its database's SHA-256 beside it, which shows every flip in that file. So the table also
says how many of those the audit would name without that note, from the rows themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from devnet.bench.report import Row, write
from devnet.tamperlab import Shown, audit, run_lab
from ledger.audit.memory import Memory, promised
from ledger.audit.report import Report
from middleware.errors import ConfigurationError, PeerFault
from middleware.types import Verdict
from nodes.records import NOTED, nodes_below, read_memory

FLIPS: Final = 300
ROUNDS: Final = 20  # of the run that is made when there is none
CLEAN: Final = 20  # runs without a fault
CLEAN_ROUNDS: Final = 3
SHAPES: Final = (
    (5, 1, 0, "multi-krum", "flat"), (6, 2, 1, "multi-krum", "flat"), (5, 2, 0, "mean", "two-level"),
    (5, 1, 0, "median", "flat"),
)  # fmt: skip  # (devices, edges, liars, rule, arrangement) of clean runs, in turn
KINDS: Final = ("blob", "state", "log")
OUTCOMES: Final = ("named", "elsewhere", "unverifiable", "outside", "missed")


class Target(msgspec.Struct, frozen=True):
    """A file that can rot, and how a finding about it names it."""

    kind: str
    path: Path
    name: str


class Flip(msgspec.Struct, frozen=True):
    """One experiment and what came of it."""

    target: Target
    offset: int
    outcome: str
    said: str
    by_row: bool  # a database: named by a row or by SQLite, not only by the file's noted SHA-256


def targets(run: Path) -> dict[str, list[Target]]:
    """Everything in a run's folder that holds a part of the record, by kind."""
    found: dict[str, list[Target]] = {"blob": [], "state": [], "log": [Target("log", run / "ledger.jsonl", "line")]}
    for settings in nodes_below(run / "world"):
        state = settings.path(settings.config.state)
        found["blob"] += [Target("blob", path, path.name) for path in sorted((state / "blobs").glob("*/*"))]
        if settings.config.tier != "end":
            name = f"{settings.config.name}/{settings.config.state}/node.db"
            found["state"].append(Target("state", state / "node.db", name))
    return found


def try_flip(run: Path, target: Target, offset: int, value: int) -> Flip:
    """Flip, audit, put back."""
    honest = target.path.read_bytes()
    before = _rows(target)
    target.path.write_bytes(honest[:offset] + bytes([honest[offset] ^ value]) + honest[offset + 1 :])
    try:
        report = audit(run)
        outcome = _outcome(report, target, honest, offset, unchanged=before is not None and before == _rows(target))
    finally:
        target.path.write_bytes(honest)
    said = report.first.line() if report.first is not None else ""
    rows = [f for f in report.findings if f.subject.startswith(target.name) and NOTED not in f.what]
    return Flip(target, offset, outcome, said, target.kind == "state" and bool(rows))


def _outcome(report: Report, target: Target, honest: bytes, offset: int, unchanged: bool) -> str:
    if report.verdict is Verdict.VALID:
        return "outside" if unchanged else "missed"
    if report.verdict is Verdict.UNVERIFIABLE:
        return "unverifiable"
    wrong = [finding for finding in report.findings if finding.verdict is Verdict.INVALID]
    if target.kind == "blob":
        return "named" if any(finding.blob == target.name for finding in wrong) else "elsewhere"
    if target.kind == "state":
        return "named" if any(finding.subject.startswith(target.name) for finding in wrong) else "elsewhere"
    number = honest[:offset].count(b"\n") + 1
    line = f"line {number} of the record"
    return "named" if any(line in finding.what for finding in wrong) else "elsewhere"


def _rows(target: Target) -> Memory | None:
    """What the audit reads of a database, without the times that a round's summary tells."""
    if target.kind != "state":
        return None
    memory = read_memory(target.path, target.name, 0)
    settled = tuple(msgspec.structs.replace(row, summary=_promised(row.summary)) for row in memory.settled)
    return msgspec.structs.replace(memory, settled=settled)


def _promised(summary: bytes) -> bytes:
    try:
        return msgspec.json.encode(promised(summary))
    except PeerFault:
        return summary


def measure(run: Path, flips: int, seed: int) -> list[Flip]:
    """`flips` experiments on `run`, which must be VALID as it is. Bytes are drawn evenly within a kind."""
    began = audit(run)
    if began.verdict is not Verdict.VALID:
        raise ConfigurationError(f"{run} is {began.verdict.value} before anything was flipped: {began.first}")
    drawn, done = random.Random(seed), []
    everything = targets(run)
    for number in range(flips):
        files = everything[KINDS[number % len(KINDS)]]
        target = drawn.choices(files, [file.path.stat().st_size for file in files])[0]
        offset = drawn.randrange(target.path.stat().st_size)
        done.append(try_flip(run, target, offset, drawn.randrange(1, 256)))
    return done


def rows(done: list[Flip], seconds: float) -> list[Row]:
    """The table: outcomes over all flips, then by kind."""
    counts = Counter(flip.outcome for flip in done)
    bars = {
        "named": ("at least 90 %", counts["named"] >= 0.9 * len(done)),
        "missed": ("none", counts["missed"] == 0),
    }
    table = []
    for outcome in OUTCOMES:
        bar, ok = bars.get(outcome, (None, None))
        table.append(Row(f"flips {outcome}", counts[outcome], "flips", len(done), counts[outcome] / len(done), bar, ok))
    for kind in KINDS:
        mine = Counter(flip.outcome for flip in done if flip.target.kind == kind)
        for outcome in OUTCOMES:
            if mine[outcome]:
                share = mine[outcome] / mine.total()
                table.append(Row(f"  {kind}: {outcome}", mine[outcome], "flips", mine.total(), share))
    state = [flip for flip in done if flip.target.kind == "state"]
    by_row = sum(flip.by_row for flip in state)
    table.append(
        Row("  state: named without the noted SHA-256", by_row, "flips", len(state), by_row / max(1, len(state)))
    )
    table.append(Row("one audit", seconds, "s"))
    return table


def lab_rows(shown: list[Shown]) -> list[Row]:
    """The lab's part of the table."""
    table = [Row("untouched copy VALID", int(shown[0].caught), "runs", 1, None, "it is", shown[0].caught)]
    for one in shown[1:]:
        table.append(Row(f"  {one.title}: {one.named or 'not named'}", int(one.caught), "caught", 1))
    missed = [one.title for one in shown[1:] if not one.caught]
    caught = len(shown) - 1 - len(missed)
    table.append(Row("classes called by their own name", caught, "faults", len(shown) - 1, None, "all", not missed))
    return table


def clean(count: int, seed: int) -> list[Row]:
    """Real runs with other seeds and shapes, whose audits should find nothing."""
    from devnet.demo import Progress, run_demo
    from devnet.fleet import Shape
    from nodes.operator import Choices

    alarms, valid, began = 0, 0, time.monotonic()
    for number in range(count):
        devices, edges, liars, rule, arrangement = SHAPES[number % len(SHAPES)]
        shape = Shape(devices=devices, edges=edges, liars=liars, seed=seed + number)
        choices = Choices(
            rounds=CLEAN_ROUNDS,
            aggregator=rule,
            arrangement=arrangement,
            tolerate=int(rule != "mean"),
            seed=seed + number,
        )
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run_demo(shape, choices, Path(folder), Progress()))
            report = audit(Path(folder))
        valid += report.verdict is Verdict.VALID
        for finding in report.findings:
            alarms += 1
            print(f"clean run {number} ({rule}, {arrangement}): {finding.line()}")
    return [
        Row("clean runs VALID", valid, "runs", count, None, "all", valid == count),
        Row("false alarms in clean runs", alarms, "findings", None, None, "none", alarms == 0),
        Row("one clean run, made and audited", (time.monotonic() - began) / max(1, count), "s"),
    ]


def make_run(run: Path) -> None:
    """A run of the demo where there is none."""
    from devnet.demo import Progress, run_demo
    from devnet.fleet import Shape
    from nodes.operator import Choices

    asyncio.run(run_demo(Shape(liars=1), Choices(rounds=ROUNDS), run, Progress()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="folder of a finished run")
    parser.add_argument("--flips", type=int, default=FLIPS)
    parser.add_argument("--clean", type=int, default=CLEAN, help="runs without a fault")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if not (chosen.run / "ledger.jsonl").is_file():
        make_run(chosen.run)
    shown = run_lab(chosen.run)
    for one in shown:
        if not one.caught:
            print(f"missed: {one.title}: {one.done}: {one.says}")
    table = lab_rows(shown) + clean(chosen.clean, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(chosen.run, copy)
        began = time.monotonic()
        done = measure(copy, chosen.flips, chosen.seed)
        seconds = (time.monotonic() - began) / (chosen.flips + 1)
    for flip in done:
        if flip.outcome in ("missed", "elsewhere"):
            print(f"{flip.outcome}: byte {flip.offset} of {flip.target.path.name}: {flip.said}")
    write("tamper", table + rows(done, seconds))


if __name__ == "__main__":
    main()
