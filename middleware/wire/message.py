"""Every message, in one file: its fields, its bytes, and what makes it impossible.

A message is a frozen record that checks itself when it is built, so after `decode_message` nobody checks its shape
again; whether its sender *may* send it is `trust.access`. What is signed is a digest over the purpose, the message
type, the chain, the contract and the header's hash (`signing_digest`), never the body: the header holds the body's
SHA-256. Field order is the format; see FORMAT.md.
"""

from __future__ import annotations

import hashlib
import math
import struct
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar

import msgspec

from middleware.errors import FAULTS, ConfigurationError, PeerFault
from middleware.policy import MOST_PEERS
from middleware.types import LIMITS, SUM_FAN_IN, ZERO32, EdgeLeaf, Leaf, Limits, Receipt, Seen, Tier
from middleware.wire import canonical
from middleware.wire.commitment import (
    Context,
    require_bytes,
    require_edge_leaf,
    require_leaf,
    require_receipt,
    require_unsigned,
)  # fmt: skip
from middleware.wire.frame import FrameHead, encode_frame, split_rest, split_stored, split_whole
from middleware.wire.model import FileRequest
from middleware.wire.session import Hello, Terms

MESSAGE_PURPOSE: Final = b"drystone/msg/1"
ACCOUNT_SIGNATURE_BYTES: Final = 65  # r | s | v
_WRAPPED_KEY_BYTES: Final = 80  # a 32-byte key in a libsodium sealed box (48 bytes of overhead)
_SIGNED: Final = struct.Struct(">14sBQ20s32s")

Metrics = dict[str, int | float | str]


class Poll(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A child asks its parent for an offer newer than (task, round); zeros ask for any."""

    code: ClassVar[int] = 1
    sender: int
    sequence: int
    task: int = 0
    round: int = 0

    def __post_init__(self) -> None:
        _require_envelope(self.sender, self.sequence)
        _require_place(self.task, self.round)


class Offer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the cloud puts up: this task, this round, this model. Signed by the cloud, relayed unchanged by edges.

    A round that closes by arrivals is put up a second time, as "closing", for edges alone: they close and report.
    Where edges have models of their own, `models` names theirs; who is below an edge that is not there takes `model_in`.
    """

    code: ClassVar[int] = 2
    sender: int
    sequence: int
    task: int
    round: int
    policy_hash: bytes
    model_in: bytes  # SHA-256 of the model's blob
    model_bytes: int
    exponent: int  # of the grid's step, which the round fixes for all
    deadline_seconds: float  # that remain when the cloud sends it
    prev: bytes  # hash of the previous round's header
    state: Literal["open", "closing", "done", "stopped"] = "open"
    roster_block: int = 0  # every tier judges this round by the roster at the end of this block
    seen: Seen = Seen()  # the ledger's past as the cloud knows it; members countersign it
    models: Annotated[
        tuple[tuple[int, bytes], ...], msgspec.Meta(max_length=MOST_PEERS)
    ] = ()  # (edge, SHA-256), ascending

    def __post_init__(self) -> None:
        _require_envelope(self.sender, self.sequence)
        _require_place(self.task, self.round)
        require_bytes("policy hash", self.policy_hash, 32)
        require_bytes("model hash", self.model_in, 32)
        require_bytes("previous header", self.prev, 32)
        require_unsigned("model bytes", self.model_bytes, 64)
        require_unsigned("roster block", self.roster_block, 64)
        _require_seen(self.seen)
        _require(-60 <= self.exponent <= 20, "the grid's exponent is -60 to 20")
        _require(math.isfinite(self.deadline_seconds) and self.deadline_seconds >= 0, "the deadline is not ahead")
        for edge, digest in self.models:
            require_unsigned("edge", edge, 32)
            require_bytes("model hash", digest, 32)
        ascending = all(left[0] < right[0] for left, right in pairwise(self.models))
        _require(ascending, "edges' models stand in ascending edge id, one an edge")

    def model_below(self, edge: int) -> bytes:
        """SHA-256 of the model that devices below this edge start from."""
        return dict(self.models).get(edge, self.model_in)


class Wrapped(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One reader's way to the content key: its network key, and the key sealed to it."""

    reader: bytes
    sealed: bytes

    def __post_init__(self) -> None:
        require_bytes("reader", self.reader, 32)
        require_bytes("sealed content key", self.sealed, _WRAPPED_KEY_BYTES)


SumChildren = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=SUM_FAN_IN)]
WrappedKeys = Annotated[tuple[Wrapped, ...], msgspec.Meta(max_length=LIMITS.readers)]


