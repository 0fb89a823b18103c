"""The manifest: everything that one anchored round rests on, by digest, in one blob.

Its SHA-256 is in the header, so whoever has the manifest and the blobs it names can replay the round. It holds no body:
frames are stored frames. Under `readers = public` it publishes the content keys after the round closed; under
`readers = auditors` those fields are empty.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec

from middleware.errors import FAULTS, ConfigurationError, PeerFault
from middleware.types import LIMITS, ZERO32, Limits
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned
from middleware.wire.message import SumChildren, decode_metrics

_CUMULATIVE_BYTES = 16  # rewards are 128-bit on the ledger; msgpack's integers end at 64 bits


class ManifestUpdate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One receipted update: the stored Update frame and what became of it."""

    frame: bytes
    index: int  # in its edge's tree
    weight: int  # the rule's integer weight; 0 = not selected
    content_key: bytes = b""  # 32 bytes, or empty when readers = auditors
    refused: str = ""  # a fault code when it was receipted but rejected after decryption; its weight is then 0

    def __post_init__(self) -> None:
        require_unsigned("index", self.index, 64)
        require_unsigned("weight", self.weight, 64)
        _require_key(self.content_key)
        if self.refused and (self.refused not in FAULTS or self.weight != 0):
            raise ConfigurationError("a refused update has a known fault code and the weight 0")


class ManifestEdge(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One edge's part of the round: its stored EdgeReport frame and its updates in index order."""

    report: bytes
    updates: Annotated[tuple[ManifestUpdate, ...], msgspec.Meta(max_length=LIMITS.children)]
    sums: bytes = ZERO32  # SHA-256 of the edge's sealed sums blob; zero in the flat arrangement
    content_key: bytes = b""  # of the sums; empty in flat, or when readers = auditors
    sums_children: SumChildren = ()  # the nodes right below the edge's sum node

    def __post_init__(self) -> None:
        require_bytes("digest of the sums", self.sums, 32)
        for child in self.sums_children:
            require_bytes("sum node", child, 32)
        _require_key(self.content_key)
        if [update.index for update in self.updates] != list(range(len(self.updates))):
            raise ConfigurationError("an edge's updates stand in index order, without gaps")


class Manifest(msgspec.Struct, frozen=True):
    """One round, whole. `rewards` are cumulative (node, amount) pairs in ascending node id."""

    task: int
    round: int
    chain_id: int
    ledger: bytes
    roster_block: int
    exponent: int
    void: bool  # fewer than min_updates: the model stays as it was
    model_in: bytes
    model_out: bytes
    edges: tuple[ManifestEdge, ...]
    forced: tuple[ManifestUpdate, ...]  # what devices put before the ledger, in its order
    weight_total: int
    rewards: tuple[tuple[int, int], ...]
    metrics: bytes  # canonical JSON, see message.encode_metrics

    def __post_init__(self) -> None:
        for name, value in (
            ("task", self.task), ("round", self.round), ("chain id", self.chain_id),
            ("roster block", self.roster_block), ("total weight", self.weight_total),
        ):  # fmt: skip
            require_unsigned(name, value, 64)
        require_bytes("ledger address", self.ledger, 20)
        require_bytes("model_in", self.model_in, 32)
        require_bytes("model_out", self.model_out, 32)
        if [update.index for update in self.forced] != list(range(len(self.forced))):
            raise ConfigurationError("forced updates stand in the ledger's order, without gaps")
        nodes = [node for node, _ in self.rewards]
        if any(left >= right for left, right in pairwise(nodes)):
            raise ConfigurationError("rewards stand in ascending node id, one entry a node")
        for node, amount in self.rewards:
            require_unsigned("node", node, 32)
            require_unsigned("cumulative reward", amount, 8 * _CUMULATIVE_BYTES)


class _Reward(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    node: int
    cumulative: Annotated[bytes, msgspec.Meta(min_length=_CUMULATIVE_BYTES, max_length=_CUMULATIVE_BYTES)]


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The manifest as it is written; differs from `Manifest` only in the 128-bit rewards."""

    task: int
    round: int
    chain_id: int
    ledger: bytes
    roster_block: int
    exponent: int
    void: bool
    model_in: bytes
    model_out: bytes
    edges: Annotated[tuple[ManifestEdge, ...], msgspec.Meta(max_length=LIMITS.children)]
    forced: Annotated[tuple[ManifestUpdate, ...], msgspec.Meta(max_length=LIMITS.children)]
    weight_total: int
    rewards: tuple[_Reward, ...]
    metrics: bytes


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest; their SHA-256 is `header.manifest`."""
    fields = {name: getattr(manifest, name) for name in Manifest.__struct_fields__}
    rewards = tuple(_Reward(node, amount.to_bytes(_CUMULATIVE_BYTES, "big")) for node, amount in manifest.rewards)
    return canonical.encode(_Packed(**{**fields, "rewards": rewards}))


def decode_manifest(data: bytes, limits: Limits = LIMITS) -> Manifest:
    """The manifest in `data`. PeerFault: "too-large" past `limits.blob_bytes`, "malformed" for any other fault."""
    if len(data) > limits.blob_bytes:
        raise PeerFault("too-large", f"manifest of {len(data)} bytes, at most {limits.blob_bytes}")
    packed = canonical.decode(data, _Packed)
    decode_metrics(packed.metrics)
    fields = {name: getattr(packed, name) for name in Manifest.__struct_fields__}
    rewards = tuple((entry.node, int.from_bytes(entry.cumulative, "big")) for entry in packed.rewards)
    return canonical.refuse_malformed(lambda: Manifest(**{**fields, "rewards": rewards}), "Manifest")


def _require_key(key: bytes) -> None:
    if key:
        require_bytes("content key", key, 32)
