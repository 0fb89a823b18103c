"""How far a node's log has grown, on the ledger now and then: behind a checkpoint it cannot be rewritten.

The log holds what the node promised: receipts for updates, records of sessions. A checkpoint covers everything before it, so
nothing is lost where one fails: the next covers it too. An edge pays for its own, and goes on without where it cannot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from ledger.calls import Checkpoint
from middleware.errors import LedgerRefused, Unavailable
from middleware.trust.merkle import Tree, consistency
from middleware.trust.roots import log_leaf
from middleware.wire import canonical
from middleware.wire.session import SessionProof, SessionRecord
from nodes.agent import Agent

LOG = logging.getLogger("drystone")
LOOK_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 86_400.0  # after which even one entry is worth a checkpoint
RETRY_SECONDS: Final = 600.0  # after one that the ledger did not take


def due(entries: int, waited: float, every: int) -> bool:
    """Whether so many entries, the first of which has waited for so many seconds, ask for a checkpoint."""
    return every > 0 and entries > 0 and (entries >= every or waited >= WAIT_SECONDS)


def checkpoint(agent: Agent) -> Checkpoint:
    """The call that continues this node's last checkpoint up to the end of its log."""
    recorded = agent.index.checkpoints.get(agent.id, [])
    path = consistency(agent.store.log(), recorded[-1].size if recorded else 0)
    return Checkpoint(agent.id, *agent.store.log_head(), tuple(path))


def session_proof(agent: Agent, session: bytes) -> bytes | None:
    """The canonical `SessionProof` of a session under this node's newest checkpoint; None where that does not cover it."""
    row, recorded = agent.store.session(session), agent.index.checkpoints.get(agent.id, [])
    if row is None or not recorded:
        return None
    covered = agent.store.log()[: recorded[-1].size]
    leaf = log_leaf(row)
    if leaf not in covered:
        return None
    index = covered.index(leaf)
    record = canonical.decode(row, SessionRecord)
    return canonical.encode(SessionProof(record, index, len(covered), tuple(Tree.over(covered).path(index))))


class Checkpoints:
    """An edge's; see the head of the module."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.waiting_since: float | None = None  # of the first entry behind the last checkpoint
        self.not_before = 0.0
        self.why = ""  # what kept the last one from the ledger

    @property
    def open(self) -> int:
        """Entries that no checkpoint covers."""
        recorded = self.agent.index.checkpoints.get(self.agent.id, [])
        return self.agent.store.log_head()[0] - (recorded[-1].size if recorded else 0)

    async def run(self) -> None:
        while True:
            await self.agent.sound()
            if self.agent.id:
                await self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: float) -> None:
        """Send a checkpoint if it is time. `now`: seconds of a clock that never goes back."""
        entries = self.open
        self.waiting_since = (now if self.waiting_since is None else self.waiting_since) if entries else None
        waited = now - self.waiting_since if self.waiting_since is not None else 0.0
        if now < self.not_before or not due(entries, waited, self.agent.config.checkpoint_entries):
            return
        try:
            await self.agent.view.ledger.send(checkpoint(self.agent), self.agent.account)
        except (LedgerRefused, Unavailable) as error:
            self.why, self.not_before = str(error), now + RETRY_SECONDS
            LOG.info("the log is not on the ledger, %d entries wait: %s", entries, error)
            return
        self.why, self.waiting_since = "", None
        await self.agent.view.refresh()

    def report(self) -> dict[str, object]:
        """What /status shows of it."""
        recorded = self.agent.index.checkpoints.get(self.agent.id, [])
        return {"on_the_ledger": recorded[-1].size if recorded else 0, "entries": self.open, "why": self.why}
