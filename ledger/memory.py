"""A ledger in memory: a chain of one transaction a block over the specification, for simulations and tests.

Everything is deterministic: hashes come from what was sent, times from the caller's clock (or one second a block). It
can be stopped, made to keep transactions waiting, and rolled back, as a chain can. Nothing here is signed, so it proves
nothing to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from ledger import events
from ledger.calls import AnyCall, calldata, decode_call, encode_call
from ledger.spec import Specification
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from middleware.ports import (
    Batch,
    Call,
    Cursor,
    Entry,
    Event,
    Fees,
    Head,
    Outcome,
    Position,
    SignedTransaction,
    Signer,
    Spent,
)

GENESIS_TIME: Final = 1_700_000_000  # seconds
BASE_GAS: Final = (
    21_000  # of any transaction; with 16 a byte of calldata, 4 a zero byte (EIP-2028), all that is counted
)
BUMP_PERCENT: Final = 110  # what replaces a waiting transaction must pay this part of its fee, as geth asks


class Transaction(msgspec.Struct, frozen=True, array_like=True):
    """What `sign` returns as bytes."""

    sender: bytes
    nonce: int
    most: int
    tip: int
    call: bytes  # empty for one without effect


class Block(msgspec.Struct, frozen=True):
    """One block; `raw` is its transaction (None in the first one and in empty ones)."""

    head: Head
    parent: bytes
    raw: bytes | None
    outcome: Outcome | None


class MemoryLedger:
    """The Ledger port over a `Specification`.

    make: builds the specification's first state; called again when blocks are taken back. clock: seconds since 1970;
    block times always ascend. automine: a transaction is in a block when `send_raw` returns, else it waits for `mine`.
    """

    def __init__(
        self, make: Callable[[], Specification], clock: Callable[[], float] | None = None, automine: bool = True
    ) -> None:
        self.reachable = True
        self.automine = automine
        self.base_fee = 1
        self._make, self._clock = make, clock
        self._forks = 0
        self.specification = make()
        genesis = Head(0, sha256(b"genesis").digest(), GENESIS_TIME)
        self.blocks = [Block(genesis, bytes(32), None, None)]
        self._parents: dict[bytes, Cursor] = {}  # of every block there ever was: its parent
        self._nonces: dict[bytes, int] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self.waiting: dict[tuple[bytes, int], bytes] = {}  # (sender, nonce): raw

    # --------------------------------------------------------------------------------------------------------- the port

    async def entries(self, cursor: Cursor | None) -> Batch:
        self._require_reachable()
        start = self._ancestor(cursor) if cursor is not None else 0
        rewind = start if cursor is not None and start != cursor.block else None
        found = [e for block in self.blocks[start + 1 :] if block.outcome is not None for e in block.outcome.entries]
        return Batch(tuple(found), self.blocks[-1].head, rewind)

    async def head(self) -> Head:
        self._require_reachable()
        return self.blocks[-1].head

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        self._require_reachable()
        if self._nonces.get(sender, 0) < nonce:
            raise Unavailable(f"transactions before number {nonce} of the account wait for a block: look again")
        self.specification.copy().apply(_known(call), sender, self._next_time(), len(self.blocks))

    async def nonce(self, address: bytes) -> int:
        self._require_reachable()
        return self._nonces.get(address, 0)

    async def fees(self) -> Fees:
        self._require_reachable()
        return Fees(most=2 * self.base_fee + 1, tip=1)

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        await self.simulate(call, key.address)
        raw = msgspec.json.encode(Transaction(key.address, nonce, fees.most, fees.tip, encode_call(_known(call))))
        return SignedTransaction(raw, sha256(raw).digest(), nonce, _gas(_known(call)))

    async def cancel(self, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        self._require_reachable()
        raw = msgspec.json.encode(Transaction(key.address, nonce, fees.most, fees.tip, b""))
        return SignedTransaction(raw, sha256(raw).digest(), nonce, BASE_GAS)

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        self._require_reachable()
        for block in self.blocks[max(since, 0) :]:
            transaction = None if block.raw is None else _decode(block.raw)
            if transaction is not None and (transaction.sender, transaction.nonce) == (address, nonce):
                return Spent(sha256(block.raw or b"").digest(), block.head.number)
        return None

    async def send_raw(self, raw: bytes) -> None:
        self._require_reachable()
        transaction = _decode(raw)
        place = (transaction.sender, transaction.nonce)
        if transaction.nonce < self._nonces.get(transaction.sender, 0):
            raise LedgerRefused("NonceTooLow", transaction.nonce)
        before = self.waiting.get(place)
        if before == raw:
            return
        if before is not None and transaction.most * 100 < _decode(before).most * BUMP_PERCENT:
            raise LedgerRefused("Underpriced", transaction.most)
        self.waiting[place] = raw
        if self.automine:
            while self.mine():
                continue

    async def receipt(self, transaction: bytes) -> Outcome | None:
        self._require_reachable()
        return self._outcomes.get(transaction)

    async def send(self, call: Call, key: Signer) -> Outcome:
        signed = await self.sign(call, key, await self.nonce(key.address), await self.fees())
        await self.send_raw(signed.raw)
        outcome = await self.receipt(signed.hash)
        if outcome is None:
            raise Unavailable("the transaction waits for a block that nobody makes")
        return outcome

    # ------------------------------------------------------------------------------------------------------- the chain

    def mine(self) -> bool:
        """One block with the oldest transaction that can be in it; False, and no block, when there is none."""
        for (sender, nonce), raw in self.waiting.items():
            if nonce == self._nonces.get(sender, 0) and _decode(raw).most >= self.base_fee:
                del self.waiting[sender, nonce]
                self._append(raw, self._next_time())
                return True
        return False

    def mine_empty(self) -> None:
        """One block without a transaction."""
        self._append(None, self._next_time())

    def roll_back(self, blocks: int) -> None:
        """Forget the newest blocks, and their transactions with them: what comes next is another branch."""
        kept = self.blocks[1 : len(self.blocks) - blocks]
        self._forks += 1
        self.specification = self._make()
        self.blocks = self.blocks[:1]
        self._nonces, self._outcomes = {}, {}
        for block in kept:
            self._append(block.raw, block.head.time, block.head.hash)

    def _append(self, raw: bytes | None, time: int, known: bytes | None = None) -> None:
        parent, number = self.blocks[-1].head, len(self.blocks)
        name = known or sha256(parent.hash + self._forks.to_bytes(8, "big") + (raw or b"")).digest()
        head = Head(number, name, time)
        self._parents[name] = Cursor(parent.number, parent.hash)
        outcome = None if raw is None else self._execute(raw, head)
        self.blocks.append(Block(head, parent.hash, raw, outcome))

    def _execute(self, raw: bytes, head: Head) -> Outcome:
        transaction, name = _decode(raw), sha256(raw).digest()
        self._nonces[transaction.sender] = transaction.nonce + 1
        if not transaction.call:
            return self._outcomes.setdefault(name, Outcome(name, head.number, head.hash, BASE_GAS, True))
        call = decode_call(transaction.call)
        happened: list[Event] = []
        ok = True
        try:
            happened = self.specification.apply(call, transaction.sender, head.time, head.number)
        except LedgerRefused:
            ok = False
        gas = _gas(call)
        entries = tuple(
            self._entry(call, Position(head.number, head.hash, head.time, name, place, gas, transaction.sender), event)
            for place, event in enumerate(happened)
        )
        outcome = Outcome(name, head.number, head.hash, gas, ok, entries)
        self._outcomes[name] = outcome
        return outcome

    def _entry(self, call: AnyCall, position: Position, event: Event) -> Entry:
        contract = events.emitter(event, call.contract)
        return events.entry_of(position, event, self.specification.addresses[contract])

    def _ancestor(self, cursor: Cursor) -> int:
        """The newest block that both this chain and the cursor's have."""
        at = cursor
        while at.block >= len(self.blocks) or self.blocks[at.block].head.hash != at.hash:
            if at.hash not in self._parents:
                return 0
            at = self._parents[at.hash]
        return at.block

    def _next_time(self) -> int:
        least = self.blocks[-1].head.time + 1
        return least if self._clock is None else max(least, int(self._clock()))

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise Unavailable("the ledger is switched off")


def _known(call: Call) -> AnyCall:
    if not isinstance(call, AnyCall):
        raise ConfigurationError(f"the specification has no rule for {call.contract}.{call.function}")
    return call


def _decode(raw: bytes) -> Transaction:
    return msgspec.json.decode(raw, type=Transaction)


def _gas(call: AnyCall) -> int:
    data = calldata(call)
    zeros = data.count(0)
    return BASE_GAS + 4 * zeros + 16 * (len(data) - zeros)
