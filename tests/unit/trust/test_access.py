"""The order of the checks, the child's side, and the allowance; single abuses are in tests/attacks/test_messages.py."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import access, keys, roots
from middleware.trust.eip712 import Domain
from middleware.types import EdgeLeaf, Leaf, Limits, Node, Receipt, Roster, Status, Tier
from middleware.wire import message

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
LEDGER = Domain(31337, bytes(20))
NETWORK = {number: keys.NetworkKey(bytes([number]) * 32) for number in range(1, 9)}
ACCOUNT = {number: keys.AccountKey(bytes([number]) * 32) for number in range(1, 9)}
CLOUD, EDGE, DEVICE, OTHER_EDGE, STRANGERS_CLOUD = 1, 2, 3, 4, 5


def node(number: int, tier: Tier, parent: int, status: Status = Status.ACTIVE) -> Node:
    address = ACCOUNT[number].address
    return Node(number, NETWORK[number].public, address, address, tier, status, parent, f"node-{number}")


ROSTER = Roster(
    1,
    {
        CLOUD: node(CLOUD, Tier.CLOUD, 0),
        EDGE: node(EDGE, Tier.EDGE, CLOUD),
        DEVICE: node(DEVICE, Tier.END, EDGE),
        OTHER_EDGE: node(OTHER_EDGE, Tier.EDGE, CLOUD),
        STRANGERS_CLOUD: node(STRANGERS_CLOUD, Tier.CLOUD, 0),
    },
)
METRICS = message.encode_metrics({"loss": 0.5})


def desk(me: int, **changes: Any) -> access.Desk:
    return msgspec.structs.replace(access.Desk(me, LEDGER, ROSTER, task=7, round=3), **changes)


def update(sender: int = DEVICE, signer: int | None = None, **changes: Any) -> message.Signed[message.Update]:
    fields: dict[str, Any] = {
        "task": 7, "round": 3, "node": sender, "edge": EDGE, "sequence": 9, "weight": 32, "ciphertext": bytes(32),
        "update_root": bytes(32), "metrics": hashlib.sha256(METRICS).digest(),
    }  # fmt: skip
    body_bytes = changes.pop("body_bytes", 100)
    leaf = Leaf(**{**fields, **changes})
    value = message.Update(sender, leaf.sequence, leaf, (), METRICS, leaf.ciphertext, body_bytes)
    return keys.sign_message(LEDGER.context, NETWORK[signer or sender], value)


def refused(code: str, judge: Any, *arguments: Any) -> None:
    with pytest.raises(PeerFault) as caught:
        judge(*arguments)
    assert caught.value.code == code


def test_an_honest_update_passes() -> None:
    access.judge_update(desk(EDGE), update())
    access.judge_update(desk(EDGE, sequences={DEVICE: 8}, received={OTHER_EDGE: bytes(32)}), update())


def test_refusals_come_in_the_documented_order() -> None:
    """One update that is wrong in every way; each repair shows the next fault."""
    wrong = update(DEVICE, CLOUD, task=8, round=4, edge=OTHER_EDGE, weight=100, sequence=5)
    suspended = Roster(1, {**ROSTER.nodes, DEVICE: node(DEVICE, Tier.EDGE, CLOUD, Status.SUSPENDED)})
    tierless = Roster(1, {**ROSTER.nodes, DEVICE: node(DEVICE, Tier.EDGE, CLOUD)})
    elsewhere = Roster(1, {**ROSTER.nodes, DEVICE: node(DEVICE, Tier.END, OTHER_EDGE)})
    full = {"received": {DEVICE: bytes(32)}, "sequences": {DEVICE: 9}, "samples_cap": 50}
    for code, value, place in (
        ("unknown", wrong, desk(EDGE, roster=Roster(1, {EDGE: ROSTER.nodes[EDGE]}), **full)),
        ("suspended", wrong, desk(EDGE, roster=suspended, **full)),
        ("wrong-tier", wrong, desk(EDGE, roster=tierless, **full)),
        ("wrong-parent", wrong, desk(EDGE, roster=elsewhere, **full)),
        ("wrong-parent", wrong, desk(EDGE, **full)),
        ("wrong-task", update(signer=CLOUD, task=8, round=4, weight=100, sequence=5), desk(EDGE, **full)),
        ("wrong-round", update(signer=CLOUD, round=4, weight=100, sequence=5), desk(EDGE, **full)),
        ("too-large", update(signer=CLOUD, weight=100, sequence=5), desk(EDGE, **full)),
        ("duplicate", update(signer=CLOUD, sequence=5), desk(EDGE, **full)),
        ("replayed", update(signer=CLOUD, sequence=5), desk(EDGE, sequences={DEVICE: 9})),
        ("forged", update(signer=CLOUD, sequence=10), desk(EDGE, sequences={DEVICE: 9})),
    ):
        refused(code, access.judge_update, place, value)
    access.judge_update(desk(EDGE, sequences={DEVICE: 9}), update(sequence=10))


def test_nothing_is_open_between_rounds() -> None:
    refused("wrong-task", access.judge_update, desk(EDGE, task=0), update(task=0))
    refused("wrong-round", access.judge_update, desk(EDGE, round=0), update(round=0))


def test_the_same_bytes_again_are_a_repeat_and_others_are_not() -> None:
    first, second = update(), update(sequence=10)
    place = desk(EDGE, received={DEVICE: access.fingerprint(first)}, sequences={DEVICE: 9})
    assert access.is_repeat(place, first)
    assert not access.is_repeat(place, second)
    assert not access.is_repeat(desk(EDGE), first)
    bent = message.Signed(first.message, first.header, bytes(64))
    assert not access.is_repeat(place, bent)
    refused("duplicate", access.judge_update, place, second)


def test_a_full_round_takes_no_more() -> None:
    place = desk(EDGE, received={number: bytes(32) for number in (90, 91)}, limits=Limits(children=2))
    refused("too-large", access.judge_update, place, update())


def offer(sender: int = CLOUD, signer: int | None = None, sequence: int = 4, **changes: Any) -> Any:
    value = message.Offer(sender, sequence, 7, 3, bytes(32), bytes(32), 1000, -13, 30.0, bytes(32))
    return keys.sign_message(LEDGER.context, NETWORK[signer or sender], msgspec.structs.replace(value, **changes))


def test_an_offer_reaches_edge_and_device_unchanged() -> None:
    access.judge_offer(desk(EDGE), offer())
    access.judge_offer(desk(DEVICE), offer())
    assert access.cloud_above(ROSTER, ROSTER.nodes[DEVICE]) == CLOUD
    assert access.cloud_above(Roster(1, {}), ROSTER.nodes[DEVICE]) == 0


def test_the_last_offer_may_come_again_and_no_older_one() -> None:
    last = offer(sequence=5)
    place = desk(DEVICE, sequences={CLOUD: 5}, received={CLOUD: access.fingerprint(last)})
    access.judge_offer(place, last)
    refused("replayed", access.judge_offer, place, offer(sequence=4))
    refused("replayed", access.judge_offer, place, offer(sequence=5, model_bytes=1))
    access.judge_offer(place, offer(sequence=6))


def test_only_the_cloud_above_makes_offers() -> None:
    refused("wrong-tier", access.judge_offer, desk(DEVICE), offer(EDGE))
    refused("wrong-parent", access.judge_offer, desk(DEVICE), offer(STRANGERS_CLOUD))
    refused("forged", access.judge_offer, desk(DEVICE), offer(CLOUD, signer=EDGE))
    refused("too-large", access.judge_offer, desk(DEVICE, limits=Limits(blob_bytes=999)), offer())


def reply(sender: int = EDGE, signer: int | None = None, **changes: Any) -> message.Signed[message.ReceiptReply]:
    fields: dict[str, Any] = {"task": 7, "round": 3, "edge": sender, "index": 0, "leaf": b"l" * 32}
    receipt = Receipt(**{**fields, **changes})
    signature = keys.sign_receipt(LEDGER, ACCOUNT[signer or sender], receipt)
    value = message.ReceiptReply(sender, 1, receipt, signature)
    return keys.sign_message(LEDGER.context, NETWORK[sender], value)


def test_a_receipt_from_my_parent_for_my_leaf_passes() -> None:
    access.judge_receipt(desk(DEVICE), reply(), b"l" * 32)
    access.judge_receipt(desk(EDGE), reply(CLOUD), b"l" * 32)


def test_a_receipt_that_would_not_hold_on_the_ledger_is_refused() -> None:
    for code, value in (
        ("wrong-parent", reply(OTHER_EDGE)),
        ("wrong-task", reply(task=8)),
        ("wrong-round", reply(round=2)),
        ("mismatch", reply(leaf=bytes(32))),
        ("forged", reply(signer=CLOUD)),
    ):
        refused(code, access.judge_receipt, desk(DEVICE), value, b"l" * 32)


def test_two_leaves_at_one_place_are_evidence() -> None:
    first = Receipt(7, 3, EDGE, 0, bytes(32))
    access.require_same_receipt(first, first)
    access.require_same_receipt(first, Receipt(7, 3, EDGE, 1, b"\1" * 32))
    refused("forged", access.require_same_receipt, first, Receipt(7, 3, EDGE, 0, b"\1" * 32))


def report_of(*updates: message.Signed[message.Update]) -> tuple[message.EdgeReport, message.EdgeBody]:
    tree = roots.edge_tree(LEDGER.context, [signed.message.leaf for signed in updates])
    leaf = EdgeLeaf(7, 3, EDGE, tree.root, tree.size, bytes(32))
    body = message.EdgeBody(tuple(signed.stored() for signed in updates), ("",) * len(updates))
    data = message.encode_edge_body(body)
    root = keys.sign_edge_root(LEDGER, ACCOUNT[EDGE], leaf)
    return message.EdgeReport(EDGE, 5, leaf, root, 32, (), hashlib.sha256(data).digest(), len(data)), body


def test_an_honest_report_brings_its_updates() -> None:
    report, body = report_of(update())
    access.judge_report(desk(CLOUD), keys.sign_message(LEDGER.context, NETWORK[EDGE], report))
    assert access.judge_report_body(desk(CLOUD), report, body) == ((update(), ""),)
    marked = msgspec.structs.replace(body, refused=("off-grid",))
    assert access.judge_report_body(desk(CLOUD), report, marked)[0][1] == "off-grid"


def test_a_device_suspended_after_its_receipt_is_marked_and_not_its_edges_fault() -> None:
    roster = Roster(1, {**ROSTER.nodes, DEVICE: node(DEVICE, Tier.END, EDGE, Status.SUSPENDED)})
    report, body = report_of(update())
    assert access.judge_report_body(desk(CLOUD, roster=roster), report, body)[0][1] == "suspended"


def test_a_desk_of_a_node_that_the_ledger_does_not_know_is_our_fault() -> None:
    with pytest.raises(ConfigurationError):
        access.judge_update(desk(8), update())


def test_a_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    bucket = access.TokenBucket.full(rate=2.0, burst=3.0, now=10.0)
    for _ in range(3):
        bucket, wait = access.take(bucket, 10.0)
        assert wait == 0.0
    bucket, wait = access.take(bucket, 10.0)
    assert wait == 0.5
    bucket, wait = access.take(bucket, 10.5)
    assert wait == 0.0
    bucket, wait = access.take(bucket, 9.0)  # the clock stepped back
    assert wait == 0.5


@FIXED
@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 10), st.floats(1, 20))
def test_no_schedule_gets_more_than_burst_and_rate(pauses: list[float], rate: float, burst: float) -> None:
    now, taken = 0.0, 0
    bucket = access.TokenBucket.full(rate, burst, now)
    for pause in pauses:
        now += pause
        bucket, wait = access.take(bucket, now)
        taken += wait == 0.0
        assert wait <= 1 / rate + 1e-9
    assert taken <= burst + rate * now + 1e-6
