"""Trees that prove: RFC 9162 (Certificate Transparency 2.0) section 2.1 over SHA-256, and the same shape with sums.

    leaf = SHA-256(0x00 || data)      node = SHA-256(0x01 || left || right)      empty tree = SHA-256("")

The RFC defines the tree top-down (split at the largest power of two below n). Pairing from the left, level by level and
carrying an odd last node up unchanged gives the same tree; it needs no recursion and keeps every level for paths.
`Frontier` is the compact range of the same tree: what an edge keeps while updates still arrive.

The sum tree carries a running total in every node, so one path proves an amount and the total it is part of; it is
the shape of the rewards. Its node hashes both sums, so no subtree can hide a negative one (sums are unsigned 128 bits).

A stranger's path never raises anything but PeerFault: "malformed" for a shape that no tree has, "mismatch" is the
caller's verdict on a wrong root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final

import msgspec

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import LIMITS, ZERO32

EMPTY_ROOT: Final = sha256(b"").digest()
SUM_LIMIT: Final = 1 << 128  # sums and amounts are unsigned 128-bit

SumStep = tuple[int, bytes]  # (the sibling's sum, the sibling's hash)
SUM_STEP_BYTES: Final = 48  # of one packed step: sum u128, hash


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def leaf_hashes(data: Iterable[bytes]) -> list[bytes]:
    return [sha256(b"\x00" + entry).digest() for entry in data]


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree(msgspec.Struct, frozen=True):
    """A tree with every level kept, leaves first, so that each path is a walk without hashing."""

    levels: tuple[list[bytes], ...]

    @staticmethod
    def of(data: Iterable[bytes]) -> Tree:
        """The tree over leaf data."""
        return Tree.over(leaf_hashes(data))

    @staticmethod
    def over(leaves: Sequence[bytes]) -> Tree:
        """The tree over leaf hashes."""
        levels = [list(leaves)]
        while len(levels[-1]) > 1:
            levels.append(_next_level(levels[-1]))
        return Tree(tuple(levels))

    @property
    def size(self) -> int:
        return len(self.levels[0])

    @property
    def root(self) -> bytes:
        return self.levels[-1][0] if self.levels[0] else EMPTY_ROOT

    def path(self, index: int) -> list[bytes]:
        """Sibling hashes of leaf `index`, leaf to root (RFC 9162 section 2.1.3.1)."""
        if not 0 <= index < self.size:
            raise ConfigurationError(f"there is no leaf {index} in a tree of {self.size}")
        steps = []
        for level in self.levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                steps.append(level[sibling])
            index >>= 1
        return steps


def root(data: Iterable[bytes]) -> bytes:
    """The root over leaf data."""
    return root_over(leaf_hashes(data))


def root_over(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    level = list(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return level[0] if level else EMPTY_ROOT


def root_from_path(leaf: bytes, index: int, size: int, steps: Sequence[bytes]) -> bytes:
    """The root that `steps` prove for leaf hash `leaf` (RFC 9162 section 2.1.3.2). PeerFault("malformed")."""
    _require_position(index, size, len(steps))
    if any(len(step) != 32 for step in steps):
        raise PeerFault("malformed", "a path is made of 32-byte hashes")
    value = leaf
    for sibling_is_left, step in zip(_turns(index, size), steps, strict=True):
        value = node_hash(step, value) if sibling_is_left else node_hash(value, step)
    return value


def verify_inclusion(expected: bytes, leaf: bytes, index: int, size: int, steps: Sequence[bytes]) -> bool:
    """Whether leaf hash `leaf` is number `index` of the tree of `size` leaves under root `expected`."""
    return root_from_path(leaf, index, size, steps) == expected


def path_length(index: int, size: int) -> int:
    """Hashes in the path of leaf `index` of a tree of `size` leaves."""
    return len(_turns(index, size))


def consistency(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """Proof that the tree over the first `first` leaf hashes is a prefix of this one (RFC 9162 section 2.1.4.1)."""
    size = len(leaves)
    if not 0 <= first <= size:
        raise ConfigurationError(f"there is no prefix of {first} leaves in a tree of {size}")
    if first in (0, size):
        return []
    steps: list[bytes] = []
    low, high, whole = 0, size, True  # SUBPROOF(first - low, D[low:high], whole), unrolled: the proof grows backwards
    while first != high:
        split = low + _largest_power_below(high - low)
        if first <= split:
            steps.append(root_over(leaves[split:high]))
            high = split
        else:
            steps.append(root_over(leaves[low:split]))
            low, whole = split, False
    if not whole:
        steps.append(root_over(leaves[low:high]))
    return steps[::-1]


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, steps: Sequence[bytes]) -> bool:
    """Whether `steps` prove the tree of `first` leaves to be a prefix of that of `second` (RFC 9162 2.1.4.2).

    The empty tree is a prefix of every tree, with an empty proof. PeerFault("malformed") for sizes no tree has.
    """
    if not 0 <= first <= second or len(steps) > LIMITS.path_hashes or any(len(step) != 32 for step in steps):
        raise PeerFault("malformed", f"no consistency proof leads from {first} to {second} leaves")
    if first == second:
        return not steps and first_root == second_root and (first > 0 or first_root == EMPTY_ROOT)
    if first == 0:
        return not steps and first_root == EMPTY_ROOT
    proof = list(steps)
    if first & (first - 1) == 0:  # an exact power of two is a node of the larger tree itself
        proof.insert(0, first_root)
    if not proof:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = proof[0]
    for step in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(step, old), node_hash(step, new)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == first_root and new == second_root


class Frontier(msgspec.Struct, frozen=True):
    """The compact range of a growing tree: the roots of its perfect subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf hash; amortised one hash."""
        peaks, size = list(self.peaks), self.size
        while size & 1:
            leaf = node_hash(peaks.pop(), leaf)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, leaf))

    @property
    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        value = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            value = node_hash(peak, value)
        return value


# ---------------------------------------------------------------------------------------------------------- sum tree


def sum_leaf_hash(node: int, cumulative: int) -> bytes:
    """SHA-256(0x00 || node u32 || cumulative u128)."""
    _require_entry(node, cumulative)
    return sha256(b"\x00" + node.to_bytes(4, "big") + cumulative.to_bytes(16, "big")).digest()


def sum_node_hash(left_sum: int, left: bytes, right_sum: int, right: bytes) -> bytes:
    """SHA-256(0x01 || left sum u128 || left || right sum u128 || right)."""
    return sha256(b"\x01" + left_sum.to_bytes(16, "big") + left + right_sum.to_bytes(16, "big") + right).digest()


def sum_root(entries: Sequence[tuple[int, int]]) -> bytes:
    """The rewards root over (node, cumulative) in ascending node id; 32 zero bytes when there are none."""
    return seal_sum(*sum_top(entries)) if entries else ZERO32


def sum_top(entries: Sequence[tuple[int, int]]) -> SumStep:
    """(total, hash of the tree's top node) over (node, cumulative) in ascending node id; (0, zero) when there are none."""
    return _sum_levels(entries)[-1][0] if entries else (0, ZERO32)


def seal_sum(total: int, top: bytes) -> bytes:
    """SHA-256(0x02 || total u128 || top): the commitment to a whole sum tree."""
    return sha256(b"\x02" + total.to_bytes(16, "big") + top).digest()


def sum_path(entries: Sequence[tuple[int, int]], index: int) -> list[SumStep]:
    """Sibling (sum, hash) pairs of entry `index`, leaf to root."""
    if not 0 <= index < len(entries):
        raise ConfigurationError(f"there is no entry {index} among {len(entries)}")
    steps: list[SumStep] = []
    for level in _sum_levels(entries)[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            steps.append(level[sibling])
        index >>= 1
    return steps


def pack_sum_path(steps: Sequence[SumStep]) -> bytes:
    """The path as a claim carries it: 48 bytes a step, sum u128 || hash."""
    return b"".join(amount.to_bytes(16, "big") + step for amount, step in steps)


def unpack_sum_path(path: bytes) -> list[SumStep]:
    """What `pack_sum_path` packed. PeerFault("malformed") for a length that is not a multiple of 48 bytes."""
    if len(path) % SUM_STEP_BYTES:
        raise PeerFault("malformed", f"a packed sum path has 48 bytes a step, this one {len(path)} in all")
    steps = (path[at : at + SUM_STEP_BYTES] for at in range(0, len(path), SUM_STEP_BYTES))
    return [(int.from_bytes(step[:16], "big"), step[16:]) for step in steps]


def sum_root_from_path(
    node: int, cumulative: int, index: int, size: int, steps: Sequence[SumStep]
) -> tuple[int, bytes]:
    """(total, rewards root) that `steps` prove for one entry. PeerFault("malformed") for an impossible path."""
    _require_position(index, size, len(steps))
    if not 0 <= node < 1 << 32 or not 0 <= cumulative < SUM_LIMIT:
        raise PeerFault("malformed", "a reward is (node u32, amount u128)")
    value, total = sum_leaf_hash(node, cumulative), cumulative
    for sibling_is_left, (amount, step) in zip(_turns(index, size), steps, strict=True):
        if not 0 <= amount < SUM_LIMIT or len(step) != 32 or total + amount >= SUM_LIMIT:
            raise PeerFault("malformed", "a sum path is made of (sum u128, hash 32) without overflow")
        value = (
            sum_node_hash(amount, step, total, value) if sibling_is_left else sum_node_hash(total, value, amount, step)
        )
        total += amount
    return total, seal_sum(total, value)


def verify_sum(expected: bytes, node: int, cumulative: int, index: int, size: int, steps: Sequence[SumStep]) -> bool:
    """Whether `node` is owed `cumulative` under the rewards root `expected`."""
    return sum_root_from_path(node, cumulative, index, size, steps)[1] == expected


def _sum_levels(entries: Sequence[tuple[int, int]]) -> list[list[SumStep]]:
    nodes = [node for node, _ in entries]
    if any(left >= right for left, right in pairwise(nodes)):
        raise ConfigurationError("rewards stand in ascending node id, one entry a node")
    if sum(amount for _, amount in entries) >= SUM_LIMIT:
        raise ConfigurationError("the rewards add up past 128 bits")
    levels: list[list[SumStep]] = [[(amount, sum_leaf_hash(node, amount)) for node, amount in entries]]
    while len(levels[-1]) > 1:
        level = levels[-1]
        above = [
            (left[0] + right[0], sum_node_hash(*left, *right))
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        levels.append(above + level[len(level) & ~1 :])
    return levels


def _require_entry(node: int, cumulative: int) -> None:
    if not 0 <= node < 1 << 32 or not 0 <= cumulative < SUM_LIMIT:
        raise ConfigurationError(f"reward ({node}, {cumulative}) is not (u32, u128)")


# ------------------------------------------------------------------------------------------------------------- shape


def _next_level(level: list[bytes]) -> list[bytes]:
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    return above + level[len(level) & ~1 :]


def _turns(index: int, size: int) -> list[bool]:
    """For each step of a path, leaf to root: whether the sibling stands on the left."""
    turns = []
    last = size - 1
    while last > 0:
        if index & 1:
            turns.append(True)
        elif index < last:
            turns.append(False)
        index, last = index >> 1, last >> 1
    return turns


def _require_position(index: int, size: int, steps: int) -> None:
    if not 0 <= index < size or steps > LIMITS.path_hashes or steps != path_length(index, size):
        raise PeerFault("malformed", f"no path of {steps} hashes leads from leaf {index} of {size}")


def _largest_power_below(n: int) -> int:
    """The largest power of two strictly below n, for n > 1."""
    return 1 << ((n - 1).bit_length() - 1)
