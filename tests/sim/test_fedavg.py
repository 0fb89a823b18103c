"""What FedAvg is for: fewer rounds (catalogue, training 1.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devnet.crowd import Crowd, Shape, simulate, table_of
from nodes.operator import Choices, policy_of

pytestmark = pytest.mark.slow

GOAL = 0.9
SHAPE = Shape(devices=20, edges=1, wire=False, ledger=False)
WHOLE = 250  # samples that a device has at most: a batch of them all is a step of FedSGD


async def rounds_to_goal(source: str, rounds: int, **training: Any) -> int:
    """The first round after which the model reaches the goal; one more than there were if it never does."""
    asked = Choices(
        workload=source, model="mlp:784-64-10", rounds=rounds, aggregator="mean", min_updates=1, momentum=0.0, grid_exponent=-14,
        **training,
    )  # fmt: skip
    found = (await simulate(Crowd(source, policy_of(asked), SHAPE)))["accuracy"]
    return next((number for number, accuracy in enumerate(found, start=1) if accuracy >= GOAL), rounds + 1)


async def test_fedavg_needs_a_fifth_of_the_rounds_of_one_step_a_round_on_mnist(tmp_path: Path) -> None:
    """E = 5, B = 10 against E = 1, B = all of it (McMahan et al. 2017, table 2), which may choose its learning rate."""
    source = table_of("mnist", tmp_path)
    federated = await rounds_to_goal(source, 8, epochs=5, batch=10, learning_rate=0.05)
    single = min(
        [await rounds_to_goal(source, 60, epochs=1, batch=WHOLE, learning_rate=rate) for rate in (0.2, 0.3, 0.5)]
    )
    assert federated <= 8
    assert single >= 5 * federated
