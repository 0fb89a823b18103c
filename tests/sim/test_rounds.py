"""A hundred nodes with liars among them, in one process: real keys, real sealing, real trees, no socket and no sleep."""

from __future__ import annotations

import numpy as np
import pytest

from devnet.simulation import Simulation, in_memory
from middleware.errors import ConfigurationError
from middleware.policy import CodecSpec, Grid, Policy, Rule
from middleware.protocol.update import Floats
from middleware.trust.keys import AccountKey

PARAMETERS = 600
OPERATOR = AccountKey(bytes(range(1, 33)))


def towards(target: Floats, liars: int) -> object:
    def learned(device: int, round: int, model: Floats) -> Floats:
        noise = np.random.default_rng([device, round]).standard_normal(len(model)).astype(np.float32) * np.float32(0.01)
        step = (target - model) * np.float32(0.5) + noise
        return step * np.float32(-10) if device < liars else step

    return learned


async def play(
    policy: Policy, devices: int, liars: int, rounds: int, edges: int = 4
) -> tuple[Simulation, list[dict[int, int]], Floats]:
    ledger, context, registry = in_memory(OPERATOR)
    target = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)
    world = Simulation(ledger, context, registry, OPERATOR, policy, towards(target, liars), devices, edges)  # type: ignore[arg-type]
    await world.join()
    weights = [(await world.play())[0].weights for _ in range(rounds)]
    return world, weights, target


def policy(rule: str, f: int, updates: int, codec: str = "none") -> Policy:
    return Policy(
        workload="digits", model="mlp:1", parameters=PARAMETERS, rounds=6, rule=Rule(rule, f), grid=Grid(16, -11),
        codec=CodecSpec(codec, 0.2), min_updates=updates,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["multi-krum", "median", "trimmed-mean"])
async def test_a_hundred_devices_learn_in_spite_of_twenty_liars(rule: str) -> None:
    world, weights, target = await play(policy(rule, 20, 60), 100, 20, 6)
    assert float(np.abs(world.model - target).max()) < 0.1
    if rule == "multi-krum":
        liars = [node for edge in world.edge_ids() for node in world.device_ids(edge)][:20]
        assert all(row[node] == 0 for row in weights for node in liars)


async def test_the_mean_visibly_fails_under_two_liars() -> None:
    world, _, target = await play(policy("mean", 0, 1), 10, 2, 6)
    assert float(np.abs(world.model - target).max()) > 1


async def test_every_header_is_on_the_ledger_and_chained() -> None:
    world, _, _ = await play(policy("multi-krum", 1, 5, "topk+int8"), 8, 1, 4)
    await world.refresh()
    anchored = world.index.anchored[world.task]
    assert [item.header.round for item in anchored] == [1, 2, 3, 4]
    assert all(late.header.prev == early.header_hash for early, late in zip(anchored, anchored[1:], strict=False))
    assert anchored[-1].header.model_out != anchored[0].header.model_in


async def test_too_few_updates_void_the_round_and_change_nothing() -> None:
    world, weights, _ = await play(policy("multi-krum", 1, 9), 8, 0, 1)
    header = (await _last(world)).header
    assert header.model_out == header.model_in and weights == [{}]
    assert world.rewards == {} and header.rewards_root == bytes(32)


async def _last(world: Simulation) -> object:
    await world.refresh()
    return world.index.anchored[world.task][-1]


def test_a_policy_that_cannot_hold_is_refused_with_its_reason() -> None:
    with pytest.raises(ConfigurationError, match="needs at least 7 updates, but min_updates is 5"):
        policy("multi-krum", 2, 5)
    with pytest.raises(ConfigurationError, match="use --arrangement flat"):
        Policy(
            workload="digits",
            model="mlp:1",
            parameters=1,
            arrangement="two-level",
            rule=Rule("median", 0),
            min_updates=1,
        )
