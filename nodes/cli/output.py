"""Printing: a table for people, JSON for programs, one clear line for an error.

Exit codes: 0 fine (audit: VALID), 1 an error of ours or of the weather, 2 a wrong command line, 3 audit INVALID,
4 audit UNVERIFIABLE, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import msgspec
import typer

from middleware.errors import DrystoneError

P = ParamSpec("P")
T = TypeVar("T")
DEBUG = "DRYSTONE_DEBUG"

EXIT_ERROR = 1
EXIT_INVALID = 3
EXIT_UNVERIFIABLE = 4
EXIT_INTERRUPTED = 130


def to_json(value: Any) -> str:
    """JSON with sorted keys; bytes as 0x-hex, structs by field name."""
    return msgspec.json.format(msgspec.json.encode(_plain(value), order="sorted"), indent=2).decode()


def _plain(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return "0x" + bytes(value).hex()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case msgspec.Struct():
            return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def print_json(value: Any) -> None:
    typer.echo(to_json(value))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    Console().print(table)


def reported(function: Callable[P, T]) -> Callable[P, T]:
    """Turn an error into one line on stderr and an exit code; the traceback only with --debug."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except DrystoneError as error:
            if os.environ.get(DEBUG):
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(EXIT_ERROR) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(EXIT_ERROR) from None

    return wrapped


@contextmanager
def rounds_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for work that counts rounds; call it with (done, total). Nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
