"""Which ledger an address book means: the only place that chooses between a chain and a local log."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ledger.client import AddressBook, EvmLedger
from ledger.local import LocalLedger

AnyLedger: TypeAlias = EvmLedger | LocalLedger


def connect(book: AddressBook, head_file: Path | None = None) -> AnyLedger:
    """The ledger of `book`. `head_file` keeps the newest block of a local log that was seen here; a chain needs none, since
    its own rules say what it may take back."""
    return LocalLedger(book, head_file) if book.operator else EvmLedger(book)
