"""`ports.Ledger` for a log that one operator keeps (`ledger.journal`), read over HTTP and believed in nothing.

The client is a replica: it fetches the blocks that it has not seen, checks each in full, runs the specification on them,
and answers every question from its own state. A page begins with the newest block that is known here, so a log that lost
or replaced it is found out by the first look. It is refused, not followed: unlike a chain, an honest log never takes
anything back. What was seen last survives the process where a `head_file` is given, and the caller's cursor is held
against the log in any case.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import aiohttp
import msgspec

from ledger.calls import AnyCall
from ledger.client import CONTRACTS, AddressBook
from ledger.journal import BadLog, Block, Identity, Journal, LogForked, decode_line, sign_call
from ledger.logfile import PAGE_BLOCKS
from middleware import ports
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Batch, Call, Cursor, Fees, Head, Outcome, SignedTransaction, Signer, Spent
from middleware.trust.keys import verify_network
from middleware.wire.canonical import refuse_malformed

REQUEST_SECONDS: Final = 20.0
SENDINGS: Final = 5  # attempts to send with a fresh nonce when somebody else uses the same key
FUTURE_SECONDS: Final = 600  # that a block may be dated ahead of this machine's clock
SCHEME: Final = "local+"  # before the http address in an address book
LOG_PATH: Final = "/v1/log"

T = TypeVar("T")


class Refusal(msgspec.Struct, frozen=True):
    """What the log answers to a call that it does not take: a LedgerRefused."""

    name: str
    arguments: tuple[int, ...] = ()


class _Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head file."""

    block: int
    hash: bytes


def local_book(identity: Identity, operator: bytes, address: str) -> AddressBook:
    """The address book of a log that is served at `address` (http://host:port)."""
    contracts = {name: identity.address(name.capitalize()) for name in CONTRACTS}
    return AddressBook(rpc=SCHEME + address, chain_id=identity.chain_id, deploy_block=0, operator=operator, **contracts)


