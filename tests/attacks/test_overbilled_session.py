"""An edge wants more than it did: it bills other units, chains receipts that it did not give, or serves other weights than were
published. The device finds out before it pays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from middleware.errors import PeerFault
from middleware.protocol import session as machine
from middleware.wire.model import root_of
from nodes.models import load
from tests.unit.nodes.serving_world import EDGE, built, world

MANIFEST, FILES, _ = built()
ROOT = root_of(MANIFEST)
PICTURE = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize("lie", ["units", "chain"])
async def test_an_edge_that_bills_more_or_chains_other_receipts_is_left(
    tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = machine.serve

    def lying(
        state: machine.Serving, event: machine.ServerEvent
    ) -> tuple[machine.Serving, tuple[machine.ServerEffect, ...]]:
        state, effects = honest(state, event)
        told = []
        for one in effects:
            if isinstance(one, machine.Answer):
                change = {"units": one.units + 1} if lie == "units" else {"chain": bytes(32)}
                one = msgspec.structs.replace(one, **change)
            told.append(one)
        return state, tuple(told)

    monkeypatch.setattr("nodes.serving.serve", lying)
    async with world(tmp_path, FILES) as here, await here.session(ROOT, forced="f32@2") as session:
        reply = await session(PICTURE)
        assert reply.tier == "device" and ("billed" in reply.degraded or "chains other receipts" in reply.degraded)
        assert session.tally.units == 0


async def test_terms_by_another_key_than_the_ledgers_are_not_believed(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        here.members[EDGE].network = here.keys[3][0]
        async with await here.session(ROOT, forced="f32@2") as session:
            assert session.line is None and "bad signature" in session.why_alone
            assert (await session(PICTURE)).tier == "device"


async def test_a_tampered_segment_is_refused_before_it_is_run() -> None:
    bad = {digest: data[:-1] + bytes([data[-1] ^ 1]) for digest, data in FILES.items()}

    async def fetch(digest: bytes, most: int) -> bytes:
        return FILES[digest] if digest == ROOT else bad[digest]

    with pytest.raises(PeerFault, match="mismatch"):
        await load(ROOT, fetch)
