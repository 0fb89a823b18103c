"""Requests over nodes with room for some of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize

from middleware.maths.assignment import Running, assign, retry_after


def cost_of(
    costs: np.ndarray, demands: np.ndarray, free: np.ndarray, refusals: np.ndarray, nodes: tuple[int, ...]
) -> float:
    """By definition; the node behind the last one is refusal. Infinity where a node is too full."""
    used, total = np.zeros(len(free)), 0.0
    for place, node in enumerate(nodes):
        if node == len(free):
            total += refusals[place]
        else:
            used[node] += demands[place, node]
            total += costs[place, node]
    return total if (used <= free).all() else math.inf


def relaxed(costs: np.ndarray, demands: np.ndarray, free: np.ndarray, refusals: np.ndarray) -> float:
    """The optimum of the linear programme in which requests may be divided."""
    count, nodes = costs.shape
    prices = np.append(np.where(np.isfinite(costs), costs, 0).ravel(), refusals)
    most = np.append((np.isfinite(costs) & (demands <= free)).ravel(), np.ones(count))
    once = np.hstack([np.kron(np.eye(count), np.ones((1, nodes))), np.eye(count)])
    used = np.zeros((nodes, len(prices)))
    for node in range(nodes):
        used[node, node : count * nodes : nodes] = demands[:, node]
    solved = optimize.linprog(prices, used, free, once, np.ones(count), np.column_stack([np.zeros(len(most)), most]))
    assert solved.success
    return float(solved.fun)


@pytest.mark.parametrize("seed", range(15))
def test_on_demand_assignment_is_between_its_bound_and_a_tenth_above_the_best_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs, demands = random.uniform(5, 50, (5, 3)), random.uniform(0.5, 2, (5, 3))
    costs[random.random((5, 3)) < 0.15] = math.inf
    free, refusals = random.uniform(1, 3, 3), np.full(5, 60.0)
    found = assign(costs, demands, free, refusals)
    best = min(cost_of(costs, demands, free, refusals, nodes) for nodes in itertools.product(range(4), repeat=5))
    assert found.bound - 1e-9 <= best <= found.cost + 1e-9 and found.cost <= 1.1 * best
    chosen = tuple(3 if node is None else node for node in found.nodes)
    assert cost_of(costs, demands, free, refusals, chosen) == pytest.approx(found.cost)


@pytest.mark.parametrize("seed", range(10))
def test_on_demand_assignment_costs_at_most_a_tenth_more_than_the_relaxed_programme(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs, demands = random.uniform(5, 50, (60, 4)), np.repeat(random.uniform(0.5, 2, (60, 1)), 4, axis=1)
    free, refusals = np.array([15.0, 18.0, 21.0, 12.0]), np.full(60, 100.0)
    found, least = assign(costs, demands, free, refusals), relaxed(costs, demands, free, refusals)
    assert least - 1e-6 <= found.cost <= 1.1 * least
    assert found.bound <= least + 1e-6
    assert found.bound == pytest.approx(least, rel=0.05)
    assert any(node is None for node in found.nodes)  # there is less room than is asked for


def test_on_demand_admission_refuses_the_request_that_is_cheapest_to_refuse() -> None:
    found = assign([[1.0], [1.0]], [[1.0], [1.0]], [1.0], [30.0, 20.0])
    assert found.nodes == (0, None) and found.cost == 21.0


def test_on_demand_admission_says_when_to_come_back() -> None:
    running = [[Running(10.0, 2.0), Running(14.0, 1.0)], [Running(30.0, 1.0)]]
    assert retry_after(5.0, running, [3.0, 1.0], [2.0, 1.0]) == 5.0
    assert retry_after(5.0, running, [3.0, 1.0], [3.0, 1.0]) == 9.0
    assert retry_after(12.0, running, [3.0, 1.0], [2.0, 1.0]) == 0.0
    assert math.isinf(retry_after(5.0, running, [3.0, 1.0], [4.0, 2.0]))


def test_nobody_asking_costs_nothing() -> None:
    assert assign(np.zeros((0, 2)), np.zeros((0, 2)), [1.0, 1.0], []) == ((), 0.0, 0.0)


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        lambda: assign([[1.0]], [[1.0, 2.0]], [1.0], [1.0]),
        lambda: assign([[1.0]], [[-1.0]], [1.0], [1.0]),
        lambda: assign([[1.0]], [[1.0]], [1.0], [math.inf]),
        lambda: retry_after(0.0, [[]], [1.0, 2.0], [1.0]),
    ):
        with pytest.raises(ValueError, match=r"costs|nodes"):
            wrong()
