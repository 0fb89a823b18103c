"""Hygiene of what is committed: nothing unfinished, no address of a registry, no link into the void."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORGE_WRITES = ("contracts/.gas-snapshot", "contracts/snapshots/")
BINARY = {".png", ".npz", ".gz"}
ADR_HEADINGS = ["## Context", "## Options", "## Choice", "## What it costs us"]
# Spelt in two parts, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME|X{3})\b")
REGISTRY = re.compile(
    "|".join(
        [
            "py" + r"pi\.org",
            "python" + "hosted",
            r"registry\.(np" + "m|ya" + "rn)",
            "crates" + r"\.io",
            "index" + "-url",
            "find" + "-links",
        ]
    )
)
MACHINE = re.compile(r"(?<![\w.})-])/(" + "wo" + "rk|ho" + "me|ro" + r"ot|Us" + r"ers)/\w")


NOT_OURS = {".venv", ".git", "node_modules", "runs", "out", "cache", "dist", ".hypothesis"}


def committed() -> list[Path]:
    """Every text file that git has or would take; without git, every one outside the folders that it ignores."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        paths = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in NOT_OURS and "cache" not in name]
            paths += [Path(folder) / file for file in files]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix not in BINARY]


FILES = committed()
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def found(pattern: re.Pattern[str]) -> list[str]:
    """file:line of every hit."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (UNFINISHED, "# " + "TO" + "DO: later"),
        (REGISTRY, "https://py" + "pi.org/simple"),
        (REGISTRY, '"resolved": "https://registry.np' + 'mjs.org/solc"'),
        (MACHINE, 'open("/wo' + 'rk/main/x")'),
        (MACHINE, "/ho" + "me/somebody"),
    ],
)
def test_the_search_finds_what_it_is_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_nothing_is_left_unfinished() -> None:
    assert found(UNFINISHED) == []


def test_no_registry_is_named() -> None:
    assert found(REGISTRY) == []


def test_no_path_of_somebodys_machine_is_named() -> None:
    assert found(MACHINE) == []


def test_files_end_with_one_newline_and_hold_no_carriage_return() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_bytes() for path in FILES}
    assert [name for name, data in texts.items() if b"\r" in data] == []
    unended = [name for name, data in texts.items() if data.strip() and not data.endswith(b"\n")]
    assert [name for name in unended if not name.startswith(FORGE_WRITES)] == []


def test_the_npm_lock_pins_by_hash_and_names_no_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert any(name.endswith("/solc") for name in packages)
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"]), name
        if not entry.get("optional"):  # npm learns the hash of another platform's binary only on that platform
            assert entry["integrity"].startswith("sha512-"), name


def test_documents_link_only_to_what_exists() -> None:
    broken = []
    for document in (path for path in FILES if path.suffix == ".md"):
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
        missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
        broken += [f"{document.relative_to(ROOT)} -> {target}" for target in missing]
    assert broken == []


def test_decisions_are_numbered_without_a_gap() -> None:
    assert len(ADRS) >= 12
    assert [int(path.name[:4]) for path in ADRS] == list(range(1, len(ADRS) + 1))


@pytest.mark.parametrize("decision", ADRS, ids=lambda path: path.name)
def test_a_decision_says_context_options_choice_and_cost_on_a_page(decision: Path) -> None:
    text = decision.read_text()
    assert text.startswith(f"# {int(decision.name[:4])}. ")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == ADR_HEADINGS
    assert all(len(section.strip()) > 80 for section in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])
    assert len(text.splitlines()) <= 60


def test_every_verb_of_the_makefile_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    assert set(phony) >= {
        "setup",
        "demo",
        "test",
        "quick",
        "check",
        "fix",
        "contracts",
        "bench",
        "all",
        "clean",
        "help",
    }
    for verb in phony:
        assert re.search(rf"^{verb}:.* ## \S", text, re.MULTILINE), verb


def test_hooks_are_local() -> None:
    repositories = re.findall(r"repo: (\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert set(repositories) == {"local"}
