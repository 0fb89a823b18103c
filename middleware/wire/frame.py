"""The envelope: what stands before, around and behind one signed header.

    "DRY1" | type u8 | header length u32 | body length u64 | header | signature 64 | body        (integers big-endian)

The first `HEAD_BYTES` say how long the rest is, so a server reads them, checks the lengths against its limits, and only
then takes the header and the signature; the body is streamed last and is never needed to judge the sender. A *stored*
frame is the same bytes up to and including the signature: it keeps the body's length as it was sent, since the body
travels and rests elsewhere, under its digest. This module knows neither messages nor keys.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import LIMITS, Limits

MAGIC: Final = b"DRY1"
_HEAD: Final = struct.Struct(">4sBIQ")
HEAD_BYTES: Final = _HEAD.size  # 17
SIGNATURE_BYTES: Final = 64


class FrameHead(msgspec.Struct, frozen=True):
    """The fixed first bytes. Lengths are in bytes and have passed the limits."""

    code: int  # the message type
    header_bytes: int
    body_bytes: int

    @property
    def rest_bytes(self) -> int:
        """Bytes between the head and the body: the header and the signature."""
        return self.header_bytes + SIGNATURE_BYTES


def parse_head(data: bytes | memoryview, limits: Limits = LIMITS) -> FrameHead:
    """The head in the first `HEAD_BYTES` of `data`. PeerFault: "malformed", or "too-large" past a limit."""
    if len(data) < HEAD_BYTES:
        raise PeerFault("malformed", f"a frame starts with {HEAD_BYTES} bytes, got {len(data)}")
    magic, code, header_bytes, body_bytes = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise PeerFault("malformed", f"a frame starts with {MAGIC!r}")
    if header_bytes > limits.header_bytes:
        raise PeerFault("too-large", f"header of {header_bytes} bytes, at most {limits.header_bytes}")
    if body_bytes > limits.body_bytes:
        raise PeerFault("too-large", f"body of {body_bytes} bytes, at most {limits.body_bytes}")
    return FrameHead(code, header_bytes, body_bytes)


def split_rest(head: FrameHead, rest: bytes) -> tuple[bytes, bytes]:
    """(header, signature) from the `head.rest_bytes` that follow the head."""
    if len(rest) != head.rest_bytes:
        raise PeerFault("malformed", f"header and signature have {head.rest_bytes} bytes, got {len(rest)}")
    return rest[: head.header_bytes], rest[head.header_bytes :]


def encode_frame(
    code: int, header: bytes, signature: bytes, body: bytes | memoryview = b"", body_bytes: int | None = None
) -> bytes:
    """One frame. With `body_bytes` and no `body` it is a stored frame: the length is kept, the body is left out."""
    if len(signature) != SIGNATURE_BYTES:
        raise ConfigurationError(f"a frame's signature has {SIGNATURE_BYTES} bytes, got {len(signature)}")
    length = len(body) if body_bytes is None else body_bytes
    if body and length != len(body):
        raise ConfigurationError(f"the frame announces {length} body bytes but carries {len(body)}")
    return b"".join((_HEAD.pack(MAGIC, code, len(header), length), header, signature, body))


def split_stored(data: bytes, limits: Limits = LIMITS) -> tuple[FrameHead, bytes, bytes]:
    """(head, header, signature) of a frame without its body. Anything behind the signature is malformed."""
    head = parse_head(data, limits)
    header, signature = split_rest(head, data[HEAD_BYTES:])
    return head, header, signature


def split_whole(data: bytes, limits: Limits = LIMITS) -> tuple[FrameHead, bytes, bytes, bytes]:
    """(head, header, signature, body) of a frame with its body, every length exact."""
    head = parse_head(data, limits)
    start = HEAD_BYTES + head.rest_bytes
    if len(data) != start + head.body_bytes:
        raise PeerFault("malformed", f"a frame of {start + head.body_bytes} bytes, got {len(data)}")
    header, signature = split_rest(head, data[HEAD_BYTES:start])
    return head, header, signature, data[start:]
