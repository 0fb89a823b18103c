"""The planner: every way, what it would cost, what is forbidden."""

from __future__ import annotations

import math

import msgspec
import pytest

from middleware.errors import ConfigurationError
from middleware.infer.plan import Constraints, Infeasible, Link, Place, Plan, Times, World, frontier, plan
from middleware.wire.model import Branch, Coders, File, Measured, ModelManifest, Segment

FILE = File(bytes(32), 1)
SHAPES = ((3, 32, 32), (16, 16, 16), (8, 8, 8), (4, 4, 4), (10,))
MACS = (4_000_000, 3_000_000, 2_000_000, 1_000_000)


def model(**changes: object) -> ModelManifest:
    chain = tuple(Segment(FILE, SHAPES[place], SHAPES[place + 1], MACS[place], 1000) for place in range(4))
    made = ModelManifest("net", "image", (), chain, scale=(0.5, 0.5, 0.5, 0.2, 0.2, 0.2))
    return msgspec.structs.replace(made, **changes)


def place(ms_a_million: float, **more: object) -> Place:
    ranges = {(a, b): ms_a_million * sum(MACS[a:b]) / 1e6 for a in range(4) for b in range(a + 1, 5)}
    return Place(Times(ranges, 4), **more)  # type: ignore[arg-type]


def world(rate: float = 1e6, slow: float = 10.0, **more: object) -> World:
    return World(place(slow), place(1.0), Link(rate, 2.0), **more)  # type: ignore[arg-type]


MEASURED = tuple(
    Measured(way, accuracy, count)
    for way, accuracy, count in (
        ("jpeg75", 0.90, 900), ("jpeg95", 0.93, 1800), ("png", 0.94, 2500), ("raw", 0.94, 3072), ("u4@2", 0.90, 320),
        ("u8@2", 0.935, 576),
    )
)  # fmt: skip


def test_fast_links_upload_and_slow_ones_stay_on_the_device() -> None:
    near, far = plan(model(), world(1e8)), plan(model(), world(100))
    assert isinstance(near, Plan) and near.way.front == 0
    assert isinstance(far, Plan) and far.best.way.name(4) == "device"
    assert near.best.cost <= near.others[0].cost


def test_a_prediction_is_the_sum_of_its_parts_worked_by_hand() -> None:
    found = plan(model(measured=MEASURED), world(1e5))
    assert isinstance(found, Plan)
    split = next(one for one in (found.best, *found.others) if one.way.name(4) == "u8@2").predicted
    head, _, transfer, queue, tail, back = split.parts
    assert head == pytest.approx(70) and transfer == pytest.approx(5.76) and tail == pytest.approx(3) and queue == 0
    assert back == pytest.approx(2 + (256 + 40) / 100) and split.ms == pytest.approx(sum(split.parts))
    assert split.accuracy == 0.935 and split.bytes == 576


def test_natural_bottleneck_rule_a_plan_shows_the_jpeg_beside_every_split() -> None:
    found = plan(model(measured=MEASURED), world())
    assert isinstance(found, Plan)
    names = {one.way.name(4) for one in (found.best, *found.others)}
    assert {"device", "raw", "png", "jpeg95", "jpeg75", "u8@2", "f32@1"} <= names


@pytest.mark.parametrize(
    ("constraints", "allowed"),
    [
        (Constraints(privacy="local"), lambda way: way.front == 4),
        (Constraints(privacy="features"), lambda way: way.front > 0),
        (Constraints(privacy="lossless"), lambda way: way.front > 0 or way.form in ("raw", "png")),
    ],
)
def test_what_may_leave_the_device_is_never_traded(constraints: Constraints, allowed: object) -> None:
    for rate in (1e3, 1e5, 1e7):
        found = plan(model(measured=MEASURED), world(rate), constraints)
        assert isinstance(found, Plan)
        chosen = [one for one in (found.best, *found.others) if not one.refused]
        assert all(allowed(one.way) for one in chosen)  # type: ignore[operator]


def test_the_licence_keeps_the_tail_away_from_the_device_and_the_raw_input_may_still_go_up() -> None:
    licensed = model(held=2)
    found = plan(licensed, world(1e4))
    assert isinstance(found, Plan) and found.way.front <= 2
    assert isinstance(plan(licensed, world(1e4), Constraints(privacy="local")), Infeasible)


