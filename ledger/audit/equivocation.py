"""Two signatures that cannot both be meant: a signer that promised one place twice, or signed two roots for one round.

A receipt names a place (task, round, index) and a root names a round; each may be signed once. The auditor gathers every
signed one it can get (the manifests, and the databases of the nodes that were given to it) and lays those for the same
place side by side. Only signatures that hold count, so nobody can be accused with bytes that were made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ledger.audit.memory import Facts, Memory, Promise
from ledger.audit.report import Bench
from ledger.audit.scene import short
from middleware.errors import PeerFault
from middleware.trust import keys, roots
from middleware.wire.message import EdgeReport, ReceiptReply, decode_stored


class Statement(msgspec.Struct, frozen=True):
    """Something that its signer's account signed; `leaf` is what it says of the place."""

    place: Promise
    leaf: bytes
    signature: bytes
    where: str  # it was found

    @property
    def evidence(self) -> str:
        """What a third party needs to see it too."""
        kind, task, round, signer, index = self.place
        named = f"{kind} of node {signer}, task {task}, round {round}" + f", index {index}" * (kind == "receipt")
        return f"{named}: leaf {self.leaf.hex()} signature {self.signature.hex()} ({self.where})"


def judge_promises(facts: Facts, memories: Iterable[Memory], bench: Bench) -> frozenset[Promise]:
    """A finding for each place that was signed for twice; returns those places."""
    said: dict[Promise, dict[bytes, Statement]] = {}
    for statement in statements(facts, memories):
        said.setdefault(statement.place, {}).setdefault(statement.leaf, statement)
    doubled = {place: list(found.values()) for place, found in said.items() if len(found) > 1}
    for place, found in sorted(doubled.items()):
        kind, task, round, signer, index = place
        here = Bench(task, round)
        here.findings = bench.findings
        known = facts.roster(task, round).nodes.get(signer)
        who = f"{known.name} (node {signer})" if known is not None else f"node {signer}"
        what = "two roots for one round" if kind == "root" else f"two receipts for place {index}"
        both = " and ".join(f"leaf {short(one.leaf)} ({one.where})" for one in found[:2])
        here.invalid(
            "promise", f"{kind}s of {who}", f"it signed {what}: {both}", f"both signatures of the account of {who}",
            fault="equivocation", evidence=[one.evidence for one in found],
        )  # fmt: skip
    if not doubled:
        bench.valid("promise", "signed roots and receipts")
    return frozenset(doubled)


def statements(facts: Facts, memories: Iterable[Memory]) -> Iterator[Statement]:
    """Every root and receipt that can be found, if its signer's account signed it."""
    for (task, round), manifest in sorted(facts.manifests.items()):
        for edge in manifest.edges:
            yield from _root(facts, edge.report, f"the manifest of task {task}, round {round}")
    for memory in memories:
        for row in memory.contributions:
            if row.child == row.node:
                yield from _root(facts, row.frame, memory.place)
            yield from _receipt(facts, row.reply, memory.place)
        for sent in memory.outgoing:
            yield from _root(facts, sent.frame, memory.place)
            yield from _receipt(facts, sent.reply, memory.place)


def _root(facts: Facts, frame: bytes, where: str) -> Iterator[Statement]:
    """The root in a frame, if there is one. What is no report, or not signed, is judged where it lies."""
    try:
        message = decode_stored(frame, EdgeReport).message
        leaf = message.leaf
        node = facts.roster(leaf.task, leaf.round).nodes.get(leaf.edge)
        if node is not None:
            keys.require_edge_root_signature(facts.domain, node.account, leaf, message.root_signature)
            digest = roots.edge_leaf_hash(facts.domain.context, leaf)
            yield Statement(("root", leaf.task, leaf.round, leaf.edge, 0), digest, message.root_signature, where)
    except PeerFault:
        return


def _receipt(facts: Facts, frame: bytes, where: str) -> Iterator[Statement]:
    """The receipt in a frame, likewise."""
    try:
        message = decode_stored(frame, ReceiptReply).message
        receipt = message.receipt
        node = facts.roster(receipt.task, receipt.round).nodes.get(receipt.edge)
        if node is not None:
            keys.require_receipt_signature(facts.domain, node.account, receipt, message.signature)
            place = ("receipt", receipt.task, receipt.round, receipt.edge, receipt.index)
            yield Statement(place, receipt.leaf, message.signature, where)
    except PeerFault:
        return
