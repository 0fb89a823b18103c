"""`drystone audit tamper`: the tamper lab's table. Committing and judging the faults is `devnet.tamperlab`."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

import typer

from middleware.errors import ConfigurationError
from nodes.cli.output import EXIT_INVALID, print_json

ROUNDS = 4  # of the run that is made when none is given
DEVICES = 6
SERVER = "momentum"  # so that rounds leave each other a state to lie about


def tamper(run: Path | None, name: str, seed: int, as_json: bool, markdown: bool) -> None:
    """The table; exit code 0 only when the untouched copy is VALID and every fault was called by its own name."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from devnet.tamperlab import chosen, run_lab, table

    faults = chosen(name)
    columns = (TextColumn("{task.description:<40}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        bar = progress.add_task("starting", total=len(faults) + 1)
        if run is None:
            run = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            progress.update(bar, description="a run to tamper with")
            _make(run, seed)
        elif not (run / "ledger.jsonl").is_file():
            raise ConfigurationError(f"no finished run in {run}: `drystone demo --out {run}` makes one")

        def told(done: int, total: int, what: str) -> None:
            progress.update(bar, completed=done, total=total, description=what)

        shown = run_lab(run, faults, told)
        progress.update(bar, completed=len(shown), description="done")
    if as_json:
        print_json(shown)
    elif markdown:
        typer.echo(table(shown), nl=False)
    else:
        for one in shown:
            mark = "caught" if one.caught else "MISSED"
            typer.echo(f"{mark if one.fault else ' ' * 6}  {one.title:<24} {one.done}")
            typer.echo(f"{'':<32} -> {one.says if one.fault else one.verdict.value}")
        missed = [one.title for one in shown if not one.caught]
        typer.echo(
            f"{len(shown) - len(missed)} of {len(shown)} as they should be"
            + (f"; not: {', '.join(missed)}" * bool(missed))
        )
    if not all(one.caught for one in shown):
        raise typer.Exit(EXIT_INVALID)


def _make(run: Path, seed: int) -> None:
    """A small run of real processes."""
    from devnet.demo import Progress, run_demo
    from devnet.fleet import Shape
    from nodes.operator import Choices

    shape = Shape(devices=DEVICES, seed=seed)
    asyncio.run(run_demo(shape, Choices(rounds=ROUNDS, seed=seed, server=SERVER), run, Progress()))