class Update(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A device's contribution to one round. The body is the sealed update; the leaf commits to it."""

    code: ClassVar[int] = 3
    sender: int
    sequence: int
    leaf: Leaf
    wrapped: WrappedKeys
    metrics: bytes  # canonical JSON, see encode_metrics
    body_digest: bytes
    body_bytes: int
    seen: Seen = Seen()  # the offer's, which this device found in its own view of the ledger

    def __post_init__(self) -> None:
        _require_envelope(self.sender, self.sequence)
        _require_seen(self.seen)
        require_leaf(self.leaf)
        _require_body(self.wrapped, self.body_digest, self.body_bytes)
        _require(self.leaf.node == self.sender, "the leaf names another node than the sender")
        _require(self.leaf.sequence == self.sequence, "the leaf names another sequence number than the message")
        _require(self.leaf.ciphertext == self.body_digest, "the leaf commits to another body")
        _require(len(self.metrics) <= LIMITS.metrics_bytes, f"metrics: at most {LIMITS.metrics_bytes} bytes")
        _require(hashlib.sha256(self.metrics).digest() == self.leaf.metrics, "the leaf commits to other metrics")
        _require(_metrics_are_canonical(self.metrics), "metrics are a flat JSON object in canonical form")


class EdgeReport(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an edge gathered in one round. The body is an EdgeBody."""

    code: ClassVar[int] = 4
    sender: int
    sequence: int
    leaf: EdgeLeaf
    root_signature: bytes  # EIP-712 EdgeRoot by the edge's account
    weight_total: int
    wrapped: WrappedKeys  # the key of the sealed sums; empty in the flat arrangement
    body_digest: bytes
    body_bytes: int
    seen: Seen = Seen()  # the offer's, which this edge found in its own view of the ledger

    def __post_init__(self) -> None:
        _require_envelope(self.sender, self.sequence)
        _require_seen(self.seen)
        require_edge_leaf(self.leaf)
        _require_body(self.wrapped, self.body_digest, self.body_bytes)
        require_bytes("root signature", self.root_signature, ACCOUNT_SIGNATURE_BYTES)
        require_unsigned("total weight", self.weight_total, 64)
        _require(self.leaf.edge == self.sender, "the edge leaf names another edge than the sender")


class ReceiptReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The answer to an Update or an EdgeReport: the parent's slashable promise."""

    code: ClassVar[int] = 5
    sender: int
    sequence: int
    receipt: Receipt
    signature: bytes  # EIP-712 Receipt by the parent's account

    def __post_init__(self) -> None:
        _require_envelope(self.sender, self.sequence)
        require_receipt(self.receipt)
        require_bytes("receipt signature", self.signature, ACCOUNT_SIGNATURE_BYTES)
        _require(self.receipt.edge == self.sender, "the receipt names another node than the sender")


class Registration(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A node that is not on the ledger yet asks the cloud to register it. The frame is signed by `net_key`."""

    code: ClassVar[int] = 6
    sender: int  # 0: it has no id yet
    sequence: int
    net_key: bytes
    account: bytes
    owner: bytes
    tier: Tier
    parent: int
    name: bytes  # bytes32, see commitment.pack_name
    meta_hash: bytes
    deadline: int  # ledger time in seconds
    account_signature: bytes
    net_key_proof: bytes

    def __post_init__(self) -> None:
        _require(self.sender == 0, "a node that registers has no id yet: sender 0")
        require_unsigned("sequence", self.sequence, 64)
        require_unsigned("parent", self.parent, 32)
        require_unsigned("deadline", self.deadline, 64)
        for name, value, length in (
            ("network key", self.net_key, 32), ("account", self.account, 20), ("owner", self.owner, 20),
            ("name", self.name, 32), ("metadata hash", self.meta_hash, 32),
            ("account signature", self.account_signature, ACCOUNT_SIGNATURE_BYTES),
            ("network key proof", self.net_key_proof, 64),
        ):  # fmt: skip
            require_bytes(name, value, length)


Message = Poll | Offer | Update | EdgeReport | ReceiptReply | Registration | Hello | Terms | FileRequest
M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=Message)

KINDS: Final[dict[int, type[Message]]] = {
    kind.code: kind for kind in (Poll, Offer, Update, EdgeReport, ReceiptReply, Registration, Hello, Terms, FileRequest)
}


class EdgeBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The body of an EdgeReport: stored Update frames in index order, and the edge's sealed sums when it added."""

    frames: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=LIMITS.children)]
    refused: Annotated[tuple[str, ...], msgspec.Meta(max_length=LIMITS.children)]  # "" or a key of FAULTS
    sealed_sums: bytes = b""
    sums_digest: bytes = ZERO32  # SHA-256 of sealed_sums; zero when there are none
    sums_children: SumChildren = ()  # the nodes right below the edge's sum node; none for one group of updates

    def __post_init__(self) -> None:
        _require(len(self.frames) == len(self.refused), "each frame has one verdict")
        _require(all(code == "" or code in FAULTS for code in self.refused), "a refusal is a known fault code")
        require_bytes("digest of the sums", self.sums_digest, 32)
        for child in self.sums_children:
            require_bytes("sum node", child, 32)
        _require((self.sums_digest == ZERO32) == (self.sealed_sums == b""), "sums and their digest go together")


class Signed(msgspec.Struct, Generic[M], frozen=True):
    """A message with the exact bytes that were signed. Whether the signature holds is `trust.keys`' question."""

    message: M
    header: bytes
    signature: bytes

    @property
    def body_bytes(self) -> int:
        return body_bytes_of(self.message)

    def stored(self) -> bytes:
        """The frame without its body, the form that manifests and edge bodies keep."""
        return encode_frame(self.message.code, self.header, self.signature, body_bytes=self.body_bytes)

    def frame(self, body: bytes | memoryview = b"") -> bytes:
        """The whole frame. Raises ConfigurationError when `body` is not as long as the header says."""
        if len(body) != self.body_bytes:
            raise ConfigurationError(f"the header announces {self.body_bytes} body bytes, not {len(body)}")
        return encode_frame(self.message.code, self.header, self.signature, body)


def body_bytes_of(message: Message) -> int:
    """Bytes of the body that belongs to `message`; 0 for those without one."""
    return message.body_bytes if isinstance(message, (Update, EdgeReport)) else 0


def encode_header(message: Message, limits: Limits = LIMITS) -> bytes:
    """The canonical bytes that are signed. Raises ConfigurationError past `limits.header_bytes`."""
    header = canonical.encode(message)
    _require(len(header) <= limits.header_bytes, f"header of {len(header)} bytes, at most {limits.header_bytes}")
    return header


def signing_digest(context: Context, code: int, header: bytes) -> bytes:
    """32 bytes: what an ed25519 network key signs for this header, on this chain, for this contract."""
    packed = _SIGNED.pack(MESSAGE_PURPOSE, code, context.chain_id, context.ledger, hashlib.sha256(header).digest())
    return hashlib.sha256(packed).digest()


def decode_message(code: int, header: bytes, limits: Limits = LIMITS) -> Message:
    """The message of type `code` in `header`. PeerFault: "malformed", or "too-large" past a limit."""
    kind = KINDS.get(code)
    if kind is None:
        raise PeerFault("malformed", f"there is no message type {code}")
    if len(header) > limits.header_bytes:
        raise PeerFault("too-large", f"header of {len(header)} bytes, at most {limits.header_bytes}")
    message = canonical.decode(header, kind)
    if body_bytes_of(message) > limits.body_bytes:
        raise PeerFault("too-large", f"body of {body_bytes_of(message)} bytes, at most {limits.body_bytes}")
    return message


def receive(head: FrameHead, rest: bytes, limits: Limits = LIMITS) -> Signed[Message]:
    """The message behind a parsed head, before any of its body is read. Its two body lengths must agree."""
    header, signature = split_rest(head, rest)
    return _joined(head, header, signature, limits)


def decode_stored(data: bytes, kind: type[N], limits: Limits = LIMITS) -> Signed[N]:
    """The message of type `kind` in a frame without body."""
    head, header, signature = split_stored(data, limits)
    return expect(_joined(head, header, signature, limits), kind)


def decode_whole(data: bytes, kind: type[N], limits: Limits = LIMITS) -> tuple[Signed[N], bytes]:
    """(message, body) of a whole frame; the body has the digest that the header commits to."""
    head, header, signature, body = split_whole(data, limits)
    signed = expect(_joined(head, header, signature, limits), kind)
    check_body(signed.message, hashlib.sha256(body).digest(), len(body))
    return signed, body


def expect(signed: Signed[Message], kind: type[N]) -> Signed[N]:
    """`signed` when its message is a `kind`, else PeerFault("malformed")."""
    if not isinstance(signed.message, kind):
        raise PeerFault("malformed", f"expected {kind.__name__}, got {type(signed.message).__name__}")
    return Signed(signed.message, signed.header, signed.signature)


def check_body(message: Message, digest: bytes, length: int) -> None:
    """PeerFault("mismatch") unless the received body has the promised length and SHA-256."""
    if length != body_bytes_of(message):
        raise PeerFault("mismatch", f"body of {length} bytes, the header says {body_bytes_of(message)}")
    if isinstance(message, (Update, EdgeReport)) and digest != message.body_digest:
        raise PeerFault("mismatch", "the body is not the one that the header commits to")


def encode_edge_body(body: EdgeBody) -> bytes:
    """The canonical bytes of an EdgeReport's body."""
    return canonical.encode(body)


def decode_edge_body(data: bytes, limits: Limits = LIMITS) -> EdgeBody:
    """The EdgeBody in `data`. PeerFault: "malformed"; "too-large" past a limit; "mismatch" for wrong sums."""
    if len(data) > limits.body_bytes:
        raise PeerFault("too-large", f"body of {len(data)} bytes, at most {limits.body_bytes}")
    body = canonical.decode(data, EdgeBody)
    if len(body.frames) > limits.children:
        raise PeerFault("too-large", f"{len(body.frames)} updates below one edge, at most {limits.children}")
    if body.sealed_sums and hashlib.sha256(body.sealed_sums).digest() != body.sums_digest:
        raise PeerFault("mismatch", "the sealed sums do not have the digest beside them")
    return body


def encode_metrics(metrics: Metrics) -> bytes:
    """Canonical JSON of a flat object. Raises ConfigurationError for a value that JSON cannot hold, or past the limit.

    NaN and infinities have no JSON: whoever measures must leave out a metric that diverged.
    """
    _require(
        all(not isinstance(value, float) or math.isfinite(value) for value in metrics.values()),
        "a metric must be finite: leave out what diverged",
    )
    data = msgspec.json.encode(metrics, order="sorted")
    _require(len(data) <= LIMITS.metrics_bytes, f"metrics: at most {LIMITS.metrics_bytes} bytes")
    return data


def decode_metrics(data: bytes) -> Metrics:
    """The metrics in `data`, which must be what `encode_metrics` writes, else PeerFault("malformed")."""
    if len(data) > LIMITS.metrics_bytes:
        raise PeerFault("too-large", f"metrics of {len(data)} bytes, at most {LIMITS.metrics_bytes}")
    metrics: Metrics = canonical.refuse_malformed(lambda: _metrics_decoder.decode(data), "metrics")
    if msgspec.json.encode(metrics, order="sorted") != data:
        raise PeerFault("malformed", "metrics are not in canonical form")
    return metrics


_metrics_decoder = msgspec.json.Decoder(Metrics)


def _metrics_are_canonical(data: bytes) -> bool:
    try:
        decode_metrics(data)
    except PeerFault:
        return False
    return True


def _joined(head: FrameHead, header: bytes, signature: bytes, limits: Limits) -> Signed[Message]:
    message = decode_message(head.code, header, limits)
    if head.body_bytes != body_bytes_of(message):
        raise PeerFault(
            "malformed", f"the frame has {head.body_bytes} body bytes, its header says {body_bytes_of(message)}"
        )
    return Signed(message, header, signature)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ConfigurationError(what)


def _require_envelope(sender: int, sequence: int) -> None:
    _require(0 < sender < 1 << 32, f"sender {sender} is not a positive 32-bit number")
    require_unsigned("sequence", sequence, 64)


def _require_seen(seen: Seen) -> None:
    require_unsigned("block seen", seen.block, 64)
    require_bytes("hash of the block seen", seen.hash, 32)


def _require_place(task: int, round_: int) -> None:
    require_unsigned("task", task, 64)
    require_unsigned("round", round_, 64)


def _require_body(wrapped: tuple[Wrapped, ...], digest: bytes, length: int) -> None:
    require_bytes("body digest", digest, 32)
    require_unsigned("body bytes", length, 64)
    _require(len(wrapped) <= LIMITS.readers, f"at most {LIMITS.readers} readers")
    readers = [entry.reader for entry in wrapped]
    _require(len(set(readers)) == len(readers), "a reader has one wrapped key")
