"""The ledger's record as the auditor takes it: entries in order, which ledger they are of, and their fold.

Nothing in it is believed because it was read. What cannot be so (an entry of another contract, out of order, one that the
fold refuses) becomes a finding, and the audit goes on with what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import hexdigits
from typing import Final

import msgspec

from ledger import events
from ledger.artifacts import NAMES
from ledger.audit.report import NOBODY, Finding
from ledger.index import Index
from ledger.journal import BadLog, Block, Journal
from ledger.record import import_record
from middleware.errors import ConfigurationError, DrystoneError, PeerFault
from middleware.ports import Batch, Entry, Event, Head
from middleware.trust import eip712
from middleware.types import Verdict

_REGISTRY: Final = (
    events.Registered, events.StatusChanged, events.KeyRotated, events.AccountProposed, events.AccountRotated,
    events.MetaChanged, events.BatchRegistered, events.BatchStatusChanged,
)  # fmt: skip
_LEDGER: Final = (
    events.TaskCreated, events.RoundAnchored, events.TaskEnded, events.Forced, events.Checkpointed,
)  # fmt: skip
_REWARDS: Final = (events.Funded, events.Claimed)


class Addresses(msgspec.Struct, frozen=True):
    """Which ledger this is. `operator` (32) signs a local log; empty for a chain."""

    chain_id: int
    registry: bytes
    ledger: bytes
    rewards: bytes
    operator: bytes = b""

    def owner(self, event: Event) -> bytes | None:
        """The contract that alone may emit this event; None for one that the audit does not read."""
        for kinds, address in ((_REGISTRY, self.registry), (_LEDGER, self.ledger), (_REWARDS, self.rewards)):
            if isinstance(event, kinds):
                return address
        return None

    def about(self) -> dict[str, str]:
        """The words of an exported record's opening line; `parse` is the inverse."""
        hexed = {name: f"0x{getattr(self, name).hex()}" for name in ("registry", "ledger", "rewards")}
        told = {"operator": self.operator.hex()} if self.operator else {}
        return {"chain_id": str(self.chain_id), **hexed, **told}

    @classmethod
    def parse(cls, about: Mapping[str, str]) -> Addresses:
        """From the opening line of an exported record. PeerFault("malformed")."""
        try:
            hexed = {name: bytes.fromhex(about[name].removeprefix("0x")) for name in ("registry", "ledger", "rewards")}
            chain_id, operator = int(about["chain_id"]), bytes.fromhex(about.get("operator", ""))
        except (KeyError, ValueError) as error:
            raise PeerFault("malformed", f"the record does not say which ledger it is of: {error}") from error
        if any(len(address) != 20 for address in hexed.values()):
            raise PeerFault("malformed", "the record does not say which ledger it is of: an address has 20 bytes")
        return cls(chain_id, **hexed, operator=operator)


class Evidence(msgspec.Struct, frozen=True):
    """What the audit reads of the ledger. `faults` were found while it was taken in; `blocks` are a local log's."""

    entries: tuple[Entry, ...]
    head: Head
    addresses: Addresses
    index: Index
    faults: tuple[Finding, ...] = ()
    blocks: tuple[Block, ...] = ()
    about: Mapping[str, str] = {}  # what the record says of itself: the address book, and the code at its addresses

    @property
    def contracts(self) -> dict[str, bytes]:
        """Every contract's address that the record names, by the artifact's name."""
        named = ((name, self.about.get(name.lower(), "").removeprefix("0x")) for name in NAMES)
        return {name: bytes.fromhex(text) for name, text in named if len(text) == 40 and set(text) <= set(hexdigits)}

    @property
    def registry_domain(self) -> eip712.Domain:
        return eip712.Domain(self.addresses.chain_id, self.addresses.registry)

    @property
    def ledger_domain(self) -> eip712.Domain:
        return eip712.Domain(self.addresses.chain_id, self.addresses.ledger)


