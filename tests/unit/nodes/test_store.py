"""What a node must not forget, it does not forget; and a blob is whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from middleware.errors import ConfigurationError
from middleware.protocol.choice import REMEMBERED, Transfer
from nodes.store import Blobs, Contribution, Store


def item(node: int, place: int, child: int = 0, round: int = 1) -> Contribution:
    return Contribution(1, round, child or node, node, place, b"frame", bytes(32), b"reply")


def test_what_was_added_is_there_after_a_restart_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for node, place in ((7, 0), (5, 1), (6, 2)):
        store.add_contribution(item(node, place, child=3))
    store.mark_forwarded(1, 1, 5)
    store.mark_refused(1, 1, 3, 6, "off-grid")
    store.close()
    kept = Store(tmp_path).contributions(1, 1, child=3)
    assert [(c.node, c.place, c.forwarded, c.refused) for c in kept] == [
        (7, 0, False, ""),
        (5, 1, True, ""),
        (6, 2, False, "off-grid"),
    ]


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="crash"), store.transaction():
        store.put_settled(1, 1, b"header", bytes(32), b"{}")
        raise RuntimeError("crash")
    assert store.settled(1) == []
    with store.transaction():
        store.put_settled(1, 1, b"header", bytes(32), b"{}")
    store.close()
    assert Store(tmp_path).settled(1) == [(1, b"header", bytes(32), b"{}")]


def test_sequence_numbers_only_grow_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.next_sequence(100) == 100
    assert store.next_sequence(50) == 101
    store.close()
    assert Store(tmp_path).next_sequence(7) == 102


def test_the_last_uploads_are_known_after_a_restart_and_no_older_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.uploads() == []
    made = [Transfer(1000 * number, 0.5) for number in range(1, 8)]
    for transfer in made:
        store.put_upload(transfer)
    store.close()
    store = Store(tmp_path)
    assert store.uploads() == made[-REMEMBERED:]
    assert store.connection.execute("SELECT count(*) FROM upload").fetchone() == (REMEMBERED,)


def test_the_residual_is_taken_back_when_its_update_was_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_residual(1, b"after", b"whole")
    assert store.residual(1) == b"after"
    store.take_back_residual(1)
    store.close()
    assert Store(tmp_path).residual(1) == b"whole"


def test_an_update_is_answered_once_and_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.outgoing(1, 1) is None
    store.put_outgoing(1, 1, b"frame", bytes(32))
    assert store.outgoing(1, 1) == (b"frame", bytes(32), None, "")
    store.answer_outgoing(1, 1, b"receipt", "receipt")
    store.close()
    assert Store(tmp_path).outgoing(1, 1) == (b"frame", bytes(32), b"receipt", "receipt")


def test_the_last_offer_is_the_newest_task_and_round(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for task, round in ((1, 2), (2, 1), (1, 9)):
        store.put_offer(task, round, "open", f"{task}.{round}".encode(), 0.0)
    assert store.last_offer() == (2, 1, "open", b"2.1", 0.0)
    assert store.offer(1, 9) == b"1.9"
    assert store.offer(3, 1) is None


def test_a_blob_is_found_under_its_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = blobs.put(b"stone")
    assert digest == hashlib.sha256(b"stone").digest()
    assert blobs.get(digest) == b"stone" and blobs.has(digest)
    assert blobs.get(bytes(32)) is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [digest.hex()], "no temporary file stays"


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(ConfigurationError, match="not a usable node database"):
        Store(tmp_path)


def test_a_receipt_is_asked_after_until_its_proof_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for round in (1, 2, 3):
        store.put_outgoing(1, round, b"frame", bytes(32))
        store.answer_outgoing(1, round, b"reply", "receipt" if round != 2 else "wrong-round")
    assert [round for round, _, _ in store.receipts(1)] == [1, 3]
    store.put_proof(1, 1, b"proof")
    assert store.receipts(1) == [(3, b"frame", b"reply")]


def test_contributions_stand_in_the_order_of_the_places_that_were_promised(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place, node in enumerate((9, 7, 8)):
        store.add_contribution(Contribution(1, 1, node, node, place, b"frame", bytes(32), b"reply"))
    assert [item.node for item in store.contributions(1, 1)] == [9, 7, 8]
