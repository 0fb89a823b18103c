"""When an edge puts its log on the ledger, and what becomes of it where the ledger says no."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.calls import Checkpoint
from ledger.events import Position
from ledger.index import RecordedLog
from middleware.errors import LedgerRefused
from middleware.trust.merkle import verify_consistency
from middleware.types import ZERO32
from nodes.checkpoints import RETRY_SECONDS, WAIT_SECONDS, Checkpoints, due
from nodes.store import Store


@pytest.mark.parametrize(
    ("entries", "waited", "every", "wanted"),
    [(999, 0, 1000, False), (1000, 0, 1000, True), (1, WAIT_SECONDS, 1000, True), (0, 1e9, 1000, False), (5, 1e9, 0, False)],
)  # fmt: skip
def test_a_checkpoint_is_due_after_so_many_entries_or_a_day(
    entries: int, waited: float, every: int, wanted: bool
) -> None:
    assert due(entries, waited, every) is wanted


class Ledger:
    """Takes checkpoints, or refuses."""

    def __init__(self, index: Any) -> None:
        self.index, self.refuses, self.tried = index, False, 0

    async def send(self, call: Checkpoint, account: object) -> None:
        self.tried += 1
        if self.refuses:
            raise LedgerRefused("InsufficientFunds")
        held = self.index.checkpoints.setdefault(call.node, [])
        before = held[-1] if held else RecordedLog(0, ZERO32, None)  # type: ignore[arg-type]
        assert before.size == 0 or verify_consistency(before.size, before.root, call.size, call.root, call.path)
        held.append(RecordedLog(call.size, call.root, Position(1, ZERO32, 1, ZERO32, 0, 0, bytes(20))))


async def test_every_entry_is_covered_once_and_a_refusal_loses_none(tmp_path: Path) -> None:
    index = SimpleNamespace(checkpoints={})
    ledger = Ledger(index)

    async def refresh() -> bool:
        return True

    agent: Any = SimpleNamespace(
        id=2, index=index, store=Store(tmp_path), account=None, config=SimpleNamespace(checkpoint_entries=3),
        view=SimpleNamespace(ledger=ledger, refresh=refresh),
    )  # fmt: skip
    found = Checkpoints(agent)
    for number in range(2):
        agent.store.append_log(b"%d" % number)
        await found.look(0.0)
    assert ledger.tried == 0 and found.report()["entries"] == 2
    agent.store.append_log(b"third")
    await found.look(1.0)
    assert found.report() == {"on_the_ledger": 3, "entries": 0, "why": ""}
    agent.store.append_log(b"fourth")
    await found.look(2.0)
    ledger.refuses = True
    await found.look(2.0 + WAIT_SECONDS)
    assert ledger.tried == 2 and "InsufficientFunds" in str(found.report()["why"])
    ledger.refuses = False
    await found.look(3.0 + WAIT_SECONDS)
    assert ledger.tried == 2  # it waits before it tries again
    await found.look(3.0 + WAIT_SECONDS + RETRY_SECONDS)
    assert found.report() == {"on_the_ledger": 4, "entries": 0, "why": ""}
