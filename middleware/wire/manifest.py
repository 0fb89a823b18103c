"""The manifest: everything that one anchored round rests on, by digest, in one blob.

Its SHA-256 is in the header, so whoever has the manifest and the blobs it names can replay the round. It holds no body:
frames are stored frames. Under `readers = public` it publishes the content keys after the round closed; under
`readers = auditors` those fields are empty.

Behind the fields that every round has come those of features: `scoring` where scores are paid, then `state` where something
is carried to the next round. The bytes end with the last one that is used; one that is not used, before it, is nil.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final

import msgspec

from middleware.errors import FAULTS, ConfigurationError, PeerFault
from middleware.types import LIMITS, ZERO32, Limits
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned, signed128
from middleware.wire.message import SumChildren, decode_metrics

REASONS = ("", "copy", "echo")  # why a score does not count (maths.contribution)

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


class ManifestScore(msgspec.Struct, frozen=True):
    """One node's score in a round, and how it stands behind the round."""

    node: int
    raw: int  # its Shapley value's integer; 0 when its update was not used, or there was none
    counted: int  # what of it counts, widened (maths.contribution)
    epoch: int  # points since the epoch began, this round's included
    reputation: int  # thousandths, this round included
    reason: str = ""  # why nothing counts although the raw score is not zero

    def __post_init__(self) -> None:
        require_unsigned("node", self.node, 32)
        require_unsigned("reputation", self.reputation, 32)
        for value in (self.raw, self.counted, self.epoch):
            signed128(value)
        if self.reason not in REASONS or (self.reason and self.counted):
            raise ConfigurationError("a score that does not count has a known reason, and counts zero")


class Scoring(msgspec.Struct, frozen=True):
    """What a round was measured with, and what came of it: the updates' nodes in the inputs' order, then everybody who
    stands from earlier rounds, in ascending node id."""

    importance: bytes  # SHA-256 of the blob of v; zero when the round is void
    exponent: int  # of v: one unit is worth 2**exponent
    slice: int  # of the evaluation set; 0 when the round is void
    pool: int  # token units since the epoch began, this round's included
    scores: tuple[ManifestScore, ...]

    def __post_init__(self) -> None:
        require_bytes("digest of the importance", self.importance, 32)
        require_unsigned("slice", self.slice, 32)
        if not -128 <= self.exponent <= 0:
            raise ConfigurationError(f"the importance has an exponent of -128 to 0, not {self.exponent}")
        require_unsigned("pool", self.pool, 8 * _CUMULATIVE_BYTES)
        if len({score.node for score in self.scores}) != len(self.scores):
            raise ConfigurationError("a node has one score a round")


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
    scoring: Scoring | None = None  # pay = scores
    state: bytes = ZERO32  # SHA-256 of what the next round takes over (wire.state); zero where a task carries nothing

    def __post_init__(self) -> None:
        for name, value in (
            ("task", self.task), ("round", self.round), ("chain id", self.chain_id),
            ("roster block", self.roster_block), ("total weight", self.weight_total),
        ):  # fmt: skip
            require_unsigned(name, value, 64)
        require_bytes("ledger address", self.ledger, 20)
        require_bytes("model_in", self.model_in, 32)
        require_bytes("model_out", self.model_out, 32)
        require_bytes("state", self.state, 32)
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


Wide = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class _Score(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    node: int
    raw: Wide
    counted: Wide
    epoch: Wide
    reputation: int
    reason: str


class _Scoring(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    importance: bytes
    exponent: int
    slice: int
    pool: Wide
    scores: tuple[_Score, ...]


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The manifest as it is written; differs from `Manifest` only in the 128-bit numbers."""

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


class _PackedScored(_Packed, frozen=True, array_like=True, forbid_unknown_fields=True):
    scoring: _Scoring


class _PackedStated(_Packed, frozen=True, array_like=True, forbid_unknown_fields=True):
    scoring: _Scoring | None
    state: bytes


# By the bytes that MessagePack begins an array of 14, 15 or 16 fields with.
_FORMS: Final[dict[bytes, type[_Packed]]] = {b"\x9e": _Packed, b"\x9f": _PackedScored, b"\xdc\x00\x10": _PackedStated}


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest; their SHA-256 is `header.manifest`."""
    fields = {name: getattr(manifest, name) for name in _Packed.__struct_fields__}
    fields["rewards"] = tuple(_Reward(node, _unsigned128(amount)) for node, amount in manifest.rewards)
    scoring = None if manifest.scoring is None else _pack(manifest.scoring)
    if manifest.state != ZERO32:
        return canonical.encode(_PackedStated(**fields, scoring=scoring, state=manifest.state))
    if scoring is not None:
        return canonical.encode(_PackedScored(**fields, scoring=scoring))
    return canonical.encode(_Packed(**fields))


def decode_manifest(data: bytes, limits: Limits = LIMITS) -> Manifest:
    """The manifest in `data`. PeerFault: "too-large" past `limits.blob_bytes`, "malformed" for any other fault."""
    if len(data) > limits.blob_bytes:
        raise PeerFault("too-large", f"manifest of {len(data)} bytes, at most {limits.blob_bytes}")
    packed = canonical.decode(data, next((form for head, form in _FORMS.items() if data.startswith(head)), _Packed))
    decode_metrics(packed.metrics)
    fields = {name: getattr(packed, name) for name in _Packed.__struct_fields__}
    fields["rewards"] = tuple((entry.node, int.from_bytes(entry.cumulative, "big")) for entry in packed.rewards)
    written = packed.scoring if isinstance(packed, _PackedScored | _PackedStated) else None
    state = packed.state if isinstance(packed, _PackedStated) else ZERO32
    if isinstance(packed, _PackedStated) and state == ZERO32:
        raise PeerFault("malformed", "a manifest without a state ends before it")
    return canonical.refuse_malformed(
        lambda: Manifest(**fields, scoring=None if written is None else _unpack(written), state=state), "Manifest"
    )


def _pack(scoring: Scoring) -> _Scoring:
    scores = tuple(
        _Score(one.node, signed128(one.raw), signed128(one.counted), signed128(one.epoch), one.reputation, one.reason)
        for one in scoring.scores
    )
    return _Scoring(scoring.importance, scoring.exponent, scoring.slice, _unsigned128(scoring.pool), scores)


def _unpack(written: _Scoring) -> Scoring:
    def signed(value: bytes) -> int:
        return int.from_bytes(value, "big", signed=True)

    scores = tuple(
        ManifestScore(one.node, signed(one.raw), signed(one.counted), signed(one.epoch), one.reputation, one.reason)
        for one in written.scores
    )
    pool = int.from_bytes(written.pool, "big")
    return Scoring(written.importance, written.exponent, written.slice, pool, scores)


def _unsigned128(value: int) -> bytes:
    return value.to_bytes(_CUMULATIVE_BYTES, "big")


def _require_key(key: bytes) -> None:
    if key:
        require_bytes("content key", key, 32)
