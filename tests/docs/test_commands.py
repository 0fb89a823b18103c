"""What the command line can do is what the documents say it can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from nodes.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "guide").rglob("*.md")))
PROMISED = {
    "devnet": {"up"},
    "contracts": {"deploy"},
    "node": {"init", "run"},
    "task": {"new", "list", "show", "watch", "stop"},
    "audit": {
        "log",
        "task",
        "round",
        "node",
        "update",
        "verify",
        "replay",
        "explain",
        "tamper",
        "bundle",
        "verify-bundle",
    },
}
READING = (
    "node list", "task list", "task show", "task watch", "audit log", "audit task", "audit round", "audit node", "audit update",
    "audit verify", "audit replay", "audit explain", "audit bundle", "audit verify-bundle", "demo", "sim",
)  # fmt: skip


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every verb below a group, by the words that call it."""
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from walk(child, (*words, name))
        else:
            yield " ".join((*words, name)), child


COMMANDS = dict(walk(get_command(app)))


def fenced(text: str) -> list[str]:
    """The command lines that a document shows, one `drystone ...` each, comments left out."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [re.sub(r"\s#.*", "", line) for block in blocks for line in block.splitlines()]
    return [call.strip() for line in lines for call in re.findall(r"drystone [^;]*", line)]


def test_the_promised_verbs_exist() -> None:
    assert {f"{group} {verb}" for group, verbs in PROMISED.items() for verb in verbs} | {"demo"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_verb_has_help_and_so_has_everything_it_takes(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_verb_is_named_in_the_readme_or_the_guide(name: str) -> None:
    assert re.search(rf"(drystone |`){re.escape(name)}\b", README + GUIDE), name


@pytest.mark.parametrize("name", READING)
def test_a_verb_that_reads_prints_json_on_demand(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("call", fenced(README + GUIDE))
def test_a_command_that_a_document_shows_exists_and_takes_those_options(call: str) -> None:
    words = call.split()[1:]
    while words and words[0].startswith("--"):
        words.pop(0)
    name = next((n for n in COMMANDS if words[: len(n.split())] == n.split()), None)
    assert name is not None, call
    taken = {option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in taken, call
