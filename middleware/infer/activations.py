"""Tensors that cross in about a bit a number, without training anything: a coarse quantiser and an entropy code.

Quantiser and code are designed once, on tensors of training samples (`designed`), and belong to the published model, so nothing
of them travels. Symbols are packed, as many to a byte as fit, so that a byte's code word stands for several of them at once:
rates far below a bit are within reach, and little is lost against an arithmetic coder.

    quantiser  maths.quantiser      clipped, entropy-constrained (Cohen, Choi and Bajic 2020)
    code       maths.prefix         canonical Huffman over packed bytes

The decoder is total: it takes exactly the code of the shape's symbols, and gives for any other bytes PeerFault("malformed").
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.errors import PeerFault
from middleware.maths import prefix, quantiser

Floats = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.uint8]


class Code(NamedTuple):
    """What both sides know: the levels, and how long the code word of each packed byte is, uint8 (256,)."""

    quantiser: quantiser.Quantiser
    lengths: prefix.Lengths


def designed(tensors: Floats, levels: int, weight: float) -> Code:
    """For tensors like these (n, ...): `weight` is the squared error that a bit is worth, in units of their variance."""
    made = quantiser.designed(tensors, levels, weight * float(np.var(tensors)))
    packed = b"".join(pack(made.symbols(one).reshape(-1), levels) for one in tensors)
    return Code(made, prefix.lengths_of(np.bincount(np.frombuffer(packed, np.uint8), minlength=256)))


def encode(code: Code, numbers: npt.NDArray[Any]) -> bytes:
    """The bytes of a tensor of any shape. ValueError for values that are not finite."""
    if not np.isfinite(numbers).all():
        raise ValueError("a tensor with values that are not finite has no code: the network overflowed")
    packed = pack(code.quantiser.symbols(numbers).reshape(-1), code.quantiser.levels)
    return prefix.encode(code.lengths, np.frombuffer(packed, np.uint8))


def decode(code: Code, data: bytes, shape: tuple[int, ...]) -> Floats:
    """The tensor of `shape`, each number the value of its level. PeerFault("malformed") for bytes that are no such tensor."""
    count, levels = math.prod(shape), code.quantiser.levels
    try:
        packed = prefix.decode(code.lengths, data, -(-count // together(levels)))
    except ValueError as error:
        raise PeerFault("malformed", f"these are no symbols of shape {shape}: {error}") from error
    return code.quantiser.values[unpack(packed.tobytes(), count, levels)].reshape(shape)


def together(levels: int) -> int:
    """How many symbols go to a byte."""
    return int(math.log(256, levels) + 1e-9)


def pack(symbols: Symbols, levels: int) -> bytes:
    """Symbols (n,) below `levels`, the first of a byte the most significant; the last byte is filled up with zeros."""
    many = together(levels)
    padded = np.zeros(-(-len(symbols) // many) * many, np.uint8)
    padded[: len(symbols)] = symbols
    return bytes((padded.reshape(-1, many) @ _powers(levels)).astype(np.uint8).tobytes())


def unpack(data: bytes, count: int, levels: int) -> Symbols:
    """The `count` symbols in packed bytes. PeerFault("malformed") for bytes that `pack` does not make."""
    many = together(levels)
    read = np.frombuffer(data, np.uint8)
    if len(read) != -(-count // many) or (read.size and int(read.max()) >= levels**many):
        raise PeerFault("malformed", f"{len(read)} bytes are not {count} symbols of {levels} levels, {many} to a byte")
    found = (read[:, None] // _powers(levels) % levels).astype(np.uint8).reshape(-1)
    if found[count:].any():
        raise PeerFault("malformed", "symbols past the last number")
    return found[:count]


def _powers(levels: int) -> npt.NDArray[np.int64]:
    return levels ** np.arange(together(levels) - 1, -1, -1, dtype=np.int64)