def test_joint_dnn_constraints_are_reported_and_never_relaxed() -> None:
    found = plan(model(measured=MEASURED), world(1e5), Constraints(deadline_ms=1.0, accuracy=0.93))
    assert isinstance(found, Infeasible)
    assert any(reason.startswith("deadline") for reason in found.reasons())
    assert any(reason.startswith("accuracy 0.9") for reason in found.reasons())
    tight = World(place(10.0, memory_bytes=4000 * 2), place(1.0), Link(1e3))
    small = plan(model(), tight)
    assert isinstance(small, Plan) and small.way.front <= 2
    dear = plan(model(), world(1e7, price=3.0), Constraints(price=9.0))
    assert isinstance(dear, Plan) and dear.best.predicted.price <= 9.0 and dear.way.front >= 2


def test_accuracy_that_nobody_measured_does_not_pass_a_floor() -> None:
    found = plan(model(), world(), Constraints(accuracy=0.5))
    assert isinstance(found, Infeasible) and found.reasons() == ("accuracy: nobody measured this way",)


def test_queueing_moves_the_optimum_toward_the_device() -> None:
    idle = plan(model(), world(1e6))
    busy = plan(model(), msgspec.structs.replace(world(1e6), edge=place(1.0, queue_ms=500.0)))
    assert isinstance(idle, Plan) and isinstance(busy, Plan)
    assert idle.way.front < 4 and busy.way.front == 4


def test_edgent_an_exit_is_an_expectation_over_who_leaves() -> None:
    branched = model(
        branches=(Branch(2, FILE, 1000, 0.3, 1.0, 0.8),),
        measured=tuple(sorted((*MEASURED, Measured("exit@2", 0.97, 0)), key=lambda one: one.way)),
    )
    found = plan(branched, world(1e4))
    assert isinstance(found, Plan)
    ways = {one.way.name(4): one.predicted for one in (found.best, *found.others)}
    whole, early = ways["u8@2"], ways["u8@2+exits"]
    assert early.parts[0] == whole.parts[0] and early.parts[2] == pytest.approx(0.2 * whole.parts[2])
    assert early.bytes == pytest.approx(0.2 * whole.bytes)
    assert early.accuracy == pytest.approx(0.8 * 0.97 + 0.2 * 0.935) and early.leaving == pytest.approx(0.2)
    assert ways["device+exits"].parts[0] == pytest.approx(70 + 0.2 * 30)


def test_a_bottleneck_is_a_way_of_its_own() -> None:
    narrow = model(coders=(Coders(1, FILE, FILE, (2, 4, 4), "u4", 100, 100),))
    found = plan(narrow, world(2e4), Constraints(privacy="features"))
    assert isinstance(found, Plan)
    sizes = {one.way.name(4): one.predicted.bytes for one in (found.best, *found.others)}
    assert sizes["bottleneck@1"] == 64 + 32 * 4 / 8 < sizes["u4@1"]


def test_three_tiers_the_cloud_takes_over_where_the_edge_is_slow() -> None:
    slow_edge = World(place(50.0), place(30.0), Link(1e6, 1.0), place(0.5), Link(1e7, 4.0))
    found = plan(model(), slow_edge)
    assert isinstance(found, Plan) and found.way.middle < 4
    alone = plan(model(), msgspec.structs.replace(slow_edge, cloud=None, beyond=None))
    assert isinstance(alone, Plan) and alone.best.cost > found.best.cost


def test_stretches_that_were_not_measured_follow_from_what_was() -> None:
    suffixes = Times({(0, 3): 9.0, (1, 3): 5.0, (2, 3): 2.0}, 3)
    assert suffixes.of(0, 1) == 4.0 and suffixes.of(1, 2) == 3.0 and suffixes.of(1, 1) == 0.0
    prefixes = Times({(0, 1): 4.0, (0, 2): 7.0}, 3)
    assert prefixes.of(1, 2) == 3.0 and math.isinf(prefixes.of(2, 3))


def test_auto_split_the_frontier_holds_what_nothing_beats() -> None:
    found = plan(model(measured=MEASURED), world(1e5))
    assert isinstance(found, Plan)
    everything = (found.best, *found.others)
    front = frontier(everything)
    assert found.best in front
    for one in front:
        assert not any(
            other.predicted.ms < one.predicted.ms
            and other.predicted.bytes < one.predicted.bytes
            and (other.predicted.accuracy or 0) > (one.predicted.accuracy or 0)
            for other in everything
        )


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="privacy 'secret'"):
        Constraints(privacy="secret")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a link has a rate"):
        Link(0.0)
