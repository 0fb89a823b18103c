"""Deficit round robin: shares by weight, little before much, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.fairness import DeficitRoundRobin, Taken

QUANTUM = 10.0


def shares(weights: dict[str, float], costs: dict[str, float], work: float) -> dict[str, float]:
    """The share of the work that each flow got while all were busy."""
    turns: DeficitRoundRobin[str, float] = DeficitRoundRobin(QUANTUM, weights.__getitem__)
    for flow, cost in costs.items():
        for _ in range(int(2 * work / cost)):
            turns.push(flow, cost, cost)
    done = dict.fromkeys(weights, 0.0)
    while sum(done.values()) < work:
        taken = turns.pop()
        assert taken is not None
        done[taken.flow] += taken.item
    return {flow: got / sum(done.values()) for flow, got in done.items()}


def test_weighted_fair_shares_are_within_a_tenth_however_unequal_the_requests_are() -> None:
    weights = {"one": 1.0, "two": 2.0, "three": 3.0}
    found = shares(weights, {"one": 9.0, "two": 1.0, "three": 4.0}, 5000.0)
    for flow, weight in weights.items():
        assert found[flow] == pytest.approx(weight / 6, rel=0.1)


def test_work_differs_by_at_most_a_quantum_and_an_item_at_any_time() -> None:
    generator = np.random.default_rng(0)
    turns: DeficitRoundRobin[int, float] = DeficitRoundRobin(QUANTUM)
    for flow in range(4):
        for cost in generator.uniform(0.5, QUANTUM, 300):
            turns.push(flow, float(cost), float(cost))
    done = np.zeros(4)
    for _ in range(500):
        taken = turns.pop()
        assert taken is not None
        done[taken.flow] += taken.item
        assert done.max() - done.min() <= 2 * (QUANTUM + QUANTUM)


def test_who_comes_from_idleness_is_next_but_not_for_ever() -> None:
    turns: DeficitRoundRobin[str, int] = DeficitRoundRobin(QUANTUM)
    for number in range(50):
        turns.push("heavy", 5.0, number)
    for _ in range(5):
        turns.pop()
    turns.push("light", 5.0, 0)
    assert turns.pop() == Taken("light", 0)
    served = []
    for number in range(1, 40):  # it asks again as soon as it was answered: it gets its half, not all
        turns.push("light", 5.0, number)
        taken = turns.pop()
        assert taken is not None
        served.append(taken.flow)
    assert 15 <= served.count("heavy") <= 25


def test_who_is_served_early_in_a_batch_is_served_later_for_it() -> None:
    turns: DeficitRoundRobin[str, str] = DeficitRoundRobin(QUANTUM)
    for _ in range(40):
        turns.push("one", 10.0, "a")
        turns.push("two", 10.0, "b")
    for _ in range(5):
        assert turns.pop_like(lambda item: item == "b") == Taken("two", "b")
    following = [turns.pop() for _ in range(6)]
    assert [taken.flow for taken in following if taken][:4] == ["one"] * 4


def test_what_a_request_took_beyond_its_cost_is_paid_in_later_turns() -> None:
    turns: DeficitRoundRobin[str, int] = DeficitRoundRobin(QUANTUM)
    done = {"honest": 0.0, "slow": 0.0}
    for number in range(4000):
        turns.push("honest", 5.0, number)
        turns.push("slow", 5.0, number)
    for _ in range(1500):
        taken = turns.pop()
        assert taken is not None
        took = 5.0 if taken.flow == "honest" else 15.0
        turns.charge(taken.flow, took - 5.0)
        done[taken.flow] += took
    assert done["slow"] == pytest.approx(done["honest"], rel=0.1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 4), st.floats(0.1, 50))), max_size=120))
def test_what_is_queued_is_served_once_in_its_flows_order_and_idle_flows_are_forgotten(
    script: list[tuple[int, float] | None],
) -> None:
    turns: DeficitRoundRobin[int, int] = DeficitRoundRobin(QUANTUM)
    pushed: dict[int, list[int]] = {}
    popped: dict[int, list[int]] = {}
    for number, step in enumerate(script):
        if step is None:
            taken = turns.pop()
            if taken is not None:
                popped.setdefault(taken.flow, []).append(taken.item)
        else:
            turns.push(step[0], step[1], number)
            pushed.setdefault(step[0], []).append(number)
    while (taken := turns.pop()) is not None:
        popped.setdefault(taken.flow, []).append(taken.item)
    assert popped == pushed
    assert not turns.flows
    assert len(turns) == 0


def test_what_cannot_be_scheduled_is_refused() -> None:
    with pytest.raises(ValueError, match="quantum"):
        DeficitRoundRobin(0)
    turns: DeficitRoundRobin[str, int] = DeficitRoundRobin(1.0, lambda flow: 0.0)
    with pytest.raises(ValueError, match="weight"):
        turns.push("one", 1.0, 0)
    with pytest.raises(ValueError, match="cost"):
        turns.push("one", 0.0, 0)
