"""The sum tree of a round: a dispute shows one bad sum of at most sixteen, however many devices took part.

The undivided sums of an aggregation are a vector of int64. Within an edge, updates 16g to 16g+15 (by index) make a
group; a group's vector is the weighted sum of its updates, and sixteen groups make the next level, until one vector is
the edge's. Over the edges it goes on in the same way, in the inputs' order, until one vector is the round's. Every node
commits the root over its vector's chunks and its children (`trust.roots.sum_node`), so whoever finds a node that is
not the sum of what stands below it proves that with one chunk of each.

A member without usable weight (an edge whose updates were all refused) is the zero vector and commits 32 zero bytes.
Vectors are merged into their parent as soon as they are complete, so memory grows with the depth and not with the
number of devices; additions are of integers, so the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.maths import aggregate
from middleware.trust import chunks, roots
from middleware.types import SUM_FAN_IN, ZERO32

Integers = npt.NDArray[np.signedinteger]
Sums = npt.NDArray[np.int64]


class Summed(msgspec.Struct, frozen=True):
    """An edge's sums, or the round's. `vector` is None where it is all zero by definition; `node` is then 32 zero bytes."""

    node: bytes  # the commitment: trust.roots.sum_node
    root: bytes  # over the vector's chunks
    children: tuple[bytes, ...]  # the nodes below; empty for one group of updates
    vector: Sums | None
    weight: int


NOTHING = Summed(ZERO32, ZERO32, (), None, 0)


class _Open:
    """A node that still waits for children: its vector so far, and the commitments of those that came, by place."""

    def __init__(self) -> None:
        self.vector: Sums | None = None
        self.came = 0
        self.nodes: dict[int, bytes] = {}


class SumTree:
    """Collects the weighted updates of one edge, in any order. `parameters` is the vectors' length."""

    def __init__(self, parameters: int) -> None:
        self.parameters = parameters
        self.weight = 0
        self._levels: list[dict[int, _Open]] = [{}]

    def add(self, index: int, integers: Integers | None, weight: int) -> None:
        """Update number `index` with its integers (d,) and weight; None, or weight 0, for one that is not used."""
        group = self._open(0, index // SUM_FAN_IN)
        if integers is not None and weight:
            if group.vector is None:
                group.vector = np.zeros(self.parameters, np.int64)
            aggregate.add_weighted(group.vector, integers, weight)
            self.weight += weight
        group.came += 1
        self._merge(0)

    def close(self) -> Summed:
        """The tree over everything that was added; `NOTHING` when none of it had weight."""
        if not self.weight:
            return NOTHING
        level = 0
        while len(self._levels[level]) > 1 or level + 1 < len(self._levels):
            for place in sorted(self._levels[level]):
                self._complete(level, place)
            level += 1
        ((_, top),) = self._levels[level].items()
        return self._seal(top, self.weight)

    def _open(self, level: int, place: int) -> _Open:
        while len(self._levels) <= level:
            self._levels.append({})
        return self._levels[level].setdefault(place, _Open())

    def _merge(self, level: int) -> None:
        """Complete the level's full nodes, unless one of them may be the top."""
        nodes = self._levels[level]
        if len(nodes) > 1 or level + 1 < len(self._levels):
            for place in [place for place, node in nodes.items() if node.came == SUM_FAN_IN]:
                self._complete(level, place)

    def _complete(self, level: int, place: int) -> None:
        """Seal a node and merge it into its parent."""
        sealed = self._seal(self._levels[level].pop(place), 1)
        parent = self._open(level + 1, place // SUM_FAN_IN)
        parent.nodes[place] = sealed.node
        parent.came += 1
        if parent.vector is None:
            parent.vector = sealed.vector
        elif sealed.vector is not None:
            parent.vector += sealed.vector
        self._merge(level + 1)

    def _seal(self, node: _Open, weight: int) -> Summed:
        vector = node.vector if node.vector is not None else np.zeros(self.parameters, np.int64)
        children = tuple(node.nodes[place] for place in sorted(node.nodes))
        root = chunks.sums_root(vector)
        return Summed(roots.sum_node(root, children), root, children, vector, weight)


def over(members: Sequence[Summed]) -> Summed:
    """The tree over edges, in the inputs' order; at least one level, even for one edge. `NOTHING` if none has weight."""
    if not any(member.vector is not None for member in members):
        return NOTHING
    level = list(members)
    while True:
        level = [_join(level[start : start + SUM_FAN_IN]) for start in range(0, len(level), SUM_FAN_IN)]
        if len(level) == 1:
            return level[0]


def _join(members: Sequence[Summed]) -> Summed:
    used = [(member.vector, member.root) for member in members if member.vector is not None]
    if not used:
        return NOTHING
    vector, root = used[0]
    if len(used) > 1:
        vector = vector.copy()
        for other, _ in used[1:]:
            vector += other
        root = chunks.sums_root(vector)
    children = tuple(member.node for member in members)
    return Summed(roots.sum_node(root, children), root, children, vector, sum(member.weight for member in members))


def alone(vector: Sums, weight: int) -> Summed:
    """The one node of a coordinatewise rule: its result is no sum of its updates, so nothing stands below it."""
    root = chunks.sums_root(vector)
    return Summed(roots.sum_node(root), root, (), vector, weight)


def opens(node: bytes, root: bytes, children: Sequence[bytes]) -> bool:
    """Whether `node` commits the vector with `root` over these children."""
    return roots.sum_node(root, children) == node
