"""Digital SGD: what a channel of so many bits can carry (Amiri and Gunduz 2020, section III-A).

Of the q largest and the q smallest entries the side with the larger mean magnitude is kept, and one mean is sent for all of it. q
is the largest with log2 C(d, q) + 33 <= R bits: the places as a combination, a sign and a mean of 32 bits.

A combination's number would take long to compute, so places are sent as Rice codes of their gaps, which come within some per
cent of it; q is then the largest that was tried whose actual bits fit the budget.

    payload   q u32 LE | k u8 | mean i32 LE | gaps: quotients in unary, then remainders of k bits
"""

from __future__ import annotations

from math import lgamma, log
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from middleware.maths import grid

Integers = npt.NDArray[np.signedinteger[Any]]

HEAD_BYTES: Final = 9
MEAN_BITS: Final = 33  # the paper's: a sign and a mean
MOST_SHIFT: Final = 27


def size(length: int) -> int:
    """The most bytes of a payload for `length` coordinates: with all of them kept, two bits a gap are more than enough."""
    return HEAD_BYTES + -(-2 * length // 8) + 1


def combination_bits(length: int, count: int) -> float:
    """log2 C(length, count)."""
    return (lgamma(length + 1) - lgamma(count + 1) - lgamma(length - count + 1)) / log(2)


def most_entries(length: int, budget: int) -> int:
    """The largest q with log2 C(length, q) + 33 <= budget, up to half of `length`, where the bits are most; 0 if none
    fits."""
    low, high = 0, max(1, length // 2)
    while low < high:
        middle = (low + high + 1) // 2
        fits = combination_bits(length, middle) + MEAN_BITS <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def encode(integers: Integers, budget: int) -> bytes:
    """The payload of integers (d,), of at most `budget` bits. ValueError where not even one entry fits."""
    most = most_entries(integers.size, budget)
    order = np.argsort(integers, kind="stable")
    while most:
        low, high = order[:most], order[len(order) - most :]
        chosen = high if int(integers[high].sum(dtype=np.int64)) >= -int(integers[low].sum(dtype=np.int64)) else low
        payload = _pack(np.sort(chosen), int(integers[chosen].sum(dtype=np.int64)), integers.size)
        if 8 * len(payload) <= budget:
            return payload
        most = min(most - 1, most * budget // (8 * len(payload)))
    raise ValueError(f"a budget of {budget} bits holds no entry: give at least {8 * (HEAD_BYTES + 4)}")


def decode(data: memoryview, length: int, bits: int) -> Integers:
    """The integers (length,) in a payload, of the grid's array type; any other bytes raise ValueError."""
    if len(data) < HEAD_BYTES:
        raise ValueError("the payload ends in its head")
    count, shift = int.from_bytes(data[:4], "little"), data[4]
    mean = int.from_bytes(data[5:9], "little", signed=True)
    if not 0 < count <= length or shift > MOST_SHIFT or abs(mean) > grid.limit(bits):
        raise ValueError(f"{count} entries of {mean} with gaps of {shift} bits are nothing that this codec sends")
    stream = np.unpackbits(np.frombuffer(data[HEAD_BYTES:], np.uint8))
    ends = np.flatnonzero(stream == 0)[:count]
    if len(ends) < count or len(stream) - int(ends[-1]) - 1 < count * shift:
        raise ValueError(f"the gaps are not {count} numbers")
    quotients = np.diff(ends, prepend=-1) - 1
    rest = stream[int(ends[-1]) + 1 :]
    remainders = rest[: count * shift].reshape(count, shift).astype(np.int64) @ (1 << np.arange(shift)[::-1])
    if rest[count * shift :].any() or len(rest) - count * shift > 7:
        raise ValueError("bytes past the last gap")
    places = np.cumsum((quotients.astype(np.int64) << shift) + remainders + 1) - 1
    if int(places[-1]) >= length:
        raise ValueError(f"place {int(places[-1])} is past the last of {length} values")
    values = np.zeros(length, grid.dtype(bits))
    values[places] = mean
    return values


def _pack(places: npt.NDArray[np.int64], total: int, length: int) -> bytes:
    count = len(places)
    shift = max(0, (length // count).bit_length() - 1)
    gaps = np.diff(places, prepend=-1) - 1
    quotients = gaps >> shift
    unary = np.ones(int(quotients.sum()) + count, np.uint8)
    unary[np.cumsum(quotients + 1) - 1] = 0
    remainders = (gaps[:, None] >> np.arange(shift)[::-1] & 1).astype(np.uint8).reshape(-1)
    mean = (2 * total + count) // (2 * count)
    head = count.to_bytes(4, "little") + bytes([shift]) + mean.to_bytes(4, "little", signed=True)
    return head + np.packbits(np.concatenate([unary, remainders])).tobytes()
