"""The log on disk: one line a block, only ever appended to, and checked in full whenever it is opened.

A block is acknowledged after its line was written and synced. So whatever a crash leaves behind the last newline is a
beginning of a line that nobody was told of: it is cut off, and said. Everything before it must hold to the last byte,
its own newlines included: a line that does not is named, and nothing is repaired. One process at a time may have the file
open, since two would fork the log.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from ledger.journal import BadLog, Block, Genesis, Journal, decode_line, encode_line, first_block
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.trust.keys import NetworkKey

LOG = logging.getLogger("drystone")
PAGE_BLOCKS: Final = 512  # in one answer to a reader


class LogFile:
    """An open log. `cut` is how many bytes of a torn last line were cut off when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open and check it. ConfigurationError where there is none, Unavailable where another process has it, BadLog
        where a line does not hold."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError as error:
            raise ConfigurationError(f"no log at {path}: `drystone ledger init` begins one") from error
        try:
            self._lock()
            self._load()
        except BaseException:
            os.close(self._file)
            raise

    @classmethod
    def create(cls, path: Path, genesis: Genesis, time: int, key: NetworkKey) -> LogFile:
        """A new log with its block 0. ConfigurationError where there is a file."""
        return cls._write(path, encode_line(first_block(genesis, time, key)))

    @classmethod
    def restore(cls, path: Path, blocks: Sequence[Block]) -> LogFile:
        """A log from somebody's copy of its blocks. ConfigurationError where there is a file, BadLog for a copy that does not
        hold; then nothing is written."""
        Journal.of(blocks)
        return cls._write(path, b"".join(map(encode_line, blocks)))

    @classmethod
    def _write(cls, path: Path, data: bytes) -> LogFile:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists: a log is never begun anew in its place") from error
        try:
            _write_all(file, data)
        finally:
            os.close(file)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    def append(self, raw: bytes, now: int, key: NetworkKey) -> Block:
        """The block that takes in a signed call, once it is on disk. Raises as `Journal.append`; an OSError means that this
        object no longer knows what is on disk, and only opening the file again tells."""
        block = self.journal.append(raw, now, key)
        line = encode_line(block)
        _write_all(self._file, line)
        self._ends.append(self._ends[-1] + len(line))
        return block

    def lines(self, begin: int) -> bytes:
        """The lines of at most PAGE_BLOCKS blocks from `begin` on; the last one alone where the log is shorter."""
        first = min(max(begin, 0), self.journal.head.number)
        last = min(first + PAGE_BLOCKS, len(self._ends) - 1)
        return os.pread(self._file, self._ends[last] - self._ends[first], self._ends[first])

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another process writes {self.path}: stop it first, two would fork the log") from error

    def _load(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        torn = data[whole:]
        blocks = [_decoded(number, line + b"\n") for number, line in enumerate(data[:whole].split(b"\n")[:-1])]
        if torn and _is_whole(torn[:-1]):
            raise BadLog(len(blocks), "its line is whole but for the newline, which was altered")
        if torn and _is_whole(torn):
            blocks.append(decode_line(torn + b"\n"))
            _write_all(self._file, b"\n")
            torn = b""
        self.journal = Journal.of(blocks)
        self._ends = [0]
        for block in blocks:
            self._ends.append(self._ends[-1] + len(encode_line(block)))
        self.cut = len(torn)
        if torn:
            LOG.warning(
                "%s: the last write was torn; %d bytes of block %d, which nobody was told of, are cut off",
                self.path, len(torn), len(blocks),
            )  # fmt: skip
            os.ftruncate(self._file, whole)
            os.fsync(self._file)


def _decoded(number: int, line: bytes) -> Block:
    try:
        return decode_line(line)
    except PeerFault as fault:
        raise BadLog(number, f"line {number + 1} of the file: {fault.detail}") from fault


def _is_whole(line: bytes) -> bool:
    """Whether a line without its newline is a block's."""
    try:
        decode_line(line + b"\n")
    except PeerFault:
        return False
    return True


def _write_all(file: int, data: bytes) -> None:
    """Write and sync. An OSError may leave a beginning of it behind."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    os.fsync(file)
