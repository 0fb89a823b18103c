"""What every ledger does that runs the specification: the one in memory and the log that an operator keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from ledger import calls, events
from ledger.artifacts import NAMES
from ledger.client import AddressBook
from ledger.events import decode_event
from ledger.index import Index
from ledger.local import LocalLedger
from ledger.memory import MemoryLedger
from ledger.outbox import Outbox, State
from ledger.spec import PUBLISHER, REGISTRAR, Specification
from middleware.errors import LedgerRefused, Unavailable
from middleware.ports import Ledger
from middleware.trust.keys import AccountKey
from middleware.types import Status
from tests.unit.ledger.log_world import ADMIN, START, begin, grant, kept, registration
from tests.unit.ledger.test_outbox import headers

CLOUD = AccountKey(sha256(b"cloud").digest())


class World:
    """A ledger whose first account with a role is ADMIN, and its address book."""

    def __init__(self, ledger: Ledger, book: AddressBook) -> None:
        self.ledger, self.book = ledger, book


@pytest_asyncio.fixture(params=["memory", "local"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        addresses = {name: bytes([n]) * 20 for n, name in enumerate(NAMES, start=1)}
        book = AddressBook("", 1, *addresses.values(), deploy_block=0)
        yield World(MemoryLedger(lambda: Specification(1, addresses, ADMIN.address)), book)
        return
    begin(tmp_path / "blocks.jsonl").close()
    async with kept(tmp_path / "blocks.jsonl") as (_, book), LocalLedger(book) as ledger:
        yield World(ledger, book)


async def test_a_call_is_a_block_and_its_events_are_entries_as_a_chain_gives_them(world: World) -> None:
    ledger = world.ledger
    outcome = await ledger.send(grant(1), ADMIN)
    batch = await ledger.entries(None)
    (entry,) = batch.entries
    assert outcome.ok
    assert (outcome.block, outcome.block_hash) == (1, batch.head.hash) == (batch.cursor.block, batch.cursor.hash)
    assert entry.event == events.RoleGranted(1, b"\x09" * 20, 0, START + 1, True)
    assert entry.event == decode_event(entry.topics, entry.data)
    assert entry.address == world.book.authority
    assert (entry.position.sender, entry.position.gas_used) == (ADMIN.address, outcome.gas_used)
    assert outcome.entries == batch.entries
    assert (await ledger.entries(batch.cursor)).entries == ()
    assert await ledger.head() == batch.head


async def test_a_reader_gets_what_came_after_its_cursor(world: World) -> None:
    index = Index()
    for role in (1, 2, 3):
        await world.ledger.send(grant(role), ADMIN)
        batch = await world.ledger.entries(index.cursor)
        assert [entry.position.block for entry in batch.entries] == [role]
        assert batch.rewind_to is None
        index.extend(batch)
    assert tuple(index.entries) == (await world.ledger.entries(None)).entries


async def test_a_simulation_refuses_without_a_trace(world: World) -> None:
    await world.ledger.simulate(grant(1), ADMIN.address)
    with pytest.raises(LedgerRefused, match="AccessManagerUnauthorizedAccount"):
        await world.ledger.simulate(grant(1), b"\x01" * 20)
    with pytest.raises(Unavailable):
        await world.ledger.simulate(grant(1), ADMIN.address, nonce=1)
    with pytest.raises(LedgerRefused, match="AccessManagerUnauthorizedAccount"):
        await world.ledger.sign(grant(1), CLOUD, 0, await world.ledger.fees())
    assert (await world.ledger.head()).number == 0
    assert (await world.ledger.entries(None)).entries == ()


async def test_a_used_nonce_is_refused_and_tells_who_used_it(world: World) -> None:
    ledger = world.ledger
    signed = await ledger.sign(grant(1), ADMIN, 0, await ledger.fees())
    await ledger.send_raw(signed.raw)
    assert await ledger.nonce(ADMIN.address) == 1
    for raw in (signed.raw, (await ledger.sign(grant(2), ADMIN, 0, await ledger.fees())).raw):
        with pytest.raises(LedgerRefused, match="NonceTooLow"):
            await ledger.send_raw(raw)
    outcome = await ledger.receipt(signed.hash)
    assert outcome is not None and outcome.ok
    spent = await ledger.spent(ADMIN.address, 0, 0)
    assert spent is not None and (spent.transaction, spent.block) == (signed.hash, 1)
    assert await ledger.spent(ADMIN.address, 0, 2) is None
    assert await ledger.receipt(bytes(32)) is None


async def test_a_call_that_is_refused_in_its_block_uses_the_nonce_and_changes_nothing(world: World) -> None:
    ledger = world.ledger
    await ledger.send(grant(REGISTRAR), ADMIN)
    fees = await ledger.fees()
    first, second = calls.Mint(CLOUD.address, 10**27 - 1), calls.Mint(CLOUD.address, 10**27 - 2)
    late = await ledger.sign(second, ADMIN, 2, fees)  # it would succeed now
    await ledger.send_raw((await ledger.sign(first, ADMIN, 1, fees)).raw)
    before = await ledger.entries(None)
    await ledger.send_raw(late.raw)
    outcome = await ledger.receipt(late.hash)
    assert outcome is not None and (outcome.ok, outcome.entries) == (False, ())
    assert await ledger.nonce(ADMIN.address) == 3
    assert (await ledger.entries(None)).entries == before.entries


async def test_a_cancelled_nonce_has_no_effect(world: World) -> None:
    ledger = world.ledger
    signed = await ledger.cancel(ADMIN, 0, await ledger.fees())
    await ledger.send_raw(signed.raw)
    outcome = await ledger.receipt(signed.hash)
    assert outcome is not None and (outcome.ok, outcome.entries) == (True, ())
    assert await ledger.nonce(ADMIN.address) == 1


async def test_a_task_is_anchored_through_an_outbox(world: World) -> None:
    ledger, policy = world.ledger, b"policy"
    await ledger.send(calls.GrantRole(REGISTRAR, ADMIN.address), ADMIN)
    await ledger.send(calls.GrantRole(PUBLISHER, ADMIN.address), ADMIN)
    await ledger.send(registration(world.book, CLOUD), CLOUD)
    index = Index()
    index.extend(await ledger.entries(None))
    if index.roster().nodes[1].status is Status.PENDING:
        await ledger.send(calls.Admit(1), ADMIN)
    await ledger.send(calls.CreateTask(1, 0, calls.REPLAY, 0, 2, 1, sha256(b"model 0").digest(), policy), ADMIN)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        outbox = Outbox(connection, ledger, CLOUD, 0)
        wanted = headers(6)
        for header in wanted:
            outbox.plan(calls.AnchorRound(header))
        while outbox.pending():
            assert await outbox.drain()
        assert outbox.status()[State.FINAL] == 6
    entries = (await ledger.entries(None)).entries
    assert [e.event.header for e in entries if isinstance(e.event, events.RoundAnchored)] == wanted
