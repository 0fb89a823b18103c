"""`drystone bench`: which questions there are, and one of them measured on this machine."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from middleware.errors import ConfigurationError
from nodes.cli.output import print_json, print_table


def module_of(name: str) -> str:
    return "devnet.bench." + name.replace("-", "_")


def asked(name: str) -> str:
    """What a benchmark asks: the first paragraph of its module, which is not run for this."""
    found = find_spec(module_of(name))
    if found is None or found.origin is None:
        raise ConfigurationError(f"benchmark {name!r} is not installed")
    text = ast.get_docstring(ast.parse(Path(found.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def show(as_json: bool) -> None:
    from devnet.bench import questions

    told = {name: asked(name) for name in questions()}
    if as_json:
        print_json(told)
        return
    print_table("drystone bench NAME", ("name", "what it asks"), told.items())


def run(name: str, long: bool, as_json: bool) -> int:
    """Measure in a process of its own, as `make bench` does; its exit status. Raises ConfigurationError for no such name."""
    from devnet.bench import questions
    from devnet.bench.report import FOLDER

    if name not in questions():
        raise ConfigurationError(f"benchmark {name!r}: choose one of {', '.join(questions())}")
    environment = {**os.environ, **({"LONG": "1"} if long else {})}
    told = sys.stderr if as_json else None
    status = subprocess.run(
        [sys.executable, "-m", module_of(name)], env=environment, stdout=told, check=False
    ).returncode
    if as_json and not status:
        sys.stdout.write((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return status
