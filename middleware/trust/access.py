"""May this sender send this, here and now? Pure functions from what a node knows to nothing, or `PeerFault(code)`.

The checks stand in the order of their cost, and each refusal is decided by the first that fails:

    1. decoded (wire)                                malformed, too-large
    2. the sender is on the ledger, and active       unknown, pending, suspended, revoked
    3. it is of the tier that sends this, to me      wrong-tier, wrong-parent
    4. this task, this round                         wrong-task, wrong-round
    5. sizes and counts within policy and limits     too-large
    6. one contribution a node and round             duplicate
    7. a sequence number above the last              replayed
    8. signatures                                    forged

So a stranger costs a dictionary look-up, and a flood of frames with a member's id costs no signature check unless each
names an open round and an unused sequence number. Nothing here needs the body: a server judges before it reads one.
Nothing is remembered either: the caller persists what it accepted (`Desk.sequences`, `Desk.received`) before answering.

A contribution sent twice after a lost answer is not a fault: when `is_repeat` says that these very bytes were accepted,
the caller sends the stored receipt again instead of judging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import eip712, keys, roots
from middleware.types import LIMITS, EdgeLeaf, Leaf, Limits, Node, Receipt, Roster, Status, Tier
from middleware.wire.commitment import unpack_name
from middleware.wire.members import Member
from middleware.wire.message import (
    EdgeBody,
    EdgeReport,
    M,
    Offer,
    Poll,
    ReceiptReply,
    Registration,
    Signed,
    Update,
    decode_stored,
)

_STATUS_FAULTS: Final = {Status.PENDING: "pending", Status.SUSPENDED: "suspended", Status.REVOKED: "revoked"}


class Desk(msgspec.Struct, frozen=True):
    """What a receiving node knows when a message comes in. `task` 0: none is running; `round` 0: none is open."""

    me: int
    domain: eip712.Domain  # the Ledger's
    roster: Roster
    task: int = 0
    round: int = 0
    samples_cap: int = LIMITS.samples
    body_bytes: int = LIMITS.body_bytes  # the longest body that a child's contribution can need under the policy
    sequences: Mapping[int, int] = {}  # node: the highest sequence number accepted
    received: Mapping[int, bytes] = {}  # node: fingerprint of its accepted contribution to this round
    limits: Limits = LIMITS

    @property
    def node(self) -> Node:
        """My own entry. Raises ConfigurationError when the ledger does not know me."""
        node = self.roster.nodes.get(self.me)
        if node is None:
            raise ConfigurationError(f"node {self.me} is not on the ledger")
        return node


def fingerprint(signed: Signed[M]) -> bytes:
    """32 bytes that stand for one signed message, header and signature both."""
    return sha256(signed.header + signed.signature).digest()


def is_repeat(desk: Desk, signed: Signed[M]) -> bool:
    """Whether exactly this contribution was accepted in this round: answer it with the stored receipt."""
    return desk.received.get(signed.message.sender) == fingerprint(signed)


def status_fault(node: Node) -> str:
    """The fault code of a node that may not act, or "" for an active one."""
    return _STATUS_FAULTS.get(node.status, "")


def require_active(roster: Roster, sender: int) -> Node:
    """The sender's entry. PeerFault: unknown, pending, suspended, revoked."""
    node = roster.nodes.get(sender)
    if node is None:
        raise PeerFault("unknown", f"the ledger knows no node {sender}")
    fault = status_fault(node)
    if fault:
        raise PeerFault(fault, f"node {sender} is {fault}")
    return node


def require_child(desk: Desk, sender: int) -> Node:
    """The entry of an active sender one tier below me whose ledger parent I am. PeerFault, steps 2 and 3."""
    node = require_active(desk.roster, sender)
    if node.tier + 1 != desk.node.tier:
        raise PeerFault("wrong-tier", f"node {sender} is of tier {node.tier.label}")
    if node.parent != desk.me:
        raise PeerFault("wrong-parent", f"the parent of node {sender} is {node.parent}, not {desk.me}")
    return node


def judge_poll(desk: Desk, signed: Signed[Poll]) -> None:
    """A child asks for work. Any task and round may be asked about."""
    child = require_child(desk, signed.message.sender)
    _require_fresh(desk, signed)
    keys.require_message_signature(desk.domain.context, child.net_key, signed)


