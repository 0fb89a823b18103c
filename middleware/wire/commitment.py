"""The packed bytes of everything that is hashed into a tree, and of nothing else.

Fixed width and big-endian, so that the EVM can rebuild them with `abi.encodePacked` and no field can lean on its
neighbour. Leaves begin with their purpose and with the chain and contract they were made for: bytes made for one ledger
mean nothing on another. Hashing them is `trust.merkle`'s work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from middleware.errors import ConfigurationError
from middleware.types import LIMITS, DeviceBatch, EdgeLeaf, Leaf, Node, Receipt, Roster

LEAF_PURPOSE: Final = b"drystone/leaf/1"
EDGE_PURPOSE: Final = b"drystone/edge/1"

_LEAF: Final = struct.Struct(">15sQ20sQQIIQI32s32s32s")
_EDGE: Final = struct.Struct(">15sQ20sQQI32sQ32s32sQ")
_WEIGHT: Final = struct.Struct(">IQ")
_ROSTER: Final = struct.Struct(">I32s20s20sBBI")
_BATCH: Final = struct.Struct(">II32s20sB")


class Context(msgspec.Struct, frozen=True):
    """Where a signature or a leaf means something: the chain and the Ledger contract on it."""

    chain_id: int
    ledger: bytes  # 20

    def __post_init__(self) -> None:
        require_unsigned("chain id", self.chain_id, 64)
        require_bytes("ledger address", self.ledger, 20)


def require_unsigned(name: str, value: int, bits: int) -> None:
    """Raise ConfigurationError unless `value` fits `bits` unsigned bits."""
    if not 0 <= value < 1 << bits:
        raise ConfigurationError(f"{name} {value} does not fit {bits} unsigned bits")


def require_bytes(name: str, value: bytes, length: int) -> None:
    """Raise ConfigurationError unless `value` has exactly `length` bytes. struct would pad or cut in silence."""
    if len(value) != length:
        raise ConfigurationError(f"{name} has {len(value)} bytes, not {length}")


def require_leaf(leaf: Leaf) -> None:
    """Raise ConfigurationError unless every field fits its packed width and the update declares samples."""
    for name, value, bits in (
        ("task", leaf.task, 64), ("round", leaf.round, 64), ("node", leaf.node, 32), ("edge", leaf.edge, 32),
        ("sequence", leaf.sequence, 64), ("weight", leaf.weight, 32),
    ):  # fmt: skip
        require_unsigned(name, value, bits)
    if leaf.weight == 0:
        raise ConfigurationError("an update declares at least one sample")
    require_bytes("ciphertext hash", leaf.ciphertext, 32)
    require_bytes("update root", leaf.update_root, 32)
    require_bytes("metrics hash", leaf.metrics, 32)


def require_edge_leaf(leaf: EdgeLeaf) -> None:
    """Raise ConfigurationError unless every field fits its packed width."""
    for name, value, bits in (
        ("task", leaf.task, 64), ("round", leaf.round, 64), ("edge", leaf.edge, 32), ("count", leaf.count, 64),
        ("roster block", leaf.roster_block, 64),
    ):  # fmt: skip
        require_unsigned(name, value, bits)
    require_bytes("edge root", leaf.root, 32)
    require_bytes("edge aggregate", leaf.aggregate, 32)
    require_bytes("edge weights", leaf.weights, 32)


def require_receipt(receipt: Receipt) -> None:
    """Raise ConfigurationError unless every field fits its EIP-712 width."""
    for name, value, bits in (
        ("task", receipt.task, 64), ("round", receipt.round, 64), ("edge", receipt.edge, 32),
        ("index", receipt.index, 64),
    ):  # fmt: skip
        require_unsigned(name, value, bits)
    require_bytes("receipted leaf", receipt.leaf, 32)


def leaf_data(context: Context, leaf: Leaf) -> bytes:
    """183 bytes: what an update's leaf hash is taken over."""
    require_leaf(leaf)
    return pack_leaf(context, leaf)