def take(batch: Batch, addresses: Addresses, about: Mapping[str, str] | None = None) -> Evidence:
    """The evidence in a batch that starts at the beginning; `about` as an exported record opens with it."""
    kept: list[Entry] = []
    faults: list[Finding] = []
    index = Index()
    last = (-1, -1)
    for number, entry in enumerate(batch.entries, start=1):
        wrong = _wrong(entry, last, addresses)
        if not wrong:
            try:
                index.extend(
                    Batch((entry,), Head(entry.position.block, entry.position.block_hash, entry.position.time))
                )
            except (DrystoneError, LookupError, ValueError, TypeError) as error:
                wrong = f"it cannot follow what stands before it: {error}"
        if wrong:
            faults.append(_fault(number, entry, wrong))
            continue
        last = (entry.position.block, entry.position.log_index)
        kept.append(entry)
    index.extend(Batch((), batch.head))
    return Evidence(tuple(kept), batch.head, addresses, index, tuple(faults), about=about or addresses.about())


def read(data: bytes) -> Evidence:
    """The evidence in an exported record. PeerFault("malformed") names the first line that is not as it was written."""
    record = import_record(data)
    addresses = Addresses.parse(record.about)
    evidence = take(record.batch, addresses, record.about)
    if not addresses.operator and not record.blocks:
        return evidence
    wrong = _wrong_log(record.blocks, record.batch, addresses)
    faults = (Finding(Verdict.INVALID, "local log", "log", wrong, NOBODY),) if wrong else ()
    return msgspec.structs.replace(evidence, faults=faults + evidence.faults, blocks=record.blocks)


def unreadable(fault: PeerFault) -> Finding:
    """The finding for a record that `read` refused: its detail names the line."""
    return Finding(Verdict.INVALID, "exported record", "log", fault.detail, NOBODY)


def _wrong_log(blocks: Sequence[Block], batch: Batch, addresses: Addresses) -> str:
    """What is wrong with a local log's blocks, or with the entries that they are said to have given; "" if nothing."""
    try:
        journal = Journal.of(blocks)
    except BadLog as bad:
        return f"block {bad.number}: {bad.what}"
    identity = journal.identity
    there = Addresses(
        identity.chain_id, identity.address("Registry"), identity.address("Ledger"), identity.address("Rewards"),
        journal.genesis.operator,
    )  # fmt: skip
    if there != addresses:
        return "the record says that it is of another log than its block 0 begins"
    if journal.head != batch.head:
        return f"it ends in block {journal.head.number}, the record in block {batch.head.number}"
    if tuple(journal.entries) != batch.entries:
        return "the record's entries are not what its blocks give"
    return ""


def _wrong(entry: Entry, last: tuple[int, int], addresses: Addresses) -> str:
    at = entry.position
    if (at.block, at.log_index) <= last:
        return f"block {at.block}, log {at.log_index} does not come after block {last[0]}, log {last[1]}"
    owner = addresses.owner(entry.event)
    if owner is not None and owner != entry.address:
        return f"0x{entry.address.hex()} emitted it, which is not the contract for {type(entry.event).__name__}"
    if not isinstance(entry.event, events.Other):
        try:
            topics, data = events.encode_event(entry.event)
        except ConfigurationError as error:
            return str(error)
        if (topics, data) != (entry.topics, entry.data):
            return "its log does not say what the event says"
    return ""


def _fault(number: int, entry: Entry, wrong: str) -> Finding:
    at = entry.position
    subject = f"entry {number} ({type(entry.event).__name__}, block {at.block})"
    return Finding(Verdict.INVALID, subject, "log", wrong, NOBODY)


def of_entries(entries: Sequence[Entry], addresses: Addresses) -> Evidence:
    """The evidence in entries that end with their head, as a test makes them."""
    at = entries[-1].position
    return take(Batch(tuple(entries), Head(at.block, at.block_hash, at.time)), addresses)
