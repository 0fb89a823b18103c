"""The ledger's record as a file, so that it can be audited without a chain: JSON lines, one raw log each.

Every line carries SHA-256(previous line's digest | the line without its digest); the first continues 32 zero bytes, and
the last holds the head and the number of entries. A line that was altered, moved, added or cut is found and named. The record
of a local log (`ledger.journal`) holds its signed blocks as well, ahead of the entries, so whoever reads it can run the
specification on them and needs to believe no entry.
Whoever rewrites the whole file can of course digest it anew: compare the last digest, which names the whole record,
with somebody else's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from ledger.events import entry_from_log
from ledger.journal import Block
from middleware.errors import PeerFault
from middleware.ports import Batch, Entry, Head, Position
from middleware.types import ZERO32
from middleware.wire.canonical import refuse_malformed

FORMAT: Final = "drystone/record/1"
OPENING: Final = b'{"line":"record"'  # how a record begins


class Opening(msgspec.Struct, frozen=True, tag="record", tag_field="line", forbid_unknown_fields=True):
    """Line 1. `about` says which ledger this is: the address book's fields."""

    format: str
    about: dict[str, str]
    digest: str = ""


class BlockLine(msgspec.Struct, frozen=True, tag="block", tag_field="line", forbid_unknown_fields=True):
    """One block of a local log."""

    block: Block
    digest: str = ""


class LogLine(msgspec.Struct, frozen=True, tag="log", tag_field="line", forbid_unknown_fields=True):
    """One entry; bytes in hex. `event` is only for people: readers decode the log."""

    event: str
    block: int
    block_hash: str
    time: int
    transaction: str
    log_index: int
    gas_used: int
    sender: str
    address: str
    topics: tuple[str, ...]
    data: str
    digest: str = ""


class Closing(msgspec.Struct, frozen=True, tag="end", tag_field="line", forbid_unknown_fields=True):
    """The last line."""

    head: int
    head_hash: str
    head_time: int
    count: int
    digest: str = ""


Line: TypeAlias = Opening | BlockLine | LogLine | Closing

_decoder: Final = msgspec.json.Decoder(Line)


class Record(msgspec.Struct, frozen=True):
    """What a file says. `digest` is the last line's: it names the whole record. `blocks` are a local log's."""

    about: dict[str, str]
    batch: Batch
    digest: bytes
    blocks: tuple[Block, ...] = ()


def export_record(
    entries: Sequence[Entry], head: Head, about: Mapping[str, str], blocks: Sequence[Block] = ()
) -> bytes:
    """The file's bytes. `blocks` are a local log's, from block 0 on."""
    lines: list[Line] = [Opening(FORMAT, dict(sorted(about.items())))]
    lines += [BlockLine(block) for block in blocks if block.number <= head.number]
    lines += [_line(entry) for entry in entries]
    lines.append(Closing(head.number, head.hash.hex(), head.time, len(entries)))
    digest, written = ZERO32, []
    for line in lines:
        digest = _digest(digest, line)
        written.append(msgspec.json.encode(msgspec.structs.replace(line, digest=digest.hex())) + b"\n")
    return b"".join(written)


def import_record(data: bytes) -> Record:
    """The record in a file's bytes. PeerFault("malformed") names the first line that is not as it was written."""
    digest, about = ZERO32, {}
    entries: list[Entry] = []
    blocks: list[Block] = []
    closing: Closing | None = None
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        if closing is not None:
            raise _fault(number, "it stands behind the last line")
        line, digest = _checked(number, raw, digest)
        if isinstance(line, Opening) != (number == 1):
            raise _fault(number, "the opening line comes first, and only there")
        match line:
            case Opening():
                about = line.about
            case BlockLine():
                if entries:
                    raise _fault(number, "blocks stand ahead of the entries")
                blocks.append(line.block)
            case LogLine():
                entries.append(_entry(number, line))
            case Closing():
                closing = line
    if closing is None:
        raise _fault(len(data.splitlines()) + 1, "it is missing: the record was cut")
    if closing.count != len(entries):
        raise _fault(len(data.splitlines()), f"it counts {closing.count} entries, the record has {len(entries)}")
    head = Head(closing.head, _unhex(len(blocks) + len(entries) + 2, closing.head_hash), closing.head_time)
    return Record(about, Batch(tuple(entries), head), digest, tuple(blocks))


def _line(entry: Entry) -> LogLine:
    at = entry.position
    return LogLine(
        type(entry.event).__name__, at.block, at.block_hash.hex(), at.time, at.transaction.hex(), at.log_index,
        at.gas_used, at.sender.hex(), entry.address.hex(), tuple(map(bytes.hex, entry.topics)), entry.data.hex(),
    )  # fmt: skip


def _checked(number: int, raw: bytes, previous: bytes) -> tuple[Line, bytes]:
    """The line and its digest, once both are proven."""
    try:
        line: Line = refuse_malformed(lambda: _decoder.decode(raw), "line")
    except PeerFault as fault:
        raise _fault(number, fault.detail) from fault
    if msgspec.json.encode(line) + b"\n" != raw:
        raise _fault(number, "it is not spelt as it was written")
    digest = _digest(previous, line)
    if line.digest != digest.hex():
        raise _fault(number, "its digest does not continue the line before: one of the two was altered, moved or cut")
    return line, digest


def _digest(previous: bytes, line: Line) -> bytes:
    return hashlib.sha256(previous + msgspec.json.encode(msgspec.structs.replace(line, digest=""))).digest()


def _entry(number: int, line: LogLine) -> Entry:
    position = Position(
        line.block, _unhex(number, line.block_hash), line.time, _unhex(number, line.transaction), line.log_index,
        line.gas_used, _unhex(number, line.sender),
    )  # fmt: skip
    topics = tuple(_unhex(number, topic) for topic in line.topics)
    try:
        entry = entry_from_log(position, _unhex(number, line.address), topics, _unhex(number, line.data))
    except PeerFault as fault:
        raise _fault(number, fault.detail) from fault
    if type(entry.event).__name__ != line.event:
        raise _fault(number, f"it says {line.event}, its log says {type(entry.event).__name__}")
    return entry


def _unhex(number: int, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _fault(number, f"{text[:40]!r} is not hex") from error


def _fault(number: int, what: str) -> PeerFault:
    return PeerFault("malformed", f"line {number} of the record: {what}")
