"""Histories in which a device goes past its edge."""

from __future__ import annotations

import pytest

from ledger.audit.check import verify
from ledger.audit.report import Report
from middleware.policy import Rule
from middleware.protocol.settlement import Forced, Received
from middleware.types import Verdict
from tests.sim.history import DEVICES, History, Sent, policy_of

MEAN = policy_of(rule=Rule("mean", 0), min_updates=1)


TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)


POLICIES = pytest.mark.parametrize("policy", [None, MEAN, TWO_LEVEL], ids=["multi-krum", "mean", "two-level"])


class Past(History):
    """The edge of device 4 is silent in round 2: the device forces its update in."""

    sent: Sent

    def before_round(self, number: int) -> None:
        if number == 2:
            self.sent = self.send(4, 2)
            self.force(self.sent)

    def present(self, number: int) -> tuple[int, ...]:
        return tuple(node for node in DEVICES if (node, number) != (4, 2))

    def forced(self, number: int) -> Forced:
        return Forced(self.chain, self.taken(number))

    def taken(self, number: int) -> tuple[Received, ...]:
        return (self.sent.received,) if number == 2 else ()


def audited(history: History) -> Report:
    return verify(history.record, history.store)


def refused(history: History, subject: str, round: int, words: str) -> None:
    report = audited(history)
    assert report.verdict is Verdict.INVALID and report.first is not None
    assert (report.first.subject, report.first.round) == (subject, round), report.first.line()
    assert words in report.first.what
    assert "cloud" in report.first.proven_by
