"""`drystone sim`: run it, draw its progress, and put the result on one screen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from nodes.cli.output import print_json


def run(out: Path, as_json: bool, threads: int, **choices: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from devnet.crowd import Crowd, Round, Shape, simulate, table_of
    from devnet.demo import parse_byzantine
    from devnet.picture import draw_simulation
    from middleware.learn.fleet import use_threads
    from nodes.operator import Choices, policy_of

    use_threads(threads)
    liars, attack = parse_byzantine(choices.pop("byzantine"))
    names = (
        "devices", "edges", "split", "samples", "slow", "slow_links", "link_bytes", "seed", "wire", "ledger",
    )  # fmt: skip
    shape = Shape(liars=liars, attack=attack, **{name: choices[name] for name in names})
    out.mkdir(parents=True, exist_ok=True)
    choices["workload"] = table_of(choices["workload"], out)
    asked = Choices(tolerate=liars, **{name: choices[name] for name in choices if name not in names or name == "seed"})
    policy = policy_of(asked)
    columns = (TextColumn("{task.description:<44}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("dealing and joining", total=policy.rounds * shape.devices)

        def tell(done: Round) -> None:
            progress.update(
                bar, completed=done.round * shape.devices,
                description=f"round {done.round} of {policy.rounds}: accuracy {done.accuracy:.3f}",
            )  # fmt: skip

        def arrive(round: int, device: int) -> None:
            progress.update(bar, completed=(round - 1) * shape.devices + device)

        crowd = Crowd(asked.workload, policy, shape, asked.client_key, arrive)
        report = asyncio.run(simulate(crowd, tell))
    draw_simulation(out / "simulation.png", report)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
    else:
        show(report, out)


def show(report: dict[str, Any], out: Path) -> None:
    """One screen."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    timed = any(row["clock"] for row in report["rounds"])
    told = (
        ["updates", "staleness", "clock"] if timed else ["loss", "seconds", "of it training"]
    )  # 80 columns hold no more
    table = Table("round", "accuracy", *told, "bytes up", "refused", title_justify="left")
    for row in report["rounds"]:
        played = str(row["updates"]), f"{row['staleness']:.1f}", f"{row['clock']:.1f}"
        usual = f"{row['loss']:.4f}", f"{row['seconds']:.2f}", f"{row['training_seconds']:.2f}"
        table.add_row(
            f"{row['round']}{' void' if row['void'] else ''}", f"{row['accuracy']:.4f}", *(played if timed else usual),
            f"{row['bytes_up']:,}", str(row["refused"]),
        )  # fmt: skip
    console.print(table)
    shape, policy = report["shape"], report["policy"]
    thousands = report["devices"] / 1000
    seconds = report["seconds"]["rounds"] / len(report["rounds"])
    share = report["bytes_up_sent"] / report["bytes_up_dense"]
    real = "wire and ledger" if shape["ledger"] else "wire" if shape["wire"] else "grid, codec and rule"
    lines = [
        f"{report['devices']:,} devices on {shape['edges']:,} edges, {shape['liars']:,} lying; "
        f"{policy['rule']['name']} (f={policy['rule']['f']}), codec {policy['codec']['name']}; real: {real}",
        f"{seconds:.2f} s a round, {seconds / thousands:.2f} s a thousand devices; "
        f"{report['peak_bytes'] / 1e6:,.0f} MB at most; {share:.1%} of the dense bytes",
    ]
    if report["samples_shared"]:
        lines.append("the data is too small to be dealt, or --samples was given: devices drew samples, and share some")
    lines.append(f"report {out / 'report.json'}, picture {out / 'simulation.png'}")
    console.print("\n".join(lines), highlight=False)
