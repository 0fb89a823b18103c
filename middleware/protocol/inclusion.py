"""That an update stands under a header: a path in its edge's tree, then a path in the round's tree of edges.

    update leaf --path--> edge root, inside the edge leaf --path--> header.inputs_root (inputs_count leaves)

A device keeps the proof with its receipt; anybody checks it against the one header on the ledger, without blobs. Both
walks are RFC 9162 section 2.1.3. The middle step needs no hash: the edge leaf carries the root and the count.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from middleware.errors import PeerFault
from middleware.trust import merkle, roots
from middleware.types import LIMITS, EdgeLeaf, Header, Leaf
from middleware.wire.canonical import refuse_malformed
from middleware.wire.commitment import Context, require_edge_leaf, require_leaf
from middleware.wire.manifest import Manifest
from middleware.wire.message import EdgeReport, Update, decode_stored

Path = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=LIMITS.path_hashes)]


class Inclusion(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One update's proof. `index` counts in the edge's tree, `edge_index` in the tree of `edges` edge leaves."""

    leaf: Leaf
    index: int
    path: Path
    edge_leaf: EdgeLeaf
    edge_index: int
    edges: int
    edge_path: Path


class Step(msgspec.Struct, frozen=True):
    """One line of a checked proof: what was compared, both values, and whether they agree."""

    what: str
    computed: str
    expected: str
    holds: bool


def prove(context: Context, manifest: Manifest, node: int) -> Inclusion | None:
    """The proof of `node`'s update in a settled round, or None when the round has none of its.

    PeerFault("malformed") when the manifest's frames do not decode: it is a stranger's blob.
    """
    reports = [decode_stored(edge.report, EdgeReport).message.leaf for edge in manifest.edges]
    for edge, edge_leaf in zip(manifest.edges, reports, strict=True):
        leaves = [decode_stored(update.frame, Update).message.leaf for update in edge.updates]
        index = next((at for at, leaf in enumerate(leaves) if leaf.node == node), None)
        if index is None:
            continue
        place = reports.index(edge_leaf)
        return Inclusion(
            leaf=leaves[index],
            index=index,
            path=tuple(roots.edge_tree(context, leaves).path(index)),
            edge_leaf=edge_leaf,
            edge_index=place,
            edges=len(reports),
            edge_path=tuple(roots.inputs_tree(context, reports).path(place)),
        )
    return None


def steps(context: Context, header: Header, proof: Inclusion) -> list[Step]:
    """Every comparison of the proof, in order. PeerFault("malformed") for a proof that no tree has."""
    leaf, edge_leaf = proof.leaf, proof.edge_leaf
    update_hash, edge_hash = refuse_malformed(lambda: _leaf_hashes(context, proof), "Inclusion")
    edge_root = merkle.root_from_path(update_hash, proof.index, edge_leaf.count, proof.path)
    inputs_root = merkle.root_from_path(edge_hash, proof.edge_index, proof.edges, proof.edge_path)
    return [
        _step("the update was made for this task and round", (leaf.task, leaf.round), (header.task, header.round)),
        _step("its edge's leaf too", (edge_leaf.task, edge_leaf.round), (header.task, header.round)),
        _step("the update was made for this edge", leaf.edge, edge_leaf.edge),
        _step(
            f"leaf {update_hash.hex()[:16]} is number {proof.index} of {edge_leaf.count} under the edge's root",
            edge_root, edge_leaf.root,
        ),
        _step("the header counts as many edges", proof.edges, header.inputs_count),
        _step(
            f"edge leaf {edge_hash.hex()[:16]} is number {proof.edge_index} of {proof.edges} under inputsRoot",
            inputs_root, header.inputs_root,
        ),
    ]  # fmt: skip


def verify(context: Context, header: Header, proof: Inclusion) -> None:
    """PeerFault("mismatch") naming the first comparison that fails, "malformed" for a proof that no tree has."""
    for step in steps(context, header, proof):
        if not step.holds:
            raise PeerFault("mismatch", f"{step.what}: {step.computed}, not {step.expected}")


def _leaf_hashes(context: Context, proof: Inclusion) -> tuple[bytes, bytes]:
    require_leaf(proof.leaf)
    require_edge_leaf(proof.edge_leaf)
    return roots.leaf_hash(context, proof.leaf), roots.edge_leaf_hash(context, proof.edge_leaf)


def _step(what: str, computed: object, expected: object) -> Step:
    return Step(what, _shown(computed), _shown(expected), computed == expected)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