def judge_update(desk: Desk, signed: Signed[Update]) -> None:
    """A device contributes to the open round. The body has not been read."""
    message, leaf = signed.message, signed.message.leaf
    child = require_child(desk, message.sender)
    if leaf.edge != desk.me:
        raise PeerFault("wrong-parent", f"the leaf is made for edge {leaf.edge}, this is {desk.me}")
    _require_open(desk, leaf.task, leaf.round)
    _require_size(desk, message.body_bytes)
    if leaf.weight > desk.samples_cap:
        raise PeerFault("too-large", f"{leaf.weight} samples declared, the policy caps them at {desk.samples_cap}")
    _require_first(desk, message.sender)
    _require_fresh(desk, signed)
    keys.require_message_signature(desk.domain.context, child.net_key, signed)


def judge_report(desk: Desk, signed: Signed[EdgeReport]) -> None:
    """An edge reports on the open round. Both of its signatures are checked; the body has not been read."""
    message, leaf = signed.message, signed.message.leaf
    child = require_child(desk, message.sender)
    _require_open(desk, leaf.task, leaf.round)
    _require_size(desk, message.body_bytes)
    if leaf.count > desk.limits.children:
        raise PeerFault("too-large", f"{leaf.count} updates below one edge, at most {desk.limits.children}")
    _require_first(desk, message.sender)
    _require_fresh(desk, signed)
    keys.require_message_signature(desk.domain.context, child.net_key, signed)
    keys.require_edge_root_signature(desk.domain, child.account, leaf, message.root_signature)


def judge_report_body(desk: Desk, report: EdgeReport, body: EdgeBody) -> tuple[tuple[Signed[Update], str], ...]:
    """The updates behind an edge's root, in index order, each with "" or the fault code that refuses it.

    `desk` is the receiver's (the cloud's, or an auditor's with `me` the cloud). Every frame is decoded and held against
    the ledger and its device's signature, and together they must have the root that the edge signed. A device that was
    suspended after its edge had promised to take it is a refusal, not the edge's fault: it stays in the tree, marked.
    PeerFault for anything that the edge must not have signed.
    """
    if len(body.frames) != report.leaf.count:
        raise PeerFault("mismatch", f"edge {report.sender} signed {report.leaf.count} updates, sent {len(body.frames)}")
    judged = []
    senders: set[int] = set()
    for frame, refused in zip(body.frames, body.refused, strict=True):
        signed = decode_stored(frame, Update, desk.limits)
        fault = _judge_forwarded(desk, report.leaf, signed)
        if signed.message.sender in senders:
            raise PeerFault("duplicate", f"node {signed.message.sender} stands twice under edge {report.sender}")
        senders.add(signed.message.sender)
        judged.append((signed, refused or fault))
    tree = roots.edge_tree(desk.domain.context, (signed.message.leaf for signed, _ in judged))
    if tree.root != report.leaf.root:
        raise PeerFault("mismatch", f"the updates of edge {report.sender} do not have the root that it signed")
    return tuple(judged)


def judge_passed_on(domain: eip712.Domain, edge: Node, leaf: Leaf, data: bytes) -> int:
    """The place at which `edge` passes an update on: that of its own receipt, a stored ReceiptReply in `data`. Without one
    anybody who holds an update could bring it, at a place that the edge has promised to another. PeerFault."""
    signed = decode_stored(data, ReceiptReply)
    receipt = signed.message.receipt
    if (receipt.task, receipt.round, receipt.edge) != (leaf.task, leaf.round, edge.id):
        raise PeerFault("mismatch", f"the receipt is not edge {edge.id}'s of this round")
    if receipt.leaf != roots.leaf_hash(domain.context, leaf):
        raise PeerFault("mismatch", "the receipt names another leaf than the one that is passed on")
    keys.require_message_signature(domain.context, edge.net_key, signed)
    return receipt.index


