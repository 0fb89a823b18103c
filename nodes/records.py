"""What an audit reads from disk and from other nodes: an exported record, blobs, and the nodes' own databases.

Reading only: a database is opened read-only, a file is never repaired, and nothing that is read is believed here. What
cannot be read is handed on as a fault with the file's name; judging is `ledger.audit`'s work.
"""

from __future__ import annotations

import hashlib
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

from ledger.audit.check import Progress, verify
from ledger.audit.evidence import Evidence, read, unreadable
from ledger.audit.memory import AttemptRow, ContributionRow, Memory, OfferRow, OutboxRow, OutgoingRow, SettledRow
from ledger.audit.report import Report, summarise
from ledger.lists import learn_known
from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.keys import NetworkKey
from middleware.types import LIMITS, Roster, Seen
from middleware.wire import canonical
from nodes.config import Settings, read_config
from nodes.evaluation import Evaluation

REQUEST_SECONDS = 10.0
_INTEGRITY_LINES = 3  # of SQLite's complaints that are shown
UNREADABLE: Final = (
    sqlite3.Error,
    UnicodeError,
    MemoryError,
)  # SQLite's own words about a damaged file may be no UTF-8
SEAL_SUFFIX = ".sha256"
NOTED = "it is not as its node left it"
QUERIES: Final = {  # past the indexes: a row must be found where it lies
    "offer": "SELECT task, round, state, frame FROM offer NOT INDEXED",
    "contribution": "SELECT task, round, child, node, place, frame, body, reply, refused FROM contribution NOT INDEXED",
    "outgoing": "SELECT task, round, frame, body, reply, answer FROM outgoing NOT INDEXED",
    "settled": "SELECT task, round, header, manifest, summary FROM settled NOT INDEXED",
    "log": "SELECT leaf FROM log NOT INDEXED ORDER BY number",
    "note": "SELECT key, value FROM note",
    "outbox": "SELECT number, id, function, call, block, gas FROM outbox NOT INDEXED",
    "outbox_attempt": "SELECT hash, number, raw FROM outbox_attempt NOT INDEXED",
}
_HEX = set("0123456789abcdef")

R = TypeVar("R")


class Copies:
    """Blobs from several folders and servers: a good copy wins over an altered one, wherever it lies."""

    def __init__(self, places: Iterable[str | Path]) -> None:
        texts = [str(place) for place in places]
        self.servers = [text.rstrip("/") for text in texts if text.startswith(("http://", "https://"))]
        self.folders = [Path(text) for text in texts if not text.startswith(("http://", "https://"))]
        missing = next((folder for folder in self.folders if not folder.is_dir()), None)
        if missing is not None:
            raise ConfigurationError(f"--blobs {missing} is no folder")

    def get(self, digest: bytes) -> bytes | None:
        """The blob; altered bytes only where no copy has its name's SHA-256."""
        altered: bytes | None = None
        for data in self._copies(digest):
            if hashlib.sha256(data).digest() == digest:
                return data
            altered = data
        return altered

    def _copies(self, digest: bytes) -> Iterator[bytes]:
        name = digest.hex()
        for folder in self.folders:
            for path in (folder / name[:2] / name, folder / name):
                if path.is_file():
                    yield path.read_bytes()
        for server in self.servers:
            data = _download(f"{server}/v1/blob/{name}")
            if data is not None:
                yield data


def _download(address: str) -> bytes | None:
    """A blob of at most the wire's limit, or None when the server has none or does not answer."""
    try:
        with urllib.request.urlopen(address, timeout=REQUEST_SECONDS) as answer:
            data: bytes = answer.read(LIMITS.blob_bytes + 1)
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return data if len(data) <= LIMITS.blob_bytes else None


def nodes_below(home: Path) -> list[Settings]:
    """The settings of every node whose folder is below `home`."""
    return [read_config(path) for path in sorted((home / "nodes").glob("*/node.toml"))]


