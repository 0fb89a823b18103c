"""What an owner's key did, on a ledger that forgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from devnet.simulation import Simulation, in_memory
from middleware.trust.keys import AccountKey
from nodes.operator import Choices, Operator, policy_of


async def test_what_a_chain_lost_with_its_last_blocks_is_made_again_once() -> None:
    key = AccountKey(bytes([7]) * 32)
    policy = policy_of(Choices(model="mlp:64-10", reward_per_round=0))
    found, context, registry = in_memory(key)
    ledger: Any = found
    simulation = Simulation(
        ledger, context, registry, key, policy, lambda device, round, model: np.zeros_like(model), 6, 2
    )
    await simulation.join()
    operator = Operator(ledger, key)
    task = await operator.create_task("cloud", policy, 0)
    assert await operator.repeat_lost() == []

    ledger.roll_back(1)
    operator.index.extend(await ledger.entries(operator.index.cursor))
    assert task not in operator.index.tasks

    assert await operator.repeat_lost() == ["createTask"]
    assert task in (await operator.refresh()).tasks
    assert await operator.repeat_lost() == []
