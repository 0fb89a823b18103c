"""Demands for data against this node: met from its own store, because silence costs the whole stake.

A cloud plans the answer in its outbox, so it goes out once whatever happens. An edge sends with its own account where that
can pay; where it cannot, its status says by when its owner must, and with which command.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ledger.calls import AnyCall
from ledger.demands import answer
from ledger.dispute import Case
from ledger.events import Demanded
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from nodes.agent import Agent
from nodes.records import read_memory

LOG = logging.getLogger("drystone")
LOOK_SECONDS: Final = 5.0  # between two looks for demands, and between two tries at one


class Answers:
    """`plan` hands a call to an outbox; without one it is sent at once, with this node's own gas."""

    def __init__(self, agent: Agent, plan: Callable[[AnyCall], object] | None = None) -> None:
        self.agent, self.plan = agent, plan
        self.done: set[int] = set()
        self.waiting: dict[int, str] = {}  # by demand: what keeps it from being answered, and the remedy

    async def run(self) -> None:
        while True:
            for demanded in list(self.agent.index.demands.values()):
                if self.agent.id and demanded.accused == self.agent.id and demanded.id not in self.done:
                    await self._meet(demanded)
            for number in [number for number in self.waiting if number not in self.agent.index.demands]:
                del self.waiting[number]
            await asyncio.sleep(LOOK_SECONDS)

    async def _meet(self, demanded: Demanded) -> None:
        try:
            call = self._answer(demanded)
            if self.plan is not None:
                self.plan(call)
            else:
                await self.agent.view.ledger.send(call, self.agent.account)
        except (ConfigurationError, LedgerRefused, Unavailable) as error:
            until = datetime.fromtimestamp(demanded.deadline, UTC).isoformat(timespec="seconds")
            name = self.agent.config.name
            self.waiting[demanded.id] = (
                f"demand {demanded.id} must be answered by {until}, or this node loses its stake: "
                f"drystone dispute answer {demanded.id} --node {name} ({error})"
            )
            LOG.error("%s", self.waiting[demanded.id])
            return
        self.waiting.pop(demanded.id, None)
        self.done.add(demanded.id)
        LOG.info("demand %d is answered", demanded.id)

    def _answer(self, demanded: Demanded) -> AnyCall:
        agent = self.agent
        memory = read_memory(agent.store.file, agent.config.name, agent.id)
        place = (demanded.task, demanded.round)
        case = Case(agent.index, agent.domain, agent.blobs, [memory], agent.network, place)
        return answer(case, demanded)
