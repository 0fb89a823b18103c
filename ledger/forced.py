"""Updates that devices put before the ledger because no edge took them, and what a round must do with them.

The Ledger numbers a task's forced updates 1, 2, 3, ... and keeps a chain value behind each; a header names the value of the
last one that its cloud had read. The rule, which the cloud follows and the auditor repeats:

    a round acknowledges at least everything that the ledger held at the end of its roster block, the block that it was
    opened by; and nothing that came after the block that anchored it
    a round acknowledges no less than the one before it
    it lists, in the ledger's order, those made for this very round that were delivered: used, or marked with a fault

What came for a round that is over, or was never delivered, is acknowledged and not listed. Whether something was delivered
nobody can prove; that it was read is what the acknowledgement says, and what the Arbiter punishes the lack of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ledger.events import Forced
from middleware.ports import Entry
from middleware.types import ZERO32


class Came(msgspec.Struct, frozen=True):
    """One forced update, and where the ledger took it."""

    event: Forced
    block: int
    time: int  # seconds

    @property
    def number(self) -> int:
        return self.event.k


def came(entries: Iterable[Entry]) -> dict[int, list[Came]]:
    """Each task's forced updates, in the ledger's order."""
    found: dict[int, list[Came]] = {}
    for entry in entries:
        if isinstance(entry.event, Forced):
            one = Came(entry.event, entry.position.block, entry.position.time)
            found.setdefault(entry.event.task, []).append(one)
    return found


def acknowledged(forced: Sequence[Came], chain: bytes) -> int | None:
    """How many of them a header with this `chain` acknowledges; None for a value that none of them has."""
    if chain == ZERO32:
        return 0
    return next((place for place, one in enumerate(forced, start=1) if one.event.chain == chain), None)


def due(forced: Sequence[Came], block: int) -> int:
    """How many had come by the end of `block`."""
    return sum(one.block <= block for one in forced)