def judge_offer(desk: Desk, signed: Signed[Offer]) -> None:
    """A child takes its cloud's offer, straight or through its edge. The last one, byte for byte, may come again.

    `desk.sequences` holds the last offer's number under the cloud's id, `desk.received` its fingerprint.
    """
    message = signed.message
    cloud = require_active(desk.roster, message.sender)
    if cloud.tier is not Tier.CLOUD:
        raise PeerFault("wrong-tier", f"node {cloud.id} is of tier {cloud.tier.label}: only a cloud makes offers")
    if cloud.id != cloud_above(desk.roster, desk.node):
        raise PeerFault("wrong-parent", f"cloud {cloud.id} does not stand above node {desk.me}")
    if message.model_bytes > desk.limits.blob_bytes:
        raise PeerFault("too-large", f"model of {message.model_bytes} bytes, at most {desk.limits.blob_bytes}")
    if not is_repeat(desk, signed):
        _require_fresh(desk, signed)
    keys.require_message_signature(desk.domain.context, cloud.net_key, signed)


def judge_receipt(desk: Desk, signed: Signed[ReceiptReply], leaf: bytes) -> None:
    """A child checks its parent's promise for the leaf hash that it sent: this leaf, this task, this round.

    A receipt may come again (the answer to a repeat), so its sequence number is not held against it.
    """
    reply, receipt = signed.message, signed.message.receipt
    parent = require_active(desk.roster, reply.sender)
    if parent.id != desk.node.parent:
        raise PeerFault("wrong-parent", f"the parent of node {desk.me} is {desk.node.parent}, not {parent.id}")
    _require_open(desk, receipt.task, receipt.round)
    if receipt.leaf != leaf:
        raise PeerFault("mismatch", "the receipt names another leaf than the one that was sent")
    keys.require_message_signature(desk.domain.context, parent.net_key, signed)
    keys.require_receipt_signature(desk.domain, parent.account, receipt, reply.signature)


def judge_registration(desk: Desk, registry: eip712.Domain, signed: Signed[Registration]) -> None:
    """A cloud judges a stranger before it pays gas for it. `registry` is the Registry's domain.

    An account that is a contract cannot be checked here (its signature is code): it registers at the ledger itself.
    """
    message = signed.message
    if desk.node.tier is not Tier.CLOUD:
        raise PeerFault("wrong-tier", "only a cloud relays registrations")
    if desk.roster.by_key(message.net_key) is not None:
        raise PeerFault("duplicate", "this network key is registered")
    parent = desk.roster.nodes.get(message.parent)
    if message.tier is Tier.CLOUD:
        if message.parent != 0:
            raise PeerFault("wrong-parent", "a cloud has no parent: 0")
    elif parent is None or parent.tier != message.tier + 1 or parent.status is Status.REVOKED:
        raise PeerFault("wrong-parent", f"node {message.parent} cannot be the parent of tier {message.tier.label}")
    if not unpack_name(message.name):
        raise PeerFault("malformed", "a node has a name")
    keys.require_message_signature(desk.domain.context, message.net_key, signed)
    digest = registration_digest_of(registry, message)
    if not keys.verify_network(message.net_key, digest, message.net_key_proof):
        raise PeerFault("forged", "the network key did not sign this registration")
    if keys.recover_account(digest, message.account_signature) != message.account:
        raise PeerFault("forged", "the account did not sign this registration")


def registration_digest_of(registry: eip712.Domain, message: Registration) -> bytes:
    """What both keys of a Registration sign."""
    return eip712.registration_digest(
        registry, message.net_key, message.account, message.owner, message.tier, message.parent, message.name,
        message.meta_hash, message.deadline,
    )  # fmt: skip


def unproven_members(registry: eip712.Domain, owner: bytes, members: Sequence[Member]) -> dict[int, str]:
    """The places of those in a batch's list who do not belong there, each with what is wrong."""
    found = ((place, unproven(registry, owner, member)) for place, member in enumerate(members))
    return {place: wrong for place, wrong in found if wrong}


def unproven(registry: eip712.Domain, owner: bytes, member: Member) -> str:
    """Which of a member's two keys did not sign that it belongs to this owner's batch, or ""."""
    digest = eip712.registration_digest(
        registry, member.net_key, member.account, owner, Tier.END, member.parent, member.name, member.meta_hash,
        member.deadline,
    )  # fmt: skip
    if not keys.verify_network(member.net_key, digest, member.net_key_proof):
        return "its network key did not sign its registration"
    if keys.recover_account(digest, member.account_signature) != member.account:
        return "its account did not sign its registration"
    return ""


