"""A ledger without a chain: a log of blocks that one operator signs and everybody can check.

    block hash = SHA-256("drystone/block/1" | the block's canonical JSON without its signature)
    signature  = the operator's ed25519 over the block hash
    call       = (nonce, canonical call, secp256k1 signature of its sender over
                  SHA-256("drystone/local-call/1" | hash of block 0 | nonce u64 | canonical call))

A block names its parent by hash, so a block's hash fixes everything before it. It holds one call, signed by whoever
makes it, and the events that the contracts' specification gives for it. Every reader runs the specification itself: the
operator decides which calls come in, in which order and at what time, but can neither invent a call nor bend what one
does. Two different blocks of one number under one operator's signature prove that operator's fork to anybody.

Block 0 holds the Genesis in place of a call. What signatures are bound to follows from that block's hash h, and so from
the operator's key in it, and no two logs share it: the chain id is 2^52 plus the first 48 bits of
SHA-256("drystone/local-chain/1" | h), a contract's address the first 20 bytes of
SHA-256("drystone/local-contract/1" | h | its name).

The tree that an anchor commits to is RFC 9162's over the block hashes, block 0 first.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from eth_hash.auto import keccak

from ledger import events
from ledger.artifacts import NAMES
from ledger.calls import AnyCall, calldata, decode_call, encode_call
from ledger.spec import CourtTerms, Specification
from middleware.errors import ConfigurationError, DrystoneError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Cursor, Entry, Event, Head, Outcome, Position, SignedTransaction, Signer, Spent
from middleware.trust import merkle
from middleware.trust.keys import AccountKey, NetworkKey, recover_account, verify_network
from middleware.types import ZERO32
from middleware.wire import canonical
from middleware.wire.canonical import refuse_malformed
from middleware.wire.commitment import require_bytes, require_unsigned

FORMAT: Final = "drystone/local/1"
_BLOCK: Final = b"drystone/block/1"
_CALL: Final = b"drystone/local-call/1"
_CHAIN: Final = b"drystone/local-chain/1"
_CONTRACT: Final = b"drystone/local-contract/1"


class BadLog(DrystoneError):
    """A block that no honest operator writes, or that was altered since."""

    def __init__(self, number: int, what: str) -> None:
        self.number, self.what = number, what
        super().__init__(
            f"block {number} of the log does not hold: {what}; take it from another copy, ask its operator"
        )


class LogForked(DrystoneError):
    """The log is not the one that was read before. `ours` was read and checked, `theirs` is what the log says now."""

    def __init__(self, where: str, ours: Cursor, theirs: Cursor) -> None:
        self.ours, self.theirs = ours, theirs
        what = "rewound" if theirs.block < ours.block else "forked"
        super().__init__(
            f"the log at {where} was {what}: it was read up to block {ours.block}, 0x{ours.hash.hex()}, and now shows "
            f"block {theirs.block}, 0x{theirs.hash.hex()}; keep this line, ask its operator, and do not go on with it"
        )


# ---------------------------------------------------------------------------------------------------------------- nouns


class Genesis(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How the log begins: what a deployment on a chain chooses. `admin` (20) is the first account with a role; `min_stake`
    (end, edge, cloud) is in token units; `terms` are the Court's, as in `CourtTerms`; `salt` (16) tells two logs of one
    operator apart."""

    format: str
    operator: bytes  # 32, ed25519
    admin: bytes
    min_stake: tuple[int, int, int]
    unbonding_seconds: int
    terms: tuple[int, int, int, int, int]
    salt: bytes

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ConfigurationError(f"a log of format {self.format[:40]!r}: this version reads {FORMAT}")
        require_bytes("operator's key", self.operator, 32)
        require_bytes("admin", self.admin, 20)
        require_bytes("salt", self.salt, 16)
        for amount in (*self.min_stake, self.unbonding_seconds, *self.terms):
            require_unsigned("genesis amount", amount, 64)


class SignedCall(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a sender hands in. An empty `call` does nothing but use up the nonce."""

    nonce: int
    call: bytes
    signature: bytes  # 65


class Log(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One event as a chain would keep it."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the log. `time` is in seconds since 1970; `ok` is False for a call that the rules refused."""

    number: int
    parent: bytes  # 32
    time: int
    call: bytes  # canonical bytes of the SignedCall; of the Genesis in block 0
    ok: bool
    events: tuple[Log, ...]
    signature: bytes = b""  # 64

    def __post_init__(self) -> None:
        require_unsigned("block number", self.number, 63)
        require_unsigned("block time", self.time, 63)
        require_bytes("parent", self.parent, 32)

    @property
    def hash(self) -> bytes:
        """32 bytes, without the signature."""
        return hashlib.sha256(_BLOCK + msgspec.json.encode(msgspec.structs.replace(self, signature=b""))).digest()

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.number, self.hash)


