"""The chain goes away, comes back younger, or loses what was on its way."""

from __future__ import annotations

import sqlite3

import pytest

from ledger.calls import AnchorRound
from ledger.index import Index
from ledger.memory import MemoryLedger
from ledger.outbox import Outbox
from tests.unit.ledger.test_outbox import KEY, anchored, connection, disk, headers, make

__all__ = ["connection", "disk"]


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_headers_that_a_chain_forgot_are_anchored_again_in_order_and_once(
    connection: sqlite3.Connection, lost: int
) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 4)
    for header in headers(3):
        outbox.plan(AnchorRound(header))
    await outbox.drain()
    ledger.roll_back(lost)
    assert len(await anchored(ledger)) == 3 - lost
    for _ in range(lost + 1):
        await outbox.drain()
    assert await anchored(ledger) == headers(3)


async def test_rounds_settle_while_the_chain_is_away(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    ledger.reachable = False
    outbox = Outbox(connection, ledger, KEY, 0)
    for header in headers(3):
        outbox.plan(AnchorRound(header))
    assert outbox.pending() == 3
    ledger.reachable = True
    await outbox.drain()
    assert await anchored(ledger) == headers(3)


async def test_a_reader_forgets_what_the_chain_took_back(connection: sqlite3.Connection) -> None:
    ledger, index = MemoryLedger(make), Index()
    outbox = Outbox(connection, ledger, KEY, 0)
    for header in headers(2):
        outbox.plan(AnchorRound(header))
    await outbox.drain()
    index.extend(await ledger.entries(index.cursor))
    known = len(index.entries)
    ledger.roll_back(1)
    index.extend(await ledger.entries(index.cursor))
    assert len(index.entries) == known - 1
