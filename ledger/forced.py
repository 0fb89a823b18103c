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

from collections.abc import Sequence

from ledger.index import ForcedUpdate
from middleware.types import ZERO32


def acknowledged(forced: Sequence[ForcedUpdate], chain: bytes) -> int | None:
    """How many of them a header with this `chain` acknowledges; None for a value that none of them has."""
    if chain == ZERO32:
        return 0
    return next((place for place, one in enumerate(forced, start=1) if one.chain == chain), None)


def due(forced: Sequence[ForcedUpdate], block: int) -> int:
    """How many had come by the end of `block`."""
    return sum(one.position.block <= block for one in forced)
