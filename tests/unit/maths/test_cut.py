"""Cuts of networks: equal to trying everything (catalogue of inference, 1.6: Neurosurgeon, DADS, QDMP, three tiers)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import networkx
import numpy as np
import pytest

from middleware.maths.cut import Cut, TwoCuts, chain, split, two_cuts

INSTANCES = 1000


def graph(generator: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Random edges: everything but the input reads something, mostly what is near."""
    edges = set()
    for u in range(1, count):
        reach = min(u, int(generator.integers(1, 5)))
        for tail in generator.choice(
            np.arange(u - reach, u), size=int(generator.integers(1, min(reach, 2) + 1)), replace=False
        ):
            edges.add((int(tail), u))
    return sorted(edges)


def exhaustive(
    front: Sequence[float], back: Sequence[float], crossing: Sequence[float], edges: list[tuple[int, int]]
) -> float:
    """The least cost over all downsets that hold the input."""
    count, best = len(front), math.inf
    for picked in itertools.product((False, True), repeat=count - 1):
        held = (True, *picked)
        if any(held[head] and not held[tail] for tail, head in edges):
            continue
        cost = sum(front[u] if held[u] else back[u] for u in range(count))
        cost += sum(crossing[u] for u in {tail for tail, head in edges if held[tail] and not held[head]})
        best = min(best, cost)
    return best


def charged(
    cut: Cut, front: Sequence[float], back: Sequence[float], crossing: Sequence[float], edges: list[tuple[int, int]]
) -> float:
    inner = sum(front[u] if u in cut.front else back[u] for u in range(len(front)))
    return inner + sum(crossing[u] for u in {a for a, b in edges if a in cut.front and b not in cut.front})


def test_neurosurgeon_a_chain_is_cut_where_trying_every_place_cuts_it() -> None:
    generator = np.random.default_rng(0)
    for _ in range(INSTANCES):
        count = int(generator.integers(1, 30))
        front, back = generator.integers(0, 50, count) * 1.0, generator.integers(0, 20, count) * 1.0
        crossing = generator.integers(0, 200, count + 1) * 1.0
        costs = [front[:k].sum() + back[k:].sum() + crossing[k] for k in range(count + 1)]
        assert chain(front, back, crossing) == (min(costs), int(np.argmin(costs)))


def test_dads_the_cut_of_a_graph_costs_what_the_best_of_all_downsets_costs() -> None:
    generator = np.random.default_rng(1)
    for _ in range(INSTANCES):
        count = int(generator.integers(2, 12))
        edges = graph(generator, count)
        front, back, crossing = (generator.integers(0, top, count).astype(float) for top in (30, 12, 40))
        front[generator.random(count) < 0.05] = math.inf  # the owner's licensed part stays behind
        front[0] = 0
        found = split(front, back, crossing, edges)
        assert found.cost == exhaustive(front, back, crossing, edges) == charged(found, front, back, crossing, edges)
        assert 0 in found.front
        assert all(tail in found.front for tail, head in edges if head in found.front)


def test_dads_a_wide_stretch_is_cut_by_flow_and_costs_the_same() -> None:
    generator = np.random.default_rng(2)
    for _ in range(30):
        count = 14  # one input, twelve branches, one sum: more than are tried one by one
        edges = [(0, u) for u in range(1, count - 1)] + [(u, count - 1) for u in range(1, count - 1)]
        front, back, crossing = (generator.integers(0, top, count).astype(float) for top in (30, 12, 40))
        front[3] = math.inf
        found = split(front, back, crossing, edges)
        assert found.cost == exhaustive(front, back, crossing, edges) == charged(found, front, back, crossing, edges)


def test_dads_a_tensor_with_several_readers_is_charged_once() -> None:
    edges = [(0, 1), (0, 2), (0, 3)]
    found = split([0, 100, 100, 100], [0, 1, 1, 1], [7, 0, 0, 0], edges)
    assert found == Cut(10, frozenset({0}))


def test_qdmp_stretch_by_stretch_finds_what_one_flow_over_the_whole_graph_finds() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        count = 150
        edges = graph(generator, count)
        front, back, crossing = (generator.integers(0, top, count).astype(float) for top in (30, 12, 400))
        front[0] = 0
        assert split(front, back, crossing, edges).cost == whole_flow(front, back, crossing, edges)


def whole_flow(
    front: Sequence[float], back: Sequence[float], crossing: Sequence[float], edges: list[tuple[int, int]]
) -> float:
    flow = networkx.DiGraph()
    flow.add_edge("front", 0)
    for u in range(len(front)):
        flow.add_edge(u, "back", capacity=front[u])
        if u:
            flow.add_edge("front", u, capacity=back[u])
        flow.add_edge(u, ("hub", u), capacity=crossing[u])
    for tail, head in edges:
        flow.add_edge(("hub", tail), head)
        flow.add_edge(head, tail)
    return float(networkx.minimum_cut_value(flow, "front", "back"))


def test_three_tiers_two_cuts_cost_what_the_best_pair_costs() -> None:
    generator = np.random.default_rng(4)
    for _ in range(INSTANCES):
        count = int(generator.integers(1, 15))
        first, second, third = (generator.integers(0, top, count).astype(float) for top in (60, 20, 8))
        up, further = (
            generator.integers(0, 90, count + 1).astype(float),
            generator.integers(0, 60, count + 1).astype(float),
        )
        up[count] = further[count] = 0  # the answer is there already
        costs = {
            (i, j): first[:i].sum() + second[i:j].sum() + third[j:].sum() + up[i] + further[j]
            for i in range(count + 1)
            for j in range(i, count + 1)
        }
        place = min(costs, key=lambda pair: (costs[pair], pair))
        assert two_cuts(first, second, third, up, further) == TwoCuts(costs[place], *place)


def test_nothing_is_possible_where_everything_is_forbidden() -> None:
    assert split([0, math.inf], [0, math.inf], [1, 0], [(0, 1)]).cost == math.inf


@pytest.mark.parametrize(
    ("edges", "fault"), [([(1, 0)], "lower to a higher"), ([(0, 1)], "reads nothing"), ([(0, 3)], "below 3")]
)  # fmt: skip
def test_a_graph_that_is_none_is_refused(edges: list[tuple[int, int]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        split([0, 1, 1], [0, 1, 1], [1, 1, 1], edges)


def test_costs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="crossings"):
        chain([1, 1], [1, 1], [1, 1])
    with pytest.raises(ValueError, match="crossings"):
        two_cuts([1], [1], [1], [1], [1, 1])
    with pytest.raises(ValueError, match="as many"):
        split([0, 1], [0], [1, 1], [(0, 1)])
