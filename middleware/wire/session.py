"""A session of shared inference on the wire: two signed messages, then sealed frames on one WebSocket.

    client -> server    Hello     who asks, for which model, one half of a key exchange          signed frame (wire.frame)
    server -> client    Terms     what it costs and how fast it is here, the other half           signed frame
    then, sealed under keys that only the two have (trust.session), 24 bytes of header and a MessagePack record:
      c -> s  Open      the way that requests go, the channel that pays             Replan    another way, from a request on
      c -> s  Data      one request's tensor                                        Voucher   cumulative payment
      s -> c  Result    the answer, times, the chain of receipts                    Busy      not now, and when
      c -> s  Close     over                                                        Degraded  the tier above is gone
      both    Probe     how fast the link is

Header, big-endian: "DS" | version u8 | kind u8 | session u32 | request u32 | record length u32 | counter u64. It is the
associated data of the seal, and the counter, which only rises, is its nonce: nothing can be repeated, reordered, moved to another
session, or cut. Lengths are checked against the model's manifest and the limits before anything is read or allocated.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from middleware.errors import PeerFault, require
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned
from middleware.wire.model import MOST_SEGMENTS

VERSION: Final = 1
MAGIC: Final = b"DS"
_HEAD: Final = struct.Struct(">2sBBIIIQ")
HEAD_BYTES: Final = _HEAD.size  # 24
TAG_BYTES: Final = 16
MOST_OUTSTANDING: Final = 64  # requests of one session without an answer
DETAIL_BYTES: Final = 200
FORMS: Final = ("", "raw", "png", "jpeg95", "jpeg75", "f32", "f16", "u8", "u4", "bottleneck")

Form = Literal["", "raw", "png", "jpeg95", "jpeg75", "f32", "f16", "u8", "u4", "bottleneck"]
Times = Annotated[tuple[tuple[int, int, float], ...], msgspec.Meta(max_length=3 * MOST_SEGMENTS)]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who wants to run requests of which model. `user` is the account that holds the licence and pays."""

    code: ClassVar[int] = 7
    sender: int
    sequence: int
    root: bytes
    exchange: bytes  # an X25519 key made for this session
    user: bytes

    def __post_init__(self) -> None:
        require_unsigned("sender", self.sender, 32)
        require_unsigned("sequence", self.sequence, 64)
        require_bytes("model root", self.root, 32)
        require_bytes("exchange key", self.exchange, 32)
        require_bytes("user", self.user, 20)


