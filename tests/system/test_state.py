"""What a task carries from round to round outlives kill -9 of the cloud that carries it: real processes, audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devnet.demo import run_demo
from devnet.fleet import Fleet, Shape
from middleware.types import ZERO32
from middleware.wire.manifest import decode_manifest
from tests.system.test_demo import Told, check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_a_killed_cloud_goes_on_from_the_state_of_the_last_round(tmp_path: Path) -> None:
    told = Told()

    async def faults(fleet: Fleet) -> None:
        for wanted in (2, 4):
            while told.rounds < wanted:
                told.reached.clear()
                await told.reached.wait()
            fleet.kill("cloud")
            fleet.restart("cloud")

    choices = small(rounds=6, server="adam:0.02", aggregator="trimmed-mean")
    report = await run_demo(Shape(devices=4, liars=1), choices, tmp_path, told, faults, on="local")
    check(report, 6)
    assert report["policy"]["server"]["kind"] == "adam"
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert any("RoundAnchored" in json.dumps(line) for line in lines)
    blobs = tmp_path / "world" / "nodes" / "cloud" / "state" / "blobs"
    manifests = [path for path in blobs.rglob("*") if path.is_file() and path.read_bytes()[:3] == b"\xdc\x00\x10"]
    states = {decode_manifest(path.read_bytes()).state for path in manifests}
    assert len(manifests) == len(states) == 6 and ZERO32 not in states
