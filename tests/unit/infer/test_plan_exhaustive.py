"""The planner against every way worked out by definition (`devnet/exhaustive.py`)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from devnet.exhaustive import Instance, Worked, every, instance
from middleware.infer.adaptive import most_accurate
from middleware.infer.plan import Considered, Plan, Way, accuracy_of, frontier, plan
from middleware.wire.model import Measured

INSTANCES = 1000


def considered(one: Instance) -> tuple[Considered, ...]:
    found = plan(*one)
    return (found.best, *found.others) if isinstance(found, Plan) else found.considered


@pytest.fixture(scope="module")
def worked() -> list[tuple[Instance, list[Worked]]]:
    random = np.random.default_rng(5)
    made = [instance(random) for _ in range(INSTANCES)]
    return [(one, every(one)) for one in made]


def test_neurosurgeon_the_plan_is_the_best_of_all_ways_on_a_thousand_instances(
    worked: list[tuple[Instance, list[Worked]]],
) -> None:
    planned = 0
    for one, ways in worked:
        found = plan(*one)
        allowed = {way.name: way.cost for way in ways if way.allowed}
        assert isinstance(found, Plan) == bool(allowed)
        if isinstance(found, Plan):
            planned += 1
            assert found.best.cost == pytest.approx(min(allowed.values()))
            assert found.way.name(len(one.model.segments)) in allowed
    assert 200 < planned < INSTANCES  # both answers occur


def test_joint_dnn_every_way_costs_what_it_costs_by_definition_and_is_refused_if_and_only_if_forbidden(
    worked: list[tuple[Instance, list[Worked]]],
) -> None:
    for one, ways in worked[:300]:
        count = len(one.model.segments)
        table = {way.way.name(count): way for way in considered(one)}
        assert table.keys() == {way.name for way in ways}
        for way in ways:
            found = table[way.name]
            assert (found.cost, found.predicted.ms, found.predicted.bytes) == pytest.approx(
                (way.cost, way.ms, way.bytes)
            )
            assert found.predicted.accuracy == (None if way.accuracy is None else pytest.approx(way.accuracy))
            assert (found.refused == "") == way.allowed, (way.name, found.refused)


def test_edgent_the_most_accurate_exit_and_cut_in_time_is_the_one_of_an_exhaustive_search(
    worked: list[tuple[Instance, list[Worked]]],
) -> None:
    seen = 0
    for one, ways in worked[:300]:
        told = [way.accuracy for way in ways if way.allowed and way.accuracy is not None]
        found = most_accurate(considered(one))
        assert (found is None) == (not told)
        if found is not None:
            seen += one.constraints.deadline_ms < 100
            assert found.predicted.ms <= one.constraints.deadline_ms
            assert found.predicted.accuracy == pytest.approx(max(told))
    assert seen > 30


def test_auto_split_the_frontier_is_the_pareto_front_by_definition(
    worked: list[tuple[Instance, list[Worked]]],
) -> None:
    for one, _ in worked[:300]:
        allowed = [way for way in considered(one) if not way.refused]
        aims = np.array([(way.predicted.ms, way.predicted.bytes, -(way.predicted.accuracy or 0)) for way in allowed])
        expected = [
            way
            for way, aim in zip(allowed, aims, strict=True)
            if not ((aims <= aim).all(axis=1) & (aims < aim).any(axis=1)).any()
        ]
        assert list(frontier(considered(one))) == expected


def test_an_edge_that_hands_on_what_it_got_does_not_lose_accuracy_twice() -> None:
    random = np.random.default_rng(7)
    one = next(made for made in (instance(random) for _ in range(100)) if len(made.model.segments) > 2)
    measured = (Measured("raw", 0.9, 10), Measured("u8@1", 0.88, 10), Measured("u8@2", 0.87, 10))
    model = msgspec.structs.replace(one.model, measured=measured)
    assert accuracy_of(model, Way(1, 1, "u8", False, "u8")) == 0.88
    assert accuracy_of(model, Way(1, 2, "u8", False, "u8")) == pytest.approx(0.88 - 0.03)
