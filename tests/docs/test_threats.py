"""The threat model's table and the attacks that play it belong together, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTACKS = ROOT / "tests" / "attacks"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "THREAT_MODEL.md").read_text().splitlines()
    if line.startswith("| ") and "`test_" in line
]
FILES = [re.findall(r"`(test_\w+\.py)`", row[-1]) for row in ROWS]


def test_every_attack_file_is_a_line_and_every_line_a_file() -> None:
    named = [name for row in FILES for name in row]
    assert len(named) == len(set(named)) == len(ROWS)
    assert set(named) == {path.name for path in ATTACKS.glob("test_*.py")}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in FILES])
def test_a_line_says_who_attacks_how_and_what_stops_them(row: list[str]) -> None:
    assert len(row) == 5 and all(row[:3]) and row[4]


@pytest.mark.parametrize("name", [name for row in FILES for name in row])
def test_an_attack_file_holds_a_test_that_expects_a_name(name: str) -> None:
    text = (ATTACKS / name).read_text()
    assert re.search(r"^(async )?def test_", text, re.MULTILINE)
