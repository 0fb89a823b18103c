"""The guide's table of rules is the one that a task is judged by."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from middleware.policy import combinations
from nodes.cli.main import app

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "rules-table.md"


def test_the_guide_shows_the_table() -> None:
    assert f"\n\n{combinations.markdown()}\n" in GUIDE.read_text()


def test_the_verb_prints_the_same_table() -> None:
    run = CliRunner().invoke
    rows = combinations.rows()
    assert run(app, ["task", "rules", "--markdown"]).output == combinations.markdown()
    told = json.loads(run(app, ["task", "rules", "--json"]).output)
    assert [{name: value for name, value in row.items() if name != "says"} for row in told] == rows
    assert [line.split()[0] for line in run(app, ["task", "rules"]).output.splitlines()[1:]] == [
        r["rule"] for r in rows
    ]
