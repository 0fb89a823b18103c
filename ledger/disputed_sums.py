"""Which node of a round's sum tree is wrong, and the pieces that show it to the Arbiter.

Anybody can compute the tree that the committed updates and weights have (`protocol.sums`). What a liar committed in its
place is a hash, and is opened by preimages: a node is SHA-256(0x03 | R | K), an inner hash of a Merkle tree
SHA-256(0x01 | left | right), a leaf SHA-256(0x00 | data), so each is a blob under its own hash in the store that serves
everything else (or, for an edge's sums, follows from the vector that the round published). The search walks down where
the committed hash is not the right one, and names the lowest wrong node: what stands below it is right and therefore known
to everybody. A liar that opens nothing is not convicted by a chunk: its round is for the Court (`challenge`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import numpy as np

from ledger.calls import Chunk, Step
from middleware.maths import aggregate
from middleware.protocol.sums import Integers, Sums
from middleware.trust import chunks, merkle
from middleware.types import SUM_FAN_IN, ZERO32

GROUP_LEVEL = 4  # of a Merkle tree: its hashes there are roots over sixteen leaves each


class Blobs(Protocol):
    def get(self, digest: bytes) -> bytes | None:
        """The bytes kept under this SHA-256, or None. They are hashed before they are believed."""
        ...


class Right(msgspec.Struct, frozen=True):
    """A node as it should be. `vector` is None for a member without usable weight, whose hash is zero."""

    hash: bytes
    vector: Sums | None
    children: tuple[bytes, ...]

    @property
    def sums(self) -> bytes:
        return self.tree.root

    @property
    def tree(self) -> merkle.Tree:
        """Over the chunks of its sums."""
        return chunks.sums_tree(self.vector if self.vector is not None else np.zeros(1, np.int64))

    @property
    def below(self) -> bytes:
        return merkle.root(self.children) if self.children else ZERO32

    def packed(self, index: int) -> bytes:
        """As a child of a node that is shown: R | K | chunk `index` | its path; empty for a node that is zero."""
        if self.vector is None:
            return b""
        tree = self.tree
        shown = tree.root + self.below + chunks.sums_chunk(self.vector, index)
        return shown + b"".join(tree.path(index))


ABSENT = Right(ZERO32, None, ())


def node(vector: Sums, children: Iterable[bytes] = ()) -> Right:
    """The node over this vector and these children."""
    below = tuple(children)
    top = chunks.sums_root(vector) + (merkle.root(below) if below else ZERO32)
    return Right(hashlib.sha256(b"\x03" + top).digest(), vector, below)


class Levels(msgspec.Struct, frozen=True):
    """A sum tree as it should be, lowest level first; the last has one node."""

    nodes: tuple[tuple[Right, ...], ...]

    @property
    def top(self) -> Right:
        return self.nodes[-1][0]


def within(updates: Sequence[tuple[Integers | None, int]], parameters: int) -> Levels:
    """The tree over an edge's updates: (integers or None, used weight) by index. One zero node when none has weight."""
    if not any(weight for _, weight in updates):
        return Levels(((ABSENT,),))
    groups = []
    for start in range(0, len(updates), SUM_FAN_IN):
        vector = np.zeros(parameters, np.int64)
        for integers, weight in updates[start : start + SUM_FAN_IN]:
            if integers is not None and weight:
                aggregate.add_weighted(vector, integers, weight)
        groups.append(node(vector))
    levels = [tuple(groups)]
    while len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    return Levels(tuple(levels))


def over(members: Sequence[Right]) -> Levels:
    """The tree over edges: level 0 are the members themselves, and at least one level stands above them."""
    levels = [tuple(members)]
    while len(levels) == 1 or len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    return Levels(tuple(levels))


def _above(level: Sequence[Right]) -> tuple[Right, ...]:
    return tuple(_join(level[start : start + SUM_FAN_IN]) for start in range(0, len(level), SUM_FAN_IN))


