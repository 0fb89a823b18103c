"""An edge leaves out what it gave a receipt for, and so does a cloud."""

from __future__ import annotations

import pytest

from ledger.audit.memory import Memory
from ledger.dispute import find
from middleware.policy import Policy
from middleware.trust import roots
from middleware.wire.message import EdgeReport, decode_stored
from tests.sim.history import CLOUD, DOMAIN, History, Sent
from tests.sim.liars import TWO_LEVEL, device_memory, named, only, receipt_row


class Dropped(History):
    """Edge 2 takes the update of device 5 in round 2, gives a receipt, and leaves it out."""

    place = 1

    def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
        if (edge, number) != (2, 2):
            return sent
        self.dropped = sent[1]
        return self.without(sent)

    def without(self, sent: list[Sent]) -> list[Sent]:
        return sent[:1]


class Replaced(Dropped):
    """The place of device 4 went to device 5."""

    place = 0

    def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
        if (edge, number) != (2, 2):
            return sent
        self.dropped = sent[0]
        return sent[1:]


@pytest.mark.parametrize("kind", [Dropped, Replaced])
@pytest.mark.parametrize("policy", [None, TWO_LEVEL], ids=["flat", "two-level"])
def test_an_edge_that_drops_what_it_promised(kind: type[Dropped], policy: Policy | None) -> None:
    history = kind(policy).run()
    assert find(history.record, history.store) == []  # nobody shows the receipt
    offence = only(history, [device_memory(history, history.dropped, history.place, 2)])
    named(offence, "omission", 2, 2)
    assert offence.beneficiary == "the account of the device that was left out"


@pytest.mark.parametrize("index", [1, 2])
def test_a_cloud_that_drops_an_edges_report(index: int) -> None:
    history = History().run()
    frame = history.manifests[0].edges[0].report
    leaf = decode_stored(frame, EdgeReport).message.leaf
    row = receipt_row(history, CLOUD, 1, index, roots.edge_leaf_hash(DOMAIN.context, leaf), frame)
    named(only(history, [Memory("edge", 2, outgoing=(row,))]), "edgeOmission", 1, CLOUD)
