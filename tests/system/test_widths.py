"""Devices that train models of several widths, as real processes: narrow ones send less, and the audit agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.demo import run_demo
from devnet.fleet import Shape
from tests.system.test_demo import Told, check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_heterofl_devices_of_three_widths_train_one_model(tmp_path: Path) -> None:
    choices = small(rounds=4, aggregator="mean", tolerate=0, widths="1,0.5,0.25", epochs=2)
    report = await run_demo(Shape(devices=6, widths=(1.0, 0.5, 0.25)), choices, tmp_path, Told(), on="local")
    check(report, 4)
    assert tuple(report["policy"]["widths"]) == (256, 128, 64)
    assert report["accuracy"][-1] > 0.6
    assert report["bytes_up_sent"] < 0.4 * report["bytes_up_dense"], "at two bytes a number, a third of them whole"
    sizes = {len_of(tmp_path, name) for name in ("device-1", "device-2", "device-3")}
    assert len(sizes) == 3


def len_of(out: Path, name: str) -> int:
    """Bytes of the largest blob that a device made itself: its update's body; models are larger, and the same for all."""
    blobs = out / "world" / "nodes" / name / "state" / "blobs"
    sizes = sorted({path.stat().st_size for path in blobs.rglob("*") if path.is_file()})
    return sizes[-2] if len(sizes) > 1 else sizes[-1]
