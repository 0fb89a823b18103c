"""The product as a newcomer meets it: real processes on loopback, a real chain, and a record that holds."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from devnet.demo import Progress, run_demo
from devnet.fleet import Fleet, Shape
from nodes.operator import Choices

pytestmark = [pytest.mark.system, pytest.mark.slow]


class Told(Progress):
    """Remembers the rounds that were told, so that faults can wait for one."""

    def __init__(self) -> None:
        self.rounds = 0
        self.reached = asyncio.Event()

    def round(self, number: int, total: int, accuracy: float) -> None:
        self.rounds = number
        self.reached.set()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


def small(**changes: Any) -> Choices:
    return Choices(**{"rounds": 4, "tolerate": 1, "epochs": 1, "round_seconds": 20.0, **changes})


def check(report: dict[str, Any], rounds: int) -> None:
    assert report["rounds"] == rounds and len(report["accuracy"]) == rounds
    assert len(report["gas_per_round"]) == rounds, "each header is anchored once"
    assert report["audit"]["invalid"] == 0 and report["audit"]["unverifiable"] == 0 and report["audit"]["valid"] > 0
    assert report["void_rounds"] == []


async def test_three_tiers_train_anchor_pay_and_pass_the_audit(tmp_path: Path) -> None:
    before = children()
    report = await run_demo(Shape(devices=6, liars=1), small(), tmp_path, Progress())
    check(report, 4)
    assert report["transactions_per_round"] == 1
    assert report["caught"] == ["device-1"]
    assert "device-1" not in report["rewards"] and len(report["rewards"]) == 5
    assert report["bytes_up_sent"] > 0
    assert json.loads((tmp_path / "report.json").read_text())["accuracy"] == report["accuracy"]
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert children() == before, "no process stays behind"


async def test_two_level_mean_gives_the_same_kind_of_record(tmp_path: Path) -> None:
    choices = small(aggregator="mean", arrangement="two-level", codec="topk+int8", tolerate=0, rounds=3)
    report = await run_demo(Shape(devices=4), choices, tmp_path, Progress())
    check(report, 3)
    assert report["bytes_up_sent"] < 0.03 * report["bytes_up_dense"]


async def test_kill_minus_nine_of_every_kind_of_daemon_loses_nothing(tmp_path: Path) -> None:
    told = Told()

    async def faults(fleet: Fleet) -> None:
        for name in ("device-2", "edge-1", "cloud", "chain"):
            told.reached.clear()
            await told.reached.wait()
            fleet.kill(name)
            fleet.restart(name)

    report = await run_demo(Shape(devices=5), small(rounds=6), tmp_path, told, faults)
    check(report, 6)
    assert report["transactions_per_round"] == 1


async def test_scores_are_paid_and_replayed_though_the_cloud_is_killed(tmp_path: Path) -> None:
    """Round 4 is scored with moves and standings that a cloud which was killed reads from its blobs."""
    told = Told()

    async def faults(fleet: Fleet) -> None:
        while told.rounds < 2:
            told.reached.clear()
            await told.reached.wait()
        fleet.kill("cloud")
        fleet.restart("cloud")

    choices = small(rounds=5, aggregator="mean", tolerate=0, pay="scores", epoch=2)
    report = await run_demo(Shape(devices=4), choices, tmp_path, told, faults)
    check(report, 5)
    assert report["policy"]["pay"] == "scores"
    assert 0 < sum(report["rewards"].values()) <= 5 * report["policy"]["reward_per_round"]


def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nodes.cli.main", "demo", "--devices", "5", "--out", str(tmp_path)]
    with (tmp_path / "out.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    process = psutil.Process(child.pid)
    while child.poll() is None and len(process.children()) < 4:
        pass  # the chain and the first daemons are starting
    offspring = process.children(recursive=True)
    child.send_signal(2)
    code = child.wait(timeout=60)
    assert code == 130
    gone, alive = psutil.wait_procs(offspring, timeout=10)
    assert alive == [] and len(gone) == len(offspring) >= 4
