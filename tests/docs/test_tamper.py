"""The faults that the documents list are those that the lab commits and the audit names."""

from __future__ import annotations

import re
from pathlib import Path

from devnet.tamperlab import FAULTS
from ledger.audit.report import NAMES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide" / "audit-faults.md").read_text()


def rows(text: str) -> list[list[str]]:
    """The cells of every table line but the heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_lists_the_labs_faults_with_their_names_and_verdicts() -> None:
    section = README.split("## Try to cheat it")[1].split("\n## ")[0]
    listed = [(title, verdict, said.split("`")[1]) for title, _, verdict, said in rows(section)[1:]]
    assert listed == [(fault.title, fault.verdict.value, fault.name) for fault in FAULTS]


def test_the_guide_explains_every_name_and_no_other() -> None:
    listed = {cells[0].strip("`"): cells[1] for cells in rows(GUIDE)[1:]}
    assert listed == NAMES


def test_a_name_is_one_word_and_its_meaning_one_line() -> None:
    for name, meaning in NAMES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name), name
        assert meaning and "\n" not in meaning and not meaning.endswith("."), name
