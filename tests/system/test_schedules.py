"""Schedules on real daemons: a straggler and a dead device in the world, and the audit holds all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from devnet.demo import run_demo
from devnet.fleet import Fleet, Shape
from tests.system.test_demo import Told, check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]

SLOW = Shape(devices=6, slow=1, split="iid")


def asked(**changes: Any) -> Any:
    return small(aggregator="mean", min_updates=1, epochs=3, **changes)


async def test_async_sgd_goes_on_with_a_straggler_a_death_and_a_cloud_and_a_device_that_come_back(
    tmp_path: Path,
) -> None:
    told = Told()

    async def reach(rounds: int) -> None:
        while told.rounds < rounds:
            told.reached.clear()
            await told.reached.wait()

    async def faults(fleet: Fleet) -> None:
        await reach(4)
        fleet.kill("device-1")
        await reach(8)
        for name in ("device-2", "edge-1", "cloud"):
            fleet.kill(name)
            fleet.restart(name)
        await asyncio.Event().wait()

    choices = asked(rounds=24, arrivals=1, staleness="inverse", codec="topk", density=0.2)
    report = await run_demo(SLOW, choices, tmp_path, told, faults, on="local")
    check(report, 24)
    assert max(report["rounds_seconds"]) < 20, "no round waited for its deadline"
    assert report["accuracy"][-1] > 0.85


async def test_buffered_async_and_dc_asgd_are_anchored_on_a_chain_and_every_edge_reports(tmp_path: Path) -> None:
    choices = asked(rounds=8, arrivals=3, staleness="polynomial", compensation=1.0)
    report = await run_demo(SLOW, choices, tmp_path, Told(), on="evm")
    check(report, 8)
    assert report["transactions_per_round"] == 1
    assert report["accuracy"][-1] > 0.85


async def test_anytime_minibatch_the_straggler_weighs_what_it_got_through(tmp_path: Path) -> None:
    choices = asked(rounds=4, seconds=0.5)
    report = await run_demo(SLOW, choices, tmp_path, Told(), on="local")
    check(report, 4)
    assert report["rewards"].keys() == {f"device-{number}" for number in range(1, 7)}, "everyone took part"
    assert report["accuracy"][-1] > 0.8