class Identity(msgspec.Struct, frozen=True):
    """What the log's signatures are bound to. `genesis` (32) is block 0's hash."""

    genesis: bytes

    @property
    def chain_id(self) -> int:
        digest = hashlib.sha256(_CHAIN + self.genesis).digest()
        return (1 << 52) | int.from_bytes(digest[:6], "big")

    def address(self, contract: str) -> bytes:
        """20 bytes, of one of the artifacts' names."""
        return hashlib.sha256(_CONTRACT + self.genesis + contract.encode()).digest()[:20]

    def call_digest(self, nonce: int, call: bytes) -> bytes:
        """What a sender signs."""
        return hashlib.sha256(_CALL + self.genesis + nonce.to_bytes(8, "big") + call).digest()


_decoder: Final = msgspec.json.Decoder(Block)


def encode_line(block: Block) -> bytes:
    """The block's one spelling: JSON and a newline."""
    return msgspec.json.encode(block) + b"\n"


def decode_line(line: bytes) -> Block:
    """The block in a line. PeerFault("malformed") for bytes that `encode_line` does not write."""
    block: Block = refuse_malformed(lambda: _decoder.decode(line), "block")
    if encode_line(block) != line:
        raise PeerFault("malformed", "block is not in its one canonical form")
    return block


def genesis_of(first: Block) -> Genesis:
    """What block 0 says. Raises BadLog."""
    try:
        return canonical.decode(first.call, Genesis)
    except PeerFault as fault:
        raise BadLog(0, fault.detail) from fault


def sign_call(identity: Identity, call: AnyCall | None, key: Signer, nonce: int) -> SignedTransaction:
    """`call` as its sender hands it in; None does nothing but use up the nonce. The same every time."""
    data = b"" if call is None else encode_call(call)
    if call is not None:
        calldata(call)
    signature = AccountKey(key.secret).sign_digest(identity.call_digest(nonce, data))
    raw = canonical.encode(SignedCall(nonce, data, signature))
    return SignedTransaction(raw, keccak(raw), nonce, 0)


def first_block(genesis: Genesis, time: int, key: NetworkKey) -> Block:
    """Block 0, signed by the operator that `genesis` names."""
    if key.public != genesis.operator:
        raise ConfigurationError("the key that signs a log is the one that its genesis names")
    return _signed(Block(0, ZERO32, time, canonical.encode(genesis), True, ()), key)


def _signed(block: Block, key: NetworkKey) -> Block:
    return msgspec.structs.replace(block, signature=key.sign_digest(block.hash))


# -------------------------------------------------------------------------------------------------------------- journal


class _Ran(msgspec.Struct, frozen=True):
    """What one call did."""

    sender: bytes
    nonce: int
    ok: bool
    happened: tuple[Event, ...]
    logs: tuple[Log, ...]


