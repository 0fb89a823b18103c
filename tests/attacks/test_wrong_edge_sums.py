"""An edge adds wrongly, or a cloud counts another sum or weights than the edge signed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ledger.disputed_sums import node
from middleware.protocol.settlement import Received
from middleware.protocol.sums import Summed
from middleware.trust import merkle, roots
from middleware.types import Header
from middleware.wire.commitment import weight_entry
from middleware.wire.manifest import Manifest
from middleware.wire.message import Update, decode_stored
from tests.sim.history import CLOUD, History
from tests.sim.liars import TWO_LEVEL, Adder, Wide, named, off_by_one, only


def lying(vector: np.ndarray, children: Sequence[bytes], weight: int) -> Summed:
    one = node(vector, children)
    return Summed(one.hash, one.sums, one.children, vector, weight)


class EdgeAdder(History):
    """Edge 2 signs another sum than its updates have, and sends that."""

    def edge_sums(self, edge: int, number: int, rows: list[Received]) -> Summed:
        right = super().edge_sums(edge, number, rows)
        if edge != 2 or right.vector is None:
            return right
        return lying(off_by_one(right.vector, 300), right.children, right.weight)


def test_an_edge_whose_group_is_off_by_one() -> None:
    named(only(EdgeAdder(TWO_LEVEL, rounds=1).run()), "wrongEdgeGroup", 1, 2)


def test_an_edge_with_a_wrong_node_above_its_groups() -> None:
    class WideAdder(Wide, EdgeAdder):
        pass

    named(only(WideAdder(TWO_LEVEL, rounds=1).run()), "wrongEdgeNode", 1, 2)


def test_a_cloud_that_counts_another_node_than_the_edge_signed() -> None:
    class Swapper(Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, 3)), second])

    named(only(Swapper(TWO_LEVEL, rounds=1).run()), "wrongMember", 1, CLOUD)


def test_a_cloud_that_names_other_weights_than_the_edge_signed() -> None:
    class Weigher(History):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            first, *rest = manifest.edges
            update = msgspec.structs.replace(first.updates[0], weight=1)
            changed = msgspec.structs.replace(first, updates=(update, *first.updates[1:]))
            self.listed_edges = (changed, *rest)
            return msgspec.structs.replace(manifest, edges=self.listed_edges)

        def header(self, number: int, header: Header) -> Header:
            weights = [
                merkle.root(weight_entry(decode_stored(u.frame, Update).message.sender, u.weight) for u in edge.updates)
                for edge in self.listed_edges
            ]
            return msgspec.structs.replace(header, weights_root=roots.weights_root(weights))

    named(only(Weigher(TWO_LEVEL, rounds=1).run()), "wrongWeights", 1, CLOUD)