class LocalLedger(ports.Ledger):
    """See the module. Connects when first used; `close` or `async with` ends it.

    Every method raises BadLog for a log that does not hold and LogForked for one that was rewound or replaced.
    """

    def __init__(self, book: AddressBook, head_file: Path | None = None) -> None:
        if not book.operator:
            raise ConfigurationError(f"the address book names a chain at {book.rpc}, no local log")
        self.book = book
        self.url = book.rpc.removeprefix(SCHEME)
        self.cpu_seconds = 0.0  # spent on checking blocks and signing calls
        self.waiting_seconds = 0.0  # spent waiting for answers
        self._head_file = head_file
        self._journal: Journal | None = None
        self._remembered: Head | None = None
        self._broken: BadLog | LogForked | None = None
        self._session: aiohttp.ClientSession | None = None
        self._reading, self._sending = asyncio.Lock(), asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---------------------------------------------------------------------------------------------------------- reading

    async def entries(self, cursor: Cursor | None) -> Batch:
        journal = await self._read()
        if cursor is None:
            return Batch(journal.entries_after(-1), journal.head)
        if not journal.holds(cursor):
            raise LogForked(self.url, cursor, self._counterpart(journal, cursor))
        return Batch(journal.entries_after(cursor.block), journal.head)

    async def head(self) -> Head:
        return (await self._read()).head

    async def receipt(self, transaction: bytes) -> Outcome | None:
        return (await self._read()).outcome(transaction)

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        return (await self._read()).spent(address, nonce, since)

    async def nonce(self, address: bytes) -> int:
        return (await self._read()).nonce(address)

    async def blocks(self) -> tuple[Block, ...]:
        """Every block, as an exported record keeps them."""
        journal = await self._read()
        found: list[Block] = []
        while len(found) < journal.size:
            page = await self._page(len(found))
            found += page
            if not (await self._read()).holds(page[-1].cursor):
                raise LogForked(self.url, _cursor(journal.head), page[-1].cursor)
        return tuple(found[: journal.size])

    async def journal(self) -> Journal:
        """The checked log itself. Not a copy: do not change it."""
        return await self._read()

    async def _read(self) -> Journal:
        """The journal with everything that the log shows now."""
        async with self._reading:
            if self._broken is not None:
                raise self._broken
            try:
                journal, before = await self._catch_up(), self._journal
                if before is None:
                    self._require_memory(journal)
            except (BadLog, LogForked) as error:
                self._broken = error
                raise
            if self._remembered != journal.head:
                self._remember(journal.head)
            self._journal = journal
            return journal

    async def _catch_up(self) -> Journal:
        journal = self._journal
        while True:
            page = await self._page(0 if journal is None else journal.head.number)
            began = time.thread_time()
            fresh = page
            if journal is None:
                journal, fresh = self._begin(page), page[1:]
            else:
                if page[0].cursor != _cursor(journal.head):
                    raise LogForked(self.url, _cursor(journal.head), page[0].cursor)
                fresh = page[1:]
            for block in fresh:
                self._require_past(block)
                journal.accept(block)
            self.cpu_seconds += time.thread_time() - began
            if len(page) < PAGE_BLOCKS:
                return journal
            await asyncio.sleep(0)  # a long log is no reason to stop everything else

    def _begin(self, page: list[Block]) -> Journal:
        """A journal from block 0, if it is the address book's log."""
        journal = Journal(page[0])
        expected = local_book(journal.identity, journal.genesis.operator, self.url)
        if expected != self.book:
            raise ConfigurationError(
                f"the log at {self.url} begins with block 0x{journal.head.hash.hex()} of operator "
                f"{journal.genesis.operator.hex()}: it is not the address book's; give the right address or book"
            )
        return journal

    def _require_past(self, block: Block) -> None:
        """Blocks follow each other in time, so a date ahead of its time would let every window and bond run out early."""
        ahead = block.time - int(time.time())
        if ahead > FUTURE_SECONDS:
            raise Unavailable(
                f"block {block.number} of the log at {self.url} is dated {ahead} s ahead of this machine's clock: set the clock, "
                "or ask the log's operator"
            )

    def _counterpart(self, journal: Journal, cursor: Cursor) -> Cursor:
        """The log's block of the cursor's number, or its head where it has none."""
        return _cursor(journal.heads[min(cursor.block, journal.head.number)])

    # ----------------------------------------------------------------------------------------------------------- memory

    def _require_memory(self, journal: Journal) -> None:
        if self._head_file is None or not self._head_file.exists():
            return
        try:
            seen = msgspec.json.decode(self._head_file.read_bytes(), type=_Seen)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"{self._head_file} does not say which block was seen last: remove it only if you know that nothing of "
                "the log was lost"
            ) from error
        cursor = Cursor(seen.block, seen.hash)
        if not journal.holds(cursor):
            raise LogForked(self.url, cursor, self._counterpart(journal, cursor))

    def _remember(self, head: Head) -> None:
        self._remembered = head
        if self._head_file is None:
            return
        draft = self._head_file.with_name(f"{self._head_file.name}.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(_Seen(head.number, head.hash)) + b"\n")
        os.replace(draft, self._head_file)

    # ---------------------------------------------------------------------------------------------------------- writing

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        journal = await self._read()
        if journal.nonce(sender) < nonce:
            raise Unavailable(f"calls before number {nonce} of the account are not in the log yet: look again")
        journal.simulate(_known(call), sender, int(time.time()))

    async def fees(self) -> Fees:
        return Fees(0, 0)

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        known = _known(call)
        await self.simulate(known, key.address)
        return self._sign(await self._read(), known, key, nonce)

    async def cancel(self, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        return self._sign(await self._read(), None, key, nonce)

    def _sign(self, journal: Journal, call: AnyCall | None, key: Signer, nonce: int) -> SignedTransaction:
        began = time.thread_time()
        signed = sign_call(journal.identity, call, key, nonce)
        self.cpu_seconds += time.thread_time() - began
        return signed

    async def send_raw(self, raw: bytes) -> None:
        """As `ports.Ledger.send_raw`. The answer is a signed block: a log that then does not show it is forked."""
        await self._read()
        status, body = await self._ask("POST", LOG_PATH, raw)
        if status == 409:
            refusal = self._readable(lambda: msgspec.json.decode(body, type=Refusal))
            raise LedgerRefused(refusal.name, *refusal.arguments)
        if status in (400, 413):
            raise PeerFault("malformed", body.decode(errors="replace"))
        if status != 200:
            raise Unavailable(f"the log at {self.url} takes nothing now: HTTP {status}, {body[:200]!r}")
        promised = self._readable(partial(decode_line, body))
        if not verify_network(self.book.operator, promised.hash, promised.signature):
            raise Unavailable(
                f"what answers at {self.url} is not the operator, who did not sign it: look who listens there"
            )
        journal = await self._read()
        if not journal.holds(promised.cursor):
            raise LogForked(self.url, promised.cursor, self._counterpart(journal, promised.cursor))

    async def send(self, call: Call, key: Signer) -> Outcome:
        async with self._sending:
            signed = await self._submit(_known(call), key)
        outcome = await self.receipt(signed.hash)
        if outcome is None:
            raise Unavailable("the log took the call but does not show it: look again")
        if not outcome.ok:
            await self.simulate(call, key.address)
            raise LedgerRefused("Reverted", f"0x{signed.hash.hex()}")
        return outcome

    async def _submit(self, call: AnyCall, key: Signer) -> SignedTransaction:
        attempt = 1
        while True:
            signed = await self.sign(call, key, await self.nonce(key.address), await self.fees())
            try:
                await self.send_raw(signed.raw)
                return signed
            except LedgerRefused as refused:
                if refused.name != "NonceTooLow" or attempt == SENDINGS:
                    raise
                attempt += 1

    # ------------------------------------------------------------------------------------------------------------- HTTP

    async def _page(self, begin: int) -> list[Block]:
        status, body = await self._ask("GET", f"{LOG_PATH}?from={begin}")
        if status != 200 or not body.endswith(b"\n"):
            raise Unavailable(f"the log at {self.url} answers HTTP {status}, {len(body)} bytes: look again")
        blocks = [self._readable(partial(decode_line, line + b"\n")) for line in body.split(b"\n")[:-1]]
        if not blocks or any(not verify_network(self.book.operator, b.hash, b.signature) for b in blocks):
            raise Unavailable(
                f"what answers at {self.url} is not the operator, who did not sign it: look who listens there"
            )
        return blocks

    def _readable(self, parse: Callable[[], T]) -> T:
        try:
            return refuse_malformed(parse, "answer")
        except PeerFault as fault:
            raise Unavailable(f"what answers at {self.url} is no log of this version: {fault.detail}") from fault

    async def _ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
        sent = time.monotonic()
        try:
            async with self._session.request(method, self.url + path, data=data) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"no log answers at {self.url}: {what}; start it, or wait") from error
        finally:
            self.waiting_seconds += time.monotonic() - sent


def _known(call: Call) -> AnyCall:
    if not isinstance(call, AnyCall):
        raise ConfigurationError(f"the specification has no rule for {call.contract}.{call.function}")
    return call


def _cursor(head: Head) -> Cursor:
    return Cursor(head.number, head.hash)
