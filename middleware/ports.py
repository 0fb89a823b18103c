"""What the system asks of a ledger, whoever keeps it: the contracts on a chain, or their specification in memory.

A ledger is read as a list of entries in one order. A reader holds a cursor, asks for what came after it, and folds the
answer; when the chain took blocks back, the answer says from where to fold again. A writer simulates, signs, sends and
looks for the receipt, each a step of its own, so that a crash between two of them can be survived (`ledger.outbox`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import msgspec


class Head(msgspec.Struct, frozen=True):
    """The newest block. `time` is in seconds since 1970, as the chain says."""

    number: int
    hash: bytes
    time: int


class Cursor(msgspec.Struct, frozen=True):
    """Up to where a reader has read: a block, inclusive."""

    block: int
    hash: bytes


class Position(msgspec.Struct, frozen=True):
    """Where an entry stands. `sender` (20) signed the transaction; `gas_used` is the whole transaction's."""

    block: int
    block_hash: bytes
    time: int  # seconds, of the block
    transaction: bytes  # hash, 32
    log_index: int  # in the block
    gas_used: int
    sender: bytes


class Event(msgspec.Struct, frozen=True):
    """What happened; `ledger.events` names the kinds."""


class Entry(msgspec.Struct, frozen=True):
    """One event of one contract (`address`, 20). `topics` and `data` are the log as the chain keeps it."""

    position: Position
    event: Event
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Batch(msgspec.Struct, frozen=True):
    """What is new for a reader, in order. `rewind_to` is a block: whatever the reader knows from later ones no longer
    holds, and `entries` start after it."""

    entries: tuple[Entry, ...]
    head: Head
    rewind_to: int | None = None

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.head.number, self.head.hash)


class Outcome(msgspec.Struct, frozen=True):
    """A transaction that is in a block. `ok` is False when it reverted there."""

    transaction: bytes
    block: int
    block_hash: bytes
    gas_used: int
    ok: bool
    entries: tuple[Entry, ...] = ()


class Spent(msgspec.Struct, frozen=True):
    """The transaction that used up an account's nonce, and the block that it is in."""

    transaction: bytes  # hash, 32
    block: int


class Fees(msgspec.Struct, frozen=True):
    """EIP-1559, in wei a unit of gas."""

    most: int
    tip: int


class SignedTransaction(msgspec.Struct, frozen=True):
    """Bytes that any node of the chain accepts, and the hash by which their receipt is found."""

    raw: bytes
    hash: bytes
    nonce: int
    gas: int  # limit


class Call(Protocol):
    """A wish: one function of one contract, with its arguments. `ledger.calls` names the kinds."""

    contract: ClassVar[str]  # the artifact's name
    function: ClassVar[str]

    def arguments(self) -> tuple[Any, ...]:
        """The arguments in the ABI's order: integers, bytes (20 for an account), tuples for structs."""
        ...


class Signer(Protocol):
    """An account that can sign (`trust.keys.AccountKey`)."""

    address: bytes

    @property
    def secret(self) -> bytes: ...


class Ledger(Protocol):
    """Every method raises Unavailable when the ledger does not answer: trying again may help."""

    async def entries(self, cursor: Cursor | None) -> Batch:
        """Everything after `cursor` (None: from the beginning) up to the head."""
        ...

    async def head(self) -> Head: ...

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        """Nothing, if `call` would succeed now when `sender` (20) makes it. Raises LedgerRefused otherwise, and Unavailable
        where not all of the sender's transactions before `nonce` are in blocks: the answer may change when they are."""
        ...

    async def nonce(self, address: bytes) -> int:
        """How many transactions of an account are in blocks: the next one's number."""
        ...

    async def fees(self) -> Fees:
        """What gets a transaction into one of the next blocks."""
        ...

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        """The transaction that makes `call`; not sent. Raises LedgerRefused when the call would be refused now."""
        ...

    async def cancel(self, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        """A transaction without any effect, but that it uses up `nonce`; not sent."""
        ...

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        """Which transaction used up an account's nonce, looked for in the blocks from `since` on; None if none shows it."""
        ...

    async def send_raw(self, raw: bytes) -> None:
        """Hand in a signed transaction; one that waits already is no error. Raises LedgerRefused: "NonceTooLow" if its
        nonce is used (by it, or by another: the receipt tells), "Underpriced", "InsufficientFunds"."""
        ...

    async def receipt(self, transaction: bytes) -> Outcome | None:
        """What became of a transaction; None while it is in no block (or no longer)."""
        ...

    async def send(self, call: Call, key: Signer) -> Outcome:
        """Sign, send and wait for the receipt. Raises LedgerRefused, or Unavailable past a deadline."""
        ...
