"""Codecs: integers on the grid to few bytes and back to integers on the grid.

    none                 every value, little-endian, 1, 2 or 4 bytes wide as the grid needs
    int8, int4           a shift s and one byte, or half of one, a value, v << s; s is the smallest with which the largest fits
    SELECTION            topk, randomk, gaussiank, sidco: some coordinates (`select`), all others are zero
    SELECTION+int8, +int4
    dgc                  topk, with the momentum, clipping and warm-up of deep gradient compression (`feedback`)
    digital              as many entries of the stronger sign as a budget of bits holds, and their mean (`digital`)
    terngrad, qsgd, sign few levels a coordinate (`symbols`)

What a biased codec loses is not lost: error feedback (`feedback`) adds it to the next update. terngrad and qsgd are
unbiased, and keep nothing back.

    payload of a selection   layout u8 | [shift u8] | as in `sparse`
    payload of int8, int4    shift u8 | d values

How long a payload will be is known before it is made (`expected_size`), so a sender may choose its codec by it.

`decode` is total: bytes of any origin give integers or ValueError, and what it allocates depends on d and on the bytes it was
given, never on a number read from them. No payload is longer than `payload_limit`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from middleware.maths import grid
from middleware.maths.compress import digital, sparse, symbols
from middleware.maths.compress.select import SELECTIONS

Integers = npt.NDArray[np.signedinteger[Any]]
Bytes = bytes | bytearray | memoryview

SELECTED: Final = tuple(f"{name}{values}" for name in SELECTIONS for values in ("", "+int8", "+int4"))
SYMBOLS: Final = ("terngrad", "qsgd", "sign")
CODECS: Final = ("none", "int8", "int4", *SELECTED, "dgc", "digital", *SYMBOLS)
UNBIASED: Final = ("none", "terngrad", "qsgd")
STEPS: Final = {"int8": 127, "int4": 7}  # largest magnitude of a shifted value
_UNSEEDED: Final = 0


def payload_limit(codec: str, length: int, bits: int) -> int:
    """The most bytes that `encode` may return for `length` values on a grid of `bits` bits."""
    _require_known(codec)
    if codec in SYMBOLS:
        return symbols.size(codec, length)
    if codec == "digital":
        return digital.size(length)
    selection, values = _parts(codec)
    dense = -(-length // 2) if values == "int4" and not selection else length * _width(values, bits)
    return dense + bool(selection) + bool(values)


def expected_size(codec: str, length: int, bits: int, density: float = 1.0, budget: int = 0) -> int:
    """The bytes that `encode` should return for `length` values, the mean where that depends on the values.

    A selection counts as one whose places are drawn at random. A codec with an entropy stage counts as if that gained nothing,
    `digital` as if it used all its bits.
    """
    _require_known(codec)
    if codec == "digital":
        return min(budget // 8, digital.size(length))
    selection, values = _parts(codec)
    if codec in SYMBOLS or not selection:
        return payload_limit(codec, length, bits)
    return 1 + bool(values) + sparse.expected_size(length, max(1, int(density * length)), _width(values, bits))


def encode(
    codec: str, integers: Integers, bits: int, density: float = 1.0, generator: np.random.Generator | None = None,
    budget: int = 0,
) -> bytes:  # fmt: skip
    """The payload of integers (d,) on a grid of `bits` bits.

    `density` in (0, 1] is the fraction that a selection keeps, `budget` the bits that `digital` may use. Codecs that draw need a
    generator: ValueError without.
    """
    _require_known(codec)
    if not grid.on_grid(integers, bits):
        raise ValueError(f"values outside the {bits}-bit grid")
    if codec in SYMBOLS:
        return symbols.encode(codec, integers, bits, _drawn(codec, generator))
    if codec == "digital":
        return digital.encode(integers, budget)
    selection, values = _parts(codec)
    kept = integers
    if selection:
        count = max(1, int(density * integers.size))
        if selection == "randomk":
            _drawn(codec, generator)
        kept = np.zeros_like(integers)
        places = SELECTIONS[selection](integers, count, generator or np.random.default_rng(_UNSEEDED))
        kept[places] = integers[places]
    head = b""
    if values:
        shift = _shift_for(kept, STEPS[values])
        kept = np.clip(_round_shift(kept, shift), -STEPS[values], STEPS[values])
        head = bytes([shift])
    if values == "int4" and not selection:
        return head + symbols.pack_nibbles(kept.astype(np.int8)).tobytes()
    narrow = kept.astype(f"<i{_width(values, bits)}")
    return sparse.pack(head, narrow) if selection else head + narrow.tobytes()


def decode(codec: str, payload: Bytes, length: int, bits: int) -> Integers:
    """The integers (length,) in `payload`, of the grid's array type; any other bytes raise ValueError."""
    _require_known(codec)
    data = memoryview(payload).cast("B")
    if len(data) > payload_limit(codec, length, bits):
        raise ValueError(f"payload of {len(data)} bytes, at most {payload_limit(codec, length, bits)}")
    if codec in SYMBOLS:
        return symbols.decode(codec, data, length, bits)
    if codec == "digital":
        return digital.decode(data, length, bits)
    selection, values = _parts(codec)
    layout, shift = sparse.DENSE, 0
    if selection:
        layout, data = _take_byte(data)
    if values:
        shift, data = _take_byte(data)
        if shift > max(0, bits - STEPS[values].bit_length() - 1):
            raise ValueError(f"a shift by {shift} leaves the {bits}-bit grid")
    if values == "int4" and not selection:
        if len(data) != -(-length // 2):
            raise ValueError(f"{len(data)} bytes do not hold {length} values of half a byte")
        levels = symbols.unpack_nibbles(np.frombuffer(data, np.uint8))
        symbols.require_zero(levels[length:])
        found: Integers = levels[:length]
    else:
        found = sparse.unpack(layout, data, length, _width(values, bits))
    if values:
        most = STEPS[values]
        if found.size and not -most <= int(found.min()) <= int(found.max()) <= most:
            raise ValueError(f"{values} values go from -{most} to {most}")
        found = np.left_shift(found, shift, dtype=grid.dtype(bits))
    elif not grid.on_grid(found, bits):
        raise ValueError(f"values outside the {bits}-bit grid")
    return found.astype(grid.dtype(bits), copy=False)


# ---------------------------------------------------------------------------------------------------------- internals


def _require_known(codec: str) -> None:
    if codec not in CODECS:
        raise ValueError(f"no codec named {codec!r}: choose one of {', '.join(CODECS)}")


def _parts(codec: str) -> tuple[str, str]:
    """(selection, values) of a codec's name; an empty word where it has none."""
    if codec == "dgc":
        return "topk", ""
    first, _, second = codec.partition("+")
    return (first, second) if first in SELECTIONS else ("", "" if codec == "none" else codec)


def _drawn(codec: str, generator: np.random.Generator | None) -> np.random.Generator:
    if codec not in ("sign",) and generator is None:
        raise ValueError(f"{codec} draws at random: give a generator")
    return generator or np.random.default_rng(_UNSEEDED)


def _width(values: str, bits: int) -> int:
    if bits <= 8 or values:
        return 1
    return 2 if bits <= 16 else 4


def _shift_for(integers: Integers, most: int) -> int:
    largest = max(int(integers.max()), -int(integers.min())) if integers.size else 0
    return max(0, largest.bit_length() - most.bit_length())


def _round_shift(integers: Integers, shift: int) -> Integers:
    """integers / 2**shift, rounded to nearest even. Exact: 24 bits fit a float32."""
    if shift == 0:
        return integers
    return np.asarray(np.rint(integers.astype(np.float32) * np.float32(2.0**-shift)).astype(integers.dtype))


def _take_byte(data: memoryview) -> tuple[int, memoryview]:
    if len(data) == 0:
        raise ValueError("the payload ends in its head")
    return data[0], data[1:]
