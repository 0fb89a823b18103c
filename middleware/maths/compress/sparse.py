"""Vectors that are mostly zero, as bytes: where the others are, then what they are.

    layout 0: count u32 LE | gaps, LEB128 | values
    layout 1: bitmap, bit i % 8 of byte i // 8 | values
    layout 2: all d values

A gap is the number of zeros skipped since the position before. The shortest layout is chosen, so nothing is longer than all d
values. Reading is total: bytes of any origin give integers or ValueError, and what is allocated depends on d and on the bytes
that are there, never on a number read from them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]

VARINTS, BITMAP, DENSE = 0, 1, 2
COUNT_BYTES: Final = 4
VARINT_BYTES: Final = 4  # 28 bits: more positions than a model may have numbers


def expected_size(length: int, count: int, width: int) -> int:
    """The bytes of the shortest layout for `count` of `length` values of `width` bytes, at places drawn at random.

    A gap is then geometric, P(gap >= g) = (1 - count / length)^g, and takes one byte more from each 128^i on.
    """
    miss = 1 - count / length
    gap = 1 + sum(miss ** (1 << 7 * more) for more in range(1, VARINT_BYTES))
    varints, bitmap = COUNT_BYTES + count * (gap + width), (length + 7) // 8 + count * width
    return round(min(varints, bitmap, length * width))


def pack(head: bytes, values: Integers) -> bytes:
    """The shortest layout of integers (d,), most of which are zero: its number, `head`, its body."""
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


def unpack(layout: int, data: memoryview, length: int, width: int) -> Integers:
    """The integers (length,) of `width` bytes in a layout's body; ValueError for any other bytes."""
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
