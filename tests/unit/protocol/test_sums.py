"""The sum tree: whatever the order of arrival, the one that the definition gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.protocol import sums
from middleware.protocol.sums import NOTHING, Summed, SumTree
from middleware.trust import chunks, roots

FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)
LENGTH = 300


def defined(rows: np.ndarray, weights: list[int]) -> tuple[bytes, np.ndarray]:
    """(node, vector) level by level, as FORMAT.md says it."""
    products = rows.astype(np.int64) * np.array(weights)[:, None]
    vectors = [products[start : start + 16].sum(axis=0) for start in range(0, len(rows), 16)]
    nodes = [roots.sum_node(chunks.sums_root(vector)) for vector in vectors]
    while len(nodes) > 1:
        below, above = nodes, [sum(vectors[start : start + 16]) for start in range(0, len(vectors), 16)]
        nodes = [
            roots.sum_node(chunks.sums_root(vector), below[16 * place : 16 * place + 16])
            for place, vector in enumerate(above)
        ]
        vectors = above
    return nodes[0], vectors[0]


@FIXED
@given(st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 256, 257]), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_tree_of_the_definition(count: int, random: object) -> None:
    numbers = np.random.default_rng(count)
    rows = numbers.integers(-32767, 32768, (count, LENGTH)).astype(np.int16)
    weights = [int(w) for w in numbers.integers(0, 50, count)]
    weights[0] = 7
    order = list(range(count))
    random.shuffle(order)  # type: ignore[attr-defined]
    tree = SumTree(LENGTH)
    for index in order:
        tree.add(index, rows[index] if weights[index] else None, weights[index])
    summed = tree.close()
    node, vector = defined(rows, weights)
    assert (summed.node, summed.weight) == (node, sum(weights))
    assert np.array_equal(summed.vector, vector)
    assert sums.opens(summed.node, summed.root, summed.children)
    assert (summed.children == ()) == (count <= 16)


def member(seed: int) -> Summed:
    tree = SumTree(LENGTH)
    tree.add(0, np.random.default_rng(seed).integers(-9, 9, LENGTH), 3)
    return tree.close()


@pytest.mark.parametrize("count", [1, 2, 16, 17, 40])
def test_edges_are_joined_with_at_least_one_level(count: int) -> None:
    members = [member(seed) for seed in range(count)]
    top = sums.over(members)
    level = [(one.node, one.vector) for one in members]
    while True:
        parts = [level[start : start + 16] for start in range(0, len(level), 16)]
        level = []
        for part in parts:
            vector = sum(vector for _, vector in part)
            level.append((roots.sum_node(chunks.sums_root(vector), [node for node, _ in part]), vector))
        if len(level) == 1:
            break
    assert top.node == level[0][0]
    assert np.array_equal(top.vector, level[0][1])
    assert top.weight == 3 * count
    before = member(0)
    assert np.array_equal(members[0].vector, before.vector)  # joining changed no member


def test_a_member_without_weight_is_zero_and_keeps_its_place() -> None:
    one = member(1)
    first, last = sums.over([NOTHING, one]), sums.over([one, NOTHING])
    assert first.root == last.root == one.root
    assert first.node != last.node
    assert first.node == roots.sum_node(one.root, [NOTHING.node, one.node])
    assert sums.over([NOTHING, NOTHING]) == sums.over([]) == NOTHING


def test_nothing_but_refused_updates_is_nothing() -> None:
    tree = SumTree(LENGTH)
    for index in range(20):
        tree.add(index, None, 0)
    assert tree.close() == NOTHING


def test_a_wrong_child_or_root_does_not_open_the_node() -> None:
    one = sums.over([member(1), member(2)])
    assert not sums.opens(one.node, one.root, one.children[::-1])
    assert not sums.opens(one.node, member(1).root, one.children)
