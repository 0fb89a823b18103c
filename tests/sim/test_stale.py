"""A base that cannot be is refused by name, and a cloud that weighs or uses an update otherwise is found out."""

from __future__ import annotations

import pytest

from ledger.audit.check import verify
from ledger.audit.report import Report
from ledger.dispute import find
from ledger.disputed_sums import Right, node, within
from middleware.errors import PeerFault
from middleware.policy import Rule, Schedule
from middleware.protocol import settlement, staleness
from middleware.types import Verdict
from middleware.wire.message import Metrics
from tests.sim.history import CLOUD, DEVICES, History, policy_of
from tests.sim.judged import update_of
from tests.sim.liars import Adder, named, off_by_one, only
from tests.sim.trial import tried

LATE = policy_of(
    rule=Rule("mean", 0), min_updates=1, schedule=Schedule(arrivals=4, staleness="inverse", stalest=2), rounds=4
)


class Late(History):
    """Each device is one round later than the one before it, as far as there were rounds."""

    def __init__(self, bases: dict[tuple[int, int], object] | None = None) -> None:
        super().__init__(LATE, rounds=4)
        self.bases = bases or {}

    def metrics_of(self, node: int, number: int) -> Metrics:
        late = max(1, number - min(2, DEVICES.index(node)))
        return {"base": self.bases.get((node, number), late)}  # type: ignore[dict-item]


def audited(history: History) -> Report:
    return verify(history.record, history.store)


def test_stale_updates_count_less_and_the_round_replays() -> None:
    history = Late().run()
    report = audited(history)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    rows = [row.weight for edge in history.manifests[3].edges for row in edge.updates]
    assert rows == [14 * 1024, 15 * 1024, 16 * 1024 // 2, 17 * 1024 // 2]
    assert find(history.record, history.store) == [], "the ledger's judges agree with weights that staleness made"


@pytest.mark.parametrize(
    ("base", "why"),
    [
        (5, "starts from round 5"),
        (0, "starts from round 0"),
        (1, "3 rounds old, at most 2"),
        ("3", "does not say"),
        (3.0, "does not say"),
    ],
)
def test_a_base_that_cannot_be_is_refused(base: object, why: str) -> None:
    with pytest.raises(PeerFault, match=why) as caught:
        Late({(6, 4): base}).run()
    assert caught.value.code == "stale"


def test_a_cloud_that_uses_an_update_from_a_future_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = staleness.base_of
    with monkeypatch.context() as lying:
        lying.setattr(staleness, "base_of", lambda one, policy: 4 if one.leaf.round == 4 else honest(one, policy))
        history = Late({(6, 4): 9}).run()
    report = audited(history)
    assert report.verdict is Verdict.INVALID and report.first is not None
    assert (report.first.subject, report.first.round) == ("content of the update of end-6 (node 6)", 4)
    assert "starts from round 9" in report.first.line()


class Misadds(Adder):
    """A cloud whose sum over the first edge's weighed updates is off by one."""

    def metrics_of(self, node: int, number: int) -> Metrics:
        return {"base": number}

    def rights(self, number: int) -> list[Right]:
        weights = [settlement.used_weights(self.policy, rows) for rows in self.got]
        self.trees = [
            within([(row.integers, of[row.leaf.node]) for row in rows], self.policy.parameters)
            for rows, of in zip(self.got, weights, strict=True)
        ]
        return [tree.top for tree in self.trees]

    def lie(self, number: int) -> bytes:
        first, second = self.rights(number)
        assert first.vector is not None
        return self.show([node(off_by_one(first.vector, 300)), second])


def test_a_wrong_sum_of_weighed_updates_is_proven_on_the_ledger() -> None:
    history = Misadds(LATE, rounds=1).run()
    offence = only(history)
    named(offence, "wrongGroup", 1, CLOUD)
    tried(history, offence)


def test_a_cloud_that_calls_a_stale_update_fresh_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as lying:
        lying.setattr(
            settlement, "used_weights", lambda policy, rows: {row.leaf.node: 1024 * row.leaf.weight for row in rows}
        )
        history = Late().run()
    report = audited(history)
    assert report.verdict is Verdict.INVALID and report.first is not None
    assert report.first.fault == "wrong-weight" and report.first.round == 3
    assert update_of(history, 3, 6).leaf.weight == 16
