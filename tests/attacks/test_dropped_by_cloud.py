"""The cloud leaves out, moves or doubles what an edge signed."""

from __future__ import annotations

import msgspec

from middleware.wire.manifest import ManifestEdge
from tests.sim.judged import LyingCloud, first_invalid, named, renumbered


def test_an_update_left_out_by_the_cloud_is_proven_by_the_edges_root() -> None:
    class Omits(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            edges[0] = msgspec.structs.replace(edges[0], updates=edges[0].updates[:1])
            return edges

    found = first_invalid(Omits().run())
    named(found, "tree of edge-2 (node 2)", 2, "the root signature of edge-2 (node 2)")
    assert "signed 2 updates, the manifest lists 1" in found.what


def test_updates_in_another_order_than_the_edge_signed_are_named() -> None:
    class Reorders(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            edges[1] = msgspec.structs.replace(edges[1], updates=renumbered(list(edges[1].updates[::-1])))
            return edges

    named(first_invalid(Reorders().run()), "tree of edge-3 (node 3)", 2, "the root signature of edge-3 (node 3)")


def test_a_whole_edge_listed_twice_is_named() -> None:
    class Doubles(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            return [*edges, edges[0]]

    named(first_invalid(Doubles().run()), "report of edge-2 (node 2)", 2, "the anchor transaction")


def test_an_edge_left_out_after_the_header_was_made_is_named() -> None:
    class Drops(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            return edges[:1]

    named(first_invalid(Drops().run()), "inputsRoot", 2, "the anchor transaction")
