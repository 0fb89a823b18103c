"""A cloud is killed at every point of its task: the model and the state that it carries end as if it never had been."""

from __future__ import annotations

import hashlib
from itertools import count
from pathlib import Path

import msgspec
import pytest

from devnet.kill import Fuse
from devnet.simulation import Simulation, in_memory
from devnet.slashing import (
    CONTEXT,
    DEVICES,
    EDGES,
    OPERATOR,
    ROUNDS,
    Record,
    all_reports,
    cloud_lives,
    learned,
    policy,
)
from ledger.memory import MemoryLedger
from middleware.policy import Server
from middleware.wire.manifest import decode_manifest
from nodes.store import Store


async def a_fleet() -> Simulation:
    ledger, _, registry = in_memory(OPERATOR)
    made = msgspec.structs.replace(policy("flat", "mean"), server=Server("yogi", rate=0.25))
    fleet = Simulation(ledger, CONTEXT, registry, OPERATOR, made, learned, DEVICES * EDGES, EDGES)
    await fleet.join()
    return fleet


@pytest.mark.slow
async def test_a_cloud_that_dies_at_any_point_carries_the_same_state(tmp_path: Path) -> None:
    fleet = await a_fleet()
    edges, reports = fleet.edge_ids(), all_reports(fleet)
    assert isinstance(fleet.ledger, MemoryLedger)
    before, expected = len(fleet.ledger.blocks), None
    for point in count():
        folder = tmp_path / str(point)
        survived = await cloud_lives(fleet, reports, folder, Fuse(point), Record(), edges)
        assert await cloud_lives(fleet, reports, folder, Fuse(), Record(), edges)
        await fleet.refresh()
        store, found = Store(folder), []
        for item in fleet.index.anchored[1]:
            manifest = decode_manifest(store.blobs.get(item.header.manifest) or b"")
            blob = store.blobs.get(manifest.state) or b""
            assert hashlib.sha256(blob).digest() == manifest.state
            found.append((manifest.model_out, manifest.state))
        store.connection.close()
        expected = expected or found
        assert found == expected and len(set(found)) == ROUNDS, f"killed at point {point}"
        fleet.ledger.roll_back(len(fleet.ledger.blocks) - before)
        await fleet.refresh()
        if survived:
            assert point > 50
            return
