"""Attacks with messages. The attacker is a stranger, a member or an edge; he sends what he likes to any node. Each test
is one attempt by name and ends in the refusal that stops it; the line that stops it is in `middleware.trust.access`,
`.keys`, `.seal` or `middleware.wire`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import PeerFault
from middleware.trust import access, keys, roots, seal
from middleware.trust.eip712 import Domain
from middleware.types import EdgeLeaf, Leaf, Limits, Node, Roster, Status, Tier
from middleware.wire import canonical, commitment, frame, message

LEDGER, REGISTRY = Domain(31337, bytes(20)), Domain(31337, b"\7" * 20)
CLOUD, EDGE, DEVICE, OTHER_EDGE, NEIGHBOUR, STRANGER = 1, 2, 3, 4, 5, 6
NETWORK = {number: keys.NetworkKey(bytes([number]) * 32) for number in range(1, 9)}
ACCOUNT = {number: keys.AccountKey(bytes([number]) * 32) for number in range(1, 9)}
BODY = b"a sealed body"
METRICS = message.encode_metrics({"loss": 0.5})


def node(number: int, tier: Tier, parent: int, status: Status = Status.ACTIVE) -> Node:
    address = ACCOUNT[number].address
    return Node(number, NETWORK[number].public, address, address, tier, status, parent, f"node-{number}")


NODES = {
    CLOUD: node(CLOUD, Tier.CLOUD, 0),
    EDGE: node(EDGE, Tier.EDGE, CLOUD),
    DEVICE: node(DEVICE, Tier.END, EDGE),
    OTHER_EDGE: node(OTHER_EDGE, Tier.EDGE, CLOUD),
    NEIGHBOUR: node(NEIGHBOUR, Tier.END, EDGE),
}


def desk(me: int = EDGE, **changes: Any) -> access.Desk:
    return msgspec.structs.replace(access.Desk(me, LEDGER, Roster(1, NODES), task=7, round=3), **changes)


def leaf(**changes: Any) -> Leaf:
    fields: dict[str, Any] = {
        "task": 7, "round": 3, "node": DEVICE, "edge": EDGE, "sequence": 9, "weight": 32,
        "ciphertext": hashlib.sha256(BODY).digest(), "update_root": bytes(32),
        "metrics": hashlib.sha256(METRICS).digest(),
    }  # fmt: skip
    return Leaf(**{**fields, **changes})


def update(
    signer: int | None = None, domain: Domain = LEDGER, body_bytes: int = len(BODY), **changes: Any
) -> message.Signed[message.Update]:
    made = leaf(**changes)
    value = message.Update(made.node, made.sequence, made, (), METRICS, made.ciphertext, body_bytes)
    return keys.sign_message(domain.context, NETWORK[signer or made.node], value)


def poll(sender: int, signer: int | None = None, sequence: int = 1) -> message.Signed[message.Poll]:
    return keys.sign_message(LEDGER.context, NETWORK[signer or sender], message.Poll(sender, sequence))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(PeerFault) as caught:
        act()
    assert caught.value.code == code


def test_what_is_attacked_is_accepted_when_it_is_honest() -> None:
    access.judge_update(desk(), update())
    access.judge_poll(desk(), poll(DEVICE))


# ------------------------------------------------------------------------------------------------------------ identity


def test_a_stranger_sends_an_update() -> None:
    refused("unknown", lambda: access.judge_update(desk(), update(node=STRANGER)))


def test_a_stranger_signs_as_a_member() -> None:
    refused("forged", lambda: access.judge_update(desk(), update(signer=STRANGER)))


def test_a_member_signs_as_another_member() -> None:
    refused("forged", lambda: access.judge_update(desk(), update(signer=NEIGHBOUR)))


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.PENDING, "pending"), (Status.SUSPENDED, "suspended"), (Status.REVOKED, "revoked")],
)
def test_a_node_that_was_not_admitted_or_was_thrown_out_goes_on(status: Status, code: str) -> None:
    place = desk(roster=Roster(1, {**NODES, DEVICE: node(DEVICE, Tier.END, EDGE, status)}))
    refused(code, lambda: access.judge_update(place, update()))
    refused(code, lambda: access.judge_poll(place, poll(DEVICE)))


def test_a_revoked_key_signs_after_its_rotation() -> None:
    rotated = msgspec.structs.replace(NODES[DEVICE], net_key=NETWORK[8].public)
    place = desk(roster=Roster(1, {**NODES, DEVICE: rotated}))
    refused("forged", lambda: access.judge_update(place, update()))
    access.judge_update(place, update(signer=8))


def test_an_edge_poses_as_a_device() -> None:
    refused("wrong-tier", lambda: access.judge_update(desk(), update(node=OTHER_EDGE)))


def test_a_device_reports_to_the_cloud_past_its_edge() -> None:
    refused("wrong-tier", lambda: access.judge_update(desk(CLOUD), update(edge=CLOUD)))


def test_a_device_goes_to_an_edge_that_is_not_its_parent() -> None:
    refused("wrong-parent", lambda: access.judge_update(desk(OTHER_EDGE), update(edge=OTHER_EDGE)))
    refused("wrong-parent", lambda: access.judge_poll(desk(OTHER_EDGE), poll(DEVICE)))


def test_a_leaf_made_for_one_edge_is_given_to_another() -> None:
    refused("wrong-parent", lambda: access.judge_update(desk(), update(edge=OTHER_EDGE)))


# -------------------------------------------------------------------------------------------------------- replay, time


def test_a_recorded_message_is_sent_again() -> None:
    seen = update()
    refused("replayed", lambda: access.judge_update(desk(sequences={DEVICE: 9}), seen))
    refused("replayed", lambda: access.judge_poll(desk(sequences={DEVICE: 1}), poll(DEVICE)))


def test_a_recorded_update_is_sent_in_a_later_round() -> None:
    refused("wrong-round", lambda: access.judge_update(desk(round=4), update()))


def test_an_update_is_sent_ahead_of_its_round() -> None:
    refused("wrong-round", lambda: access.judge_update(desk(), update(round=4)))


def test_an_update_is_sent_to_another_task() -> None:
    refused("wrong-task", lambda: access.judge_update(desk(task=8), update()))


def test_a_second_update_in_the_same_round_replaces_the_first() -> None:
    place = desk(received={DEVICE: access.fingerprint(update())}, sequences={DEVICE: 9})
    refused("duplicate", lambda: access.judge_update(place, update(sequence=10, weight=1)))


def test_a_signature_for_another_chain_is_used_here() -> None:
    refused("forged", lambda: access.judge_update(desk(), update(domain=Domain(1, LEDGER.contract))))


def test_a_signature_for_another_ledger_contract_is_used_here() -> None:
    refused("forged", lambda: access.judge_update(desk(), update(domain=Domain(31337, b"\1" * 20))))


def test_a_signature_over_one_type_is_moved_to_another_type() -> None:
    """Poll and a four-field message of another type could share header bytes; the digest names the type."""
    signed = poll(DEVICE)
    digest = message.signing_digest(LEDGER.context, 5, signed.header)
    assert keys.verify_network(
        NETWORK[DEVICE].public, message.signing_digest(LEDGER.context, 1, signed.header), signed.signature
    )
    assert not keys.verify_network(NETWORK[DEVICE].public, digest, signed.signature)


# ----------------------------------------------------------------------------------------------------------------- size


def test_a_head_announces_terabytes() -> None:
    head = frame.MAGIC + b"\3" + b"\xff" * 4 + b"\xff" * 8
    refused("too-large", lambda: frame.parse_head(head))


def test_a_body_is_longer_than_the_task_can_need() -> None:
    refused("too-large", lambda: access.judge_update(desk(body_bytes=len(BODY) - 1), update()))


def test_a_device_declares_more_samples_than_the_policy_allows() -> None:
    refused("too-large", lambda: access.judge_update(desk(samples_cap=31), update()))


def test_a_flood_of_contributions_fills_the_round() -> None:
    place = desk(received={100: bytes(32)}, limits=Limits(children=1))
    refused("too-large", lambda: access.judge_update(place, update()))


def test_an_array_announces_four_billion_elements() -> None:
    refused("malformed", lambda: message.decode_message(3, b"\xdd\xff\xff\xff\xff"))
    refused("malformed", lambda: message.decode_edge_body(b"\x94\xdd\xff\xff\xff\xff"))


def test_a_header_nests_deeper_than_the_stack() -> None:
    deep = b"\x95\x01\x01\x00\x00" + b"\x91" * 60_000
    refused("malformed", lambda: message.decode_message(1, deep))


# ---------------------------------------------------------------------------------------------------------------- bytes


def test_one_message_is_spelled_in_two_ways() -> None:
    header = update().header
    longer = b"\xdc\x00\x08" + header[1:]  # the same array with a longer length
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(header)
    refused("malformed", lambda: message.decode_message(3, longer))


def test_a_field_is_smuggled_behind_the_last() -> None:
    header = message.encode_header(message.Poll(DEVICE, 1))
    refused("malformed", lambda: message.decode_message(1, b"\x95" + header[1:] + b"\x2a"))
    refused("malformed", lambda: message.decode_message(1, header + b"\x2a"))


def test_the_body_is_swapped_in_transit() -> None:
    data = update().frame(BODY)
    refused("mismatch", lambda: message.decode_whole(data[: -len(BODY)] + bytes(len(BODY)), message.Update))


def test_the_leaf_commits_to_another_body_than_the_header() -> None:
    fields = msgspec.msgpack.decode(update().header)
    fields[5] = bytes(32)
    refused("malformed", lambda: message.decode_message(3, canonical.encode(fields)))


def test_the_sender_puts_anothers_name_into_the_leaf() -> None:
    fields = msgspec.msgpack.decode(update().header)
    fields[2][2] = NEIGHBOUR
    refused("malformed", lambda: message.decode_message(3, canonical.encode(fields)))


def test_every_single_bit_of_a_signed_message_matters() -> None:
    data = update().stored()
    for bit in range(8 * len(data)):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerFault):
            access.judge_update(desk(), message.decode_stored(bytes(bent), message.Update))


@settings(derandomize=True, deadline=None, max_examples=300, database=None)
@given(st.data())
def test_mutated_frames_are_never_accepted(data: st.DataObject) -> None:
    whole = update().frame(BODY)
    start, end = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    bent = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    if bent == whole:
        return
    with pytest.raises(PeerFault):
        signed, _ = message.decode_whole(bent, message.Update)
        access.judge_update(desk(), signed)


@settings(derandomize=True, deadline=None, max_examples=500, database=None)
@given(st.binary(max_size=300), st.integers(0, 8))
def test_random_frames_are_never_accepted_and_break_nothing(noise: bytes, code: int) -> None:
    for attempt in (noise, frame.encode_frame(code, noise, bytes(64))):
        for kind in message.KINDS.values():
            try:
                signed, _ = message.decode_whole(attempt, kind)
            except PeerFault:
                continue
            assert not keys.message_is_signed_by(LEDGER.context, NETWORK[DEVICE].public, signed)


# --------------------------------------------------------------------------------------------------------- a lying edge


def report(
    *updates: message.Signed[message.Update], signer: int = EDGE, account: int = EDGE, **changes: Any
) -> tuple[message.Signed[message.EdgeReport], message.EdgeBody]:
    tree = roots.edge_tree(LEDGER.context, [signed.message.leaf for signed in updates])
    made = msgspec.structs.replace(EdgeLeaf(7, 3, EDGE, tree.root, tree.size, bytes(32)), **changes)
    body = message.EdgeBody(tuple(signed.stored() for signed in updates), ("",) * len(updates))
    data = message.encode_edge_body(body)
    root = keys.sign_edge_root(LEDGER, ACCOUNT[account], made)
    value = message.EdgeReport(EDGE, 5, made, root, 32, (), hashlib.sha256(data).digest(), len(data))
    return keys.sign_message(LEDGER.context, NETWORK[signer], value), body


def test_an_honest_report_is_accepted() -> None:
    signed, body = report(update(), update(node=NEIGHBOUR))
    access.judge_report(desk(CLOUD), signed)
    assert [fault for _, fault in access.judge_report_body(desk(CLOUD), signed.message, body)] == ["", ""]


def test_an_edge_invents_an_update() -> None:
    signed, body = report(update(signer=EDGE))
    refused("forged", lambda: access.judge_report_body(desk(CLOUD), signed.message, body))


def test_an_edge_invents_a_device() -> None:
    signed, body = report(update(node=STRANGER))
    refused("unknown", lambda: access.judge_report_body(desk(CLOUD), signed.message, body))


def test_an_edge_borrows_the_device_of_another_edge() -> None:
    place = desk(CLOUD, roster=Roster(1, {**NODES, DEVICE: node(DEVICE, Tier.END, OTHER_EDGE)}))
    signed, body = report(update())
    refused("wrong-parent", lambda: access.judge_report_body(place, signed.message, body))


def test_an_edge_counts_one_device_twice() -> None:
    signed, body = report(update(), update(sequence=10))
    refused("duplicate", lambda: access.judge_report_body(desk(CLOUD), signed.message, body))


def test_an_edge_reuses_an_update_of_an_earlier_round_or_task() -> None:
    for code, old in (("wrong-round", update(round=2)), ("wrong-task", update(task=6))):
        signed, body = report(old)
        refused(code, partial(access.judge_report_body, desk(CLOUD), signed.message, body))


def test_an_edge_passes_its_own_update_off_as_a_devices() -> None:
    signed, body = report(update(node=OTHER_EDGE))
    refused("wrong-tier", lambda: access.judge_report_body(desk(CLOUD), signed.message, body))


def test_an_edge_lets_a_device_declare_too_many_samples() -> None:
    signed, body = report(update(weight=100))
    refused("too-large", lambda: access.judge_report_body(desk(CLOUD, samples_cap=50), signed.message, body))


def test_an_edge_leaves_out_an_update_that_it_signed_for() -> None:
    signed, _ = report(update(), update(node=NEIGHBOUR))
    _, shorter = report(update())
    refused("mismatch", lambda: access.judge_report_body(desk(CLOUD), signed.message, shorter))


def test_an_edge_swaps_the_updates_behind_its_root() -> None:
    signed, _ = report(update(), update(node=NEIGHBOUR))
    _, other = report(update(node=NEIGHBOUR), update())
    refused("mismatch", lambda: access.judge_report_body(desk(CLOUD), signed.message, other))


def test_an_edge_hides_a_second_body_behind_a_frame() -> None:
    signed, body = report(update())
    stuffed = msgspec.structs.replace(body, frames=(body.frames[0] + BODY,))
    refused("malformed", lambda: access.judge_report_body(desk(CLOUD), signed.message, stuffed))


def test_an_edge_signs_its_root_with_a_key_that_cannot_be_slashed() -> None:
    refused("forged", lambda: access.judge_report(desk(CLOUD), report(update(), account=DEVICE)[0]))


def test_a_stranger_reports_for_an_edge() -> None:
    refused("forged", lambda: access.judge_report(desk(CLOUD), report(update(), signer=STRANGER)[0]))


def test_an_edge_reports_on_another_round_or_task() -> None:
    refused("wrong-round", lambda: access.judge_report(desk(CLOUD), report(update(), round=2)[0]))
    refused("wrong-task", lambda: access.judge_report(desk(CLOUD), report(update(), task=2)[0]))


def test_an_edge_claims_more_updates_than_a_round_can_hold() -> None:
    refused("too-large", lambda: access.judge_report(desk(CLOUD), report(update(), count=1 << 40)[0]))


def test_an_edge_reports_twice() -> None:
    first, second = report(update())[0], report(update(), update(node=NEIGHBOUR))[0]
    place = desk(CLOUD, received={EDGE: access.fingerprint(first)})
    refused("duplicate", lambda: access.judge_report(place, second))
    refused("replayed", lambda: access.judge_report(desk(CLOUD, sequences={EDGE: 5}), first))


# ------------------------------------------------------------------------------------------------------- bodies, keys


def test_a_sealed_body_is_moved_to_another_round_or_sender() -> None:
    key = bytes(range(32))
    sealed = seal.seal(key, b"update", seal.leaf_context(7, 3, DEVICE))
    for place in (seal.leaf_context(7, 4, DEVICE), seal.leaf_context(8, 3, DEVICE), seal.leaf_context(7, 3, NEIGHBOUR)):
        refused("mismatch", partial(seal.open_sealed, key, sealed, place))


def test_a_content_key_is_read_by_someone_it_was_not_wrapped_to() -> None:
    wrapped = seal.wrap(bytes(range(32)), NETWORK[EDGE].public)
    refused("mismatch", lambda: seal.unwrap(wrapped, NETWORK[OTHER_EDGE]))


# --------------------------------------------------------------------------------------------------------- registration


def registration(
    signer: int = 8, proof: int = 8, account: int = 8, domain: Domain = REGISTRY, **changes: Any
) -> message.Signed[message.Registration]:
    value = message.Registration(
        0, 1, NETWORK[8].public, ACCOUNT[8].address, ACCOUNT[8].address, Tier.END, EDGE, commitment.pack_name("phone"),
        bytes(32), 1_800_000_000, bytes(65), bytes(64),
    )  # fmt: skip
    value = msgspec.structs.replace(value, **changes)
    digest = access.registration_digest_of(domain, value)
    value = msgspec.structs.replace(
        value, account_signature=ACCOUNT[account].sign_digest(digest), net_key_proof=NETWORK[proof].sign_digest(digest)
    )
    return keys.sign_message(LEDGER.context, NETWORK[signer], value)


def register(signed: message.Signed[message.Registration], me: int = CLOUD) -> Callable[[], None]:
    return lambda: access.judge_registration(desk(me), REGISTRY, signed)


def test_an_honest_registration_is_relayed() -> None:
    register(registration())()
    register(registration(tier=Tier.EDGE, parent=CLOUD))()
    register(registration(tier=Tier.CLOUD, parent=0))()


def test_a_network_key_is_registered_without_its_owner() -> None:
    refused("forged", register(registration(signer=STRANGER)))
    refused("forged", register(registration(proof=STRANGER)))


def test_an_account_is_registered_without_its_owner() -> None:
    refused("forged", register(registration(account=STRANGER)))


def test_a_registration_for_another_registry_is_relayed_here() -> None:
    refused("forged", register(registration(domain=LEDGER)))


def test_a_registered_key_is_registered_again() -> None:
    refused("duplicate", register(registration(signer=DEVICE, net_key=NETWORK[DEVICE].public)))


def test_a_node_is_registered_below_a_parent_of_the_wrong_tier() -> None:
    for parent, tier in ((CLOUD, Tier.END), (EDGE, Tier.EDGE), (DEVICE, Tier.END), (99, Tier.END), (CLOUD, Tier.CLOUD)):
        refused("wrong-parent", register(registration(parent=parent, tier=tier)))


def test_a_node_is_registered_without_a_name() -> None:
    refused("malformed", register(registration(name=bytes(32))))


def test_an_edge_is_asked_to_pay_for_a_registration() -> None:
    refused("wrong-tier", register(registration(), me=EDGE))
