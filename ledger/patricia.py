"""Merkle-Patricia tries: what a block's `stateRoot` and `receiptsRoot` commit to, and how one value is shown under them.

A trie is a radix tree over the nibbles of its keys (Yellow Paper, appendix D). A node is a list in RLP (appendix B): a branch
of 16 references and a value, or an extension or leaf of (nibbles, reference or value). A node is named by the Keccak-256 of
its bytes; one of fewer than 32 bytes stands in its parent itself. The proof of a value is the nodes that are named on the way
from the root to it, in that order; each hash is in the node before, so a proof cannot be changed without the root.

    state trie      keccak(address) -> RLP(nonce, balance, storage root, code hash)
    storage trie    keccak(slot)    -> RLP(value without leading zeros)
    receipts trie   RLP(index)      -> the receipt's consensus bytes (EIP-2718)

Walking and building are the library `trie`'s. Here a proof is held to be exactly the walk: a node that is never visited, or
that stands out of order, is refused, so that one value has one proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import rlp
from eth_hash.auto import keccak
from trie.hexary import HexaryTrie

from middleware.errors import PeerFault

PROOF_NODES: Final = 65  # a key of 32 bytes has 64 nibbles: 64 branches and a leaf
VALUE_BYTES: Final = 1 << 24  # of one node: the largest receipt that a block's gas could pay for, and more

SHOWN: Final = 200  # characters of a parser's complaint

Nodes = tuple[bytes, ...]


class _Visits(dict[bytes, bytes]):
    """Nodes by their hash, with the order in which they were asked for."""

    def __init__(self, nodes: dict[bytes, bytes]) -> None:
        super().__init__(nodes)
        self.order: list[bytes] = []

    def __getitem__(self, name: bytes) -> bytes:
        node = super().__getitem__(name)
        self.order.append(node)
        return node


def value_under(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes:
    """The value at `key` that `proof` shows under `root`. PeerFault("mismatch") when it shows none."""
    if len(proof) > PROOF_NODES or any(len(node) > VALUE_BYTES for node in proof):
        raise PeerFault("too-large", f"a proof has at most {PROOF_NODES} nodes of {VALUE_BYTES} bytes")
    visits = _Visits({keccak(node): node for node in proof})
    try:
        value = bytes(HexaryTrie(visits, root).get(key))
    except Exception as error:  # the library says "no" to a stranger's nodes with many kinds, bare Exception among them
        raise PeerFault("mismatch", _broken(root, proof, len(visits.order))) from error
    if not value:
        raise PeerFault("mismatch", "the proof leads to no value")
    if visits.order != list(proof):
        raise PeerFault("mismatch", f"the way has {len(visits.order)} nodes, the proof {len(proof)} or another order")
    return value


def proof_in_list(values: Sequence[bytes], index: int) -> tuple[bytes, Nodes]:
    """(root, proof of number `index`) of the trie over a block's `values`, as transactions and receipts are kept."""
    nodes: dict[bytes, bytes] = {}
    trie = HexaryTrie(nodes)
    for number, value in enumerate(values):
        trie.set(rlp.encode(number), value)  # type: ignore[no-untyped-call]
    visits = _Visits(nodes)
    HexaryTrie(visits, trie.root_hash).get(rlp.encode(index))
    return bytes(trie.root_hash), tuple(visits.order)


def decode_list(data: bytes, what: str) -> list[Any]:
    """The list in RLP `data`, whose items are bytes or lists. PeerFault("malformed"): RLP has one form a value."""
    items = _decode(data, what)
    if not isinstance(items, list):
        raise PeerFault("malformed", f"{what} is not a list in RLP")
    return items


def decode_bytes(data: bytes, what: str) -> bytes:
    """The byte string in RLP `data`. PeerFault("malformed")."""
    item = _decode(data, what)
    if not isinstance(item, bytes):
        raise PeerFault("malformed", f"{what} is not a byte string in RLP")
    return item


def _decode(data: bytes, what: str) -> Any:
    try:
        return rlp.decode(data)
    except (rlp.exceptions.RLPException, RecursionError, IndexError, TypeError) as error:
        raise PeerFault("malformed", f"{what} is not RLP: {str(error)[:SHOWN]}") from error


def _broken(root: bytes, proof: Sequence[bytes], visited: int) -> str:
    if visited == 0:
        found = keccak(proof[0]).hex() if proof else "nothing"
        return f"the proof begins with {found}, not with the root {root.hex()}"
    if visited < len(proof):
        return (
            f"node {visited + 1} of {len(proof)} is {keccak(proof[visited]).hex()}, which node {visited} does not name"
        )
    return f"node {visited} of {len(proof)} does not lead on"
