"""What the contracts said: every event as a frozen noun with the Solidity event's name, and its fields in snake case.

A chain keeps an event as a log: up to four topics (the first is the hash of the event's signature, the others its
indexed fields) and ABI-encoded data. `decode_event` and `encode_event` are each other's inverse, so the specification
of the contracts yields the same entries as a chain, and an exported record can be checked byte for byte
(`ledger.record`). An event that is none of ours to read (a role's label, say) is `Other`: the record never skips a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from ledger.artifacts import NAMES, load
from ledger.calls import abi_type, abi_value, encode_arguments
from middleware.errors import ConfigurationError, PeerFault
from middleware.ports import Entry, Event, Position
from middleware.types import EdgeLeaf, Header, Leaf

__all__ = ["Entry", "Event", "Position"]


class Registered(Event, frozen=True):
    id: int
    net_key: bytes
    account: bytes
    owner: bytes
    tier: int
    status: int
    parent: int
    name: bytes
    meta_hash: bytes
    deadline: int
    account_signature: bytes
    net_key_proof: bytes


class StatusChanged(Event, frozen=True):
    id: int
    status: int


class KeyRotated(Event, frozen=True):
    id: int
    new_key: bytes
    deadline: int
    net_key_proof: bytes


class AccountProposed(Event, frozen=True):
    id: int
    account: bytes


class AccountRotated(Event, frozen=True):
    id: int
    account: bytes


class MetaChanged(Event, frozen=True):
    id: int
    meta_hash: bytes


class Staked(Event, frozen=True):
    id: int
    amount: int


class Unbonding(Event, frozen=True):
    id: int
    amount: int
    until: int  # seconds since 1970


class Withdrawn(Event, frozen=True):
    id: int
    amount: int


class Slashed(Event, frozen=True):
    """Stake that is seized until it is settled."""

    id: int
    amount: int
    reason: bytes


class Settled(Event, frozen=True):
    """Of what was seized, `reward` went to `to`, and `burned` was burned."""

    to: bytes
    reward: int
    burned: int


class Held(Event, frozen=True):
    """Disputes are open against the node: `holds` of them."""

    id: int
    holds: int


class Released(Event, frozen=True):
    id: int
    holds: int


class ArbitersSet(Event, frozen=True):
    """Of the Registry or of the Ledger: the entry's address tells."""

    first: bytes
    second: bytes


class BatchRegistered(Event, frozen=True):
    """Nodes `first` to `first` + `count` - 1; `list` is the SHA-256 of the blob that lists them."""

    first: int
    count: int
    owner: bytes
    status: int
    root: bytes
    list: bytes


class BatchStatusChanged(Event, frozen=True):
    """For all members that are not materialised."""

    first: int
    status: int


class PauseChanged(Event, frozen=True):
    """Of the Registry or of the Ledger: the entry's address tells."""

    paused: bool


class TaskCreated(Event, frozen=True):
    task: int
    cloud: int
    publisher: bytes
    window: int
    policy_hash: bytes
    genesis_model: bytes
    rule: int
    trim: int
    width: int
    chunks: int
    policy: bytes


class RoundAnchored(Event, frozen=True):
    task: int
    round: int
    header_hash: bytes
    header: Header


class Forced(Event, frozen=True):
    """A device's update came past its edge, as number `k` of the task; `chain` is how a header acknowledges it."""

    task: int
    round: int
    node: int
    k: int
    chain: bytes
    leaf_hash: bytes
    leaf: Leaf


class Checkpointed(Event, frozen=True):
    node: int
    size: int
    root: bytes


class RoundStruck(Event, frozen=True):
    """This round and all later ones do not count."""

    task: int
    round: int


class TaskEnded(Event, frozen=True):
    task: int
    head: int


class Funded(Event, frozen=True):
    task: int
    from_: bytes
    amount: int


class Claimed(Event, frozen=True):
    task: int
    node: int
    account: bytes
    amount: int
    cumulative: int


class Reclaimed(Event, frozen=True):
    task: int
    publisher: bytes
    amount: int


class Proven(Event, frozen=True):
    """The Arbiter saw a fault; the accused lost `amount`, of which `beneficiary` may collect half. `kind` is the proof's name,
    padded with zeros."""

    kind: bytes
    task: int
    round: int
    accused: int
    beneficiary: bytes
    amount: int


