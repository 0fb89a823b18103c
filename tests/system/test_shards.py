"""A sharded parameter server as real processes of a real cloud: one is killed, named and replaced, and the audit agrees."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from devnet.demo import run_demo
from devnet.fleet import Fleet, Shape
from tests.system.test_demo import Told, check, children, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_parameter_server_a_killed_shard_is_detected_and_no_round_is_lost(tmp_path: Path) -> None:
    before, told, killed = children(), Told(), []

    async def faults(fleet: Fleet) -> None:
        while told.rounds < 2:
            told.reached.clear()
            await told.reached.wait()
        cloud = psutil.Process(fleet.processes.all["cloud"].pid)
        servers = [child for child in cloud.children() if "nodes.shards" in child.cmdline()]
        killed.append(len(servers))
        servers[0].kill()

    choices = small(rounds=6, aggregator="mean", tolerate=0, shards=3, server="momentum:0.7")
    report = await run_demo(Shape(devices=4), choices, tmp_path, told, faults, on="local")
    check(report, 6)
    assert killed == [3] and report["policy"]["shards"] == 3
    log = (tmp_path / "world" / "logs" / "cloud.log").read_text()
    assert log.count("of 3 is gone: it is started again") == 1
    assert children() == before, "no process stays behind"
