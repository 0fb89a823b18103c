"""`drystone demo`: run it, draw its progress, and put the result on one screen."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from nodes.cli.output import print_json


def run(out: Path, as_json: bool, **choices: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from devnet.demo import Progress as Told
    from devnet.demo import parse_byzantine, run_demo
    from devnet.fleet import Shape
    from nodes.operator import Choices, parts_of

    on = choices.pop("ledger")
    liars, attack = parse_byzantine(choices.pop("byzantine"))
    fleet_only = ("devices", "edges", "split", "slow", "slow_links", "link_bytes")
    parts = parts_of(choices["widths"]) if choices.get("widths") else ()
    shape = Shape(
        liars=liars, attack=attack, widths=parts,
        **{name: choices[name] for name in (*fleet_only, "workload", "client_key", "seed")},
    )  # fmt: skip
    asked = Choices(tolerate=liars, **{name: choices[name] for name in choices if name not in fleet_only})
    columns = (TextColumn("{task.description:<58}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("starting", total=choices["rounds"])

        class Drawn(Told):
            def step(self, what: str) -> None:
                progress.update(bar, description=what)

            def round(self, number: int, total: int, accuracy: float) -> None:
                progress.update(
                    bar, completed=number, description=f"round {number} of {total}: accuracy {accuracy:.3f}"
                )

        report = asyncio.run(_interruptible(run_demo(shape, asked, out, Drawn(), on=on)))
    if as_json:
        print_json(report)
    else:
        show(report, out)


async def _interruptible(work: Any) -> dict[str, Any]:
    """SIGTERM ends the run like Ctrl-C does: through the fleet's clean-up."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task  # type: ignore[no-any-return]
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def show(report: dict[str, Any], out: Path) -> None:
    """One screen."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    policy, seconds, audit = report["policy"], report["seconds"], report["audit"]
    screen = Table(show_header=False)
    share = report["bytes_up_sent"] / max(1, report["bytes_up_dense"])
    gas = report["gas_per_round"]
    rows = [
        ("accuracy by round", by_round(report["accuracy"], report["void_rounds"])),
        ("accuracy", f"{report['accuracy'][-1]:.4f}   central {report['central_accuracy']:.4f}"),
        (
            "rule",
            f"{policy['rule']['name']} (f={policy['rule']['f']}), {policy['arrangement']}, codec {policy['codec']['name']}",
        ),
        ("lying", ", ".join(report["byzantine"]) or "nobody"),
        ("caught", ", ".join(report["caught"]) or "nobody"),
        ("bytes up", f"{report['bytes_up_sent']:,} of {report['bytes_up_dense']:,} dense ({share:.1%})"),
        ("transactions", f"{report['transactions_per_round']:g} a round"),
        ("gas", f"{gas[0]:,} first round, {sorted(gas)[len(gas) // 2]:,} median"),
        ("seconds", ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())),
        ("rewards", ", ".join(f"{name} {amount:,}" for name, amount in report["rewards"].items()) or "none"),
        ("audit", f"{audit['valid']} valid, {audit['invalid']} invalid, {audit['unverifiable']} unverifiable"),
        ("verdict", verdict(audit)),
    ]
    for name, value in rows:
        screen.add_row(name, value)
    console.print(screen)
    console.print(
        f"report {out / 'report.json'}, picture {out / 'accuracy.png'}, record {out / 'ledger.jsonl'}", highlight=False
    )
    console.print(
        f"check it yourself: drystone audit verify --log {out / 'ledger.jsonl'} --home {out / 'world'}", highlight=False
    )


def by_round(accuracy: list[float], void: list[int]) -> str:
    """Eight rounds a line; a void round is marked."""
    shown = [f"{value:.3f}" + ("v" if number in void else "") for number, value in enumerate(accuracy, start=1)]
    return "\n".join(" ".join(shown[start : start + 8]) for start in range(0, len(shown), 8))


def verdict(audit: dict[str, int]) -> str:
    if audit["invalid"]:
        return "INVALID"
    return "UNVERIFIABLE" if audit["unverifiable"] else "VALID"
