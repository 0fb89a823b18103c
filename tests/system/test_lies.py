"""Devices that are told to lie, as real processes: the round goes on, the model learns, and the audit finds nothing amiss."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.demo import run_demo
from devnet.fleet import Shape
from tests.system.test_demo import Told, children, small

pytestmark = [pytest.mark.system, pytest.mark.slow]
ROUNDS = 3


@pytest.mark.parametrize("lie", ["alie", "label-flip:7-1"])
async def test_liars_among_real_daemons_are_outlearned(lie: str, tmp_path: Path) -> None:
    before = children()
    choices = small(rounds=ROUNDS, tolerate=2, epochs=3)
    report = await run_demo(Shape(devices=8, liars=2, attack=lie), choices, tmp_path, Told(), on="local")
    assert report["byzantine"] == ["device-1", "device-2"]
    assert len(report["accuracy"]) == ROUNDS and report["void_rounds"] == []
    assert report["accuracy"][-1] > 0.7
    assert report["audit"]["invalid"] == 0 and report["audit"]["unverifiable"] == 0
    assert children() == before, "no process stays behind"