def _join(members: Sequence[Right]) -> Right:
    vectors = [member.vector for member in members if member.vector is not None]
    if not vectors:
        return ABSENT
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return node(total, (member.hash for member in members))


# ------------------------------------------------------------------------------------------------------------ openings


class Openings:
    """Preimages of committed hashes, from blobs and from vectors that the round published."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: dict[bytes, bytes] = {}

    def publish(self, opened: Right) -> None:
        """What follows from a node whose vector and children are known."""
        if opened.vector is None:
            return
        for data in preimages(opened):
            self._known[hashlib.sha256(data).digest()] = data

    def node(self, digest: bytes) -> tuple[bytes, bytes] | None:
        """(R, K) of a committed node; None where nobody opens it."""
        return self._pair(digest, b"\x03")

    def halves(self, digest: bytes) -> tuple[bytes, bytes] | None:
        """The two hashes below an inner hash of a Merkle tree."""
        return self._pair(digest, b"\x01")

    def leaf(self, digest: bytes) -> bytes | None:
        """The data of a Merkle leaf."""
        data = self._preimage(digest)
        return data[1:] if data is not None and data[:1] == b"\x00" else None

    def leaves(self, root: bytes, size: int) -> list[bytes] | None:
        """The leaf hashes of a whole small tree; None where a hash of it is not opened."""
        if size == 1:
            return [root]
        half = 1 << (size - 1).bit_length() - 1
        pair = self.halves(root)
        if pair is None:
            return None
        left, right = self.leaves(pair[0], half), self.leaves(pair[1], size - half)
        return None if left is None or right is None else left + right

    def difference(self, root: bytes, right: merkle.Tree) -> tuple[int, bytes, tuple[bytes, ...]] | None:
        """(number, hash, path) of the first leaf under the committed `root` that is not the right tree's; None where the
        walk to it is not opened."""
        if root == right.root:
            return None
        place, path = 0, []
        for level in range(len(right.levels) - 1, 0, -1):
            below = right.levels[level - 1]
            if 2 * place + 1 >= len(below):
                place = 2 * place  # alone at the end of its level: the same hash one level down
                continue
            pair = self.halves(root)
            if pair is None:
                return None
            side = int(pair[0] == below[2 * place])
            path.append(pair[1 - side])
            root, place = pair[side], 2 * place + side
        return place, root, tuple(reversed(path))

    def _pair(self, digest: bytes, prefix: bytes) -> tuple[bytes, bytes] | None:
        data = self._preimage(digest)
        if data is None or len(data) != 65 or data[:1] != prefix:
            return None
        return data[1:33], data[33:]

    def _preimage(self, digest: bytes) -> bytes | None:
        data = self._known.get(digest)
        if data is None:
            data = self._blobs.get(digest)
        return data if data is not None and hashlib.sha256(data).digest() == digest else None


def preimages(opened: Right) -> list[bytes]:
    """Every preimage that opens a node down to its chunks and its children's hashes, as blobs."""
    if opened.vector is None:
        return []
    found = [b"\x03" + opened.sums + opened.below]
    found += [
        b"\x00" + chunks.sums_chunk(opened.vector, index) for index in range(chunks.chunk_count(opened.vector.size))
    ]
    found += [b"\x00" + child for child in opened.children]
    for tree in (opened.tree, merkle.Tree.of(opened.children)):
        for level in tree.levels[:-1]:
            found += [b"\x01" + left + right for left, right in zip(level[::2], level[1::2], strict=False)]
    return found


# --------------------------------------------------------------------------------------------------------------- search


class Wrong(msgspec.Struct, frozen=True):
    """The lowest wrong node that was found: where it stands, and the chunk that shows it."""

    level: int
    number: int
    chunk: Chunk