class Demanded(Event, frozen=True):
    """Of the Court: answer by `deadline` (seconds), or lose the stake."""

    id: int
    task: int
    accused: int
    round: int
    challenger: bytes
    kind: int
    edge: EdgeLeaf
    index: int
    chunk: int
    deadline: int


class Answered(Event, frozen=True):
    id: int
    by: bytes
    data: bytes


class Expired(Event, frozen=True):
    id: int
    accused: int
    amount: int


class Challenged(Event, frozen=True):
    id: int
    task: int
    accused: int
    round: int
    challenger: bytes
    subject: int
    committed: bytes
    claim: bytes


class Committed(Event, frozen=True):
    id: int
    node: int
    hash: bytes


class Revealed(Event, frozen=True):
    id: int
    node: int
    digest: bytes


class Referred(Event, frozen=True):
    """The council is asked until `until`, in seconds."""

    id: int
    until: int


class Decided(Event, frozen=True):
    id: int
    accused: int
    guilty: bool
    amount: int


class Lapsed(Event, frozen=True):
    id: int


class ModelPublished(Event, frozen=True):
    root: bytes
    owner: bytes
    task: int
    round: int
    model: bytes
    licence: bytes
    price: int
    share: int


class PriceChanged(Event, frozen=True):
    root: bytes
    price: int


class LicenceGranted(Event, frozen=True):
    root: bytes
    user: bytes
    expiry: int
    quota: int


class LicenceRevoked(Event, frozen=True):
    root: bytes
    user: bytes


class ChannelOpened(Event, frozen=True):
    channel: int
    root: bytes
    user: bytes
    edge: int
    price: int
    deposit: int


class ChannelFunded(Event, frozen=True):
    channel: int
    deposit: int


class VoucherRedeemed(Event, frozen=True):
    channel: int
    units: int
    chain: bytes
    to_edge: int
    to_owner: int


class ChannelClosing(Event, frozen=True):
    channel: int
    closing: int


class ChannelClosed(Event, frozen=True):
    channel: int
    returned: int


class Transfer(Event, frozen=True):
    from_: bytes
    to: bytes
    value: int


class Approval(Event, frozen=True):
    owner: bytes
    spender: bytes
    value: int


class RoleGranted(Event, frozen=True):
    role_id: int
    account: bytes
    delay: int
    since: int
    new_member: bool


class RoleRevoked(Event, frozen=True):
    role_id: int
    account: bytes


class Other(Event, frozen=True):
    """Another event of our contracts: what it says is in the entry's topics and data only."""


KINDS: Final[tuple[type[Event], ...]] = (
    Registered, StatusChanged, KeyRotated, AccountProposed, AccountRotated, MetaChanged, Staked, Unbonding, Withdrawn,
    Slashed, Settled, Held, Released, ArbitersSet, BatchRegistered, BatchStatusChanged, PauseChanged, TaskCreated, RoundAnchored,
    Forced, Checkpointed, RoundStruck, TaskEnded, Funded, Claimed, Reclaimed, Proven, Demanded, Answered, Expired,
    Challenged, Committed, Revealed, Referred, Decided, Lapsed, ModelPublished, PriceChanged, LicenceGranted, LicenceRevoked,
    ChannelOpened, ChannelFunded, VoucherRedeemed, ChannelClosing, ChannelClosed, Transfer, Approval, RoleGranted, RoleRevoked,
)  # fmt: skip


class Layout(msgspec.Struct, frozen=True):
    """Where an event's fields lie in a log. `indexed` and `plain` are (place among the fields, ABI type)."""

    kind: type[Event]
    topic: bytes
    indexed: tuple[tuple[int, str], ...]
    plain: tuple[tuple[int, str], ...]


def decode_event(topics: Sequence[bytes], data: bytes) -> Event:
    """The event that a log of our contracts says. PeerFault("malformed") when its parts do not fit its signature."""
    layout = _layouts().get(topics[0]) if topics else None
    if layout is None:
        return Other()
    if len(topics) != len(layout.indexed) + 1:
        raise PeerFault("malformed", f"a log of {layout.kind.__name__} with {len(topics)} topics")
    fields: dict[int, Any] = {}
    try:
        for (place, kind), topic in zip(layout.indexed, topics[1:], strict=True):
            fields[place] = plain_value(kind, decode((kind,), topic)[0])
        values = decode(tuple(kind for _, kind in layout.plain), data)
        for (place, kind), value in zip(layout.plain, values, strict=True):
            fields[place] = plain_value(kind, value)
        return layout.kind(*(fields[place] for place in range(len(fields))))
    except (DecodingError, ConfigurationError, OverflowError, ValueError) as error:
        raise PeerFault("malformed", f"a log of {layout.kind.__name__}: {error}") from error