def cloud_above(roster: Roster, node: Node) -> int:
    """The id of the cloud that `node` works under; its own for a cloud, 0 when the ledger names none."""
    for _ in range(Tier.CLOUD - node.tier):
        parent = roster.nodes.get(node.parent)
        if parent is None:
            return 0
        node = parent
    return node.id if node.tier is Tier.CLOUD else 0


def require_same_receipt(stored: Receipt, other: Receipt) -> None:
    """PeerFault("forged") when one parent promised one place to two leaves: both signatures are the evidence."""
    place = (stored.task, stored.round, stored.edge, stored.index)
    if place == (other.task, other.round, other.edge, other.index) and stored.leaf != other.leaf:
        raise PeerFault("forged", f"node {stored.edge} promised place {stored.index} to two leaves")


class TokenBucket(msgspec.Struct, frozen=True):
    """A sender's allowance: `rate` tokens a second, at most `burst`; times in seconds of any steady clock."""

    rate: float
    burst: float
    tokens: float
    at: float

    @staticmethod
    def full(rate: float, burst: float, now: float) -> TokenBucket:
        return TokenBucket(rate, burst, burst, now)


def take(bucket: TokenBucket, now: float, tokens: float = 1.0) -> tuple[TokenBucket, float]:
    """(the bucket afterwards, 0.0) when `tokens` were there, else (the bucket, seconds until they will be).

    A clock that steps back adds nothing. A refusal takes nothing: asking again costs the asker only its wait.
    """
    level = min(bucket.burst, bucket.tokens + bucket.rate * max(0.0, now - bucket.at))
    later = max(now, bucket.at)
    if tokens <= level:
        return TokenBucket(bucket.rate, bucket.burst, level - tokens, later), 0.0
    return TokenBucket(bucket.rate, bucket.burst, level, later), (tokens - level) / bucket.rate


def _judge_forwarded(desk: Desk, edge_leaf: EdgeLeaf, signed: Signed[Update]) -> str:
    leaf = signed.message.leaf
    node = desk.roster.nodes.get(signed.message.sender)
    if node is None:
        raise PeerFault("unknown", f"the ledger knows no node {signed.message.sender}")
    if node.tier is not Tier.END:
        raise PeerFault("wrong-tier", f"node {node.id} is of tier {node.tier.label}")
    if node.parent != edge_leaf.edge or leaf.edge != edge_leaf.edge:
        raise PeerFault("wrong-parent", f"the update of node {node.id} was not made for edge {edge_leaf.edge}")
    if leaf.task != edge_leaf.task:
        raise PeerFault("wrong-task", f"the update of node {node.id} is for task {leaf.task}")
    if leaf.round != edge_leaf.round:
        raise PeerFault("wrong-round", f"the update of node {node.id} is for round {leaf.round}")
    if leaf.weight > desk.samples_cap:
        raise PeerFault("too-large", f"{leaf.weight} samples declared, the policy caps them at {desk.samples_cap}")
    keys.require_message_signature(desk.domain.context, node.net_key, signed)
    return status_fault(node)


def _require_open(desk: Desk, task: int, round_: int) -> None:
    if task != desk.task or desk.task == 0:
        raise PeerFault("wrong-task", f"task {task} is not running here, {desk.task or 'none'} is")
    if round_ != desk.round or desk.round == 0:
        raise PeerFault("wrong-round", f"round {round_} is not open here, {desk.round or 'none'} is")


def _require_size(desk: Desk, body_bytes: int) -> None:
    if body_bytes > desk.body_bytes:
        raise PeerFault("too-large", f"body of {body_bytes} bytes, this task needs at most {desk.body_bytes}")
    if len(desk.received) >= desk.limits.children:
        raise PeerFault("too-large", f"this round has its {desk.limits.children} contributions")


def _require_first(desk: Desk, sender: int) -> None:
    if sender in desk.received:
        raise PeerFault("duplicate", f"the contribution of node {sender} to round {desk.round} stands")


def _require_fresh(desk: Desk, signed: Signed[M]) -> None:
    last = desk.sequences.get(signed.message.sender, 0)
    if signed.message.sequence <= last:
        raise PeerFault(
            "replayed", f"sequence {signed.message.sequence} of node {signed.message.sender}: last was {last}"
        )
