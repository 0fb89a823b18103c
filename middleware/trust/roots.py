"""The roots that a header names, each defined once: devices, edges, clouds and auditors all call these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from middleware.trust import merkle
from middleware.types import ZERO32, EdgeLeaf, Leaf, Node, Roster
from middleware.wire.commitment import Context, edge_leaf_data, leaf_data, roster_entries, score_entry, weight_entry


def leaf_hash(context: Context, leaf: Leaf) -> bytes:
    """The RFC 9162 leaf hash of an update: what a receipt to a device names."""
    return merkle.leaf_hash(leaf_data(context, leaf))


def edge_leaf_hash(context: Context, leaf: EdgeLeaf) -> bytes:
    """The RFC 9162 leaf hash of an edge's leaf: what the cloud's receipt to an edge names."""
    return merkle.leaf_hash(edge_leaf_data(context, leaf))


def edge_tree(context: Context, leaves: Iterable[Leaf]) -> merkle.Tree:
    """The tree over an edge's update leaves, in index order."""
    return merkle.Tree.of(leaf_data(context, leaf) for leaf in leaves)


def inputs_tree(context: Context, leaves: Iterable[EdgeLeaf]) -> merkle.Tree:
    """The tree under the header's `inputs_root`, in the order of the cloud's receipts; its size is `inputs_count`."""
    return merkle.Tree.of(edge_leaf_data(context, leaf) for leaf in leaves)


def edge_weights(entries: Iterable[tuple[int, int]]) -> bytes:
    """One edge's root over (node, weight) of its updates, in index order."""
    return merkle.root(weight_entry(node, weight) for node, weight in entries)


def weights_root(edges: Iterable[bytes]) -> bytes:
    """The header's `weights_root` over the edges' weight roots, in the inputs' order."""
    return merkle.root(edges)


def sum_node(sums: bytes, children: Sequence[bytes] = ()) -> bytes:
    """What a node of the sum tree commits: the root over its sums' chunks, and its children where it has nodes below."""
    return sha256(b"\x03" + sums + (merkle.root(children) if children else ZERO32)).digest()


def roster_root(nodes: Roster | Iterable[Node]) -> bytes:
    """The header's `roster`: every node that the ledger knew, in ascending id."""
    return merkle.root(roster_entries(nodes))


def scores_root(entries: Iterable[tuple[int, int, int, int, int]]) -> bytes:
    """The header's `scores_root` over (node, raw, counted, epoch, reputation); zero when there are none."""
    leaves = [score_entry(*entry) for entry in entries]
    return merkle.root(leaves) if leaves else ZERO32


def evaluation_root(slices: Sequence[bytes]) -> bytes:
    """What a policy calls `evaluation`: the root over the hashes (32 bytes each) of the evaluation slices, in order."""
    return merkle.root(slices)
