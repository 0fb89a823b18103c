"""Demands for withheld data, and their answers, from what a record, blobs and a node's own store hold.

A demand names one leaf, one chunk of an update, or the signature under an edge's report (contracts/src/interfaces/ICourt.sol).
Whoever has it may answer; the accused must, or loses its stake. So a daemon answers from its store, and an owner by hand.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

from ledger.calls import AnswerChunk, AnswerLeaf, AnswerRoot, Demand, Member, Placed
from ledger.dispute import Case, Round
from ledger.events import Demanded
from middleware.errors import ConfigurationError, PeerFault
from middleware.protocol import update as updates
from middleware.trust import chunks, merkle, roots
from middleware.types import EdgeLeaf, Header
from middleware.wire.commitment import edge_leaf_data
from middleware.wire.message import Update, decode_stored

LEAF, CHUNK, ROOT = 1, 2, 3
KINDS: Final = {"leaf": LEAF, "chunk": CHUNK, "signature": ROOT}
SUBJECTS: Final = {"weights": 1, "sums": 2, "model": 3, "scores": 4, "rewards": 5, "manifest": 6}

Answer: TypeAlias = AnswerLeaf | AnswerChunk | AnswerRoot


def committed(header: Header, subject: str) -> bytes:
    """What a header says of a challenge's subject."""
    fields = {
        "weights": header.weights_root, "sums": header.chunks_root, "model": header.model_out,
        "scores": header.scores_root, "rewards": header.rewards_root, "manifest": header.manifest,
    }  # fmt: skip
    return fields[subject]


def demand(case: Case, round: Round, edge: int, kind: int, index: int = 0, chunk: int = 0) -> Demand:
    """The demand for something that `edge` reported in an anchored round. ConfigurationError where nobody shows its report."""
    leaves = [root.leaf for root in round.reports]
    tree = merkle.Tree.of(edge_leaf_data(case.context, leaf) for leaf in leaves)
    place = next((place for place, leaf in enumerate(leaves) if leaf.edge == edge), None)
    if place is None or tree.root != round.header.inputs_root:
        raise ConfigurationError(
            f"no report of {case.who(edge)} is shown under the header of round {round.header.round}: give --blobs with "
            "its manifest"
        )
    forced = round.manifest is not None and bool(round.manifest.forced)
    member = Member(leaves[place], place, tuple(tree.path(place)), len(leaves) + forced)
    return Demand(round.header, round.anchored.position.time, member, kind, index, chunk)


def answer(case: Case, demanded: Demanded) -> Answer:
    """What meets a demand. ConfigurationError names what is not here."""
    edge = demanded.edge
    if demanded.kind == ROOT:
        for root in case.roots.get((edge.task, edge.round, edge.edge), ()):
            if root.leaf == edge:
                return AnswerRoot(demanded.id, edge, root.signature)
        raise ConfigurationError(f"demand {demanded.id} asks for a signature of {case.who(edge.edge)} that is not here")
    placed = _placed(case, edge, demanded.index)
    if placed is None:
        raise ConfigurationError(f"demand {demanded.id} asks for leaf {demanded.index} of a tree that is not here")
    if demanded.kind == LEAF:
        return AnswerLeaf(demanded.id, edge, placed)
    return _chunk(case, demanded, placed)


def _placed(case: Case, edge: EdgeLeaf, index: int) -> Placed | None:
    listed = case.trees.get(edge.root)
    if listed is None or index >= len(listed):
        return None
    return Placed(listed[index], index, tuple(roots.edge_tree(case.context, listed).path(index)))


def _chunk(case: Case, demanded: Demanded, placed: Placed) -> AnswerChunk:
    stored, key = case.frames[roots.leaf_hash(case.context, placed.leaf)]
    message, policy = decode_stored(stored, Update).message, case.index.tasks[demanded.task].policy
    body = case.blobs.get(placed.leaf.ciphertext)
    if body is None or hashlib.sha256(body).digest() != placed.leaf.ciphertext:
        raise ConfigurationError(
            f"demand {demanded.id} asks for content of {case.who(placed.leaf.node)} that is not here"
        )
    try:
        if case.reader is not None:
            key = updates.content_key(message.wrapped, case.reader)
        opened = updates.judge(message, body, key, policy)
    except PeerFault as fault:
        raise ConfigurationError(f"demand {demanded.id} asks for content that does not open here: {fault}") from fault
    width = policy.grid.width
    tree = chunks.update_tree(opened.integers, opened.salt, width)
    if tree.root != placed.leaf.update_root:
        raise ConfigurationError(f"demand {demanded.id} asks for content that is not what its leaf commits")
    data = opened.salt + chunks.update_chunk(opened.integers, demanded.chunk, width)
    return AnswerChunk(demanded.id, demanded.edge, placed, demanded.chunk, data, tuple(tree.path(demanded.chunk)))
