"""Prefix codes for bytes whose shares are known beforehand: no table travels, so a hundred bytes are coded as well as a million.

Huffman 1952, made canonical: a code follows from its lengths alone, codes of one length ascend with the byte. Counts are first
scaled so that they sum to at most 2^13 + 256; a code word of length d needs a sum of at least the Fibonacci number F(d + 2), so
none is longer than `LONGEST`, and a table of 2^18 entries decodes. All is done in integers: every machine has the same code.

Bits are filled into bytes from the most significant one; what is left of the last byte is zero.
"""

from __future__ import annotations

import functools
import heapq
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Lengths = npt.NDArray[np.uint8]

LONGEST: Final = 18  # bits of a code word
SCALED: Final = 1 << 13  # to which counts are brought
SYMBOLS: Final = 256


def lengths_of(counts: npt.NDArray[np.integer[Any]]) -> Lengths:
    """uint8 (256,): the length of each byte's code word, by how often the bytes were seen; every byte has one.

    ValueError for other than 256 counts of at least 0.
    """
    if counts.shape != (SYMBOLS,) or int(counts.min()) < 0:
        raise ValueError(f"a code needs {SYMBOLS} counts of at least 0, not an array of shape {counts.shape}")
    total = max(1, int(counts.sum()))
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (max(1, int(count) * SCALED // total), symbol, (symbol,)) for symbol, count in enumerate(counts)
    ]
    heapq.heapify(heap)
    lengths = np.zeros(SYMBOLS, np.uint8)
    while len(heap) > 1:
        few, first, left = heapq.heappop(heap)
        many, _, right = heapq.heappop(heap)
        lengths[list(left + right)] += 1
        heapq.heappush(heap, (few + many, first, left + right))
    return lengths


def encode(lengths: Lengths, data: Bytes) -> bytes:
    """The code words of `data` (n,), one after the other."""
    sizes = lengths[data].astype(np.int64)
    codes = _words(lengths)[data]
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(data)), sizes)
    below = ends[owner] - 1 - np.arange(len(owner))  # how far each bit is from its word's last one
    return np.packbits((codes[owner] >> below & 1).astype(np.uint8)).tobytes()


def decode(lengths: Lengths, data: bytes, count: int) -> Bytes:
    """The `count` bytes coded in `data`. ValueError for bytes that are not exactly the code of so many."""
    if 8 * len(data) > LONGEST * count + 7 or 8 * len(data) < count:
        raise ValueError(f"{len(data)} bytes are no code of {count}")
    bits = np.concatenate([np.unpackbits(np.frombuffer(data, np.uint8)), np.zeros(LONGEST, np.uint8)]).astype(np.int64)
    ahead = np.zeros(8 * len(data) + 1, np.int64)  # the next LONGEST bits at each place
    for place in range(LONGEST):
        ahead = ahead << 1 | bits[place : place + len(ahead)]
    symbols, end = _table(lengths.tobytes())[ahead], 8 * len(data)
    steps, values = lengths[symbols].tolist(), symbols.tolist()
    out, at = bytearray(), 0
    for _ in range(count):
        if at >= end:
            raise ValueError("the code ends before its last byte")
        out.append(values[at])
        at += steps[at]
    if at > end or end - at > 7 or bits[at:].any():
        raise ValueError("the code does not end where it says")
    return np.frombuffer(bytes(out), np.uint8)


def _order(lengths: Lengths) -> npt.NDArray[np.int64]:
    """Bytes by the length of their words, then by value."""
    return np.argsort(lengths, kind="stable")


def _words(lengths: Lengths) -> npt.NDArray[np.int64]:
    """int64 (256,): each byte's code word, as the number that its bits are."""
    order = _order(lengths)
    spans = np.int64(1) << (LONGEST - lengths[order].astype(np.int64))
    starts = np.concatenate([[0], np.cumsum(spans)[:-1]])
    words = np.empty(SYMBOLS, np.int64)
    words[order] = starts >> (LONGEST - lengths[order].astype(np.int64))
    return words


@functools.lru_cache(maxsize=64)
def _table(sizes: bytes) -> Bytes:
    """uint8 (2^LONGEST,): the byte whose code word these bits begin with."""
    lengths = np.frombuffer(sizes, np.uint8)
    order = _order(lengths)
    return np.repeat(order.astype(np.uint8), np.int64(1) << (LONGEST - lengths[order].astype(np.int64)))
