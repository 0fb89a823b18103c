"""The verbs of `drystone audit` over an exported record: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from middleware.trust.keys import KeyFile
from nodes.cli.main import app
from tests.sim.history import History, policy_of
from tests.sim.run_folder import write_run

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def history() -> History:
    return History(rounds=2).run()


@pytest.fixture(scope="module")
def run(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(history, folder)
    return folder


def drystone(run: Path, *words: str) -> Result:
    result = RUNNER.invoke(app, ["audit", *words, "--log", str(run / "ledger.jsonl"), "--home", str(run / "world")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_verify_says_valid_and_exits_0(run: Path) -> None:
    result = drystone(run, "verify")
    assert result.exit_code == 0
    assert "task 1 round   2  header ok  manifest ok" in result.output
    assert "VALID: " in result.output.splitlines()[-1]


def test_verify_in_json_has_the_counts(run: Path) -> None:
    told = json.loads(drystone(run, "verify", "--json").output)
    assert told["verdict"] == "VALID"
    assert told["counts"]["valid"] > 100
    assert told["counts"]["invalid"] == told["counts"]["unverifiable"] == 0
    assert told["rounds"][1]["checks"]["model"] == "VALID"


def test_verify_names_the_first_wrong_thing_and_exits_3(history: History, tmp_path: Path) -> None:
    home = write_run(history, tmp_path)
    digest = history.headers[1].manifest.hex()
    path = home / "nodes" / "cloud" / "state" / "blobs" / digest[:2] / digest
    path.write_bytes(path.read_bytes()[:-1])
    result = drystone(tmp_path, "verify")
    assert result.exit_code == 3
    assert f"first: INVALID: task 1, round 2, manifest: blob {digest[:16]} does not have the SHA-256" in result.output
    assert drystone(tmp_path, "replay").exit_code == 4  # what cannot be read cannot be repeated


def test_verify_of_what_is_missing_exits_4(history: History, tmp_path: Path) -> None:
    home = write_run(history, tmp_path)
    digest = history.headers[1].manifest.hex()
    (home / "nodes" / "cloud" / "state" / "blobs" / digest[:2] / digest).unlink()
    result = drystone(tmp_path, "verify")
    assert result.exit_code == 4
    assert "cloud (node 1) should serve it" in result.output


def test_verify_of_a_damaged_record_names_its_line_and_exits_3(history: History, tmp_path: Path) -> None:
    write_run(history, tmp_path)
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"time":1004', b'"time":1005')
    path.write_bytes(b"".join(lines))
    result = drystone(tmp_path, "verify")
    assert result.exit_code == 3
    assert "line 5 of the record" in result.output
    assert drystone(tmp_path, "task").exit_code == 1


def test_scopes(tmp_path: Path) -> None:
    auditor = KeyFile(History().auditor, History().account[8])
    history = History(policy_of(readers="auditors", auditors=(auditor.network.public.hex(),)), rounds=1).run()
    home = write_run(history, tmp_path)
    (tmp_path / "auditor.json").write_bytes(auditor.to_bytes())
    assert home.is_dir()
    assert drystone(tmp_path, "verify").exit_code == 4
    opened = drystone(tmp_path, "verify", "--scope", "auditor", "--key-file", str(tmp_path / "auditor.json"))
    assert opened.exit_code == 0, opened.output
    assert drystone(tmp_path, "verify", "--scope", "auditor").exit_code == 1
    assert drystone(tmp_path, "verify", "--scope", "everything").exit_code == 1


def test_replay_compares_every_round(run: Path, history: History) -> None:
    result = drystone(run, "replay")
    assert result.exit_code == 0
    assert result.output.count("sums equal, model equal, rewards equal") == 2
    assert history.headers[1].model_out.hex() in result.output
    told = json.loads(drystone(run, "replay", "--json").output)
    assert [row["model"]["equal"] for row in told] == [True, True]


def test_explain_gives_the_share_and_its_proof(run: Path, history: History) -> None:
    result = drystone(run, "explain", "end-4", "2")
    assert result.exit_code == 0
    assert "a share is floor(1,000 / 4) = 250; 0 stays in the pool" in result.output
    assert "before 250, earned 250, now 500 of 2,000 owed to all" in result.output
    assert history.headers[1].rewards_root.hex() in result.output
    told = json.loads(drystone(run, "explain", "4", "1", "--json").output)
    assert (told["before"], told["after"], all(step["holds"] for step in told["steps"])) == (0, 250, True)


def test_update_proves_inclusion_line_by_line(run: Path, history: History) -> None:
    result = drystone(run, "update", "end-6", "2")
    assert result.exit_code == 0
    assert result.output.count("holds ") == 9
    assert history.headers[1].inputs_root.hex() in result.output


def test_round_lists_who_took_part(run: Path) -> None:
    told = json.loads(drystone(run, "round", "1", "--json").output)
    assert [row["node"] for row in told["participants"]] == [4, 5, 6, 7]
    assert drystone(run, "round", "1").exit_code == 0


def test_node_tells_its_history(run: Path) -> None:
    told = json.loads(drystone(run, "node", "end-5", "--json").output)
    assert told["node"]["id"] == 5
    assert [row["round"] for row in told["rounds"]] == [1, 2]
    assert [entry["event"] for entry in told["events"]] == ["Registered"]
    assert "end-5" in drystone(run, "node", "end-5").output


def test_task_lists_its_rounds(run: Path) -> None:
    told = json.loads(drystone(run, "task", "1", "--json").output)
    assert [row["header"]["round"] for row in told["rounds"]] == [1, 2]
    assert "2 of 3 anchored, open" in drystone(run, "task").output


def test_log_lists_and_exports_the_record(run: Path, tmp_path: Path) -> None:
    told = json.loads(drystone(run, "log", "--json").output)
    assert [entry["event"] for entry in told] == ["Registered"] * 7 + ["TaskCreated"] + ["RoundAnchored"] * 2
    assert "RoundAnchored" in drystone(run, "log").output
    assert drystone(run, "log", "--export", str(tmp_path / "again.jsonl")).exit_code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == (run / "ledger.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("task", "9"), "the record holds no task 9; it holds: 1"),
        (("round", "9"), "no anchored round 9"),
        (("node", "nobody"), "the record knows no node 'nobody'"),
        (("update", "cloud", "1"), "holds no update of node 1"),
        (("explain", "end-4", "7"), "no anchored round 7"),
        (("verify", "--blobs", "/nowhere"), "/nowhere is no folder"),
    ],
)
def test_a_question_without_an_answer_is_one_clear_line(run: Path, words: tuple[str, ...], error: str) -> None:
    result = drystone(run, *words)
    assert result.exit_code == 1
    assert error in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_record_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    result = drystone(tmp_path, "verify")
    assert result.exit_code == 1
    assert "no record at" in result.stderr
