"""`drystone bench` lists what can be asked, and runs one of them as a program of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devnet.bench import questions
from nodes.cli.main import app


def test_every_benchmark_says_what_it_asks() -> None:
    done = CliRunner().invoke(app, ["bench", "--json"])
    told = json.loads(done.stdout)
    assert sorted(told) == questions()
    assert [name for name, text in told.items() if "?" not in text] == []
    assert "robustness" in told
    assert "report" not in told


def test_an_unknown_benchmark_is_one_line_that_names_the_others() -> None:
    done = CliRunner().invoke(app, ["bench", "nosuch"])
    assert done.exit_code == 1
    assert "nosuch" in done.stderr
    assert "robustness" in done.stderr


@pytest.mark.parametrize(("status", "shown"), [(0, '{"rows": []}'), (3, "")])
def test_json_is_what_the_benchmark_wrote_and_a_failure_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def measure(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "devnet.bench.tamper"]
        assert env["LONG"] == "1"
        folder = tmp_path / "runs" / "bench"
        folder.mkdir(parents=True)
        (folder / "tamper.json").write_text('{"rows": []}')
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(subprocess, "run", measure)
    done = CliRunner().invoke(app, ["bench", "tamper", "--long", "--json"])
    assert (done.exit_code, done.stdout) == (status, shown)