def blob_folders(settings: Sequence[Settings]) -> list[Path]:
    """Where these nodes keep blobs, as far as the folders exist."""
    folders = (node.path(node.config.state) / "blobs" for node in settings)
    return [folder for folder in folders if folder.is_dir()]


# -------------------------------------------------------------------------------------------------------------- databases


def read_memories(home: Path, roster: Roster) -> list[Memory]:
    """What every node below `home` remembers, and which of its blob files are not what their names say."""
    memories = []
    for settings in nodes_below(home):
        state = settings.path(settings.config.state)
        node = roster.by_name(settings.config.name)
        name = f"{settings.config.name}/{settings.config.state}"
        memories.append(read_memory(state / "node.db", f"{name}/node.db", node.id if node else 0, state / "blobs"))
    return memories


def read_memory(database: Path, place: str, node: int, blobs: Path | None = None) -> Memory:
    """One node's database, table by table. What SQLite cannot read becomes a fault, never an exception."""
    altered = tuple(altered_blobs(blobs)) if blobs is not None and blobs.is_dir() else ()
    if not database.is_file():
        return Memory(place, node, altered=altered)
    faults = _unsealed(database)
    try:
        with closing(_connect(database)) as connection:
            faults += [f"SQLite finds it damaged: {line}" for line in _integrity(connection)]
            offers = _rows(connection, "offer", _offer, faults)
            contributions = _rows(connection, "contribution", _contribution, faults)
            outgoing = _rows(connection, "outgoing", _outgoing, faults)
            settled = _rows(connection, "settled", _settled, faults)
            log = _rows(connection, "log", _blob, faults)
            notes = dict(_rows(connection, "note", _note, faults))
            wishes = _rows(connection, "outbox", _wish, faults, required=False)
            attempts = _rows(connection, "outbox_attempt", _attempt, faults, required=False)
    except UNREADABLE as error:
        return Memory(place, node, faults=(f"SQLite cannot read it: {error}",), altered=altered)
    witness = _witness(notes.get("witness", b""), faults)
    return Memory(
        place, node, offers, contributions, outgoing, settled, wishes, attempts, log, witness, tuple(faults), altered
    )


def altered_blobs(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(file, the digest that is its name) of every blob below `folder` whose bytes have another SHA-256."""
    for path in sorted(folder.glob("*/*")):
        name = path.name
        if len(name) == 64 and set(name) <= _HEX and path.is_file():
            digest = bytes.fromhex(name)
            if hashlib.sha256(path.read_bytes()).digest() != digest:
                yield str(path), digest


def _connect(database: Path) -> sqlite3.Connection:
    """Read-only. A database that a node has open is read through its write-ahead log; a closed one is left untouched."""
    live = database.with_name(database.name + "-wal").exists()
    connection = sqlite3.connect(
        f"{database.resolve().as_uri()}?mode=ro{'' if live else '&immutable=1'}", uri=True, timeout=5
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _unsealed(database: Path) -> list[str]:
    """A node that stops in order notes its database's SHA-256; while it is stopped nothing may change it."""
    seal = database.with_name(database.name + SEAL_SUFFIX)
    if not seal.is_file() or database.with_name(database.name + "-wal").exists():
        return []
    with database.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    noted = seal.read_bytes()[:80].decode("ascii", "replace").strip()
    return [] if noted == digest else [f"{NOTED}: the SHA-256 noted beside it is another"]


def _integrity(connection: sqlite3.Connection) -> list[str]:
    lines = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_INTEGRITY_LINES})")]
    return [] if lines == ["ok"] else lines