class Journal:
    """What checked blocks add up to. The one who writes the log and everybody who reads it keep the same."""

    def __init__(self, first: Block) -> None:
        """From block 0. Raises BadLog."""
        self.genesis = genesis_of(first)
        digest = first.hash
        if (first.number, first.parent, first.ok, first.events) != (0, ZERO32, True, ()):
            raise BadLog(0, "it is not how a log begins")
        if not verify_network(self.genesis.operator, digest, first.signature):
            raise BadLog(0, "the operator that it names did not sign it")
        self.identity = Identity(digest)
        self.specification = Specification(
            self.identity.chain_id, {name: self.identity.address(name) for name in NAMES}, self.genesis.admin,
            self.genesis.min_stake, self.genesis.unbonding_seconds, CourtTerms(*self.genesis.terms),
        )  # fmt: skip
        self.heads = [Head(0, digest, first.time)]
        self.entries: list[Entry] = []
        self._nonces: dict[bytes, int] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self._spent: dict[tuple[bytes, int], Spent] = {}

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> Journal:
        """From blocks that begin with block 0. Raises BadLog."""
        rest = iter(blocks)
        first = next(rest, None)
        if first is None:
            raise BadLog(0, "it is missing")
        journal = cls(first)
        for block in rest:
            journal.accept(block)
        return journal

    # ---------------------------------------------------------------------------------------------------------- reading

    @property
    def head(self) -> Head:
        return self.heads[-1]

    def holds(self, cursor: Cursor) -> bool:
        """Whether this is the log that `cursor` was read from."""
        return cursor.block < len(self.heads) and self.heads[cursor.block].hash == cursor.hash

    def entries_after(self, block: int) -> tuple[Entry, ...]:
        return tuple(self.entries[bisect_right(self.entries, block, key=lambda entry: entry.position.block) :])

    def nonce(self, address: bytes) -> int:
        return self._nonces.get(address, 0)

    def outcome(self, transaction: bytes) -> Outcome | None:
        return self._outcomes.get(transaction)

    def spent(self, address: bytes, nonce: int, since: int) -> Spent | None:
        found = self._spent.get((address, nonce))
        return found if found is not None and found.block >= since else None

    def simulate(self, call: AnyCall, sender: bytes, now: int) -> None:
        """Raises LedgerRefused if `call` would be refused in the next block."""
        self.specification.copy().apply(call, sender, max(self.head.time, now), len(self.heads))

    # ---------------------------------------------------------------------------------------------------------- growing

    def append(self, raw: bytes, now: int, key: NetworkKey) -> Block:
        """The block that takes in a signed call; the operator must have it on disk before anybody hears of it.

        PeerFault: "malformed", or "forged" when its signature recovers no account. LedgerRefused("NonceTooLow") for a
        used nonce, Unavailable for one that leaves a gap. None of them changes anything.
        """
        number, time = len(self.heads), max(self.head.time, now)
        ran = self._run(raw, number, time)
        block = _signed(Block(number, self.head.hash, time, raw, ran.ok, ran.logs), key)
        self._take(block, block.hash, ran)
        return block

    def accept(self, block: Block) -> Outcome:
        """One more block of somebody else's. After a BadLog this journal is of no more use."""
        digest = block.hash
        if (block.number, block.parent) != (len(self.heads), self.head.hash):
            raise BadLog(block.number, f"it does not continue block {self.head.number}, 0x{self.head.hash.hex()}")
        if not verify_network(self.genesis.operator, digest, block.signature):
            raise BadLog(block.number, "the log's operator did not sign it")
        if block.time < self.head.time:
            raise BadLog(block.number, "it is older than the block before")
        try:
            ran = self._run(block.call, block.number, block.time)
        except PeerFault as fault:
            raise BadLog(block.number, f"its call: {fault.detail}") from fault
        except (LedgerRefused, Unavailable) as refused:
            raise BadLog(block.number, f"its call does not come next for its sender: {refused}") from refused
        if (ran.ok, ran.logs) != (block.ok, block.events):
            raise BadLog(block.number, "the rules give other events for its call (or it is of another version's rules)")
        return self._take(block, digest, ran)

    def _run(self, raw: bytes, number: int, time: int) -> _Ran:
        signed = canonical.decode(raw, SignedCall)
        if not 0 <= signed.nonce < 1 << 64:
            raise PeerFault("malformed", "a nonce has 64 bits")
        sender = recover_account(self.identity.call_digest(signed.nonce, signed.call), signed.signature)
        expected = self.nonce(sender)
        if signed.nonce < expected:
            raise LedgerRefused("NonceTooLow", expected)
        if signed.nonce > expected:
            raise Unavailable(f"number {expected} of 0x{sender.hex()} comes first: hand it in, then this one again")
        if not signed.call:
            self._nonces[sender] = expected + 1
            return _Ran(sender, expected, True, (), ())
        call = decode_call(signed.call)
        refuse_malformed(lambda: calldata(call), "call")
        self._nonces[sender] = expected + 1
        try:
            happened = tuple(self.specification.apply(call, sender, time, number))
        except LedgerRefused:
            return _Ran(sender, expected, False, (), ())
        logs = tuple(Log(self._emitter(call, event), *events.encode_event(event)) for event in happened)
        return _Ran(sender, expected, True, happened, logs)

    def _emitter(self, call: AnyCall, event: Event) -> bytes:
        return self.identity.address(events.emitter(event, call.contract))

    def _take(self, block: Block, digest: bytes, ran: _Ran) -> Outcome:
        name = keccak(block.call)
        entries = tuple(
            Entry(
                Position(block.number, digest, block.time, name, place, 0, ran.sender), event, log.address, log.topics,
                log.data,
            )
            for place, (event, log) in enumerate(zip(ran.happened, ran.logs, strict=True))
        )  # fmt: skip
        outcome = Outcome(name, block.number, digest, 0, ran.ok, entries)
        self.heads.append(Head(block.number, digest, block.time))
        self.entries += entries
        self._outcomes[name] = outcome
        self._spent[ran.sender, ran.nonce] = Spent(name, block.number)
        return outcome

    # --------------------------------------------------------------------------------------------------------- the tree

    @property
    def size(self) -> int:
        """Blocks, block 0 included."""
        return len(self.heads)

    def root(self, size: int) -> bytes:
        """The RFC 9162 root over the first `size` block hashes."""
        return log_root([head.hash for head in self.heads], size)

    def consistency(self, first: int) -> list[bytes]:
        """Proof that the tree of the first `first` blocks is a prefix of the whole one."""
        return merkle.consistency(merkle.leaf_hashes(head.hash for head in self.heads), first)


def log_root(hashes: Sequence[bytes], size: int) -> bytes:
    """The RFC 9162 root over the first `size` of these block hashes."""
    if not 0 <= size <= len(hashes):
        raise ConfigurationError(f"a log of {len(hashes)} blocks has no first {size}")
    return merkle.root(hashes[:size])
