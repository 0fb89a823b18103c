from __future__ import annotations

from hashlib import sha256

import pytest

from ledger import calls, events
from ledger.artifacts import NAMES
from ledger.events import decode_event
from ledger.memory import GENESIS_TIME, MemoryLedger
from ledger.spec import NodeState, Specification
from middleware.errors import LedgerRefused, Unavailable
from middleware.ports import Fees, Ledger
from middleware.trust.eip712 import edge_root_digest
from middleware.trust.keys import AccountKey
from middleware.types import EdgeLeaf

ADDRESSES = {name: bytes([n]) * 20 for n, name in enumerate(NAMES, start=1)}
ADMIN = AccountKey(sha256(b"admin").digest())


def make() -> Specification:
    return Specification(1, ADDRESSES, ADMIN.address)


def grant(role: int) -> calls.GrantRole:
    return calls.GrantRole(role, b"\x09" * 20)


async def test_a_transaction_is_a_block_and_its_events_are_entries_as_a_chain_gives_them() -> None:
    ledger: Ledger = MemoryLedger(make)
    outcome = await ledger.send(grant(1), ADMIN)
    batch = await ledger.entries(None)
    (entry,) = batch.entries
    assert outcome.ok
    assert (outcome.block, outcome.block_hash) == (1, batch.head.hash) == (batch.cursor.block, batch.cursor.hash)
    assert entry.event == events.RoleGranted(1, b"\x09" * 20, 0, GENESIS_TIME + 1, True)
    assert entry.event == decode_event(entry.topics, entry.data)
    assert entry.address == ADDRESSES["Authority"]
    assert (entry.position.sender, entry.position.gas_used) == (ADMIN.address, outcome.gas_used)
    assert (await ledger.entries(batch.cursor)).entries == ()


async def test_two_ledgers_that_are_told_the_same_are_the_same() -> None:
    first, second = MemoryLedger(make), MemoryLedger(make)
    for ledger in (first, second):
        await ledger.send(grant(1), ADMIN)
        await ledger.send(calls.Mint(ADMIN.address, 5), ADMIN)
    assert await first.entries(None) == await second.entries(None)


async def test_times_follow_the_clock_and_always_ascend() -> None:
    times = iter([GENESIS_TIME + 50.5, GENESIS_TIME + 50.5, 0.0, 0.0])
    ledger = MemoryLedger(make, clock=lambda: next(times))
    ledger.mine_empty()
    first = (await ledger.head()).time
    ledger.mine_empty()
    ledger.mine_empty()
    assert (first, (await ledger.head()).time) == (GENESIS_TIME + 50, GENESIS_TIME + 52)


async def test_a_reader_is_told_from_where_to_read_again_after_a_reorganisation() -> None:
    ledger = MemoryLedger(make)
    for role in (1, 2, 3):
        await ledger.send(grant(role), ADMIN)
    cursor = (await ledger.entries(None)).cursor
    ledger.roll_back(2)
    assert await ledger.nonce(ADMIN.address) == 1
    await ledger.send(grant(2), ADMIN)
    await ledger.send(grant(4), ADMIN)
    batch = await ledger.entries(cursor)
    assert batch.rewind_to == 1
    assert [entry.position.block for entry in batch.entries] == [2, 3]
    assert batch.head.hash != cursor.hash
    assert (await ledger.entries(batch.cursor)).rewind_to is None


async def test_a_simulation_refuses_without_a_trace() -> None:
    ledger = MemoryLedger(make)
    await ledger.simulate(grant(1), ADMIN.address)
    with pytest.raises(LedgerRefused, match="AccessManagerUnauthorizedAccount"):
        await ledger.simulate(grant(1), b"\x01" * 20)
    assert (await ledger.head()).number == 0
    assert ledger.specification.roles == make().roles


async def test_a_call_that_is_refused_in_its_block_uses_the_nonce_and_changes_nothing() -> None:
    ledger = MemoryLedger(make, automine=False)
    signed = await ledger.sign(grant(1), ADMIN, 0, await ledger.fees())
    await ledger.send_raw(signed.raw)
    ledger.specification.roles.clear()
    assert ledger.mine()
    outcome = await ledger.receipt(signed.hash)
    assert outcome is not None
    assert (outcome.ok, outcome.entries) == (False, ())
    assert await ledger.nonce(ADMIN.address) == 1
    with pytest.raises(LedgerRefused, match="NonceTooLow"):
        await ledger.send_raw(signed.raw)


async def test_a_waiting_transaction_is_replaced_only_for_a_tenth_more() -> None:
    ledger = MemoryLedger(make, automine=False)
    for most in (100, 110):
        await ledger.send_raw((await ledger.sign(grant(1), ADMIN, 0, Fees(most, 1))).raw)
    with pytest.raises(LedgerRefused, match="Underpriced"):
        await ledger.send_raw((await ledger.sign(grant(1), ADMIN, 0, Fees(120, 1))).raw)
    assert len(ledger.waiting) == 1


async def test_a_ledger_that_is_switched_off_is_unavailable() -> None:
    ledger = MemoryLedger(make)
    ledger.reachable = False
    with pytest.raises(Unavailable):
        await ledger.entries(None)
    with pytest.raises(Unavailable):
        await ledger.send(grant(1), ADMIN)


async def test_each_entry_has_the_address_of_the_contract_that_said_it() -> None:
    """One call that reaches three contracts: the Arbiter's."""
    ledger = MemoryLedger(make)
    state = ledger.specification
    judges = (ADDRESSES["Arbiter"], ADDRESSES["Court"])
    state.arbiters = {"Registry": judges, "Ledger": judges}
    state.nodes[1] = NodeState(account=ADMIN.address, tier=2, status=2, stake=10)
    state.id_of_account[ADMIN.address] = 1
    state.token.mint(ADDRESSES["Registry"], 10)
    edges = [EdgeLeaf(1, 1, 1, bytes(32), count) for count in (1, 2)]
    signed = [ADMIN.sign_digest(edge_root_digest(state.ledger_domain, edge)) for edge in edges]
    outcome = await ledger.send(calls.ConflictingRoots(edges[0], signed[0], edges[1], signed[1]), ADMIN)
    assert [(type(entry.event), entry.address) for entry in outcome.entries] == [
        (events.Proven, ADDRESSES["Arbiter"]), (events.Slashed, ADDRESSES["Registry"]),
        (events.StatusChanged, ADDRESSES["Registry"]),
    ]  # fmt: skip
    collected = await ledger.send(calls.Collect(b"conflictingRoots".ljust(32, b"\0"), 1, 1, 1), ADMIN)
    assert [(type(entry.event), entry.address) for entry in collected.entries] == [
        (events.Settled, ADDRESSES["Registry"]), (events.Transfer, ADDRESSES["Credit"]),
        (events.Transfer, ADDRESSES["Credit"]),
    ]  # fmt: skip