class Claims:
    """What was committed, node by node, in the place of `right`: its hashes as far as they are opened, from the top."""

    def __init__(self, top: bytes, right: Levels, openings: Openings) -> None:
        self.right, self.openings = right, openings
        self.hashes: list[list[bytes | None]] = [[None] * len(level) for level in right.nodes]
        self.hashes[-1][0] = top
        for level in range(len(right.nodes) - 1, 0, -1):
            for number, claimed in enumerate(self.hashes[level]):
                self._open_children(level, number, claimed)

    def _open_children(self, level: int, number: int, claimed: bytes | None) -> None:
        first = number * SUM_FAN_IN
        width = len(self.right.nodes[level - 1][first : first + SUM_FAN_IN])
        children: Sequence[bytes | None] | None = None
        if claimed == self.right.nodes[level][number].hash:
            children = [child.hash for child in self.right.nodes[level - 1][first : first + width]]
        elif claimed is not None and (opened := self.openings.node(claimed)) is not None:
            right = self.right.nodes[level][number]
            hashes = self.openings.leaves(opened[1], width)
            if opened[1] == right.below:
                children = right.children
            elif hashes is not None:
                found = [self.openings.leaf(leaf) for leaf in hashes]
                children = [child if child is not None and len(child) == 32 else None for child in found]
        if children is not None:
            self.hashes[level - 1][first : first + width] = children

    def children(self, level: int, number: int) -> list[bytes | None]:
        """The committed hashes right below a node."""
        return self.hashes[level - 1][number * SUM_FAN_IN : (number + 1) * SUM_FAN_IN]

    def wrong(self, lowest: int = 0) -> Wrong | None:
        """The first wrong node of the lowest wrong level, from level `lowest` up, of those that are opened."""
        for level in range(lowest, len(self.right.nodes)):
            for number, right in enumerate(self.right.nodes[level]):
                found = self._shown(level, number, right)
                if found is not None:
                    return found
        return None

    def _shown(self, level: int, number: int, right: Right) -> Wrong | None:
        claimed = self.hashes[level][number]
        if claimed is None or claimed == right.hash or right.vector is None:
            return None
        opened = self.openings.node(claimed)
        if opened is None or opened[1] != right.below:
            return None
        found = self.openings.difference(opened[0], right.tree)
        if found is None:
            return None
        return Wrong(level, number, Chunk(found[0], opened[0], found[1], found[2]))

    def walk(self, level: int, number: int) -> tuple[Step, ...] | None:
        """The steps from a node to the top; None where the way is not opened."""
        steps = []
        for above in range(level + 1, len(self.right.nodes)):
            parent = self.hashes[above][number // SUM_FAN_IN]
            siblings = self.children(above, number // SUM_FAN_IN)
            right = self.right.nodes[above][number // SUM_FAN_IN]
            opened = (right.sums, right.below) if parent == right.hash else self.openings.node(parent or b"")
            if opened is None or any(sibling is None for sibling in siblings):
                return None
            tree = merkle.Tree.of(sibling for sibling in siblings if sibling is not None)
            steps.append(Step(opened[0], tuple(tree.path(number % SUM_FAN_IN))))
            number //= SUM_FAN_IN
        return tuple(steps)

    def shown_children(self, wrong: Wrong) -> tuple[bytes, ...]:
        """The children of a wrong inner node, packed; they are right, or a lower node would have been found."""
        first = wrong.number * SUM_FAN_IN
        return tuple(
            child.packed(wrong.chunk.index) for child in self.right.nodes[wrong.level - 1][first : first + SUM_FAN_IN]
        )


def group_path(tree: merkle.Tree, group: int) -> tuple[bytes, ...]:
    """From the root over the sixteen leaves of a group to the tree's root."""
    steps = []
    for level in tree.levels[GROUP_LEVEL:-1]:
        sibling = group ^ 1
        if sibling < len(level):
            steps.append(level[sibling])
        group >>= 1
    return tuple(steps)
