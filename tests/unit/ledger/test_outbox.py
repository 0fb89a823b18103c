from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256

import pytest

from devnet.kill import Disk
from ledger.calls import Admit, AnchorRound, AnyCall, SetMeta
from ledger.events import MetaChanged, RoundAnchored
from ledger.memory import MemoryLedger
from ledger.outbox import MOST_REVERTS, PATIENCE_BLOCKS, Outbox, State
from ledger.spec import NodeState, Specification, TaskState
from middleware.errors import LedgerRefused, Unavailable
from middleware.ports import Call, Fees, SignedTransaction, Signer
from middleware.trust.eip712 import header_hash
from middleware.trust.keys import AccountKey
from middleware.types import ZERO32, Header, Status, Tier

KEY = AccountKey(sha256(b"cloud").digest())
OTHER = AccountKey(sha256(b"other").digest())
ADDRESSES = {
    name: bytes([n]) * 20 for n, name in enumerate(("Authority", "Credit", "Registry", "Ledger", "Rewards"), start=1)
}
GENESIS, POLICY = sha256(b"model 0").digest(), sha256(b"policy").digest()


def make() -> Specification:
    """A ledger with one active cloud, node 1, and its task 1."""
    specification = Specification(1, ADDRESSES, admin=OTHER.address)
    specification.nodes[1] = NodeState(
        net_key=b"\x01" * 32, account=KEY.address, tier=Tier.CLOUD, status=Status.ACTIVE, owner=KEY.address
    )
    specification.tasks[1] = TaskState(
        publisher=OTHER.address, cloud=1, open=True, policy_hash=POLICY, genesis_model=GENESIS, last_model=GENESIS
    )
    return specification


def headers(rounds: int) -> list[Header]:
    """A chain of headers that task 1 accepts one after the other."""
    chain: list[Header] = []
    prev, model = ZERO32, GENESIS
    for number in range(1, rounds + 1):
        out = sha256(f"model {number}".encode()).digest()
        chain.append(
            Header(
                1, number, prev, ZERO32, POLICY, model, ZERO32, 0, ZERO32, ZERO32, out, ZERO32, ZERO32, ZERO32, ZERO32,
                ZERO32,
            )
        )  # fmt: skip
        prev, model = header_hash(chain[-1]), out
    return chain


@pytest.fixture
def disk() -> Iterator[Disk]:
    opened = Disk()
    yield opened
    opened.close()


@pytest.fixture
def connection(disk: Disk) -> Iterator[sqlite3.Connection]:
    opened = disk.open()
    yield opened
    opened.close()


async def anchored(ledger: MemoryLedger) -> list[Header]:
    batch = await ledger.entries(None)
    return [entry.event.header for entry in batch.entries if isinstance(entry.event, RoundAnchored)]


async def deliver(outbox: Outbox, ledger: MemoryLedger, steps: int = 200) -> None:
    for _ in range(steps):
        await outbox.drain()
        ledger.mine()
        if outbox.pending() == 0:
            return
    raise AssertionError(f"not delivered after {steps} steps: {outbox.status()}")


async def test_headers_are_anchored_in_order_in_one_step_when_blocks_are_immediate(
    connection: sqlite3.Connection,
) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    for header in headers(6):
        outbox.plan(AnchorRound(header))
    assert await outbox.drain()
    assert await anchored(ledger) == headers(6)
    assert outbox.status() == {state.value: 6 if state is State.FINAL else 0 for state in State}
    assert [len(gas) for gas in outbox.gas().values()] == [6]
    assert not await outbox.drain()


async def test_the_same_intent_is_one_row(connection: sqlite3.Connection) -> None:
    outbox = Outbox(connection, MemoryLedger(make), KEY, 0)
    first, second = headers(2)
    assert outbox.plan(AnchorRound(first)) == outbox.plan(AnchorRound(first)) != outbox.plan(AnchorRound(second))
    assert outbox.pending() == 2


async def test_a_plan_is_part_of_the_transaction_that_its_caller_has_open(connection: sqlite3.Connection) -> None:
    outbox = Outbox(connection, MemoryLedger(make), KEY, 0)
    connection.execute("BEGIN IMMEDIATE")
    outbox.plan(AnchorRound(headers(1)[0]))
    connection.execute("ROLLBACK")
    assert outbox.pending() == 0


async def test_a_chain_that_is_down_keeps_everything_queued_and_gets_it_when_it_is_back(
    connection: sqlite3.Connection,
) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    first, second = headers(2)
    outbox.plan(AnchorRound(first))
    await outbox.drain()
    ledger.reachable = False
    outbox.plan(AnchorRound(second))
    with pytest.raises(Unavailable):
        await outbox.drain()
    assert outbox.status()["PLANNED"] == 1
    ledger.reachable = True
    await outbox.drain()
    assert await anchored(ledger) == [first, second]


async def test_what_a_reorganisation_took_back_is_sent_again(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 1)
    for header in headers(2):
        outbox.plan(AnchorRound(header))
    await outbox.drain()
    await outbox.drain()
    assert (outbox.status()["FINAL"], outbox.status()["MINED"]) == (1, 1)
    ledger.roll_back(1)
    assert len(await anchored(ledger)) == 1
    await outbox.drain()
    assert await anchored(ledger) == headers(2)


