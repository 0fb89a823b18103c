"""Edges with models of their own on real daemons: devices train from their edge's, and the audit repeats every exchange."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from devnet.demo import run_demo
from devnet.fleet import Fleet, Shape
from middleware.wire.message import Offer, decode_stored
from tests.system.test_demo import Told, check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.mark.parametrize(
    "asked",
    [
        {"peers": "hierarchical", "global_every": 2, "arrangement": "two-level"},
        {"peers": "gosgd", "arrangement": "flat"},
    ],
    ids=["hierarchical", "gosgd"],
)
async def test_edges_with_own_models_train_and_pass_the_audit_though_daemons_are_killed(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    told = Told()

    async def faults(fleet: Fleet) -> None:
        for name in ("cloud", "edge-2", "device-3"):
            told.reached.clear()
            await told.reached.wait()
            fleet.kill(name)
            fleet.restart(name)

    choices = small(rounds=5, aggregator="mean", tolerate=0, **asked)
    report = await run_demo(Shape(devices=6, edges=3), choices, tmp_path, told, faults, on="local")
    check(report, 5)
    assert report["policy"]["peers"]["kind"] == asked["peers"]
    assert report["accuracy"][-1] > 0.5
    nodes = tmp_path / "world" / "nodes"
    shown = [models for models in offered(nodes / "cloud") if models]
    assert len(shown) == (2 if asked["peers"] == "hierarchical" else 4), "after every round that was no global one"
    held = nodes / "device-1" / "state" / "blobs"
    for models in shown:
        assert len(models) == 3 and len(set(models.values())) > 1  # two that missed the same rounds have the same model
        assert sum((held / digest.hex()[:2] / digest.hex()).exists() for digest in set(models.values())) == 1, (
            "its own edge's"
        )


def offered(folder: Path) -> list[dict[int, bytes]]:
    """What each round's offer says of edges' models."""
    with sqlite3.connect(folder / "state" / "node.db") as connection:
        rows = connection.execute("SELECT frame FROM offer WHERE state = 'open' ORDER BY round").fetchall()
    return [dict(decode_stored(frame, Offer).message.models) for (frame,) in rows]
