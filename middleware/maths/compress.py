"""Codecs: integers on the grid to few bytes and back to integers on the grid.

    none        every value, little-endian, 1, 2 or 4 bytes wide as the grid needs
    topk        the density * d largest magnitudes and where they are; all other values are zero
    int8        a shift s and one byte a value, v << s; s is the smallest with max|q| >> s <= 127, which keeps
                +-127 << s on the grid
    topk+int8   both

What a codec loses is not lost: error feedback adds it to the next update (Seide et al. 2014; Karimireddy et al. 2019,
algorithm 1), so the sum of what was sent plus what is still kept equals the sum of what was learned.

    payload of topk   layout u8 | [shift u8] | layout 0: count u32 LE | gaps, LEB128 | values
                                               layout 1: bitmap, bit i % 8 of byte i // 8 | values
                                               layout 2: all d values
    payload of int8   shift u8 | d values

A gap is the number of zeros skipped since the position before. The shortest layout is sent, so no payload is more than
two bytes longer than all d values. `decode` is total: bytes of any origin give integers or ValueError, and what it
allocates depends on d and on the bytes it was given, never on a number read from them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.maths import grid

Integers = npt.NDArray[np.signedinteger[Any]]
Vector = npt.NDArray[np.floating[Any]]
Bytes = bytes | bytearray | memoryview

CODECS: Final = ("none", "topk", "int8", "topk+int8")
VARINTS, BITMAP, DENSE = 0, 1, 2
COUNT_BYTES: Final = 4
VARINT_BYTES: Final = 4  # 28 bits: more positions than a model may have numbers


def payload_limit(codec: str, length: int, bits: int) -> int:
    """The most bytes that `encode` may return for `length` values on a grid of `bits` bits."""
    return length * _width(codec, bits) + {"none": 0, "topk": 1, "int8": 1, "topk+int8": 2}[codec]


def encode(codec: str, integers: Integers, bits: int, density: float = 1.0) -> bytes:
    """The payload of integers (d,) on a grid of `bits` bits; `density` in (0, 1] is the fraction that topk keeps."""
    if codec not in CODECS:
        raise ValueError(f"no codec named {codec!r}: choose one of {', '.join(CODECS)}")
    if not grid.on_grid(integers, bits):
        raise ValueError(f"values outside the {bits}-bit grid")
    kept = _largest(integers, max(1, int(density * integers.size))) if codec.startswith("topk") else integers
    head = b""
    if codec.endswith("int8"):
        shift = _shift_for(kept)
        kept = np.clip(_round_shift(kept, shift), -127, 127)
        head = bytes([shift])
    values = kept.astype(f"<i{_width(codec, bits)}")
    return _pack_sparse(head, values) if codec.startswith("topk") else head + values.tobytes()


def decode(codec: str, payload: Bytes, length: int, bits: int) -> Integers:
    """The integers (length,) in `payload`, of the grid's array type; any other bytes raise ValueError."""
    if codec not in CODECS:
        raise ValueError(f"no codec named {codec!r}: choose one of {', '.join(CODECS)}")
    data = memoryview(payload).cast("B")
    if len(data) > payload_limit(codec, length, bits):
        raise ValueError(f"payload of {len(data)} bytes, at most {payload_limit(codec, length, bits)}")
    layout, shift = DENSE, 0
    if codec.startswith("topk"):
        layout, data = _take_byte(data)
    if codec.endswith("int8"):
        shift, data = _take_byte(data)
        if shift > max(0, bits - 8):
            raise ValueError(f"a shift by {shift} leaves the {bits}-bit grid")
    values = _unpack(layout, data, length, _width(codec, bits))
    if codec.endswith("int8"):
        if not grid.on_grid(values, 8):
            raise ValueError("int8 values go from -127 to 127")
        values = np.left_shift(values, shift, dtype=grid.dtype(bits))
    elif not grid.on_grid(values, bits):
        raise ValueError(f"values outside the {bits}-bit grid")
    return values.astype(grid.dtype(bits), copy=False)


class Sent(NamedTuple):
    """What error feedback made of one update."""

    payload: bytes
    integers: Integers  # what the payload decodes to
    residual: Vector  # what was not sent: compression and the grid's rounding
    saturated: int  # coordinates that the grid cut off


def with_feedback(
    update: Vector, residual: Vector | None, codec: str, bits: int, exponent: int, density: float = 1.0
) -> Sent:
    """Compress `update` (d,) plus what earlier rounds kept back; `residual` None is the first round.

    integers * 2**exponent + new residual == update + old residual, in the floating type of `update`.
    """
    wanted = update if residual is None else update + residual
    integers, saturated = grid.to_grid(wanted, bits, exponent)
    payload = encode(codec, integers, bits, density)
    integers = decode(codec, payload, update.size, bits)
    return Sent(payload, integers, wanted - grid.from_grid(integers, exponent), saturated)


# ---------------------------------------------------------------------------------------------------------- internals


