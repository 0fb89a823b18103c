"""What a node must not forget: one SQLite file (WAL, synchronous=FULL) and a folder of content-addressed blobs.

Rows hold the bytes that were signed or received, never a re-encoding, so that what the store returns is what a
signature covers. Everything that is promised (a receipt, a root, an update) is committed here before it is sent.
A blob is written under a temporary name and renamed, so a name is either absent or whole. Rows are synced to the disk and
blobs are left to the operating system: no kill of the process loses either, a power cut may lose the last blobs, and then
their digests say so.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from middleware.errors import ConfigurationError, Unavailable
from middleware.protocol.choice import REMEMBERED, Transfer
from middleware.trust.merkle import Frontier
from middleware.trust.roots import log_leaf
from middleware.types import Seen
from middleware.wire import canonical

SCHEMA = """
CREATE TABLE IF NOT EXISTS note(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offer(task INTEGER, round INTEGER, state TEXT, frame BLOB NOT NULL, at REAL NOT NULL,
    PRIMARY KEY(task, round));
CREATE TABLE IF NOT EXISTS contribution(task INTEGER, round INTEGER, child INTEGER, node INTEGER, place INTEGER,
    frame BLOB NOT NULL, body BLOB NOT NULL, reply BLOB NOT NULL, refused TEXT NOT NULL DEFAULT '',
    forwarded INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(task, round, child, node));
CREATE TABLE IF NOT EXISTS outgoing(task INTEGER, round INTEGER, frame BLOB NOT NULL, body BLOB NOT NULL,
    reply BLOB, answer TEXT NOT NULL DEFAULT '', PRIMARY KEY(task, round));
CREATE TABLE IF NOT EXISTS proof(task INTEGER, round INTEGER, value BLOB NOT NULL, PRIMARY KEY(task, round));
CREATE TABLE IF NOT EXISTS residual(task INTEGER PRIMARY KEY, value BLOB NOT NULL, refused BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trained(task INTEGER PRIMARY KEY, base INTEGER NOT NULL, model BLOB NOT NULL,
    told BLOB NOT NULL, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS upload(number INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS settled(task INTEGER, round INTEGER, header BLOB NOT NULL, manifest BLOB NOT NULL,
    summary BLOB NOT NULL, PRIMARY KEY(task, round));
CREATE TABLE IF NOT EXISTS voucher(channel INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS session(id BLOB PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS log(number INTEGER PRIMARY KEY, leaf BLOB NOT NULL);
"""


class Contribution(msgspec.Struct, frozen=True):
    """One accepted message of a child: `node` signed the update, `child` brought it (equal at an edge)."""

    task: int
    round: int
    child: int
    node: int
    place: int  # index in the edge's tree
    frame: bytes  # without its body
    body: bytes  # SHA-256 of the body's blob
    reply: bytes  # the receipt that was promised, as a frame
    refused: str = ""
    forwarded: bool = False


class Learned(msgspec.Struct, frozen=True):
    """What a node learned at its own pace and has not delivered yet."""

    base: int  # the round whose model it started from
    model: bytes  # that model's SHA-256
    told: bytes  # the metrics, as they will be signed
    vector: bytes  # float32


def _contribution(row: tuple[Any, ...]) -> Contribution:
    task, round, child, node, place, frame, body, reply, refused, forwarded = row
    return Contribution(task, round, child, node, place, frame, body, reply, refused, bool(forwarded))


class Blobs:
    """A folder of blobs named by the hex of their SHA-256, spread over 256 folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name

    def has(self, digest: bytes) -> bool:
        return self.path(digest).exists()

    def put(self, data: bytes | bytearray | memoryview, digest: bytes | None = None) -> bytes:
        """Store `data`; returns its SHA-256. `digest` spares hashing again what was hashed while it arrived."""
        name = digest if digest is not None else hashlib.sha256(data).digest()
        path = self.path(name)
        if path.exists():
            return name
        path.parent.mkdir(exist_ok=True)
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError as error:
            raise Unavailable(f"cannot write blob {name.hex()[:12]}: {error}; free some disk space") from error
        return name

    def get(self, digest: bytes) -> bytes | None:
        """The blob's bytes, or None. The caller checks the digest where the bytes decide anything."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            return None


class Store:
    """The node's memory. One connection, used from the event loop's thread only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.seal = folder / "node.db", folder / "node.db.sha256"
        self.seal.unlink(missing_ok=True)
        try:
            self.connection = sqlite3.connect(self.file, isolation_level=None, timeout=5)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
            self.connection.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(f"{self.file} is not a usable node database: {error}") from error
        self.blobs = Blobs(folder / "blobs")
        self._log = self._read_log()

    def close(self) -> None:
        """Close, and note the file's SHA-256 beside it: an audit then sees any byte that changes while the node is stopped."""
        self.connection.close()
        if not self.file.with_name("node.db-wal").exists():  # somebody else still reads it: nothing is final
            with self.file.open("rb") as file:
                self.seal.write_text(hashlib.file_digest(file, "sha256").hexdigest() + "\n")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it returns; within another one, part of that."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            self._log = self._read_log()
            raise
        self.connection.execute("COMMIT")

    # ------------------------------------------------------------------------------------------------------------ notes

    def note(self, key: str) -> bytes | None:
        row = self.connection.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_note(self, key: str, value: bytes) -> None:
        self.connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (key, value))

    def next_sequence(self, floor: int) -> int:
        """A number above every one handed out before, and at least `floor`."""
        last = int.from_bytes(self.note("sequence") or b"", "big")
        value = max(last + 1, floor)
        self.set_note("sequence", value.to_bytes(8, "big"))
        return value

    def witness(self) -> Seen:
        """The newest block that was deep enough below the head to stay; zeros before there was one."""
        noted = self.note("witness")
        return canonical.decode(noted, Seen) if noted else Seen()

    def set_witness(self, seen: Seen) -> None:
        self.set_note("witness", canonical.encode(seen))

    # --------------------------------------------------------------------------------------------------------- sessions

    def voucher(self, channel: int) -> bytes | None:
        """The last voucher of a payment channel."""
        row = self.connection.execute("SELECT value FROM voucher WHERE channel = ?", (channel,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_voucher(self, channel: int, value: bytes) -> None:
        self.connection.execute("INSERT OR REPLACE INTO voucher VALUES (?, ?)", (channel, value))

    def put_session(self, session: bytes, record: bytes) -> None:
        """What a session came to."""
        self.connection.execute("INSERT OR IGNORE INTO session VALUES (?, ?)", (session, record))

    def session(self, session: bytes) -> bytes | None:
        row = self.connection.execute("SELECT record FROM session WHERE id = ?", (session,)).fetchone()
        return None if row is None else bytes(row[0])

    # -------------------------------------------------------------------------------------------------------------- log

    def append_log(self, frame: bytes) -> None:
        """Note that this node signed `frame`, at the end of the log. The caller commits it with the promise itself."""
        leaf = log_leaf(frame)
        self.connection.execute("INSERT INTO log VALUES (?, ?)", (self._log.size, leaf))
        self._log = self._log.append(leaf)

    def _read_log(self) -> Frontier:
        held = Frontier()
        for leaf in self.log():
            held = held.append(leaf)
        return held

    def log(self) -> list[bytes]:
        """Leaf hashes of everything that this node signed and kept, in order: an RFC 9162 tree."""
        return [bytes(row[0]) for row in self.connection.execute("SELECT leaf FROM log ORDER BY number")]

    def log_head(self) -> tuple[int, bytes]:
        """(size, root) of the log."""
        return self._log.size, self._log.root

    # ----------------------------------------------------------------------------------------------------------- offers

    def put_offer(self, task: int, round: int, state: str, frame: bytes, at: float) -> None:
        self.connection.execute("INSERT OR REPLACE INTO offer VALUES (?, ?, ?, ?, ?)", (task, round, state, frame, at))

    def last_offer(self) -> tuple[int, int, str, bytes, float] | None:
        row = self.connection.execute(
            "SELECT task, round, state, frame, at FROM offer ORDER BY task DESC, round DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], row[1], row[2], bytes(row[3]), row[4])

    def offer(self, task: int, round: int) -> bytes | None:
        row = self.connection.execute("SELECT frame FROM offer WHERE task = ? AND round = ?", (task, round)).fetchone()
        return None if row is None else bytes(row[0])

    # ---------------------------------------------------------------------------------------------------- contributions

    def add_contribution(self, item: Contribution) -> None:
        """Keep what a child sent with the receipt that it gets; the receipt goes into the log."""
        with self.transaction():
            self.connection.execute(
                "INSERT INTO contribution VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(item)
            )
            if item.reply:
                self.append_log(item.reply)

    def contributions(self, task: int, round: int, child: int | None = None) -> list[Contribution]:
        """In the order of the places that were promised: the order of an edge's tree."""
        query, arguments = "SELECT * FROM contribution WHERE task = ? AND round = ?", [task, round]
        if child is not None:
            query, arguments = query + " AND child = ?", [*arguments, child]
        rows = self.connection.execute(query + " ORDER BY place, child, node", arguments)
        return [_contribution(row) for row in rows]

    def contribution(self, task: int, round: int, child: int, node: int) -> Contribution | None:
        row = self.connection.execute(
            "SELECT * FROM contribution WHERE task = ? AND round = ? AND child = ? AND node = ?",
            (task, round, child, node),
        ).fetchone()
        return None if row is None else _contribution(row)

    def mark_forwarded(self, task: int, round: int, node: int) -> None:
        self.connection.execute(
            "UPDATE contribution SET forwarded = 1 WHERE task = ? AND round = ? AND node = ?", (task, round, node)
        )

    def mark_refused(self, task: int, round: int, child: int, node: int, code: str) -> None:
        self.connection.execute(
            "UPDATE contribution SET refused = ? WHERE task = ? AND round = ? AND child = ? AND node = ?",
            (code, task, round, child, node),
        )

    # --------------------------------------------------------------------------------------------------------- outgoing

    def put_outgoing(self, task: int, round: int, frame: bytes, body: bytes) -> None:
        """Keep this node's own message before it is sent; it goes into the log."""
        with self.transaction():
            self.connection.execute(
                "INSERT INTO outgoing(task, round, frame, body) VALUES (?, ?, ?, ?)", (task, round, frame, body)
            )
            self.append_log(frame)

    def outgoing(self, task: int, round: int) -> tuple[bytes, bytes, bytes | None, str] | None:
        """(frame without body, body digest, reply or None, final answer or "") of this node's own message."""
        row = self.connection.execute(
            "SELECT frame, body, reply, answer FROM outgoing WHERE task = ? AND round = ?", (task, round)
        ).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]), row[2], row[3])

    def answer_outgoing(self, task: int, round: int, reply: bytes | None, answer: str) -> None:
        self.connection.execute(
            "UPDATE outgoing SET reply = ?, answer = ? WHERE task = ? AND round = ?", (reply, answer, task, round)
        )

    def receipts(self, task: int) -> list[tuple[int, bytes, bytes]]:
        """(round, frame, reply) of every own update that has a receipt and no inclusion proof yet."""
        rows = self.connection.execute(
            "SELECT round, frame, reply FROM outgoing WHERE task = ?1 AND answer = 'receipt'"
            " AND round NOT IN (SELECT round FROM proof WHERE task = ?1) ORDER BY round",
            (task,),
        )
        return [(row[0], bytes(row[1]), bytes(row[2])) for row in rows]

    def put_proof(self, task: int, round: int, value: bytes) -> None:
        """The canonical inclusion proof of this node's own update."""
        self.connection.execute("INSERT OR REPLACE INTO proof VALUES (?, ?, ?)", (task, round, value))

    # --------------------------------------------------------------------------------------------------------- residual

    def residual(self, task: int) -> bytes | None:
        row = self.connection.execute("SELECT value FROM residual WHERE task = ?", (task,)).fetchone()
        return None if row is None else bytes(row[0]) or None

    def put_residual(self, task: int, value: bytes, refused: bytes) -> None:
        """`value` is what the next update adds; `refused` is what it adds if the parent refuses the one just composed."""
        self.connection.execute("INSERT OR REPLACE INTO residual VALUES (?, ?, ?)", (task, value, refused))

    def take_back_residual(self, task: int) -> None:
        """The update just composed was refused: nothing of it was sent."""
        self.connection.execute("UPDATE residual SET value = refused WHERE task = ?", (task,))

    # ---------------------------------------------------------------------------------------------------------- trained

    def put_trained(self, task: int, item: Learned) -> None:
        """Keep what this node has learned until it is delivered."""
        values = (task, *msgspec.structs.astuple(item))
        self.connection.execute("INSERT OR REPLACE INTO trained VALUES (?, ?, ?, ?, ?)", values)

    def trained(self, task: int) -> Learned | None:
        row = self.connection.execute(
            "SELECT base, model, told, vector FROM trained WHERE task = ?", (task,)
        ).fetchone()
        return None if row is None else Learned(row[0], bytes(row[1]), bytes(row[2]), bytes(row[3]))

    def drop_trained(self, task: int) -> None:
        self.connection.execute("DELETE FROM trained WHERE task = ?", (task,))

    def last_outgoing(self, task: int) -> tuple[int, str] | None:
        """(round, final answer or "") of this node's newest message of a task."""
        row = self.connection.execute(
            "SELECT round, answer FROM outgoing WHERE task = ? ORDER BY round DESC LIMIT 1", (task,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    # ---------------------------------------------------------------------------------------------------------- uploads

    def uploads(self) -> list[Transfer]:
        """The last uploads of this node, oldest first, as many as its link's rate is taken from."""
        rows = self.connection.execute(
            "SELECT bytes, seconds FROM upload ORDER BY number DESC LIMIT ?", (REMEMBERED,)
        ).fetchall()
        return [Transfer(row[0], row[1]) for row in reversed(rows)]

    def put_upload(self, upload: Transfer) -> None:
        with self.transaction():
            self.connection.execute("INSERT INTO upload(bytes, seconds) VALUES (?, ?)", (upload.bytes, upload.seconds))
            self.connection.execute(
                "DELETE FROM upload WHERE number <= (SELECT max(number) FROM upload) - ?", (REMEMBERED,)
            )

    # ---------------------------------------------------------------------------------------------------------- settled

    def put_settled(self, task: int, round: int, header: bytes, manifest: bytes, summary: bytes) -> None:
        self.connection.execute("INSERT INTO settled VALUES (?, ?, ?, ?, ?)", (task, round, header, manifest, summary))

    def settled(self, task: int) -> list[tuple[int, bytes, bytes, bytes]]:
        """(round, canonical header, manifest digest, summary) of every round of the task that this cloud settled."""
        rows = self.connection.execute(
            "SELECT round, header, manifest, summary FROM settled WHERE task = ? ORDER BY round", (task,)
        )
        return [(row[0], bytes(row[1]), bytes(row[2]), bytes(row[3])) for row in rows]
