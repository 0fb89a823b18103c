"""The three tiers as three sets of capabilities of one program.

    end     contributes          calls out only; serves nothing
    edge    gathers, relays      serves devices, follows its cloud
    cloud   gathers, settles     serves edges, writes to the ledger

Each tier imports its own capability, so that an edge never loads torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Protocol

from ledger.calls import Register
from ledger.outbox import Outbox
from middleware.errors import ConfigurationError
from middleware.types import Tier
from nodes.agent import Agent
from nodes.http import Handler
from nodes.workloads import Workloads


class Capability(Protocol):
    """What a tier does once its node is active."""

    handlers: dict[int, Handler]

    register: Callable[[Register], object] | None  # sends this node's own registration, when it has gas

    def background(self) -> list[Coroutine[None, None, None]]:
        """What runs from the start, before the node is active."""
        ...

    async def run(self) -> None: ...

    def waiting_for(self) -> tuple[str, list[str]]: ...

    def report(self) -> dict[str, object]: ...

    async def proof(self, task: int, round: int, node: int) -> bytes | None: ...


def capability(agent: Agent, workloads: Workloads, outbox: Outbox | None) -> Capability:
    """The capability of the agent's tier."""
    match agent.config.rank:
        case Tier.END:
            from nodes.device import Device

            return Device(agent, workloads)
        case Tier.EDGE:
            from nodes.edge import Edge

            return Edge(agent)
        case Tier.CLOUD:
            from nodes.cloud import Cloud

            if outbox is None:
                raise ConfigurationError("a cloud writes to the ledger: it needs an outbox")
            return Cloud(agent, workloads, outbox)


def status(agent: Agent, work: Capability) -> dict[str, object]:
    """What `/status` and `task show` print: who this is, what it does, what it waits for."""
    progress, missing = work.waiting_for()
    return {
        "name": agent.config.name,
        "tier": agent.config.tier,
        "id": agent.id,
        "state": agent.view.rewound or agent.state,
        "waiting_for": progress,
        "missing": missing,
        "ledger_reachable": agent.view.reachable,
        "ledger_block": agent.index.head_block,
        "ledger_rewound": agent.view.rewound,
        "time": time.time(),
        **work.report(),
    }
