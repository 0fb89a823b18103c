"""What a device keeps of its sessions, so that answers can be run again: one file a session, below `sessions/` in its state.

u32 length | canonical KeptSession without answers | (u32 length | canonical KeptAnswer) ...
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ledger.audit.sessions import KeptAnswer, KeptSession
from middleware.errors import ConfigurationError, PeerFault
from middleware.wire import canonical

FOLDER: Final = "sessions"
MOST_BYTES: Final = 1 << 30  # of one session; past it nothing more is kept, and an audit of it says so
_LENGTH: Final = struct.Struct(">I")


class Keeper:
    """Writes the answers of one device's sessions; a session begins with its first answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.file: BinaryIO | None = None
        self.session = b""
        self.bytes = 0

    def add(self, head: KeptSession, answer: KeptAnswer) -> None:
        """`head`: the session that the answer belongs to, without answers."""
        if head.session != self.session or self.file is None:
            self.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file, self.session, self.bytes = (self.folder / head.session.hex()).open("xb"), head.session, 0
            self._write(canonical.encode(head))
        if self.bytes <= MOST_BYTES:
            self._write(canonical.encode(answer))

    def _write(self, data: bytes) -> None:
        if self.file is not None:
            self.file.write(_LENGTH.pack(len(data)) + data)
            self.bytes += len(data)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def read_session(path: Path) -> KeptSession:
    """What a file holds; a last answer that is cut off is left out. ConfigurationError for a file that no session wrote."""
    parts, data, place = [], memoryview(path.read_bytes()), 0
    while place + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, place)
        end = place + _LENGTH.size + length
        if end > len(data):
            break
        parts.append(bytes(data[place + _LENGTH.size : end]))
        place = end
    try:
        head = canonical.decode(parts[0], KeptSession)
        answers = [canonical.decode(part, KeptAnswer) for part in parts[1:]]
    except (PeerFault, IndexError) as error:
        raise ConfigurationError(f"{path} is not what a session keeps: {error}") from error
    return msgspec.structs.replace(head, answers=tuple(sorted(answers, key=lambda one: one.receipt)))


def sessions_below(state: Path) -> list[Path]:
    """The files of a device's kept sessions, the oldest first."""
    return sorted((state / FOLDER).glob("*"), key=lambda path: path.stat().st_mtime)
