"""Updates that devices put before the ledger: what becomes of those that need no court."""

from __future__ import annotations

import msgspec

from middleware.protocol.settlement import Received
from middleware.types import Verdict
from tests.sim.history import DEVICES, Sent
from tests.sim.past import MEAN, Past, audited


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
