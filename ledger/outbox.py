"""The durable outbox: what this node wants from the ledger, delivered in order, once, across crashes on both sides.

One outbox is the only writer of its key, so it alone hands out nonces. Each intent walks

    PLANNED -> SIGNED -> SENT -> MINED -> FINAL        or, refused before it has a nonce, -> REFUSED

and every state is on disk before the next effect on the chain. A crash therefore repeats at most an effect that may
be repeated: sending the same bytes again. An attempt that stays out of blocks is replaced under the same nonce for a
higher fee, so no two attempts of an intent can both be mined. What a reorganisation takes back is sent again; the nonce
shows it, even for what counted as final. An intent whose nonce is gone, to a transaction that failed or that is not
ours, starts anew.

The contracts make the rest safe: the head's header is accepted again without effect, and a key registers once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import msgspec

from ledger.calls import AnyCall, call_id, decode_call, encode_call
from middleware.errors import LedgerRefused, Unavailable
from middleware.ports import Fees, Head, Ledger, Outcome, SignedTransaction
from middleware.trust.keys import AccountKey

IN_FLIGHT: Final = 4  # transactions handed in at once, ahead of their receipts
PATIENCE_BLOCKS: Final = 3  # blocks that pass an attempt by before the next one pays more
MOST_REVERTS: Final = 3  # times that a call which would succeed may fail in its block before it is given up
WEATHER: Final = ("NonceTooLow", "Underpriced", "InsufficientFunds")  # refused by the chain's node, not by a contract

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, function TEXT NOT NULL, call BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'PLANNED', nonce INTEGER, block INTEGER, gas INTEGER,
    reverts INTEGER NOT NULL DEFAULT 0, reason TEXT);
CREATE TABLE IF NOT EXISTS outbox_attempt(
    hash BLOB PRIMARY KEY, number INTEGER NOT NULL, raw BLOB NOT NULL, most TEXT NOT NULL, tip TEXT NOT NULL,
    head INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_state ON outbox(state, number);
CREATE INDEX IF NOT EXISTS outbox_attempt_number ON outbox_attempt(number);
"""


class State(StrEnum):
    PLANNED = "PLANNED"  # wanted
    SIGNED = "SIGNED"  # has a nonce and bytes; perhaps sent
    SENT = "SENT"  # handed in
    MINED = "MINED"  # in a block
    FINAL = "FINAL"  # in a block that is deep enough
    REFUSED = "REFUSED"  # a contract says no


class Item(msgspec.Struct, frozen=True):
    """One intent with a nonce."""

    number: int
    call: bytes
    state: State
    nonce: int
    reverts: int


class Attempt(msgspec.Struct, frozen=True):
    """One signed transaction for an intent. `head` is the chain's newest block when it was signed."""

    hash: bytes
    raw: bytes
    fees: Fees
    head: int