def _width(codec: str, bits: int) -> int:
    if bits <= 8 or codec.endswith("int8"):
        return 1
    return 2 if bits <= 16 else 4


def _largest(integers: Integers, count: int) -> Integers:
    """`integers` with all but its `count` largest magnitudes set to zero."""
    if count >= integers.size:
        return integers
    places = np.argpartition(np.abs(integers), integers.size - count)[integers.size - count :]
    kept = np.zeros_like(integers)
    kept[places] = integers[places]
    return kept


def _shift_for(integers: Integers) -> int:
    largest = max(int(integers.max()), -int(integers.min())) if integers.size else 0
    return max(0, largest.bit_length() - 7)


def _round_shift(integers: Integers, shift: int) -> Integers:
    """integers / 2**shift, rounded to nearest even. Exact: 24 bits fit a float32."""
    if shift == 0:
        return integers
    return np.asarray(np.rint(integers.astype(np.float32) * np.float32(2.0**-shift)).astype(integers.dtype))


def _take_byte(data: memoryview) -> tuple[int, memoryview]:
    if len(data) == 0:
        raise ValueError("the payload ends in its head")
    return data[0], data[1:]


def _pack_sparse(head: bytes, values: Integers) -> bytes:
    places = np.flatnonzero(values)
    gaps = _pack_varints(np.diff(places, prepend=-1) - 1)
    kept = values[places].tobytes()
    bodies = {
        VARINTS: len(places).to_bytes(COUNT_BYTES, "little") + gaps + kept,
        BITMAP: np.packbits(values != 0, bitorder="little").tobytes() + kept,
        DENSE: values.tobytes(),
    }
    layout = min(bodies, key=lambda key: len(bodies[key]))
    return bytes([layout]) + head + bodies[layout]


def _unpack(layout: int, data: memoryview, length: int, width: int) -> Integers:
    if layout == DENSE:
        return _values(data, length, width)
    if layout == VARINTS:
        places, rest = _unpack_gaps(data, length, width)
    elif layout == BITMAP:
        size = (length + 7) // 8
        if len(data) < size:
            raise ValueError("the payload ends in its bitmap")
        marks = np.unpackbits(np.frombuffer(data[:size], np.uint8), bitorder="little")
        if marks[length:].any():
            raise ValueError("the bitmap marks places past the last value")
        places, rest = np.flatnonzero(marks), data[size:]
    else:
        raise ValueError(f"layout {layout}: there are 0, 1 and 2")
    values = np.zeros(length, f"<i{width}")
    values[places] = _values(rest, len(places), width)
    return values


def _values(data: memoryview, count: int, width: int) -> Integers:
    if len(data) != count * width:
        raise ValueError(f"{len(data)} bytes do not hold {count} values of {width} bytes")
    return np.frombuffer(data, f"<i{width}")


def _unpack_gaps(data: memoryview, length: int, width: int) -> tuple[npt.NDArray[np.int64], memoryview]:
    """(ascending places below `length`, what follows the gaps)."""
    if len(data) < COUNT_BYTES:
        raise ValueError("the payload ends in its head")
    count = int.from_bytes(data[:COUNT_BYTES], "little")
    end = len(data) - count * width
    if end < COUNT_BYTES + count:
        raise ValueError(f"{len(data)} bytes do not hold {count} places and values")
    gaps = _unpack_varints(data[COUNT_BYTES:end], count)
    places = np.cumsum(gaps + 1) - 1
    if count and places[-1] >= length:
        raise ValueError(f"place {places[-1]} is past the last of {length} values")
    return places, data[end:]


def _pack_varints(numbers: npt.NDArray[np.int64]) -> bytes:
    """LEB128 of numbers below 2**28: seven bits a byte, low first, the top bit says that more follow."""
    shifts = 7 * np.arange(VARINT_BYTES)
    digits = (numbers[:, None] >> shifts) & 0x7F
    used = (numbers[:, None] >> shifts) > 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    return (digits | (more << 7)).astype(np.uint8)[used].tobytes()


def _unpack_varints(data: memoryview, count: int) -> npt.NDArray[np.int64]:
    """Exactly `count` numbers, each in its shortest spelling, that fill `data`."""
    digits = np.frombuffer(data, np.uint8).astype(np.int64)
    ends = np.flatnonzero(digits < 0x80)
    if len(ends) != count or (len(digits) and digits[-1] >= 0x80):
        raise ValueError(f"the gaps are not {count} numbers")
    sizes = np.diff(ends, prepend=-1)
    if count and (int(sizes.max()) > VARINT_BYTES or bool((digits[ends][sizes > 1] == 0).any())):
        raise ValueError("a gap is not in its shortest spelling")
    starts = ends - sizes + 1
    offsets = np.arange(len(digits)) - np.repeat(starts, sizes)
    return np.asarray(np.add.reduceat((digits & 0x7F) << (7 * offsets), starts)) if count else np.zeros(0, np.int64)