def _rows(
    connection: sqlite3.Connection, table: str, make: Callable[..., R], faults: list[str], required: bool = True
) -> tuple[R, ...]:
    """The table's rows; a row with a value of another type is a fault. Only a cloud has the tables of the outbox."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    if known is None:
        faults += [f"table {table} is missing"] * required
        return ()
    rows: list[R] = []
    try:
        for values in connection.execute(QUERIES[table]):
            try:
                rows.append(make(*values))
            except (TypeError, ValueError) as error:
                faults.append(f"table {table} has a damaged row: {error}")
    except UNREADABLE as error:
        faults.append(f"table {table} cannot be read: {error}")
    return tuple(rows)


def _number(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return value


def _blob(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{str(value)[:40]!r} is no blob")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


def _note(key: Any, value: Any) -> tuple[str, bytes]:
    return _text(key), _blob(value)


def _witness(value: bytes, faults: list[str]) -> Seen:
    try:
        return canonical.decode(value, Seen) if value else Seen()
    except PeerFault as fault:
        faults.append(f"its note of the ledger's past is damaged: {fault.detail}")
        return Seen()


def _offer(task: Any, round: Any, state: Any, frame: Any) -> OfferRow:
    return OfferRow(_number(task), _number(round), _text(state), _blob(frame))


def _contribution(
    task: Any, round: Any, child: Any, node: Any, place: Any, frame: Any, body: Any, reply: Any, refused: Any
) -> ContributionRow:
    where = _number(task), _number(round), _number(child), _number(node), _number(place)
    return ContributionRow(*where, _blob(frame), _blob(body), _blob(reply), _text(refused))


def _outgoing(task: Any, round: Any, frame: Any, body: Any, reply: Any, answer: Any) -> OutgoingRow:
    kept = b"" if reply is None else _blob(reply)
    return OutgoingRow(_number(task), _number(round), _blob(frame), _blob(body), kept, _text(answer))


def _settled(task: Any, round: Any, header: Any, manifest: Any, summary: Any) -> SettledRow:
    return SettledRow(_number(task), _number(round), _blob(header), _blob(manifest), _blob(summary))


def _wish(number: Any, name: Any, function: Any, call: Any, block: Any, gas: Any) -> OutboxRow:
    mined = -1 if block is None else _number(block), -1 if gas is None else _number(gas)
    return OutboxRow(_number(number), _blob(name), _text(function), _blob(call), *mined)


def _attempt(digest: Any, number: Any, raw: Any) -> AttemptRow:
    return AttemptRow(_blob(digest), _number(number), _blob(raw))


# ------------------------------------------------------------------------------------------------------------- whole audits


def verify_home(
    evidence: Evidence,
    home: Path,
    places: Sequence[str | Path] = (),
    scope: str = "public",
    reader: NetworkKey | None = None,
    task: int = 0,
    progress: Progress | None = None,
    tables: Sequence[str] = (),
    secret: bytes = b"",
) -> Report:
    """The audit of the record, with blobs from `places` (none: every node below `home`) and those nodes' databases.

    Scores are measured again on the digits, on `tables` (such as table:FILE), and on the tables that these nodes name.
    """
    folders: Sequence[str | Path] = places or blob_folders(nodes_below(home))
    learn_known(evidence.index, evidence.registry_domain, Copies(folders).get)
    memories = read_memories(home, evidence.index.roster())
    evaluation = Evaluation([*tables, *tables_below(home)])
    return verify(evidence, Copies(folders), scope, reader, task, memories, progress, evaluation, secret)


def tables_below(home: Path) -> list[str]:
    """The tables that the nodes below `home` train on, as table:FILE, where the file is at hand."""
    found = []
    for settings in nodes_below(home):
        for entry in settings.config.workloads:
            file = settings.path(entry.name.partition(":")[2])
            if entry.name.startswith("table:") and file.is_file():
                found.append(f"table:{file}")
    return sorted(set(found))


def verify_exported(record: Path, home: Path, reader: NetworkKey | None = None, secret: bytes = b"") -> dict[str, int]:
    """{valid, invalid, unverifiable} of an exported record and the nodes below `home`, for a run's report."""
    try:
        evidence = read(record.read_bytes())
    except PeerFault as fault:
        return summarise([unreadable(fault)], "public").counts
    scope = "public" if reader is None else "auditor"
    return verify_home(evidence, home, scope=scope, reader=reader, secret=secret).counts
