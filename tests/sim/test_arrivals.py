"""Rounds under stragglers on a clock that nobody waits for: what closes them, what an update counts, and that it replays."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from devnet.arrivals import TimedSimulation
from devnet.simulation import in_memory
from ledger.audit.check import verify
from ledger.audit.evidence import Addresses, of_entries
from ledger.audit.report import Report
from middleware.maths import grid
from middleware.maths.schedule import UNIT, staleness_weight
from middleware.policy import Grid, Policy, Rule, Schedule, Server
from middleware.protocol.update import Floats
from middleware.trust.keys import AccountKey
from middleware.types import Verdict

PARAMETERS = 40
OPERATOR = AccountKey(bytes(range(1, 33)))
TARGET = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)
NEVER = float("inf")


def policy(**changes: object) -> Policy:
    fields: dict[str, object] = {
        "workload": "digits", "model": "mlp:1", "parameters": PARAMETERS, "rounds": 400, "rule": Rule("mean", 0),
        "grid": Grid(24, -16), "min_updates": 1, "round_seconds": 30.0, "reward_per_round": 1000,
    }  # fmt: skip
    return Policy(**{**fields, **changes})  # type: ignore[arg-type]


def arriving(count: int, staleness: str | None = None, **changes: object) -> Policy:
    return policy(schedule=Schedule(arrivals=count, staleness=staleness), **changes)


def towards(rate: float) -> Callable[[int, int, Floats], Floats]:
    """A gradient step on the quadratic around the target."""
    return lambda device, round, model: (TARGET - model) * np.float32(rate)


async def play(
    rules: Policy, rounds: int, seconds: Callable[[int], float], devices: int = 4, edges: int = 1, rate: float = 0.5,
    samples: Callable[[int], int] = lambda device: 100,
) -> TimedSimulation:  # fmt: skip
    ledger, context, registry = in_memory(OPERATOR)
    world = TimedSimulation(
        ledger, context, registry, OPERATOR, rules, towards(rate), devices, edges, samples=samples, seconds=seconds
    )
    await world.join()
    for _ in range(rounds):
        await world.play()
    await world.refresh()
    return world


def audited(world: TimedSimulation) -> Report:
    addresses = Addresses(world.context.chain_id, world.registry.contract, world.context.ledger, bytes([5]) * 20)
    return verify(of_entries(world.index.entries, addresses), world.blobs)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ what closes a round


async def test_sync_sgd_a_round_lasts_as_long_as_its_slowest_worker() -> None:
    world = await play(policy(), 3, lambda device: [1.0, 2.0, 3.0, 10.0][device])
    assert world.round_seconds == [10.0] * 3


async def test_backup_workers_a_round_lasts_until_the_nth_arrival_and_the_straggler_is_never_used() -> None:
    world = await play(policy(schedule=Schedule(1, 0)), 5, lambda device: [1.0, 2.0, 3.0, 100.0][device])
    assert world.round_seconds == [3.0] * 5
    assert [{device for device, _ in round} for round in world.trace] == [set(world.device_ids(2)[:3])] * 5


async def test_async_sgd_no_round_waits_for_the_straggler_or_for_the_dead_and_the_straggler_counts() -> None:
    world = await play(arriving(1), 60, lambda device: [1.0, 1.5, NEVER, 10.0][device], edges=2)
    assert max(world.round_seconds) <= 1.5
    used = {device for round in world.trace for device, _ in round}
    everyone = [device for edge in world.edge_ids() for device in world.device_ids(edge)]
    assert used == set(everyone) - {everyone[2]}


async def test_buffered_async_a_round_holds_as_many_updates_as_it_waits_for() -> None:
    world = await play(arriving(3), 20, lambda device: 1.0 + 0.3 * device, devices=6, edges=2)
    assert {len(round) for round in world.trace} == {3}


async def test_a_round_without_enough_arrivals_closes_at_its_deadline() -> None:
    world = await play(arriving(3), 2, lambda device: 1.0 if device == 0 else NEVER)
    assert world.round_seconds == [30.0, 1.0], "the dead cost one deadline, once"


# ------------------------------------------------------------------------------------------------ what an update counts


async def test_async_sgd_with_one_worker_is_sgd_on_the_settlement_path() -> None:
    world = await play(arriving(1), 30, lambda device: 1.0, devices=1)
    model = np.zeros(PARAMETERS, np.float32)
    for _ in range(30):
        integers, _ = grid.to_grid((TARGET - model) * np.float32(0.5), 24, -16)
        model = grid.apply(model, integers, -16)
    assert world.model.tobytes() == model.tobytes()
    assert set(world.staleness()) == {0}


async def test_async_sgd_staleness_of_equal_workers_is_their_number_less_one_in_the_simulator() -> None:
    world = await play(arriving(1), 200, lambda device: 1.0 + 1e-6 * device, devices=9, edges=3, rate=0.01)
    assert np.mean(world.staleness()) == pytest.approx(8, abs=0.25)


async def test_async_sgd_a_recorded_trace_replays_to_the_same_model_in_other_arithmetic() -> None:
    """The move of each round from the trace alone: exact fractions of integers, rounded once."""
    rules = arriving(2, "polynomial")
    world = await play(rules, 25, lambda device: 0.7 + 0.4 * device, rate=0.3, samples=lambda device: 10 + device)
    models = [np.zeros(PARAMETERS, np.float32)]
    for number, round in enumerate(world.trace, start=1):
        top, bottom = np.zeros(PARAMETERS, object), 0
        for device, base in round:
            samples = 10 + device - 3
            integers, _ = grid.to_grid((TARGET - models[base - 1]) * np.float32(0.3), 24, -16)
            top += integers.astype(object) * staleness_weight(samples, number - base, "polynomial")
            bottom += UNIT * samples
        applied = np.array([(2 * int(one) + bottom) // (2 * bottom) for one in top], np.int64)
        models.append(grid.apply(models[-1], applied, -16))
    assert world.model.tobytes() == models[-1].tobytes()
    assert max(world.staleness()) > 1, "something was stale"


async def test_staleness_aware_async_applies_the_rate_over_the_staleness_to_each_entry_of_a_trace() -> None:
    world = await play(arriving(1, "inverse"), 40, lambda device: [1.0, 1.3, 9.0, 17.0][device], rate=0.5)
    models = [np.zeros(PARAMETERS, np.float32)]
    for number, [(_, base)] in enumerate(world.trace, start=1):
        step = (TARGET - models[base - 1]) * 0.5 / max(1, number - base)
        models.append(models[-1] + step.astype(np.float32))
    np.testing.assert_allclose(world.model, models[-1], atol=40 * 2**-15)
    assert max(world.staleness()) >= 8


async def test_staleness_aware_async_converges_in_the_simulator_where_plain_async_diverges() -> None:
    """Seventeen workers with a rate at 0.8 of what descent is safe with; a 24-bit grid cuts off what diverges."""
    shape = {"devices": 17, "rate": 0.8}
    plain = await play(arriving(1), 340, lambda device: 1.0 + 1e-6 * device, **shape)  # type: ignore[arg-type]
    aware = await play(arriving(1, "inverse"), 340, lambda device: 1.0 + 1e-6 * device, **shape)  # type: ignore[arg-type]
    assert float(np.abs(plain.model - TARGET).max()) > 100
    assert float(np.abs(aware.model - TARGET).max()) < 0.05


async def test_anytime_minibatch_speeds_of_one_two_and_four_weigh_a_seventh_two_and_four() -> None:
    world = await play(policy(), 1, lambda device: 1.0, devices=3, samples=lambda device: [10, 20, 40][device])
    settlement = world.last
    assert settlement is not None
    weights = [row.weight for edge in settlement.edges for row in edge.updates]
    assert [weight / settlement.weight_total for weight in weights] == [1 / 7, 2 / 7, 4 / 7]


# ----------------------------------------------------------------------------------------------------------- the audit

SCHEDULES = {
    "async": Schedule(arrivals=1), "staleness-aware": Schedule(arrivals=1, staleness="inverse"),
    "buffered": Schedule(arrivals=3, staleness="polynomial"), "backup": Schedule(1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
async def test_every_schedule_passes_the_audit(name: str) -> None:
    rules = policy(schedule=SCHEDULES[name], server=Server("momentum", rate=0.2))
    world = await play(rules, 8, lambda device: [1.0, 1.2, 1.7, 5.0][device], edges=2, rate=0.1)
    report = audited(world)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()


async def test_robust_rules_take_what_arrives() -> None:
    rules = policy(schedule=Schedule(arrivals=5), rule=Rule("multi-krum", 1), min_updates=5)
    world = await play(rules, 6, lambda device: 1.0 + 0.2 * device, devices=7, edges=2, rate=0.2)
    assert audited(world).verdict is Verdict.VALID
    assert msgspec.structs.asdict(world.last)["void"] is False  # type: ignore[arg-type]
