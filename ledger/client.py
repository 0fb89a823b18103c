"""The ledger as contracts on a chain.

Reading: one request asks for the head and for the block that the reader's cursor names. If that block is still there,
the logs after it follow, with the blocks and receipts that tell their time, sender and gas. If it is gone, the chain
was reorganised, and the newest block that this client remembers and the chain still has says how far to rewind. A chain
that changes between two requests of one reading is read again, and so is one whose address is shared by servers that lag
behind each other; a change after the last request is found out by the next cursor.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, Final, Self

import msgspec

from ledger.calls import calldata
from ledger.events import entry_from_log
from ledger.rpc import BATCH, RECEIPT_SECONDS, Rpc, head_of, hexed, no_funds, unhexed
from middleware import ports
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from middleware.ports import Batch, Call, Cursor, Entry, Fees, Head, Outcome, Position, SignedTransaction, Signer, Spent
from middleware.trust.keys import checksum_address, parse_address

LOG_BLOCKS: Final = 5_000  # blocks in one eth_getLogs; servers commonly refuse more than 10,000
REMEMBERED: Final = 4_096  # blocks that are kept to find where a reorganisation began
READINGS: Final = 5  # attempts to read a chain that changes meanwhile
SENDINGS: Final = 3  # attempts to send with a fresh nonce when somebody else uses the same key
CONTRACTS: Final = ("authority", "credit", "registry", "ledger", "rewards", "arbiter", "court", "models")


class AddressBook(msgspec.Struct, frozen=True):
    """Where the contracts are: what `drystone contracts deploy` writes and every node reads. `operator` (32, ed25519) is
    the key that signs a local log; empty for a chain."""

    rpc: str  # URL
    chain_id: int
    authority: bytes
    credit: bytes
    registry: bytes
    ledger: bytes
    rewards: bytes
    arbiter: bytes
    court: bytes
    models: bytes
    deploy_block: int  # no event of ours is older
    operator: bytes = b""

    def __post_init__(self) -> None:
        if self.rpc.startswith("local+") != (len(self.operator) == 32) or len(self.operator) not in (0, 32):
            raise ConfigurationError(
                f"the address book says {self.rpc}: an address that begins with local+ comes with the operator's key of 32 "
                "bytes, any other without"
            )
        if not all(len(getattr(self, name)) == 20 for name in CONTRACTS):
            raise ConfigurationError("a contract's address has 20 bytes")

    def address(self, contract: str) -> bytes:
        """The address of one of the artifacts' names."""
        if contract.lower() not in CONTRACTS:
            raise ConfigurationError(f"no contract is called {contract}: choose one of {', '.join(CONTRACTS)}")
        found: bytes = getattr(self, contract.lower())
        return found

    @classmethod
    def from_bytes(cls, data: bytes) -> AddressBook:
        """The book in a file's bytes. Raises ConfigurationError."""
        try:
            stored = msgspec.json.decode(data, type=_StoredBook)
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"the address book is not what `contracts deploy` writes: {error}") from error
        addresses = {name: parse_address(getattr(stored, name)) for name in CONTRACTS}
        try:
            operator = bytes.fromhex(stored.operator)
        except ValueError as error:
            raise ConfigurationError(
                f"the address book's operator {stored.operator[:80]!r} is no key in hex"
            ) from error
        return cls(
            rpc=stored.rpc, chain_id=stored.chain_id, deploy_block=stored.deploy_block, operator=operator, **addresses
        )

    def to_bytes(self) -> bytes:
        addresses = {name: checksum_address(getattr(self, name)) for name in CONTRACTS}
        stored = _StoredBook(
            rpc=self.rpc,
            chain_id=self.chain_id,
            deploy_block=self.deploy_block,
            operator=self.operator.hex(),
            **addresses,
        )
        return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


class _StoredBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    rpc: str
    chain_id: int
    authority: str
    credit: str
    registry: str
    ledger: str
    rewards: str
    arbiter: str
    court: str
    models: str
    deploy_block: int
    operator: str = ""


class _Moved(Exception):
    """The chain was reorganised while it was read."""


