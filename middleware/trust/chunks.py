"""Roots over vectors: the trees whose leaves are chunks of 256 integers, so that a dispute shows one chunk.

An update's root is salted: chunk leaf = SHA-256(0x00 || salt 16 || 256 big-endian integers), of 2 bytes each where the
grid has at most 16 bits, else of 4: what a dispute puts on a chain is paid by the byte. Without the salt an outsider
could guess a chunk (most of a sparse update is zeros) and test it against the leaf. Sums are public to whoever may read
them, so theirs is plain: SHA-256(0x00 || 256 big-endian int64). Big-endian because the EVM reads words so. The last
chunk is padded with zeros; above the leaves the tree is RFC 9162's (`merkle`).

Speed: integers are widened a block at a time, a chunk is hashed from a memoryview by copying the hash state that has
already taken the prefix, and a chunk or subtree of zeros is hashed once per salt.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from middleware.errors import ConfigurationError
from middleware.trust.merkle import Tree, node_hash

CHUNK: Final = 256  # integers in one leaf
SALT_BYTES: Final = 16
_BLOCK: Final = 4096  # chunks widened at once: 4 MiB of int32

IntegerVector = NDArray[np.signedinteger[Any]]


def update_tree(integers: IntegerVector, salt: bytes, width: int) -> Tree:
    """The salted tree over an update's integers (d,), any signed dtype, every value within `width` bytes (2 or 4)."""
    if len(salt) != SALT_BYTES:
        raise ConfigurationError(f"a salt has {SALT_BYTES} bytes, got {len(salt)}")
    return _tree(integers, _wire(width), salt)


def update_root(integers: IntegerVector, salt: bytes, width: int) -> bytes:
    """Root of `update_tree`: what an update's leaf commits."""
    return update_tree(integers, salt, width).root


def sums_tree(sums: IntegerVector) -> Tree:
    """The unsalted tree over undivided sums (d,), any signed dtype."""
    return _tree(sums, ">i8", b"")


def sums_root(sums: IntegerVector) -> bytes:
    """Root of `sums_tree`: an edge's `aggregate`, a header's `chunks_root`."""
    return sums_tree(sums).root


def update_chunk(integers: IntegerVector, index: int, width: int) -> bytes:
    """The 256 * `width` bytes of chunk `index`, as a dispute publishes them beside the salt."""
    return _chunk(integers, index, _wire(width))


def sums_chunk(sums: IntegerVector, index: int) -> bytes:
    """The 2,048 bytes of chunk `index` of the sums."""
    return _chunk(sums, index, ">i8")


def chunk_leaf(chunk: bytes, salt: bytes = b"") -> bytes:
    """The leaf hash of one chunk; the salt is empty for sums."""
    return sha256(b"\x00" + salt + chunk).digest()


def chunk_count(parameters: int) -> int:
    """Leaves of the tree over a vector of `parameters` integers."""
    return -(-parameters // CHUNK)


def _wire(width: int) -> str:
    if width not in (2, 4):
        raise ConfigurationError(f"an update's integers have 2 or 4 bytes, not {width}")
    return f">i{width}"


def _tree(integers: IntegerVector, wire: str, salt: bytes) -> Tree:
    _require_vector(integers, wire)
    prefix = sha256(b"\x00" + salt)
    width = CHUNK * np.dtype(wire).itemsize
    zero = prefix.copy()
    zero.update(bytes(width))
    zero_leaf = zero.digest()
    leaves: list[bytes] = []
    zeros = 0
    for start in range(0, integers.size, _BLOCK * CHUNK):
        block = _widened(integers[start : start + _BLOCK * CHUNK], wire)
        used: list[bool] = np.any(block, axis=1).tolist()
        zeros += used.count(False)
        view = block.data.cast("B")
        for number, is_used in enumerate(used):
            if not is_used:
                leaves.append(zero_leaf)
                continue
            state = prefix.copy()
            state.update(view[number * width : (number + 1) * width])
            leaves.append(state.digest())
    return _sparse_tree(leaves, zero_leaf) if 2 * zeros > len(leaves) else Tree.over(leaves)


def _sparse_tree(leaves: list[bytes], zero: bytes) -> Tree:
    """`Tree.over(leaves)`, hashing a pair of all-zero subtrees once a level. `zero` is one object: compared by `is`."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        level, zero_above = levels[-1], node_hash(zero, zero)
        above = [
            zero_above if left is zero and right is zero else node_hash(left, right)
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        levels.append(above + level[len(level) & ~1 :])
        zero = zero_above
    return Tree(tuple(levels))


def _chunk(integers: IntegerVector, index: int, wire: str) -> bytes:
    _require_vector(integers, wire)
    if not 0 <= index < chunk_count(integers.size):
        raise ConfigurationError(f"there is no chunk {index} in a vector of {integers.size}")
    return _widened(integers[index * CHUNK : (index + 1) * CHUNK], wire).tobytes()


def _widened(part: IntegerVector, wire: str) -> NDArray[Any]:
    """(chunks, 256) of the wire's integers, zeros behind the end."""
    rows = chunk_count(part.size)
    block = np.empty(rows * CHUNK, dtype=wire)
    block[: part.size] = part
    block[part.size :] = 0
    return block.reshape(rows, CHUNK)


def _require_vector(integers: IntegerVector, wire: str) -> None:
    if integers.ndim != 1 or integers.dtype.kind != "i" or integers.size == 0:
        raise ConfigurationError(f"expected one vector of signed integers, not {integers.dtype} {integers.shape}")
    if integers.dtype.itemsize > np.dtype(wire).itemsize:
        bounds = np.iinfo(np.dtype(wire))
        if int(integers.min()) < bounds.min or int(integers.max()) > bounds.max:
            raise ConfigurationError(f"an integer does not fit {bounds.bits} bits")
