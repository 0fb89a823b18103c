"""An honest run gives nobody anything to prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.dispute import find
from middleware.policy import Policy
from nodes.records import read_memories
from tests.sim.history import History
from tests.sim.liars import MEAN, MEDIAN, TRIMMED, TWO_LEVEL, Wide
from tests.sim.run_folder import write_run


@pytest.mark.parametrize(
    "policy", [None, MEAN, TWO_LEVEL, MEDIAN, TRIMMED], ids=["krum", "mean", "two", "median", "trim"]
)
def test_an_honest_run_yields_nothing(policy: Policy | None, tmp_path: Path) -> None:
    history = History(policy).run()
    home = write_run(history, tmp_path)
    assert find(history.record, history.store, read_memories(home, history.record.index.roster())) == []


def test_an_honest_wide_run_yields_nothing() -> None:
    for policy in (MEAN, TWO_LEVEL):
        history = Wide(policy, rounds=1).run()
        assert len(history.manifests[0].edges[0].updates) == 19
        assert find(history.record, history.store) == []
