"""The node's view of the ledger: one fold over its events, refreshed in the background.

Status and rosters follow the chain's head; what is paid or proved follows `final`. A ledger that does not answer leaves
the view as it was: rounds go on, and whoever needs something newer waits with a deadline of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from ledger.index import Index
from middleware.errors import Unavailable
from middleware.ports import Ledger
from middleware.types import Seen

LOG = logging.getLogger("drystone")


class ChainView:
    """`finality_blocks`: how deep a block must be for `final` to show what is in it."""

    def __init__(self, ledger: Ledger, poll_seconds: float, finality_blocks: int = 0) -> None:
        self.ledger = ledger
        self.poll_seconds = poll_seconds
        self.finality_blocks = finality_blocks
        self.index = Index()
        self.reachable = False
        self.changed = asyncio.Condition()
        self.cpu_seconds = 0.0
        self._refreshing = asyncio.Lock()
        self.rewound = ""  # why this ledger is not the one that was read before; "" while it is
        self._seen, self._depth = Seen(), 0
        self._keep: Callable[[Seen], None] | None = None

    def remember(self, seen: Seen, keep: Callable[[Seen], None], depth: int) -> None:
        """Go on from `seen`, the newest block that lay `depth` blocks below the head in an earlier life, and hand every
        newer such block to `keep`."""
        self._seen, self._keep, self._depth = seen, keep, depth

    @property
    def final(self) -> Index:
        """The view for whoever must not act on what a reorganisation may still take back."""
        return self.index.final(self.finality_blocks)

    async def refresh(self) -> bool:
        """Read what is new; False when the ledger does not answer."""
        async with self._refreshing:
            try:
                batch = await self.ledger.entries(self.index.cursor)
            except Unavailable as error:
                if self.reachable:
                    LOG.warning("ledger out of reach, going on without it: %s", error)
                self.reachable = False
                return False
            began = time.thread_time()
            self.reachable = True
            final = self.final.head_block
            moved = self.index.extend(batch)
            self._watch()
            if batch.rewind_to is not None and batch.rewind_to < final:
                LOG.error(
                    "the chain took back block %d, which was final: finality_blocks is too small, or the chain is attacked",
                    final,
                )
            self.cpu_seconds += time.thread_time() - began
        if moved:
            async with self.changed:
                self.changed.notify_all()
        return True

    def _watch(self) -> None:
        """A ledger that lost a block which lay deep below its head was rewound, or is another one."""
        if self._keep is None:
            return
        seen, before = self._seen, self.rewound
        if seen == Seen() or self.index.holds(seen):
            self.rewound = ""
            newest = self.index.witness(self.index.head_block - self._depth)
            if newest.block > seen.block:
                self._seen = newest
                self._keep(newest)
        else:
            known = f"block {seen.block} with hash {seen.hash.hex()[:16]}"
            self.rewound = (
                f"stopped: the ledger was rewound, or is another one: this node had seen {known} {self._depth} blocks deep, "
                f"and the ledger, now at block {self.index.head_block}, does not have it"
            )
            if not before:
                LOG.error("%s", self.rewound)

    async def run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self.poll_seconds)

    async def until(self, holds: Callable[[Index], bool], seconds: float) -> bool:
        """Wait at most `seconds` until the view satisfies `holds`; says whether it does."""
        deadline = time.monotonic() + seconds
        while not holds(self.index):
            if time.monotonic() >= deadline:
                return False
            await self.refresh()
            if not holds(self.index):
                await asyncio.sleep(min(0.1, self.poll_seconds))
        return True
