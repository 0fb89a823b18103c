"""Single questions to the record: what a round rested on, where an update stands, why a node was paid what it was paid.

Each answer carries its proof as compared values, so that a reader sees the comparison and not only its outcome.
"""

from __future__ import annotations

import msgspec

from ledger.audit.evidence import Evidence
from ledger.audit.lookup import anchored, manifest_of, step, task_of
from ledger.audit.replay import manifest_weights, paid_by
from ledger.audit.scene import Blobs
from ledger.audit.worth import Worth, worth
from middleware.errors import ConfigurationError
from middleware.protocol import inclusion
from middleware.protocol.inclusion import Inclusion, Step
from middleware.protocol.staleness import BASE
from middleware.trust import eip712, keys, merkle
from middleware.types import Roster
from middleware.wire.manifest import Manifest
from middleware.wire.message import EdgeReport, Signed, Update, decode_metrics, decode_stored

__all__ = [
    "Participant", "Payment", "Standing", "anchored", "manifest_of", "participants", "payment", "standing", "task_of",
]  # fmt: skip


class Payment(msgspec.Struct, frozen=True):
    """Pay, spelt out for one node and one round. Amounts in token units.

    Under pay = participation `pool`, `paid_nodes`, `share` and `remainder` are the round's; under pay = scores they are
    the epoch's, in the round that ends it, and zero before; `worth` then has all factors.
    """

    node: int
    round: int
    weight: int  # that the rule gave its update
    refused: str
    took_part: bool
    pool: int  # of the round
    paid_nodes: int
    share: int  # floor(pool / paid_nodes)
    remainder: int  # stays in the task's pool
    earned: int
    before: int
    after: int
    total: int  # of all nodes, as the path proves
    path: tuple[tuple[int, bytes], ...]
    index: int
    size: int
    steps: tuple[Step, ...]
    worth: Worth | None = None


class Standing(msgspec.Struct, frozen=True):
    """One update and its way up to the header."""

    update: Update
    weight: int
    refused: str
    proof: Inclusion
    steps: tuple[Step, ...]


class Participant(msgspec.Struct, frozen=True):
    """One line of a round: a device, its edge, what it declared and what became of it."""

    node: int
    edge: int
    index: int
    samples: int
    weight: int
    refused: str
    body_bytes: int
    forced: bool = False  # it came through the ledger, past its edge
    base: int | float | str | None = None  # the round whose model it says to start from, where rounds close by arrivals


def participants(manifest: Manifest) -> list[Participant]:
    """Everyone who stands in a round, in the committed order. PeerFault for a frame that does not decode."""
    found = []
    for edge in manifest.edges:
        sender = decode_stored(edge.report, EdgeReport).message.sender
        for row in edge.updates:
            message = decode_stored(row.frame, Update).message
            at = (message.sender, sender, row.index, message.leaf.weight)
            found.append(Participant(*at, row.weight, row.refused, message.body_bytes, base=_base(message)))
    for row in manifest.forced:
        forced = decode_stored(row.frame, Update).message
        place = (forced.sender, forced.leaf.edge, row.index, forced.leaf.weight)
        found.append(Participant(*place, row.weight, row.refused, forced.body_bytes, True, _base(forced)))
    return found


def _base(message: Update) -> int | float | str | None:
    return decode_metrics(message.metrics).get(BASE)


def standing(evidence: Evidence, blobs: Blobs, task: int, round: int, node: int) -> Standing:
    """A node's update in a round with its inclusion proof and both signatures. Raises ConfigurationError if it has none."""
    item = anchored(evidence, task, round)
    manifest = manifest_of(blobs, item)
    context = evidence.ledger_domain.context
    proof = inclusion.prove(context, manifest, node)
    if proof is None:
        raise ConfigurationError(f"round {round} of task {task} holds no update of node {node}")
    roster = evidence.index.roster(manifest.roster_block)
    edge = next(e for e in manifest.edges if decode_stored(e.report, EdgeReport).message.sender == proof.edge_leaf.edge)
    row = edge.updates[proof.index]
    signed = decode_stored(row.frame, Update)
    steps = [
        step("the header hashes to what was anchored", eip712.header_hash(item.header), item.header_hash),
        _device_signed(evidence, roster, signed),
        *inclusion.steps(context, item.header, proof),
        _edge_signed(evidence, roster, decode_stored(edge.report, EdgeReport)),
    ]
    return Standing(signed.message, row.weight, row.refused, proof, tuple(steps))


def payment(evidence: Evidence, blobs: Blobs, task: int, round: int, node: int) -> Payment:
    """Why a node's cumulative reward is what a round's root says. Raises ConfigurationError, Unavailable."""
    item = anchored(evidence, task, round)
    policy = task_of(evidence, task).policy
    manifest = manifest_of(blobs, item)
    before = dict(manifest_of(blobs, anchored(evidence, task, round - 1)).rewards) if round > 1 else {}
    pays = paid_by(policy, manifest)
    row = next((one for one in participants(manifest) if one.node == node), None)
    entries = list(manifest.rewards)
    after, earned = dict(entries).get(node, 0), pays.get(node, 0)
    steps = [step("the header hashes to what was anchored", eip712.header_hash(item.header), item.header_hash)]
    factors = None
    if policy.pay == "scores":
        factors, proofs = worth(evidence, blobs, task, policy, round, node)
        steps += proofs
        pool, paid_nodes = (factors.pool, len(pays)) if factors.settles else (0, 0)
        share, remainder = earned, factors.remainder if factors.settles else 0
        steps.append(step("its share of the epoch's pool is what it earned", factors.share * factors.settles, earned))
    else:
        pool = policy.reward_per_round
        paid_nodes = sum(weight > 0 for weight in manifest_weights(manifest).values())
        share, remainder = (pool // paid_nodes, pool % paid_nodes) if paid_nodes else (0, pool)
    steps.append(step("what it had, and its share, is what it has now", before.get(node, 0) + earned, after))
    path: list[merkle.SumStep] = []
    index, total = 0, sum(amount for _, amount in entries)
    if node in dict(entries):
        index = [number for number, _ in entries].index(node)
        path = merkle.sum_path(entries, index)
        total, root = merkle.sum_root_from_path(node, after, index, len(entries), path)
        steps.append(step("the path from its entry leads to rewardsRoot", root, item.header.rewards_root))
    return Payment(
        node=node, round=round, weight=row.weight if row else 0, refused=row.refused if row else "", took_part=row is not None,
        pool=pool, paid_nodes=paid_nodes, share=share, remainder=remainder, earned=earned, before=before.get(node, 0),
        after=after, total=total, path=tuple(path), index=index, size=len(entries), steps=tuple(steps), worth=factors,
    )  # fmt: skip


def _device_signed(evidence: Evidence, roster: Roster, signed: Signed[Update]) -> Step:
    node = roster.nodes.get(signed.message.sender)
    good = node is not None and keys.message_is_signed_by(evidence.ledger_domain.context, node.net_key, signed)
    return Step("the device's network key signed the update", "signed" if good else "not signed", "signed", good)


def _edge_signed(evidence: Evidence, roster: Roster, signed: Signed[EdgeReport]) -> Step:
    node, message = roster.nodes.get(signed.message.sender), signed.message
    digest = eip712.edge_root_digest(evidence.ledger_domain, message.leaf)
    signer = keys.recover_account(digest, message.root_signature)
    return step("the edge's account signed its root", signer, node.account if node is not None else b"")