class Terms(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the server offers: the price of a unit, how many requests may be under way and unpaid, its measured times."""

    code: ClassVar[int] = 8
    sender: int
    sequence: int
    hello: bytes  # SHA-256 of the frame that it answers
    exchange: bytes
    session: int
    price: int  # token units of one unit of work
    window: int  # requests under way at once
    allowance: int  # units that may be unpaid
    queue_ms: float
    times: Times  # (first, last, milliseconds) of stretches of segments here
    beyond_times: Times = ()  # at the tier above; none: there is nobody
    beyond_bytes_per_second: float = 0.0
    beyond_ms: float = 0.0  # round trip to the tier above
    channel_units: int = 0  # cumulative, that this user's channel has vouched for so far

    def __post_init__(self) -> None:
        require_unsigned("sender", self.sender, 32)
        require_unsigned("sequence", self.sequence, 64)
        require_bytes("digest of the hello", self.hello, 32)
        require_bytes("exchange key", self.exchange, 32)
        require_unsigned("session", self.session, 32)
        for name, value in (("price", self.price), ("allowance", self.allowance), ("units", self.channel_units)):
            require_unsigned(name, value, 63)
        require(0 < self.window <= MOST_OUTSTANDING, f"window {self.window}: 1 to {MOST_OUTSTANDING} requests")
        numbers = (self.queue_ms, self.beyond_bytes_per_second, self.beyond_ms)
        require(all(math.isfinite(one) and one >= 0 for one in numbers), "times and rates are numbers from 0 on")
        for first, last, ms in (*self.times, *self.beyond_times):
            sound = 0 <= first < last <= MOST_SEGMENTS and math.isfinite(ms) and ms >= 0
            require(sound, f"a stretch of segments {first} to {last} in {ms} ms")


class Course(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The way of requests as both sides must know it: segments [0, front) ran on the client, the server runs [front, middle), the
    tier above it the rest. `form` is how what crosses is coded, `beyond` how the server hands it on."""

    front: int
    middle: int
    form: Form
    beyond: Form = ""

    def __post_init__(self) -> None:
        require(0 <= self.front <= self.middle <= MOST_SEGMENTS, "a request goes up, never down")


class Open(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Accept the terms. `channel` is the payment channel, zeros where nothing is paid."""

    kind: ClassVar[int] = 1
    course: Course
    channel: bytes

    def __post_init__(self) -> None:
        require_bytes("channel", self.channel, 32)


class Replan(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Requests from this one on go that way; those before it are not touched."""

    kind: ClassVar[int] = 2
    course: Course


class Data(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One request: the coded tensor, or the input as it is uploaded."""

    kind: ClassVar[int] = 3
    tensor: bytes


class Result(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One answer: float32 logits; milliseconds in the server's queue, decoding, computing, and at the tier above; how many units
    it cost; the chain of receipts with this one."""

    kind: ClassVar[int] = 4
    logits: bytes
    queue_ms: float
    decode_ms: float
    compute_ms: float
    beyond_ms: float
    units: int
    chain: bytes

    def __post_init__(self) -> None:
        times = (self.queue_ms, self.decode_ms, self.compute_ms, self.beyond_ms)
        require(all(math.isfinite(one) and one >= 0 for one in times), "times are numbers from 0 on")
        require_unsigned("units", self.units, 63)
        require_bytes("chain", self.chain, 32)


class Pay(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A signed voucher (trust.voucher)."""

    kind: ClassVar[int] = 5
    voucher: bytes


class Busy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The request was not run; `code` is one of errors.FAULTS. Trying again makes sense after so long, or, at 0, never."""

    kind: ClassVar[int] = 6
    code: str
    detail: str
    retry_ms: float

    def __post_init__(self) -> None:
        require(len(self.detail.encode()) <= DETAIL_BYTES, f"a detail has at most {DETAIL_BYTES} bytes")
        require(math.isfinite(self.retry_ms) and self.retry_ms >= 0, "a delay is a number from 0 on")


class Degraded(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The tier above does not answer: what went there must go another way, from now on."""

    kind: ClassVar[int] = 7
    detail: str

    def __post_init__(self) -> None:
        require(len(self.detail.encode()) <= DETAIL_BYTES, f"a detail has at most {DETAIL_BYTES} bytes")


class Close(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Over: requests answered, their units, the root over their receipts. Both sides send it; they must agree."""

    kind: ClassVar[int] = 8
    count: int
    units: int
    root: bytes

    def __post_init__(self) -> None:
        require_unsigned("count", self.count, 63)
        require_unsigned("units", self.units, 63)
        require_bytes("root", self.root, 32)


class Probe(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """So many bytes, answered at once with none and with the queue: how the client measures the link, and asks for news."""

    kind: ClassVar[int] = 9
    tensor: bytes = b""
    queue_ms: float = 0.0

    def __post_init__(self) -> None:
        require(math.isfinite(self.queue_ms) and self.queue_ms >= 0, "times are numbers from 0 on")


Record = Open | Replan | Data | Result | Pay | Busy | Degraded | Close | Probe
KINDS: Final[dict[int, type[Record]]] = {
    one.kind: one for one in (Open, Replan, Data, Result, Pay, Busy, Degraded, Close, Probe)
}


class Head(msgspec.Struct, frozen=True):
    """The 24 bytes in front of a sealed record."""

    kind: int
    session: int
    request: int
    length: int  # of the sealed record, with its tag
    counter: int

    def to_bytes(self) -> bytes:
        return _HEAD.pack(MAGIC, VERSION, self.kind, self.session, self.request, self.length, self.counter)


def parse_head(frame: bytes | memoryview, most: int) -> Head:
    """The header of one frame whose sealed record has at most `most` bytes. PeerFault for anything else."""
    if len(frame) < HEAD_BYTES:
        raise PeerFault("malformed", f"a session's frame starts with {HEAD_BYTES} bytes, got {len(frame)}")
    magic, version, kind, session, request, length, counter = _HEAD.unpack_from(frame)
    if magic != MAGIC or version != VERSION or kind not in KINDS:
        raise PeerFault("malformed", "this is no frame of a session, or of another version")
    if length > most:
        raise PeerFault("too-large", f"a record of {length} bytes, at most {most}")
    if length < TAG_BYTES or len(frame) != HEAD_BYTES + length:
        raise PeerFault("malformed", f"a frame of {len(frame)} bytes says {length} behind its header")
    return Head(kind, session, request, length, counter)


def encode_record(record: Record) -> bytes:
    return canonical.encode(record)


def decode_record(kind: int, data: bytes) -> Record:
    """The record of a frame of this kind, or PeerFault."""
    return canonical.decode(data, KINDS[kind])


class ReceiptLeaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one answered request commits to, in the chain and in the tree of its session."""

    session: bytes  # the transcript: SHA-256 over the hello's and the terms' frames
    request: int
    course: Course
    asked: bytes  # SHA-256 of the tensor's bytes
    answered: bytes  # SHA-256 of the logits' bytes
    units: int


def receipt_data(leaf: ReceiptLeaf) -> bytes:
    """The bytes that are hashed into the tree."""
    return b"drystone/inference/1" + canonical.encode(leaf)


def chained(chain: bytes, leaf_hash: bytes) -> bytes:
    """The chain of receipts with one more."""
    return hashlib.sha256(chain + leaf_hash).digest()


class SessionRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a session came to: kept by the edge and hashed into its log, which a checkpoint puts on the ledger."""

    session: bytes
    root: bytes
    user: bytes
    count: int
    units: int
    receipts: bytes  # root of the tree of receipts
    paid: int


class SessionProof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That a record stands in an edge's log: entry `index` of the first `size`, with its path (RFC 9162, section 2.1.3)."""

    record: SessionRecord
    index: int
    size: int
    path: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=64)]
