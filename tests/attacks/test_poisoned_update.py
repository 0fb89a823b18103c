"""Devices send updates that are meant to ruin the model."""

from __future__ import annotations

import numpy as np
import pytest

from devnet.simulation import Simulation, in_memory
from middleware.errors import ConfigurationError
from middleware.maths import attack
from middleware.policy import Grid, Policy, Rule
from middleware.protocol.update import Floats
from middleware.trust.keys import AccountKey

OPERATOR = AccountKey(bytes(range(1, 33)))
PARAMETERS, DEVICES, LIARS = 600, 10, 2
HIDDEN = {
    "fang-krum",
    "free-rider",
    "mimic",
    "sybil",
}  # lies that look like one honest update: selected, and harmless here
TARGET = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)


def policy(rule: Rule) -> Policy:
    return Policy(
        workload="digits", model="mlp:1", parameters=PARAMETERS, rounds=6, rule=rule, grid=Grid(16, -11),
        min_updates=rule.least_updates,
    )  # fmt: skip


async def distance(rule: Rule, lie: str) -> tuple[float, list[int]]:
    """(how far the model ends from what the honest want, weights that liars got)."""

    def learned(device: int, round: int, model: Floats) -> Floats:
        numbers = np.random.default_rng([device, round])
        step = (TARGET - model) * np.float32(0.5) + numbers.normal(0, 0.01, PARAMETERS).astype(np.float32)
        if device >= LIARS:
            return step
        noise = np.random.default_rng(round).normal(0, 0.01, (DEVICES - LIARS, PARAMETERS)).astype(np.float32)
        honest = (TARGET - model) * np.float32(0.5) + noise
        return attack.parse(lie).tell(attack.Seen(step, honest, numbers, liars=LIARS))

    ledger, context, registry = in_memory(OPERATOR)
    world = Simulation(ledger, context, registry, OPERATOR, policy(rule), learned, DEVICES, edges=2)
    await world.join()
    liars = [node for edge in world.edge_ids() for node in world.device_ids(edge)][:LIARS]
    given = [settled.weights[node] for settled, _ in [await world.play() for _ in range(6)] for node in liars]
    return float(np.abs(world.model - TARGET).max()), given


@pytest.mark.parametrize("lie", sorted(attack.ATTACKS))
@pytest.mark.parametrize("rule", ["multi-krum", "median", "trimmed-mean"])
async def test_a_robust_rule_learns_in_spite_of_liars(rule: str, lie: str) -> None:
    far, given = await distance(Rule(rule, LIARS), lie)
    assert far < 0.15
    assert rule != "multi-krum" or lie in HIDDEN or set(given) == {0}


async def test_the_mean_does_not() -> None:
    assert (await distance(Rule("mean", 0), "negate"))[0] > 0.3


def test_a_policy_that_cannot_survive_its_liars_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="needs at least 7 updates"):
        Policy(workload="digits", model="mlp:1", parameters=9, rule=Rule("multi-krum", 2), min_updates=6)