async def test_even_what_was_final_is_sent_again_when_the_chain_lost_it(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    for header in headers(3):
        outbox.plan(AnchorRound(header))
    await outbox.drain()
    ledger.roll_back(2)
    assert await outbox.drain() is False  # what was final is final again: nothing for the caller to note
    assert await anchored(ledger) == headers(3)


async def test_an_attempt_that_blocks_pass_by_pays_more_under_the_same_nonce(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make, automine=False)
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    before = dict(ledger.waiting)
    ledger.base_fee = 100
    for _ in range(PATIENCE_BLOCKS - 1):
        ledger.mine_empty()
    await outbox.drain()
    assert ledger.waiting == before
    ledger.mine_empty()
    await outbox.drain()
    assert list(ledger.waiting) == list(before) == [(KEY.address, 0)]
    assert ledger.waiting != before
    assert ledger.mine()
    await outbox.drain()
    assert outbox.status()["FINAL"] == 1


async def test_the_first_attempt_counts_when_it_is_mined_after_all(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make, automine=False)
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    before = dict(ledger.waiting)
    for _ in range(PATIENCE_BLOCKS):
        ledger.mine_empty()
    await outbox.drain()
    assert ledger.waiting != before
    ledger.waiting = before
    ledger.mine()
    await outbox.drain()
    assert outbox.status()["FINAL"] == 1
    assert await anchored(ledger) == headers(1)


async def test_a_refused_intent_does_not_block_the_next(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(Admit(7))
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    assert outbox.refusals() == [("admit", "the ledger refused: UnknownNode(7)")]
    assert await anchored(ledger) == headers(1)


async def test_a_refused_intent_that_is_wanted_again_is_tried_again(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    ledger.specification.nodes[1].status = Status.SUSPENDED
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    assert outbox.status()["REFUSED"] == 1
    ledger.specification.nodes[1].status = Status.ACTIVE
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    assert await anchored(ledger) == headers(1)


async def test_a_header_waits_for_the_one_before_it_that_is_still_on_its_way(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make, automine=False)
    outbox = Outbox(connection, ledger, KEY, 0)
    for header in headers(2):
        outbox.plan(AnchorRound(header))
    await outbox.drain()
    assert (outbox.status()["SENT"], outbox.status()["PLANNED"], outbox.status()["REFUSED"]) == (1, 1, 0)
    await deliver(outbox, ledger)
    assert await anchored(ledger) == headers(2)


async def test_intents_that_do_not_depend_on_each_other_travel_together(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make, automine=False)
    outbox = Outbox(connection, ledger, KEY, 0)
    for number in range(3):
        outbox.plan(SetMeta(1, bytes([number]) * 32))
    await outbox.drain()
    assert list(ledger.waiting) == [(KEY.address, 0), (KEY.address, 1), (KEY.address, 2)]
    await deliver(outbox, ledger)
    said = [entry.event for entry in (await ledger.entries(None)).entries]
    assert said == [MetaChanged(1, bytes([number]) * 32) for number in range(3)]


async def test_a_nonce_that_somebody_else_used_is_replaced(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make, automine=False)
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    await outbox.drain()
    ledger.waiting.clear()
    await ledger.send_raw((await ledger.sign(SetMeta(1, b"\x09" * 32), KEY, 0, Fees(9, 9))).raw)
    ledger.mine()
    await deliver(outbox, ledger)
    assert await anchored(ledger) == headers(1)
    assert await ledger.nonce(KEY.address) == 2


class GoneWrong(MemoryLedger):
    """Simulates well and fails in the block, because something else came first."""

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        signed = await super().sign(call, key, nonce, fees)
        self.specification.tasks[1].open = False
        return signed

    async def send_raw(self, raw: bytes) -> None:
        await super().send_raw(raw)
        self.specification.tasks[1].open = True


async def test_a_call_that_keeps_failing_in_its_block_is_given_up(connection: sqlite3.Connection) -> None:
    ledger = GoneWrong(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    await deliver(outbox, ledger)
    assert outbox.status()["REFUSED"] == 1
    assert await ledger.nonce(KEY.address) == MOST_REVERTS


class Poor(MemoryLedger):
    async def send_raw(self, raw: bytes) -> None:
        raise LedgerRefused("InsufficientFunds")


async def test_an_account_that_cannot_pay_is_weather(connection: sqlite3.Connection) -> None:
    outbox = Outbox(connection, Poor(make), KEY, 0)
    outbox.plan(AnchorRound(headers(1)[0]))
    with pytest.raises(Unavailable, match="cannot pay for gas"):
        await outbox.drain()
    assert outbox.pending() == 1


async def test_calls_of_every_kind_keep_their_order(connection: sqlite3.Connection) -> None:
    ledger = MemoryLedger(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    first, second = headers(2)
    wanted: list[AnyCall] = [AnchorRound(first), SetMeta(1, b"\x05" * 32), AnchorRound(second)]
    for call in wanted:
        outbox.plan(call)
    await outbox.drain()
    names = [type(entry.event).__name__ for entry in (await ledger.entries(None)).entries]
    assert names == ["RoundAnchored", "MetaChanged", "RoundAnchored"]


class Behind(MemoryLedger):
    """Its servers may be behind: what the newest block changed is not there, and so the next header does not fit."""

    behind = False

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        if self.behind and nonce:
            raise Unavailable("behind")
        if self.behind:
            raise LedgerRefused("WrongRound", 1, 2)
        await super().simulate(call, sender, nonce)


async def test_a_refusal_by_a_server_that_is_behind_is_none(connection: sqlite3.Connection) -> None:
    ledger = Behind(make)
    outbox = Outbox(connection, ledger, KEY, 0)
    first, second = headers(2)
    outbox.plan(AnchorRound(first))
    await outbox.drain()
    outbox.plan(AnchorRound(second))
    ledger.behind = True
    await outbox.drain()
    assert (outbox.status()["PLANNED"], outbox.status()["REFUSED"]) == (1, 0)
    ledger.behind = False
    await outbox.drain()
    assert await anchored(ledger) == [first, second]