class EvmLedger(ports.Ledger):
    """`ports.Ledger` for the contracts in `book`. Connects when first used; `close` or `async with` ends it."""

    def __init__(self, book: AddressBook) -> None:
        if book.operator:
            raise ConfigurationError(
                f"the address book names a local log at {book.rpc}, no chain: this needs a chain's contracts"
            )
        self.book = book
        self.rpc = Rpc(book.rpc)
        self._addresses = [hexed(getattr(book, name)) for name in CONTRACTS]
        self._parents: OrderedDict[Cursor, Cursor] = OrderedDict()  # a reported block -> one reported before it
        self._recognised = False
        self._sending = asyncio.Lock()
        self._cpu_seconds = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.rpc.close()

    @property
    def cpu_seconds(self) -> float:
        """CPU time spent here since the start."""
        return self._cpu_seconds + self.rpc.cpu_seconds

    @property
    def waiting_seconds(self) -> float:
        """Time spent waiting for the chain's node since the start."""
        return self.rpc.waiting_seconds

    # ---------------------------------------------------------------------------------------------------------- reading

    async def head(self) -> Head:
        return await self.rpc.head()

    async def entries(self, cursor: Cursor | None) -> Batch:
        """As `ports.Ledger.entries`. Raises ConfigurationError for another chain than the address book's."""
        await self._recognise()
        for attempt in range(1, READINGS + 1):
            try:
                return await self._read(cursor, may_be_behind=attempt < READINGS)
            except _Moved:
                continue
        raise Unavailable(f"the chain at {self.book.rpc} changes faster than it can be read")

    async def _read(self, cursor: Cursor | None, may_be_behind: bool) -> Batch:
        queries: list[tuple[str, list[Any]]] = [("eth_getBlockByNumber", ["latest", False])]
        if cursor is not None:
            queries.append(("eth_getBlockByNumber", [hex(cursor.block), False]))
        latest, *known = await self.rpc.ask_all(queries)
        head, last, rewind_to = head_of(latest), cursor, None
        if cursor is not None and (known[0] is None or unhexed(known[0]["hash"]) != cursor.hash):
            if head.number < cursor.block and may_be_behind:
                raise _Moved  # a chain that became shorter, or a server that is behind: another may know
            last = await self._last_common(cursor)
            rewind_to = last.block if last is not None else self.book.deploy_block - 1
        entries = await self._entries_between(last, head)
        for entry in entries:
            last = self._remember(last, Cursor(entry.position.block, entry.position.block_hash))
        self._remember(last, Cursor(head.number, head.hash))
        return Batch(tuple(entries), head, rewind_to)

    async def _recognise(self) -> None:
        """Once, before anything is believed or signed: is this the chain of the address book?"""
        if self._recognised:
            return
        chain_id, code = await self.rpc.ask_all(
            [("eth_chainId", []), ("eth_getCode", [hexed(self.book.ledger), "latest"])]
        )
        if int(chain_id, 16) != self.book.chain_id:
            raise ConfigurationError(
                f"the chain at {self.book.rpc} has id {int(chain_id, 16)}, the address book says {self.book.chain_id}:"
                " give the address of the right chain, or the address book that was written for this one"
            )
        if code == "0x":
            raise Unavailable(f"the chain at {self.book.rpc} has no contracts: deploy them, or wait until it caught up")
        self._recognised = True

    async def _last_common(self, cursor: Cursor) -> Cursor | None:
        """The newest reported ancestor of `cursor` that the chain still has. A block's hash fixes everything before it,
        so this is right for every reader, whatever others read meanwhile."""
        ancestors: list[Cursor] = []
        step = self._parents.get(cursor)
        while step is not None:
            ancestors.append(step)
            step = self._parents.get(step)
        for begin in range(0, len(ancestors), BATCH):
            part = ancestors[begin : begin + BATCH]
            found = await self.rpc.ask_all([("eth_getBlockByNumber", [hex(block.block), False]) for block in part])
            for ancestor, answer in zip(part, found, strict=True):
                if answer is not None and unhexed(answer["hash"]) == ancestor.hash:
                    return ancestor
        return None

    def _remember(self, parent: Cursor | None, block: Cursor) -> Cursor:
        if parent is not None and parent.block < block.block and block not in self._parents:
            self._parents[block] = parent
            while len(self._parents) > REMEMBERED:
                self._parents.popitem(last=False)
        return block

    async def _entries_between(self, last: Cursor | None, head: Head) -> list[Entry]:
        """The entries after `last` up to `head`. Each request for logs asks for both blocks as well: servers that share an
        address may be on other branches, and one that is behind leaves logs out without a word. Raises _Moved."""
        if last is not None and last.hash == head.hash:
            return []
        if last is not None and last.block >= head.number:
            raise _Moved
        ends = [Cursor(head.number, head.hash), *([last] if last is not None else [])]
        logs: list[dict[str, Any]] = []
        begin = self.book.deploy_block if last is None else last.block + 1
        for first in range(begin, head.number + 1, LOG_BLOCKS):
            scope = {
                "fromBlock": hex(first),
                "toBlock": hex(min(first + LOG_BLOCKS - 1, head.number)),
                "address": self._addresses,
            }
            found, *blocks = await self.rpc.ask_all(
                [("eth_getLogs", [scope])] + [("eth_getBlockByNumber", [hex(end.block), False]) for end in ends]
            )
            for end, block in zip(ends, blocks, strict=True):
                if block is None or unhexed(block["hash"]) != end.hash:
                    raise _Moved
            logs += found
        return await self._entries(logs, head) if logs else []

    async def _entries(self, logs: list[dict[str, Any]], head: Head) -> list[Entry]:
        """The logs with what their blocks and receipts say. Raises _Moved when the three do not fit."""
        blocks = list(dict.fromkeys(log["blockHash"] for log in logs))
        transactions = list(dict.fromkeys(log["transactionHash"] for log in logs))
        found = await self.rpc.ask_all(
            [("eth_getBlockByHash", [block, False]) for block in blocks]
            + [("eth_getTransactionReceipt", [transaction]) for transaction in transactions]
            + [("eth_getBlockByNumber", [hex(head.number), False])]
        )
        if any(answer is None for answer in found) or unhexed(found[-1]["hash"]) != head.hash:
            raise _Moved
        began = time.thread_time()
        heads = {block: head_of(answer) for block, answer in zip(blocks, found, strict=False)}
        receipts = dict(zip(transactions, found[len(blocks) : -1], strict=True))
        if any(receipts[log["transactionHash"]]["blockHash"] != log["blockHash"] for log in logs):
            raise _Moved
        entries = [_entry(log, heads[log["blockHash"]], receipts[log["transactionHash"]]) for log in logs]
        entries.sort(key=lambda entry: (entry.position.block, entry.position.log_index))
        self._cpu_seconds += time.thread_time() - began
        return entries

    # ---------------------------------------------------------------------------------------------------------- writing

    async def simulate(self, call: Call, sender: bytes, nonce: int = 0) -> None:
        await self._recognise()
        request = {
            "from": hexed(sender),
            "to": hexed(self.book.address(call.contract)),
            "data": hexed(calldata(call)),
        }
        await self.rpc.call(request, sender, nonce)

    async def nonce(self, address: bytes) -> int:
        await self._recognise()
        return await self.rpc.nonce(address)

    async def fees(self) -> Fees:
        return await self.rpc.fees()

    async def sign(self, call: Call, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        await self._recognise()
        to = self.book.address(call.contract)
        return await self.rpc.sign(key, self.book.chain_id, to, calldata(call), nonce, fees)

    async def cancel(self, key: Signer, nonce: int, fees: Fees) -> SignedTransaction:
        return await self.rpc.sign(key, self.book.chain_id, key.address, b"", nonce, fees)

    async def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        return await self.rpc.spent(address, nonce, since)

    async def send_raw(self, raw: bytes) -> None:
        await self.rpc.send_raw(raw)

    async def receipt(self, transaction: bytes) -> Outcome | None:
        found = await self.rpc.receipt(transaction)
        return None if found is None else await self._outcome(found)

    async def send(self, call: Call, key: Signer, seconds: float = RECEIPT_SECONDS) -> Outcome:
        """As `ports.Ledger.send`; waits at most `seconds` for the receipt."""
        async with self._sending:
            transaction = await self._submit(call, key)
        outcome = await self._outcome(await self.rpc.wait(transaction, seconds))
        if not outcome.ok:
            await self.simulate(call, key.address)
            raise LedgerRefused("Reverted", hexed(transaction))
        return outcome

    async def _submit(self, call: Call, key: Signer) -> bytes:
        attempt = 1
        while True:
            nonce, fees = await self.rpc.nonce(key.address, "pending"), await self.rpc.fees()
            signed = await self.sign(call, key, nonce, fees)
            try:
                await self.rpc.send_raw(signed.raw)
                return signed.hash
            except LedgerRefused as refused:
                if refused.name == "InsufficientFunds":
                    raise no_funds(key.address, self.book.chain_id, self.book.rpc) from refused
                if refused.name not in ("NonceTooLow", "Underpriced") or attempt == SENDINGS:
                    raise
                attempt += 1

    async def _outcome(self, receipt: dict[str, Any]) -> Outcome:
        block = await self.rpc.ask("eth_getBlockByHash", receipt["blockHash"], False)
        if block is None:
            raise Unavailable(f"block {receipt['blockHash']} was just taken back: look again")
        head = head_of(block)
        ours = [log for log in receipt["logs"] if log["address"].lower() in self._addresses]
        return Outcome(
            transaction=unhexed(receipt["transactionHash"]), block=head.number, block_hash=head.hash,
            gas_used=int(receipt["gasUsed"], 16), ok=int(receipt["status"], 16) == 1,
            entries=tuple(_entry(log, head, receipt) for log in ours),
        )  # fmt: skip


def _entry(log: dict[str, Any], block: Head, receipt: dict[str, Any]) -> Entry:
    position = Position(
        block.number, block.hash, block.time, unhexed(log["transactionHash"]), int(log["logIndex"], 16),
        int(receipt["gasUsed"], 16), unhexed(receipt["from"]),
    )  # fmt: skip
    return entry_from_log(position, unhexed(log["address"]), tuple(map(unhexed, log["topics"])), unhexed(log["data"]))
