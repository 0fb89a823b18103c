"""An edge signs two things for one place."""

from __future__ import annotations

import msgspec

from ledger.audit.memory import ContributionRow, Memory
from ledger.dispute import find
from middleware.trust import keys, roots
from middleware.wire.message import EdgeReport, Update, decode_stored
from tests.sim.history import CLOUD, DOMAIN, TASK, History
from tests.sim.liars import named, only, receipt_row
from tests.sim.trial import tried


def test_one_place_promised_twice() -> None:
    history = History().run()
    frames = [row.frame for row in history.manifests[0].edges[0].updates]
    rows = []
    for frame in frames:
        leaf = decode_stored(frame, Update).message.leaf
        rows.append(receipt_row(history, 2, 1, 9, roots.leaf_hash(DOMAIN.context, leaf), frame))
    memories = [Memory("a", 4, outgoing=(rows[0],)), Memory("b", 5, outgoing=(rows[1],))]
    found = find(history.record, history.store, memories)
    assert [offence.kind for offence in found] == ["conflictingReceipts", "omission"]  # place 9 is beyond the count too
    for offence in found:
        named(offence, offence.kind, 1, 2)
        tried(history, offence)


def test_one_round_reported_twice() -> None:
    history = History().run()
    signed = decode_stored(history.manifests[0].edges[0].report, EdgeReport)
    other = msgspec.structs.replace(signed.message.leaf, count=7)
    message = msgspec.structs.replace(
        signed.message, leaf=other, root_signature=keys.sign_edge_root(DOMAIN, history.account[2], other)
    )
    frame = keys.sign_message(DOMAIN.context, history.network[2], message).stored()
    row = ContributionRow(TASK, 1, 2, 2, 0, frame, b"", b"", "")
    named(only(history, [Memory("cloud", CLOUD, contributions=(row,))]), "conflictingRoots", 1, 2)
