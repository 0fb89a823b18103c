"""No crash makes an honest edge or cloud slashable: each is killed at every point, then at half of it, then left alive."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from devnet.kill import Fuse
from devnet.slashing import EDGE, ROUNDS, Record, a_fleet, all_reports, cloud_lives, edge_lives
from ledger.memory import MemoryLedger
from middleware.errors import OurFault
from middleware.types import Receipt


@pytest.mark.slow
@pytest.mark.parametrize("arrangement", ["flat", "two-level"])
@pytest.mark.parametrize("early", [None, 2])
async def test_an_edge_that_dies_at_any_point_has_signed_nothing_twice(
    tmp_path: Path, arrangement: str, early: int | None
) -> None:
    fleet = await a_fleet(arrangement, "mean")
    fleet.round = 1
    devices = fleet.device_ids(EDGE)
    for point in count():
        folder, record = tmp_path / str(point), Record()
        survived = await edge_lives(fleet, folder, Fuse(point), record, devices, early)
        second = Fuse(point // 2)
        await edge_lives(fleet, folder, second, record, devices[::-1], early)
        assert await edge_lives(fleet, folder, Fuse(), record, devices, None)
        record.require_sound()
        assert record.roots, f"killed at point {point}: no report in the end"
        if survived:
            assert point > 25
            return


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["mean", "median"])
async def test_a_cloud_that_dies_at_any_point_has_signed_nothing_twice(tmp_path: Path, rule: str) -> None:
    fleet = await a_fleet("flat", rule)
    edges, reports = fleet.edge_ids(), all_reports(fleet)
    assert isinstance(fleet.ledger, MemoryLedger)
    before = len(fleet.ledger.blocks)
    for point in count():
        folder, record = tmp_path / str(point), Record()
        survived = await cloud_lives(fleet, reports, folder, Fuse(point), record, edges)
        await cloud_lives(fleet, reports, folder, Fuse(point // 2), record, edges[::-1])
        assert await cloud_lives(fleet, reports, folder, Fuse(), record, edges)
        record.require_sound()
        await fleet.refresh()
        anchored = fleet.index.anchored[1]
        assert [item.header.round for item in anchored] == list(range(1, ROUNDS + 1)), f"killed at point {point}"
        fleet.ledger.roll_back(len(fleet.ledger.blocks) - before)
        await fleet.refresh()
        if survived:
            assert point > 50
            return


def test_the_accuser_would_notice() -> None:
    record, receipt = Record(), Receipt(1, 1, EDGE, 0, b"\x01" * 32)
    record.receipts[1, 1, 0] |= {receipt, Receipt(1, 1, EDGE, 0, b"\x02" * 32)}
    with pytest.raises(OurFault, match="2 versions"):
        record.require_sound()
