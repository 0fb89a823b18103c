"""`audit verify --task N` in a record of several tasks: it judges that one, and blames nobody for what it did not look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.audit.report import Report
from ledger.events import Claimed, Funded
from middleware.types import Verdict
from nodes.records import read_memories
from tests.sim.history import TASK, History
from tests.sim.judged import audited
from tests.sim.run_folder import write_run

OTHER, PUBLISHER = TASK + 1, b"\x99" * 20


@pytest.fixture(scope="module")
def paid() -> History:
    """Both rounds of the task are played, and device 4 has its share of them."""
    history = History(rounds=2).run()
    history.mine(Funded(TASK, PUBLISHER, 2000))
    history.mine(Claimed(TASK, 4, history.account[4].address, 500, 500))
    return history


@pytest.fixture(scope="module")
def home(paid: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(paid, tmp_path_factory.mktemp("paid"))


def judged(history: History, home: Path, task: int) -> Report:
    return audited(history, task=task, memories=read_memories(home, history.record.index.roster()))


@pytest.mark.parametrize("task", [0, TASK])
def test_the_task_is_valid_with_its_claims_and_databases(paid: History, home: Path, task: int) -> None:
    report = judged(paid, home, task)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    plain = audited(History(rounds=2).run(), task=task).counts["valid"]
    assert audited(paid, task=task).counts["valid"] > plain, "claims are judged too"


def test_the_audit_of_another_task_says_nothing_of_this_ones_claims_and_rows(paid: History, home: Path) -> None:
    report = judged(paid, home, OTHER)
    wrong = [finding.line() for finding in report.findings if finding.verdict is not Verdict.VALID]
    assert wrong == [f"UNVERIFIABLE: task {OTHER}: the record holds none such"]


def test_a_claim_that_no_round_promised_is_named_in_its_own_task_alone(paid: History) -> None:
    lying = History(rounds=2).run()
    lying.mine(Funded(TASK, PUBLISHER, 2000))
    lying.mine(Claimed(TASK, 4, lying.account[4].address, 501, 501))
    found = audited(lying, task=TASK).first
    assert found is not None and found.verdict is Verdict.INVALID
    assert "no round promised node 4 501" in found.what
    assert audited(lying, task=OTHER).verdict is Verdict.UNVERIFIABLE
