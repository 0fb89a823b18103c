"""Private tasks on real daemons: through the chain, with noise at either end, and with a cloud that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape
from ledger.audit.evidence import read
from ledger.index import Index
from middleware.errors import ConfigurationError
from middleware.protocol import budget
from nodes.operator import Choices
from tests.system.test_demo import Told, check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_central_dp_the_budget_survives_kill_minus_nine_of_the_cloud_on_a_chain(tmp_path: Path) -> None:
    """Each round is released once, and what is spent grows by the round, whatever was killed."""
    told = Told()

    async def faults(fleet: Fleet) -> None:
        for _ in range(3):
            told.reached.clear()
            await told.reached.wait()
            fleet.kill("cloud")
            fleet.restart("cloud")

    report = await run_demo(
        Shape(devices=4), small(rounds=5, aggregator="mean", tolerate=0, dp=8.0), tmp_path, told, faults
    )
    check(report, 5)
    assert budgets(tmp_path) == wanted(tmp_path, 5)
    assert report["policy"]["privacy"]["epsilon"] == 8_000_000
    assert set(report["rewards"]) == {f"device-{number}" for number in range(1, 5)}, "participation is paid"


@pytest.mark.parametrize(
    "asked",
    [
        {"dp_mode": "local", "aggregator": "median", "tolerate": 1},
        {
            "dp_mode": "records",
            "aggregator": "mean",
            "tolerate": 0,
            "learning_rate": 0.3,
            "momentum": 0.0,
            "dp_rate": 0.2,
        },
    ],
    ids=["local", "records"],
)
async def test_noise_on_the_devices_leaves_a_record_that_anyone_can_check(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    report = await run_demo(Shape(devices=4), small(rounds=3, dp=8.0, **asked), tmp_path, Progress(), on="local")
    assert report["audit"]["invalid"] == 0 and report["audit"]["unverifiable"] == 0 and report["audit"]["valid"] > 0
    assert budgets(tmp_path) == wanted(tmp_path, 3)
    assert report["policy"]["readers"] == "public"
    assert report["policy"].get("privacy") is None


async def test_more_rounds_than_the_epsilon_allows_are_refused_before_anything_starts(tmp_path: Path) -> None:
    asked = Choices(rounds=50, aggregator="mean", tolerate=0, dp=1.0, dp_noise=5.0)
    with pytest.raises(ConfigurationError, match="rounds fit this epsilon"):
        await run_demo(Shape(devices=4), asked, tmp_path, Progress())
    assert not (tmp_path / "world").exists()


def wanted(out: Path, rounds: int) -> list[bytes]:
    """What each round's header commits where nothing was hidden, skipped or released twice."""
    task = history(out).tasks[1]
    return [budget.committed(task.policy, task.policy_hash, number) for number in range(1, rounds + 1)]


def budgets(out: Path) -> list[bytes]:
    return [anchored.header.budget for anchored in history(out).anchored[1]]


def history(out: Path) -> Index:
    return read((out / "ledger.jsonl").read_bytes()).index
