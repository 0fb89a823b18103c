"""Codecs between real processes: a device whose link is slow sends less, and the audit opens what it chose."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.demo import Progress, run_demo
from devnet.fleet import Shape
from middleware.protocol.update import SALT_BYTES
from middleware.trust.seal import sealed_size
from nodes.store import Store
from tests.system.test_demo import check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]

PARAMETERS = 64 * 64 + 64 + 64 * 10 + 10
DENSE = sealed_size(SALT_BYTES + 1 + 2 * PARAMETERS)
NIBBLES = sealed_size(SALT_BYTES + 1 + 1 + PARAMETERS // 2)
LINK_BYTES = 8_000.0  # a second: dense 1.2 s, int8 0.6 s, int4 0.3 s and the frame's time


def sizes(tmp_path: Path, device: str, rounds: int) -> list[int]:
    store = Store(tmp_path / "world" / "nodes" / device / "state")
    found = []
    for round in range(1, rounds + 1):
        outgoing = store.outgoing(1, round)
        assert outgoing is not None
        found.append(len(store.blobs.get(outgoing[1]) or b""))
    store.close()
    return found


async def test_auto_sends_less_over_a_slow_link_and_passes_the_audit(tmp_path: Path) -> None:
    choices = small(
        rounds=3, model="mlp:64-64-10", aggregator="mean", tolerate=0, codec="auto:none,int8,int4", upload_seconds=0.5
    )
    shape = Shape(devices=3, edges=1, split="iid", slow_links=1, link_bytes=LINK_BYTES)
    report = await run_demo(shape, choices, tmp_path, Progress(), on="local")
    check(report, 3)
    assert sizes(tmp_path, "device-1", 3) == [DENSE] * 3
    assert sizes(tmp_path, "device-3", 3) == [DENSE, NIBBLES, NIBBLES]
    store = Store(tmp_path / "world" / "nodes" / "device-3" / "state")
    assert [transfer.bytes / transfer.seconds <= LINK_BYTES for transfer in store.uploads()] == [True] * 3
    store.close()
