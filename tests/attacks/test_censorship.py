"""An edge never answers a device, or the cloud ignores what the device then puts before the ledger."""

from __future__ import annotations

import msgspec

from ledger.dispute import find
from middleware.protocol.settlement import Forced, Received
from middleware.types import ZERO32, Header, Verdict
from tests.sim.history import CLOUD, TASK, History
from tests.sim.past import MEAN, POLICIES, Past, audited, refused
from tests.sim.trial import contracts, tried


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
