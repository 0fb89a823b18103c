"""kill -9 without a process: whatever the code under test writes, it may die just before and just after.

A `Fuse` counts the points at which a process could die, and burns through at one of them; from then on every further
write dies too, as nothing of a dead process runs. What is on disk, and what the ledger or a peer has received, stays.
Points are counted, so all of them can be tried one after the other.
"""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import Final

from middleware.ports import (
    Batch,
    Call,
    Cursor,
    Fees,
    Head,
    Ledger,
    Outcome,
    SignedTransaction,
    Signer,
    Spent,
)

NEVER: Final = 1 << 60
_READING: Final = ("SELECT", "PRAGMA", "CREATE", "ROLLBACK")
_NAMES = count()


class Killed(BaseException):
    """kill -9: nothing of ours runs after it."""


class Fuse:
    """Burns through at the point after `left` others. `burnt` counts the points that were reached."""

    def __init__(self, left: int = NEVER) -> None:
        self.left = left
        self.burnt = 0

    def burn(self) -> None:
        if self.burnt >= self.left:
            raise Killed
        self.burnt += 1

    @property
    def dead(self) -> bool:
        return self.burnt >= self.left


class DyingConnection(sqlite3.Connection):
    """Its owner may die before and after every statement that writes, COMMIT among them."""

    fuse = Fuse()

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        if not sql.strip() or sql.lstrip().startswith(_READING):
            return super().execute(sql, parameters)  # type: ignore[arg-type]
        self.fuse.burn()
        cursor = super().execute(sql, parameters)  # type: ignore[arg-type]
        self.fuse.burn()
        return cursor


class Disk:
    """A database that outlives its processes, of which there is one at a time: in memory, or in a file."""

    def __init__(self, file: Path | None = None) -> None:
        self.uri = f"file:{file}" if file else f"file:disk-{next(_NAMES)}?mode=memory&cache=shared"
        self.keeper = sqlite3.connect(self.uri, uri=True)
        self._last: DyingConnection | None = None

    def open(self, fuse: Fuse | None = None) -> DyingConnection:
        """A new process; the one before it is gone, and so is whatever it had not committed."""
        if self._last is not None:
            self._last.close()
        connection: DyingConnection = sqlite3.connect(self.uri, uri=True, isolation_level=None, factory=DyingConnection)
        connection.fuse = fuse or Fuse()
        self._last = connection
        return connection

    def close(self) -> None:
        if self._last is not None:
            self._last.close()
        self.keeper.close()


class DyingLedger(Ledger):
    """A ledger whose caller may die before a question leaves, and after it was answered."""

    def __init__(self, ledger: Ledger, fuse: Fuse) -> None:
        self.ledger, self.fuse = ledger, fuse

    async def entries(self, cursor: Cursor | None) -> Batch:
        self.fuse.burn()
        found = await self.ledger.entries(cursor)
        self.fuse.burn()
        return found

    async def head(self) -> Head:
        self.fuse.burn()
        found = await self.ledger.head()
        self.fuse.burn()
        return found

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        self.fuse.burn()
        await self.ledger.simulate(call, sender, nonce)
        self.fuse.burn()

    async def nonce(self, address: bytes) -> int:
        self.fuse.burn()
        found = await self.ledger.nonce(address)
        self.fuse.burn()
        return found

    async def fees(self) -> Fees:
        self.fuse.burn()
        found = await self.ledger.fees()
        self.fuse.burn()
        return found

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        self.fuse.burn()
        signed = await self.ledger.sign(call, key, nonce, fees)
        self.fuse.burn()
        return signed

    async def cancel(self, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        self.fuse.burn()
        signed = await self.ledger.cancel(key, nonce, fees)
        self.fuse.burn()
        return signed

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        self.fuse.burn()
        found = await self.ledger.spent(address, nonce, since)
        self.fuse.burn()
        return found

    async def send_raw(self, raw: bytes) -> None:
        self.fuse.burn()
        await self.ledger.send_raw(raw)
        self.fuse.burn()

    async def receipt(self, transaction: bytes) -> Outcome | None:
        self.fuse.burn()
        found = await self.ledger.receipt(transaction)
        self.fuse.burn()
        return found

    async def send(self, call: Call, key: Signer) -> Outcome:
        self.fuse.burn()
        outcome = await self.ledger.send(call, key)
        self.fuse.burn()
        return outcome
