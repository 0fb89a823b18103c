"""What an owner's key did, on a ledger that forgets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from devnet.simulation import Simulation, in_memory
from middleware.errors import ConfigurationError
from middleware.trust.keys import AccountKey
from nodes.cli.main import app
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


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"dp_noise": 2.0}, "--dp-noise without --dp protects nobody"),
        ({"dp_mode": "local", "dp_clip": 0.5}, "--dp-clip, --dp-mode without --dp protects nobody"),
        ({"dp_clients": 9, "aggregator": "mean"}, "--dp-clients without --dp"),
        ({"dp": math.nan}, "--dp and --dp-clip are above 0, and finite"),
        ({"dp": 8.0, "dp_mode": "local", "dp_clip": math.inf}, "--dp and --dp-clip are above 0, and finite"),
        ({"dp": 8.0, "dp_mode": "local", "dp_noise": math.nan}, "--dp-noise nan: a multiplier"),
        ({"auditors": ("ab" * 32,)}, "add --readers auditors"),
        ({"epoch": 5}, "add --pay scores"),
        ({"slices": 2}, "add --pay scores"),
        ({"codec": "auto", "bit_budget": 100}, "not among the choices"),
        ({"peers": "choco", "aggregator": "mean", "gossip_step": 7.0}, "--gossip-step 7: 1/256 to 1"),
        ({"grid_bits": 0}, "grid bits 0"),
        ({"samples_cap": 0}, "samples_cap 0"),
        ({"staleness": "inverse", "aggregator": "mean"}, "need --arrivals"),
    ],
)
def test_what_would_do_nothing_or_means_nothing_is_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        policy_of(Choices(model="mlp:64-10", **asked))


def test_what_is_used_is_not_refused() -> None:
    assert policy_of(Choices(model="mlp:64-10", aggregator="fang-lfr:median", slices=2)).evaluation_slices == 2
    scored = policy_of(Choices(model="mlp:64-10", aggregator="mean", pay="scores", epoch=5))
    assert scored.epoch_rounds == 5
    read = policy_of(Choices(model="mlp:64-10", readers="auditors", auditors=("ab" * 32,)))
    assert read.auditors == ("ab" * 32,)


def test_liars_that_the_mean_should_survive_are_refused(tmp_path: Path) -> None:
    words = ["task", "new", "--home", str(tmp_path), "--aggregator", "mean", "--tolerate", "2"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "the mean survives no liar" in result.output
