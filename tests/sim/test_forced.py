"""Updates that came past a silent edge: acknowledged by the rule of `ledger.forced`, used like any other, never ignored."""

from __future__ import annotations

import msgspec
import pytest

from ledger.audit.check import verify
from ledger.audit.report import Report
from ledger.dispute import find
from middleware.protocol.settlement import Forced, Received
from middleware.types import ZERO32, Header, Rule, Verdict
from tests.sim.history import CLOUD, DEVICES, TASK, History, Sent, policy_of
from tests.sim.trial import contracts, tried

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


@POLICIES
def test_a_forced_update_is_used_and_paid(policy: object) -> None:
    history = Past(policy).run()  # type: ignore[arg-type]
    report = audited(history)
    assert (report.verdict, report.findings) == (Verdict.VALID, ())
    assert find(history.record, history.store) == []
    assert len(history.manifests[1].forced) == 1 and history.headers[1].forced == history.headers[2].forced != ZERO32
    assert history.manifests[1].forced[0].weight > 0
    paid = [dict(manifest.rewards).get(4, 0) for manifest in history.manifests]
    assert paid[0] < paid[1]
    assert contracts(history).task(TASK).forced_done == 1


def test_an_update_that_was_not_delivered_is_acknowledged_and_not_listed() -> None:
    class Bodiless(Past):
        def taken(self, number: int) -> tuple[Received, ...]:
            return ()

    assert audited(Bodiless(MEAN).run()).verdict is Verdict.VALID


def test_an_update_for_a_round_that_is_over_is_acknowledged_and_not_listed() -> None:
    class Late(Past):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.sent = self.send(4, 1)
                event_round = self.sent
                self.force(event_round)

        def taken(self, number: int) -> tuple[Received, ...]:
            return ()

    assert audited(Late(MEAN).run()).verdict is Verdict.VALID


def test_a_device_that_its_edge_took_after_all_counts_once() -> None:
    class Both(Past):
        def send(self, node: int, number: int) -> Sent:
            if (node, number) == (4, 2) and hasattr(self, "sent"):
                return self.sent
            return super().send(node, number)

        def present(self, number: int) -> tuple[int, ...]:
            return DEVICES

        def taken(self, number: int) -> tuple[Received, ...]:
            if number != 2:
                return ()
            return (msgspec.structs.replace(self.sent.received, refused="duplicate", integers=None),)

    history = Both(MEAN).run()
    assert audited(history).verdict is Verdict.VALID
    assert history.manifests[1].forced[0].weight == 0


def test_a_cloud_that_ignores_a_forced_update_is_named_and_an_hour_later_punished() -> None:
    class Deaf(Past):
        patience = 0

        def header(self, number: int, header: Header) -> Header:
            if number == 2:
                self.block += self.patience  # blocks are seconds here
            return msgspec.structs.replace(header, forced=ZERO32)

        def taken(self, number: int) -> tuple[Received, ...]:
            return ()

    history = Deaf(MEAN, rounds=2).run()
    refused(history, "forced", 2, "update 1, of end-4 (node 4) for round 2, is ignored")
    assert find(history.record, history.store) == []
    Deaf.patience = 3601
    history = Deaf(MEAN, rounds=2).run()
    (offence,) = find(history.record, history.store)
    assert (offence.kind, offence.round, offence.accused) == ("forcedIgnored", 2, CLOUD)
    tried(history, offence)


def test_a_header_that_forgets_what_was_acknowledged_is_named() -> None:
    class Forgetful(Past):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, forced=ZERO32) if number == 3 else header

    refused(Forgetful(MEAN).run(), "forced", 3, "it acknowledges 0 of the 1 updates")


def test_an_acknowledgement_of_nothing_is_named() -> None:
    class Inventive(History):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, forced=b"\x07" * 32) if number == 1 else header

    refused(Inventive(MEAN, rounds=1).run(), "forced", 1, "which no forced update had given")


def test_an_update_that_nobody_forced_is_named() -> None:
    class Friendly(History):
        def present(self, number: int) -> tuple[int, ...]:
            return (5, 6, 7)

        def forced(self, number: int) -> Forced:
            sent = self.send(4, number)
            self.store.put(sent.body)
            return Forced(ZERO32, (sent.received,))

    refused(Friendly(MEAN, rounds=1).run(), "forced updates", 1, "the 1 listed are not")
