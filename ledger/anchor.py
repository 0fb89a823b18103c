"""Putting a local log under a chain's protection: its RFC 9162 root as a node's checkpoint in the Ledger contract.

The contract takes a checkpoint only with a proof that it continues the node's last one, so once a log is anchored its
operator cannot have another one anchored in its place; and whoever has the log's blocks can hold them against every
checkpoint, for ever. A node anchors one log: the one whose operator lets the node's account speak for it.
"""

from __future__ import annotations

import msgspec

from ledger.calls import Checkpoint
from ledger.index import Index, RecordedLog
from ledger.journal import Journal
from middleware.errors import ConfigurationError, LedgerRefused
from middleware.ports import Ledger, Signer
from middleware.types import Node, Status


class Anchored(msgspec.Struct, frozen=True):
    """What is on the chain now: `size` blocks under `root` (32), by `node`. `sent` says whether this call put it there."""

    node: int
    size: int
    root: bytes
    sent: bool


async def anchor(journal: Journal, chain: Ledger, key: Signer) -> Anchored:
    """Checkpoint the whole log as the chain's node whose account is `key`; nothing is sent where that was done already.

    ConfigurationError where no active node has this account, or where the node's checkpoints are of another log;
    LedgerRefused, Unavailable as the chain answers.
    """
    index = Index()
    index.extend(await chain.entries(None))
    node = _speaker(index, key)
    held = next(reversed(index.checkpoints.get(node.id, [])), None)
    _require_continued(journal, held, node)
    size = journal.size
    now = Anchored(node.id, size, journal.root(size), sent=True)
    if held is not None and held.size == size:
        return msgspec.structs.replace(now, sent=False)
    path = () if held is None else tuple(journal.consistency(held.size))
    outcome = await chain.send(Checkpoint(node.id, size, now.root, path), key)
    if not outcome.ok:
        raise LedgerRefused("Reverted", outcome.transaction)
    return now


def _speaker(index: Index, key: Signer) -> Node:
    for node in index.roster().nodes.values():
        if node.account == key.address and node.status is Status.ACTIVE:
            return node
    raise ConfigurationError(
        f"no active node of the chain has the account 0x{key.address.hex()}: register a node for the log and have it admitted"
    )


def _require_continued(journal: Journal, held: RecordedLog | None, node: Node) -> None:
    """What the contract would refuse for good is said here, with what it means."""
    if held is None:
        return
    if held.size > journal.size:
        raise ConfigurationError(
            f"the log was rewound: {held.size} blocks of it are anchored by node {node.id}, it has {journal.size}; find "
            "the blocks that are missing"
        )
    if journal.root(held.size) != held.root:
        raise ConfigurationError(
            f"log forked at size {held.size}: node {node.id} anchored the root 0x{held.root.hex()}, the log's first "
            f"{held.size} blocks have 0x{journal.root(held.size).hex()}; use a node of its own for each log"
        )
