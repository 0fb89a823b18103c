"""What crosses a border, as bytes and back.

    f32   little-endian float32                          exact
    f16   IEEE half precision                            steps of 6e-8 at least
    u8    one of 256 levels between the least and the largest value, with their scale in front
    u4    one of 16, two in a byte

The quantisers are uniform: value = low + level (high - low) / (levels - 1), rounded to the nearest level. A decoder is told
the shape by the manifest and takes exactly the bytes that it needs; any other length is refused before anything is allocated.
What decodes is within half a step of what was encoded.
"""

from __future__ import annotations

import math
import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from middleware.errors import PeerFault
from middleware.wire.model import CODECS

Floats = npt.NDArray[np.float32]

LEVELS: Final = {"u8": 256, "u4": 16}
_RANGE: Final = struct.Struct("<ff")  # least and largest value


def encode(codec: str, tensor: Floats) -> bytes:
    """The bytes of a tensor of any shape. ValueError for a codec that does not exist and for values that are not finite."""
    _require(codec)
    flat = np.ascontiguousarray(tensor, np.float32).ravel()
    if not np.isfinite(flat).all():
        raise ValueError("a tensor with values that are not finite has no code: the network overflowed")
    if codec == "f32":
        return bytes(flat.astype("<f4", copy=False).tobytes())
    if codec == "f16":
        return bytes(np.clip(flat, -65504, 65504).astype("<f2").tobytes())
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 0.0)
    steps = LEVELS[codec] - 1
    scale = np.float32(steps / (high - low)) if high - low > steps / np.finfo(np.float32).max else np.float32(0)
    levels = np.minimum(np.rint((flat - np.float32(low)) * scale), steps).astype(np.uint8)
    if codec == "u4":
        levels = np.append(levels, np.uint8(0)) if levels.size % 2 else levels
        levels = levels[0::2] << 4 | levels[1::2]
    return _RANGE.pack(low, high) + bytes(levels.tobytes())


def decode(codec: str, data: bytes | memoryview, shape: tuple[int, ...]) -> Floats:
    """The tensor of `shape`. PeerFault("malformed") for any other length, and for a range that is none."""
    numbers = math.prod(shape)
    if len(data) != size(codec, numbers):
        raise PeerFault("malformed", f"{len(data)} bytes are no {codec} of shape {shape}: {size(codec, numbers)} are")
    if codec in ("f32", "f16"):
        found = np.frombuffer(data, "<f4" if codec == "f32" else "<f2").astype(np.float32)
        if not np.isfinite(found).all():
            raise PeerFault("malformed", "a tensor has values that are not finite")
        return found.reshape(shape)
    low, high = _RANGE.unpack_from(data)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise PeerFault("malformed", f"a tensor's values lie between {low} and {high}")
    packed = np.frombuffer(data, np.uint8, offset=_RANGE.size)
    levels = packed if codec == "u8" else np.stack([packed >> 4, packed & 15], 1).ravel()[:numbers]
    step = np.float32((high - low) / (LEVELS[codec] - 1))
    return (np.float32(low) + levels.astype(np.float32) * step).reshape(shape)


def size(codec: str, numbers: int) -> int:
    """Bytes of so many numbers. PeerFault("malformed") for a codec that does not exist."""
    if codec not in CODECS:
        raise PeerFault("malformed", f"there is no codec {codec!r}: one of {', '.join(CODECS)}")
    if codec == "f32":
        return 4 * numbers
    if codec == "f16":
        return 2 * numbers
    return _RANGE.size + (numbers if codec == "u8" else -(-numbers // 2))


def _require(codec: str) -> None:
    if codec not in CODECS:
        raise ValueError(f"there is no codec {codec!r}: choose one of {', '.join(CODECS)}")