def pack_leaf(context: Context, leaf: Leaf) -> bytes:
    """As `leaf_data`, for evidence: a leaf that no honest node makes (of weight 0) has a hash too."""
    return _LEAF.pack(
        LEAF_PURPOSE, context.chain_id, context.ledger, leaf.task, leaf.round, leaf.node, leaf.edge, leaf.sequence,
        leaf.weight, leaf.ciphertext, leaf.update_root, leaf.metrics,
    )  # fmt: skip


def edge_leaf_data(context: Context, leaf: EdgeLeaf) -> bytes:
    """175 bytes: what an edge's leaf under `inputs_root` is taken over."""
    require_edge_leaf(leaf)
    return _EDGE.pack(
        EDGE_PURPOSE, context.chain_id, context.ledger, leaf.task, leaf.round, leaf.edge, leaf.root, leaf.count,
        leaf.aggregate, leaf.weights, leaf.roster_block,
    )  # fmt: skip


def weight_entry(node: int, weight: int) -> bytes:
    """12 bytes: one integer weight of the round's rule, a leaf under its edge's weight root."""
    require_unsigned("node", node, 32)
    require_unsigned("weight", weight, 64)
    return _WEIGHT.pack(node, weight)


def score_entry(node: int, raw: int, counted: int, epoch: int, reputation: int) -> bytes:
    """56 bytes: one node's score in a round and its standing behind it, a leaf under the header's `scores_root`."""
    require_unsigned("node", node, 32)
    require_unsigned("reputation", reputation, 32)
    return (
        node.to_bytes(4, "big") + signed128(raw) + signed128(counted) + signed128(epoch) + reputation.to_bytes(4, "big")
    )


def signed128(value: int) -> bytes:
    """16 bytes, two's complement. Raises ConfigurationError for what does not fit."""
    if not -(1 << 127) <= value < 1 << 127:
        raise ConfigurationError(f"score {value} does not fit 128 signed bits")
    return value.to_bytes(16, "big", signed=True)


def roster_entry(node: Node) -> bytes:
    """82 bytes: one member, a leaf under the header's `roster`."""
    require_unsigned("parent", node.parent, 32)
    return _ROSTER.pack(node.id, node.net_key, node.account, node.owner, node.tier, node.status, node.parent)


def batch_entry(batch: DeviceBatch) -> bytes:
    """61 bytes: one batch with everybody in it who has no entry of its own, a leaf under the header's `roster`."""
    return _BATCH.pack(batch.first, batch.count, batch.root, batch.owner, batch.status)


def roster_entries(nodes: Roster | Iterable[Node]) -> list[bytes]:
    """Every node's entry in ascending id, whatever its status (revocation must show in the root), then every batch's: so the
    root does not depend on whose lists the reader has."""
    members = nodes.nodes.values() if isinstance(nodes, Roster) else nodes
    own = [roster_entry(node) for node in sorted(members, key=lambda node: node.id) if node.batch == 0]
    return own + [batch_entry(batch) for batch in nodes.batches] if isinstance(nodes, Roster) else own


def pack_name(name: str) -> bytes:
    """A node's name as the contract's bytes32: UTF-8, zeros behind. Raises ConfigurationError past the limit."""
    raw = name.encode("utf-8", "surrogatepass")
    if not 0 < len(raw) <= LIMITS.name_bytes or unpack_name(raw) != name:
        raise ConfigurationError(f"a node's name has 1 to {LIMITS.name_bytes} bytes of UTF-8 without NUL: {name!r}")
    return raw.ljust(LIMITS.name_bytes, b"\0")


def unpack_name(raw: bytes) -> str:
    """The name in a bytes32. Bytes that are no UTF-8 (the contract cannot check) become U+FFFD, so it is total."""
    return raw.rstrip(b"\0").decode("utf-8", "replace").replace("\0", "\ufffd")
