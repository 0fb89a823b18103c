"""The durable outbox: what this node wants from the ledger, delivered in order, once, across crashes on both sides.

One outbox is the only writer of its key, so it alone hands out nonces. Each intent walks

    PLANNED -> SIGNED -> SENT -> MINED -> FINAL        or, refused before it has a nonce, -> REFUSED

and every state is on disk before the next effect on the chain. A crash therefore repeats at most an effect that may
be repeated: sending the same bytes again. An attempt that stays out of blocks is replaced under the same nonce for a
higher fee, so no two attempts of an intent can both be mined. What a reorganisation takes back is sent again; the nonce
shows it, even for what counted as final.

Signed bytes stay good for as long as their nonce is free, so an intent gets a second nonce only once the first one is
known to be gone, `finality_blocks` deep, to a transaction that failed or that is not ours: the block that holds that
transaction proves it. A missing receipt proves nothing, since servers that share a name lag behind each other. For the
same reason a refusal counts only from a server that shows everything that was sent before. A nonce that a
reorganisation left empty below ours is filled with a transaction without effect, never with an intent that has bytes.

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
from middleware.trust.keys import AccountKey, checksum_address

IN_FLIGHT: Final = 4  # transactions handed in at once, ahead of their receipts
PATIENCE_BLOCKS: Final = 3  # blocks that pass an attempt by before the next one pays more
MOST_RAISE: Final = 10  # times what the chain asks for: more than that is not why an attempt waits
FILLINGS: Final = 64  # raises by an eighth until a transaction without effect outbids whatever stands in its place
REWOUND_BLOCKS: Final = 64  # that a chain may have become shorter since an attempt was signed
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
    block: int | None  # where it was seen last


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
                await self._close_gap(nonce)
            for item in self._items(State.SIGNED, State.SENT):
                if item.nonce >= nonce:
                    await self._hand_in(item, head)
            await self._advance(nonce, head)
            return self._states() != before

    def _take_back(self, nonce: int) -> None:
        """The chain has fewer of our transactions than it had: what it lost waits for a block again."""
        self.connection.execute(
            "UPDATE outbox SET state = 'SENT', block = NULL WHERE state IN ('MINED', 'FINAL') AND nonce >= ?", (nonce,)
        )

    async def _look(self, nonce: int, head: Head, shallow: bool = False) -> None:
        """What became of everything handed in. The nonce was read first: below it, somebody's are in blocks. What is mined
        and not deep yet is asked for again only when that decides something (`shallow`): if the chain lost it, the nonce
        says so, and if it is elsewhere by then, its receipt."""
        for item in self._items(State.SIGNED, State.SENT, State.MINED):
            waits = item.block is not None and item.state is State.MINED and not self._is_deep(item.block, head)
            if (waits and item.nonce < nonce and not shallow) or await self._settle(item, head):
                continue
            if item.nonce < nonce:
                await self._trace(item, head)
            elif item.state is State.MINED:
                self._set(item.number, State.SENT)

    async def _trace(self, item: Item, head: Head) -> None:
        """Its nonce is used and no receipt says by what: a receipt that lags will come, a stranger's nonce will not."""
        attempts = self._attempts(item.number)
        since = min(attempt.head for attempt in attempts) - self.finality_blocks - REWOUND_BLOCKS
        spent = await self.ledger.spent(self.key.address, item.nonce, since)
        if spent is None or any(attempt.hash == spent.transaction for attempt in attempts):
            return
        if self._is_deep(spent.block, head):
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
        deep = self._is_deep(outcome.block, head)
        if not outcome.ok:
            if deep:
                self._begin_anew(item, reverted=True)
            else:
                self._set(item.number, State.SENT)  # another branch may still let it succeed
            return
        self.connection.execute(
            "UPDATE outbox SET state = ?, block = ?, gas = ? WHERE number = ?",
            (State.FINAL if deep else State.MINED, outcome.block, outcome.gas_used, item.number),
        )

    def _is_deep(self, block: int, head: Head) -> bool:
        return max(head.number, block) >= block + self.finality_blocks

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

    async def _close_gap(self, nonce: int) -> None:
        """Fill the nonces below our first one that nothing of ours fills: what stands behind them could wait for ever."""
        waiting = self._items(State.SIGNED, State.SENT)
        for missing in range(nonce, waiting[0].nonce if waiting else nonce):
            if not self._has_nonce(missing):
                await self._fill(missing, await self.ledger.fees())

    async def _fill(self, nonce: int, fees: Fees) -> None:
        """Use up a nonce without any effect. One that turns out to be used is as good; nothing need be remembered."""
        for _ in range(FILLINGS):
            signed = await self.ledger.cancel(self.key, nonce, fees)
            try:
                await self.ledger.send_raw(signed.raw)
            except LedgerRefused as refused:
                if refused.name == "NonceTooLow":
                    return
                if refused.name != "Underpriced":
                    raise self._weather(refused) from refused
                fees = _raised(fees, fees)
            else:
                return
        raise Unavailable(f"what stands at nonce {nonce} pays too much to be replaced: wait until it is in a block")

    async def _hand_in(self, item: Item, head: Head) -> None:
        """Send the newest attempt (again); replace it when blocks passed it by."""
        newest = self._attempts(item.number)[0]
        passed_by = item.state is State.SENT and head.number >= newest.head + PATIENCE_BLOCKS
        attempt = await self._bump(item, newest, head, MOST_RAISE) if passed_by else newest
        if attempt is None:
            return
        try:
            await self.ledger.send_raw(attempt.raw)
        except LedgerRefused as refused:
            if refused.name == "NonceTooLow":
                return  # it, or an attempt before it, is in a block: the receipt will tell
            if refused.name != "Underpriced":
                raise self._weather(refused) from refused
            attempt = await self._bump(item, attempt, head)
            if attempt is None:
                return
            await self._send_bumped(attempt)
        self._set(item.number, State.SENT)
        await self._settle(item, head)

    async def _send_bumped(self, attempt: Attempt) -> None:
        try:
            await self.ledger.send_raw(attempt.raw)
        except LedgerRefused as refused:
            if refused.name != "NonceTooLow":
                raise self._weather(refused) from refused

    async def _bump(self, item: Item, attempt: Attempt, head: Head, most_raise: int = 0) -> Attempt | None:
        """A new attempt, on disk, under the same nonce for an eighth more; the old one if that is `most_raise` times what
        the chain asks for, or if the call would fail now. One that stands first and would fail makes way: then None.
        """
        now = await self.ledger.fees()
        fees = _raised(now, attempt.fees)
        if most_raise and fees.most > most_raise * now.most:
            return attempt
        try:
            signed = await self.ledger.sign(decode_call(item.call), self.key, item.nonce, fees)
        except LedgerRefused:
            if await self._refusal(item.call, item.nonce) is not None:
                await self._fill(item.nonce, fees)
                return None
            return attempt
        self._add_attempt(item.number, signed, fees, head)
        return Attempt(signed.hash, signed.raw, fees, head.number)

    async def _refusal(self, call: bytes, nonce: int) -> LedgerRefused | None:
        """The contracts' refusal of `call` in a state that has everything of ours before `nonce`; None if there is none, or
        no such state yet."""
        try:
            await self.ledger.simulate(decode_call(call), self.key.address, nonce)
        except LedgerRefused as refused:
            return refused
        except Unavailable:
            return None
        return None

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
                if refused.name in WEATHER:
                    raise self._weather(refused) from refused
                final = await self._refusal(call, following)
                await self._look(nonce, head, shallow=True)  # what it follows may have failed on another branch
                if final is None or self._count(State.SIGNED, State.SENT) or self._first_planned() != number:
                    return
                self._refuse(number, final)
                continue
            with self._transaction():
                self._add_attempt(number, signed, fees, head)
                self.connection.execute(
                    "UPDATE outbox SET state = 'SIGNED', nonce = ? WHERE number = ?", (following, number)
                )
            await self._hand_in(Item(number, call, State.SIGNED, following, reverts, None), head)
            nonce = following + 1

    def _refuse(self, number: int, refused: LedgerRefused) -> None:
        self.connection.execute(
            "UPDATE outbox SET state = 'REFUSED', reason = ? WHERE number = ?", (str(refused), number)
        )

    def _weather(self, refused: LedgerRefused) -> Unavailable:
        if refused.name == "InsufficientFunds":
            account = checksum_address(self.key.address)
            return Unavailable(f"account {account} cannot pay for gas: send it some of the chain's currency")
        return Unavailable(f"the chain's node does not take the transaction now: {refused}")

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
            "SELECT number, call, state, nonce, reverts, block FROM outbox "
            "WHERE state IN (SELECT value FROM json_each(?)) ORDER BY nonce",
            (msgspec.json.encode(states).decode(),),
        )
        return [Item(number, call, State(state), *rest) for number, call, state, *rest in rows]

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

    def _first_planned(self) -> int | None:
        row = self.connection.execute("SELECT MIN(number) FROM outbox WHERE state = 'PLANNED'").fetchone()
        return None if row is None else row[0]

    def _has_nonce(self, nonce: int) -> bool:
        return self.connection.execute("SELECT 1 FROM outbox WHERE nonce = ?", (nonce,)).fetchone() is not None

    def _next_nonce(self) -> int:
        return int(self.connection.execute("SELECT COALESCE(MAX(nonce) + 1, 0) FROM outbox").fetchone()[0])


def _raised(now: Fees, before: Fees) -> Fees:
    """What replaces a transaction: an eighth more of both, above the tenth that geth and Besu ask for, and what is asked now."""
    return Fees(max(now.most, before.most * 9 // 8 + 1), max(now.tip, before.tip * 9 // 8 + 1))