class Outbox:
    """See the module. The connection is in autocommit mode (`isolation_level=None`); the outbox makes its tables in it.

    finality_blocks: how many blocks above its own make a transaction final.
    """

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, key: AccountKey, finality_blocks: int) -> None:
        self.connection, self.ledger, self.key = connection, ledger, key
        self.finality_blocks = finality_blocks
        self._draining = asyncio.Lock()
        for statement in SCHEMA.split(";"):
            connection.execute(statement)

    # ---------------------------------------------------------------------------------------------------------- wishes

    def plan(self, call: AnyCall) -> bytes:
        """Want `call`; returns its id. The same intent again changes nothing, but revives one that was refused.

        One statement, so that it is part of whatever transaction the caller has open.
        """
        name = call_id(call)
        self.connection.execute(
            "INSERT INTO outbox(id, function, call) VALUES (?, ?, ?) "
            "ON CONFLICT(id) DO UPDATE SET state = 'PLANNED', reason = NULL, reverts = 0 WHERE state = 'REFUSED'",
            (name, call.function, encode_call(call)),
        )
        return name

    def pending(self) -> int:
        """Intents that are neither final nor refused."""
        return sum(n for state, n in self.status().items() if state not in (State.FINAL, State.REFUSED))

    def status(self) -> dict[str, int]:
        """Intents by state; every state is there."""
        counts = dict(self.connection.execute("SELECT state, COUNT(*) FROM outbox GROUP BY state"))
        return {state.value: counts.get(state.value, 0) for state in State}

    def refusals(self) -> list[tuple[str, str]]:
        """(function, reason) of every refused intent, in order."""
        query = "SELECT function, reason FROM outbox WHERE state = 'REFUSED' ORDER BY number"
        return [(function, reason) for function, reason in self.connection.execute(query)]

    def gas(self) -> dict[str, list[int]]:
        """Gas used by each mined transaction, in order, by function."""
        used: dict[str, list[int]] = {}
        query = "SELECT function, gas FROM outbox WHERE state IN ('MINED', 'FINAL') ORDER BY number"
        for function, gas in self.connection.execute(query):
            used.setdefault(function, []).append(gas)
        return used

    # -------------------------------------------------------------------------------------------------------- delivery

    async def drain(self) -> bool:
        """One step: look what became of everything handed in, hand in again what is in no block, then the next intents.

        Says whether any intent changed its state. Raises Unavailable when the chain does not answer, or the account
        cannot pay; everything stays queued.
        """
        async with self._draining:
            if self._count(*State) == 0:
                return False
            before = self._states()
            nonce = await self.ledger.nonce(self.key.address)
            head = await self.ledger.head()
            self._take_back(nonce)
            await self._look(nonce, head)
            if self._count(State.SIGNED, State.SENT):
                nonce = await self.ledger.nonce(self.key.address)
                self._close_gap(nonce)
            for item in self._items(State.SIGNED, State.SENT):
                await self._hand_in(item, head)
            await self._advance(nonce, head)
            return self._states() != before

    def _take_back(self, nonce: int) -> None:
        """The chain has fewer of our transactions than it had: what it lost waits for a block again."""
        self.connection.execute(
            "UPDATE outbox SET state = 'SENT', block = NULL WHERE state IN ('MINED', 'FINAL') AND nonce >= ?", (nonce,)
        )

    async def _look(self, nonce: int, head: Head) -> None:
        """What became of everything handed in. The nonce was read first: below it, ours have receipts."""
        for item in self._items(State.SIGNED, State.SENT, State.MINED):
            if await self._settle(item, head):
                continue
            if item.nonce >= nonce:
                if item.state is State.MINED:
                    self._set(item.number, State.SENT)
            elif await self.ledger.nonce(self.key.address) > item.nonce and not await self._settle(item, head):
                self._begin_anew(item, reverted=False)

    async def _settle(self, item: Item, head: Head) -> bool:
        """Record the receipt of one of the item's attempts; False when there is none."""
        for attempt in self._attempts(item.number):
            outcome = await self.ledger.receipt(attempt.hash)
            if outcome is not None:
                self._record(item, outcome, head)
                return True
        return False

    def _record(self, item: Item, outcome: Outcome, head: Head) -> None:
        if not outcome.ok:
            self._begin_anew(item, reverted=True)
            return
        deep = max(head.number, outcome.block) >= outcome.block + self.finality_blocks
        self.connection.execute(
            "UPDATE outbox SET state = ?, block = ?, gas = ? WHERE number = ?",
            (State.FINAL if deep else State.MINED, outcome.block, outcome.gas_used, item.number),
        )

    def _begin_anew(self, item: Item, reverted: bool) -> None:
        """Its nonce is gone: the intent is planned again, and simulated again when its turn comes."""
        given_up = reverted and item.reverts + 1 >= MOST_REVERTS
        with self._transaction():
            self.connection.execute("DELETE FROM outbox_attempt WHERE number = ?", (item.number,))
            self.connection.execute(
                "UPDATE outbox SET state = ?, nonce = NULL, block = NULL, gas = NULL, reverts = ?, reason = ? "
                "WHERE number = ?",
                (
                    State.REFUSED if given_up else State.PLANNED,
                    item.reverts + reverted,
                    f"failed in its block {MOST_REVERTS} times" if given_up else None,
                    item.number,
                ),
            )

    def _close_gap(self, nonce: int) -> None:
        """Nothing of ours fills the chain's next nonce, so what stands behind it could wait for ever."""
        waiting = self._items(State.SIGNED, State.SENT)
        if waiting and waiting[0].nonce > nonce and not self._has_nonce(nonce):
            for item in waiting:
                self._begin_anew(item, reverted=False)

    async def _hand_in(self, item: Item, head: Head) -> None:
        """Send the newest attempt (again); replace it when blocks passed it by."""
        attempt = self._attempts(item.number)[0]
        if item.state is State.SENT and head.number >= attempt.head + PATIENCE_BLOCKS:
            attempt = await self._bump(item, attempt, head)
        try:
            await self.ledger.send_raw(attempt.raw)
        except LedgerRefused as refused:
            if refused.name == "NonceTooLow":
                return  # it, or an attempt before it, is in a block: the receipt will tell
            if refused.name != "Underpriced":
                raise _weather(refused) from refused
            attempt = await self._bump(item, attempt, head)
            await self._send_bumped(attempt)
        self._set(item.number, State.SENT)
        await self._settle(item, head)

    async def _send_bumped(self, attempt: Attempt) -> None:
        try:
            await self.ledger.send_raw(attempt.raw)
        except LedgerRefused as refused:
            if refused.name != "NonceTooLow":
                raise _weather(refused) from refused

    async def _bump(self, item: Item, attempt: Attempt, head: Head) -> Attempt:
        """A new attempt, on disk, under the same nonce for an eighth more; the old one if the call would fail now."""
        now = await self.ledger.fees()
        fees = Fees(max(now.most, attempt.fees.most * 9 // 8 + 1), max(now.tip, attempt.fees.tip * 9 // 8 + 1))
        try:
            signed = await self.ledger.sign(decode_call(item.call), self.key, item.nonce, fees)
        except LedgerRefused:
            return attempt
        self._add_attempt(item.number, signed, fees, head)
        return Attempt(signed.hash, signed.raw, fees, head.number)

    async def _advance(self, nonce: int, head: Head) -> None:
        """Sign and hand in the next intents, in order, as long as few are on their way."""
        while self._count(State.SIGNED, State.SENT) < IN_FLIGHT:
            row = self.connection.execute(
                "SELECT number, call, reverts FROM outbox WHERE state = 'PLANNED' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return
            number, call, reverts = row
            following = max(nonce, self._next_nonce())
            fees = await self.ledger.fees()
            try:
                signed = await self.ledger.sign(decode_call(call), self.key, following, fees)
            except LedgerRefused as refused:
                if self._count(State.SIGNED, State.SENT):
                    return  # what is on its way may be what this call waits for: only then is a refusal one
                self._refuse(number, refused)
                continue
            with self._transaction():
                self._add_attempt(number, signed, fees, head)
                self.connection.execute(
                    "UPDATE outbox SET state = 'SIGNED', nonce = ? WHERE number = ?", (following, number)
                )
            await self._hand_in(Item(number, call, State.SIGNED, following, reverts), head)
            nonce = following + 1

    def _refuse(self, number: int, refused: LedgerRefused) -> None:
        if refused.name in WEATHER:
            raise _weather(refused) from refused
        self.connection.execute(
            "UPDATE outbox SET state = 'REFUSED', reason = ? WHERE number = ?", (str(refused), number)
        )

    # ------------------------------------------------------------------------------------------------------------ rows

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _items(self, *states: State) -> list[Item]:
        """The items in these states, which all have nonces, in the nonces' order."""
        rows = self.connection.execute(
            "SELECT number, call, state, nonce, reverts FROM outbox "
            "WHERE state IN (SELECT value FROM json_each(?)) ORDER BY nonce",
            (msgspec.json.encode(states).decode(),),
        )
        return [Item(number, call, State(state), nonce, reverts) for number, call, state, nonce, reverts in rows]

    def _attempts(self, number: int) -> list[Attempt]:
        """Newest first."""
        rows = self.connection.execute(
            "SELECT hash, raw, most, tip, head FROM outbox_attempt WHERE number = ? ORDER BY rowid DESC", (number,)
        )
        return [Attempt(hash, raw, Fees(int(most), int(tip)), head) for hash, raw, most, tip, head in rows]

    def _add_attempt(self, number: int, signed: SignedTransaction, fees: Fees, head: Head) -> None:
        self.connection.execute(
            "INSERT OR IGNORE INTO outbox_attempt VALUES (?, ?, ?, ?, ?, ?)",
            (signed.hash, number, signed.raw, str(fees.most), str(fees.tip), head.number),
        )

    def _set(self, number: int, state: State) -> None:
        self.connection.execute("UPDATE outbox SET state = ? WHERE number = ?", (state, number))

    def _count(self, *states: State) -> int:
        query = "SELECT COUNT(*) FROM outbox WHERE state IN (SELECT value FROM json_each(?))"
        return int(self.connection.execute(query, (msgspec.json.encode(states).decode(),)).fetchone()[0])

    def _states(self) -> list[tuple[int, str, int | None]]:
        rows = self.connection.execute("SELECT number, state, nonce FROM outbox WHERE state != 'FINAL' ORDER BY number")
        return [(number, state, nonce) for number, state, nonce in rows]

    def _has_nonce(self, nonce: int) -> bool:
        return self.connection.execute("SELECT 1 FROM outbox WHERE nonce = ?", (nonce,)).fetchone() is not None

    def _next_nonce(self) -> int:
        return int(self.connection.execute("SELECT COALESCE(MAX(nonce) + 1, 0) FROM outbox").fetchone()[0])


def _weather(refused: LedgerRefused) -> Unavailable:
    if refused.name == "InsufficientFunds":
        return Unavailable("the account cannot pay for gas: send it some of the chain's currency")
    return Unavailable(f"the chain's node does not take the transaction now: {refused}")