def encode_event(event: Event) -> tuple[tuple[bytes, ...], bytes]:
    """(topics, data) as the contract emits them. ConfigurationError for `Other`, or a field out of its type's range."""
    layout = _layouts_by_kind().get(type(event))
    if layout is None:
        raise ConfigurationError(f"{type(event).__name__} has no one signature to encode it with")
    fields, name = msgspec.structs.astuple(event), type(event).__name__
    topics = (encode_arguments((kind,), (abi_value(fields[place]),), name) for place, kind in layout.indexed)
    kinds = tuple(kind for _, kind in layout.plain)
    data = encode_arguments(kinds, tuple(abi_value(fields[place]) for place, _ in layout.plain), name)
    return (layout.topic, *topics), data


def emitter(event: Event, called: str) -> str:
    """The contract that says this event when contract `called` was called: itself where several have the event."""
    contracts = _emitters()[type(event)]
    return called if called in contracts else next(iter(contracts))


def entry_of(position: Position, event: Event, address: bytes) -> Entry:
    """The entry that `address` makes when it emits `event`."""
    return Entry(position, event, address, *encode_event(event))


def entry_from_log(position: Position, address: bytes, topics: tuple[bytes, ...], data: bytes) -> Entry:
    """The entry of a raw log. PeerFault("malformed") as `decode_event`."""
    return Entry(position, decode_event(topics, data), address, topics, data)


def plain_value(kind: str, value: Any) -> Any:
    """A decoded ABI value in our words: accounts are 20 bytes, our structs are themselves."""
    if kind == "address":
        return bytes.fromhex(value.removeprefix("0x"))
    struct = _structs().get(kind)
    return value if struct is None else struct(*value)


def snake_case(name: str) -> str:
    """A Solidity name in Python's spelling; a keyword gets an underscore."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return f"{words}_" if words == "from" else words


@cache
def _structs() -> dict[str, Callable[..., Any]]:
    """Our structs by their ABI types."""
    ledger, arbiter = load("Ledger"), load("Arbiter")
    return {
        abi_type(ledger.entry("function", "anchorRound")["inputs"][0]): Header,
        abi_type(ledger.entry("function", "submitDirect")["inputs"][0]): Leaf,
        abi_type(arbiter.entry("function", "conflictingRoots")["inputs"][0]): EdgeLeaf,
    }


@cache
def _emitters() -> dict[type[Event], frozenset[str]]:
    """The contracts whose interface has each event."""
    found: dict[str, set[str]] = {}
    for contract in NAMES:
        for entry in load(contract).abi:
            if entry["type"] == "event":
                found.setdefault(entry["name"], set()).add(contract)
    return {kind: frozenset(found[kind.__name__]) for kind in KINDS}


@cache
def _layouts() -> dict[bytes, Layout]:
    kinds = {kind.__name__: kind for kind in KINDS}
    layouts: dict[bytes, Layout] = {}
    for contract in NAMES:
        for entry in load(contract).abi:
            if entry["type"] == "event" and entry["name"] in kinds:
                layout = _layout(entry, kinds[entry["name"]])
                layouts[layout.topic] = layout
    missing = set(kinds) - {layout.kind.__name__ for layout in layouts.values()}
    if missing:
        raise ConfigurationError(f"no contract emits {', '.join(sorted(missing))}: rebuild ledger/abi")
    return layouts


@cache
def _layouts_by_kind() -> dict[type[Event], Layout]:
    return {layout.kind: layout for layout in _layouts().values()}


def _layout(entry: dict[str, Any], kind: type[Event]) -> Layout:
    inputs = entry["inputs"]
    if tuple(snake_case(field["name"]) for field in inputs) != kind.__struct_fields__:
        raise ConfigurationError(f"event {entry['name']} does not have the fields of its noun")
    types = [(place, abi_type(field)) for place, field in enumerate(inputs)]
    signature = f"{entry['name']}({','.join(kind for _, kind in types)})"
    indexed = tuple(pair for pair, field in zip(types, inputs, strict=True) if field["indexed"])
    plain = tuple(pair for pair, field in zip(types, inputs, strict=True) if not field["indexed"])
    return Layout(kind, keccak(signature.encode()), indexed, plain)
