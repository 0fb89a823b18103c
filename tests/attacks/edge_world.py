"""An edge that serves round 1 over a real socket, and the keys of everybody: what the attacks in this folder attack."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from devnet.simulation import Simulation, in_memory
from ledger.calls import Revoke, Suspend
from middleware.errors import PeerFault
from middleware.maths import compress
from middleware.policy import CodecSpec, Grid, Policy, Rule
from middleware.protocol.update import Floats
from middleware.trust import chunks, seal
from middleware.trust.keys import AccountKey, NetworkKey, sign_message
from middleware.types import ZERO32, Leaf
from middleware.wire import tensors
from middleware.wire.message import Offer, Signed, Update, Wrapped
from nodes.agent import Agent
from nodes.chain import ChainView
from nodes.config import NodeConfig, Settings
from nodes.daemon import Node
from nodes.edge import Edge
from nodes.http import application
from nodes.link import Link
from nodes.store import Store

OPERATOR = AccountKey(bytes(range(1, 33)))
CONTEXT = in_memory(OPERATOR)[1]
PARAMETERS = 600
POLICY = Policy(
    workload="digits", model="mlp:1", parameters=PARAMETERS, rounds=3, rule=Rule("multi-krum", 1), grid=Grid(12, -8),
    codec=CodecSpec("none"), min_updates=5, samples_cap=500, round_seconds=600.0,
)  # fmt: skip
EDGE, OTHER_EDGE, DEVICE, FOREIGN = 2, 3, 4, 8  # node 8 is the first device below the other edge


def nothing(device: int, round: int, model: Floats) -> Floats:
    return np.zeros_like(model)


class World:
    """An edge that serves round 1, and the keys of everybody."""

    def __init__(self, fleet: Simulation, agent: Agent, edge: Edge, link: Link) -> None:
        self.fleet, self.agent, self.edge, self.link = fleet, agent, edge, link
        self.sequence = 100

    def key(self, node: int) -> NetworkKey:
        return self.fleet.keys[node].network

    def update(
        self, node: int = DEVICE, round: int = 1, task: int = 1, edge: int = EDGE, samples: int = 10,
        payload: bytes | None = None, value: int = 5,
    ) -> tuple[Update, bytes]:  # fmt: skip
        """A device's update of a constant vector, or of any payload."""
        self.sequence += 1
        integers = np.full(PARAMETERS, value, np.int16)
        packed = compress.encode("none", integers, POLICY.grid.bits) if payload is None else payload
        content, salt = bytes([7]) * 32, bytes([8]) * 16
        body = seal.seal(content, (salt, packed), seal.leaf_context(task, round, node))
        leaf = Leaf(
            task, round, node, edge, self.sequence, samples, hashlib.sha256(body).digest(),
            chunks.update_root(integers, salt, 2), hashlib.sha256(b"{}").digest(),
        )  # fmt: skip
        wrapped = (Wrapped(self.key(EDGE).public, seal.wrap(content, self.key(EDGE).public)),)
        return Update(node, self.sequence, leaf, wrapped, b"{}", leaf.ciphertext, len(body)), body

    def sign(self, message: Update, by: int | None = None) -> Signed[Update]:
        return sign_message(CONTEXT, self.key(by or message.sender), message)

    async def send(self, message: Update, body: bytes, by: int | None = None) -> bytes:
        return await self.link.post(self.sign(message, by).stored(), body)

    async def refused(self, code: str, message: Update, body: bytes, by: int | None = None) -> None:
        """The edge refuses by this name, counts it, and keeps nothing."""
        before = self.agent.store.contributions(1, 1)
        with pytest.raises(PeerFault) as caught:
            await self.send(message, body, by)
        assert caught.value.code == code
        assert self.agent.store.contributions(1, 1) == before
        shown = (await self.link._request("GET", "/metrics")).decode()
        assert f'drystone_refused_total{{code="{code}"}}' in shown

    async def change(self, call: Suspend | Revoke) -> None:
        """The registrar acts; the next round is judged by the new roster."""
        await self.fleet.ledger.send(call, OPERATOR)
        await self.agent.view.refresh()
        self.edge.gathering.roster = self.agent.index.roster()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger, _, registry = in_memory(OPERATOR)
    fleet = Simulation(ledger, CONTEXT, registry, OPERATOR, POLICY, nothing, devices=8, edges=2)
    await fleet.join()
    view = ChainView(ledger, 1.0)
    await view.refresh()
    settings = Settings(tmp_path, NodeConfig("edge-1", "edge", listen="127.0.0.1:0", parent="http://127.0.0.1:1"))
    keys = fleet.keys[EDGE]
    async with aiohttp.ClientSession() as session:
        agent = Agent(settings, keys.network, keys.account, registry, view, Store(tmp_path), session, CONTEXT)
        agent.id = EDGE
        model = tensors.encode_model(fleet.model)
        agent.blobs.put(model)
        task = agent.task(1)
        offer = Offer(
            1, 1, 1, 1, task.policy_hash, tensors.model_hash(model), len(model), -8, 600.0, ZERO32, "open", agent.index.head_block
        )  # fmt: skip
        edge = Edge(agent)
        await edge._take(sign_message(CONTEXT, fleet.keys[1].network, offer), fresh=True)
        async with TestServer(application(Node(agent, edge, bytes(20), session))) as server:
            yield World(fleet, agent, edge, Link(str(server.make_url("")), session, agent.limits))
        for forward in edge.forwards.values():
            forward.cancel()
        agent.store.close()
