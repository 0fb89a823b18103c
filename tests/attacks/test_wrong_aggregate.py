"""A cloud adds wrongly: one chunk proves it to the Arbiter."""

from __future__ import annotations

import pytest

from ledger.dispute import find
from ledger.disputed_sums import node, over
from middleware.maths import aggregate
from middleware.policy import Policy
from tests.sim.history import CLOUD
from tests.sim.liars import MEAN, MEDIAN, TRIMMED, TWO_LEVEL, Adder, Wide, named, off_by_one, only


@pytest.mark.parametrize("coordinate", [0, 300, 599])
def test_a_cloud_whose_group_is_off_by_one(coordinate: int) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, coordinate)), second])

    offence = only(Liar(MEAN, rounds=1).run())
    named(offence, "wrongGroup", 1, CLOUD)
    assert offence.proof.group.chunk.index == coordinate // 256  # type: ignore[union-attr]


@pytest.mark.parametrize("policy", [MEAN, TWO_LEVEL], ids=["flat", "two-level"])
def test_a_cloud_whose_top_is_not_the_sum_of_its_edges(policy: Policy) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            members = self.rights(number)
            top = over(members).top
            assert top.vector is not None
            return self.show(members, node(off_by_one(top.vector, 511), top.children))

    offence = only(Liar(policy, rounds=1).run())
    named(offence, "wrongNode", 1, CLOUD)
    assert "chunk 1 of node 0, level 1" in offence.what


def test_a_cloud_that_shows_nothing_is_for_the_court() -> None:
    class Silent(Adder):
        def lie(self, number: int) -> bytes:
            return b"\x07" * 32

    history = Silent(MEAN, rounds=1).run()
    assert find(history.record, history.store) == []


@pytest.mark.parametrize("group", [0, 1])
def test_a_cloud_with_a_wrong_group_of_a_wide_edge(group: int) -> None:
    class Liar(Wide, Adder):
        def lie(self, number: int) -> bytes:
            members = self.rights(number)
            low = list(self.trees[0].nodes[0])
            assert low[group].vector is not None
            low[group] = node(off_by_one(low[group].vector, 7))
            self.publish(*low)
            return self.show([over(low).top, members[1]])

    offence = only(Liar(MEAN, rounds=1).run())
    named(offence, "wrongGroup", 1, CLOUD)
    assert offence.proof.group.number == group  # type: ignore[union-attr]


def test_a_cloud_with_a_wrong_node_within_a_wide_edge() -> None:
    class Liar(Wide, Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, 7), first.children), second])

    named(only(Liar(MEAN, rounds=1).run()), "wrongInnerNode", 1, CLOUD)


@pytest.mark.parametrize("policy", [MEDIAN, TRIMMED], ids=["median", "trimmed-mean"])
def test_a_cloud_with_a_wrong_coordinate(policy: Policy) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            rows = [row.integers for edge in self.got for row in edge if row.integers is not None]
            result = aggregate.aggregate(self.policy.rule.name, rows, [1] * len(rows), self.policy.rule.f)
            wrong = node(off_by_one(result.sums, 400))
            self.publish(wrong)
            return wrong.hash

    offence = only(Liar(policy, rounds=1).run())
    named(offence, "wrongCoordinate", 1, CLOUD)
    assert offence.proof.coordinate == 400 - 256  # type: ignore[union-attr]
