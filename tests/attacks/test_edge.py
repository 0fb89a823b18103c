"""Everything a stranger, a former member or a lying device can try on an edge, over its real socket: each is refused by its own
name, counted in /metrics, and leaves no row behind. The edge is a real one; its ledger is the specification in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from devnet.simulation import Simulation, in_memory
from ledger.calls import Revoke, Suspend
from middleware.errors import PeerFault, Unavailable
from middleware.maths import compress
from middleware.protocol import update as updates
from middleware.protocol.update import Floats
from middleware.trust import chunks, roots, seal
from middleware.trust.keys import AccountKey, NetworkKey, sign_message
from middleware.types import ZERO32, CodecSpec, Grid, Leaf, Policy, Rule
from middleware.wire import tensors
from middleware.wire.message import Offer, Poll, ReceiptReply, Signed, Update, Wrapped, decode_stored
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
        async with TestServer(application(Node(agent, edge))) as server:
            yield World(fleet, agent, edge, Link(str(server.make_url("")), session, agent.limits))
        for forward in edge.forwards.values():
            forward.cancel()
        agent.store.close()


async def test_an_honest_update_gets_a_receipt_for_its_leaf_and_place(world: World) -> None:
    message, body = world.update()
    reply = decode_stored(await world.send(message, body), ReceiptReply).message
    assert reply.receipt.leaf == roots.leaf_hash(CONTEXT, message.leaf) and reply.receipt.index == 0
    assert [item.node for item in world.agent.store.contributions(1, 1)] == [DEVICE]


async def test_the_same_update_again_gets_the_same_receipt_and_one_place(world: World) -> None:
    message, body = world.update()
    assert await world.send(message, body) == await world.send(message, body)
    assert len(world.agent.store.contributions(1, 1)) == 1


async def test_a_stranger_is_unknown(world: World) -> None:
    message, body = world.update(node=99)
    await world.refused("unknown", message, body, by=DEVICE)


async def test_another_members_name_is_forged(world: World) -> None:
    message, body = world.update()
    await world.refused("forged", message, body, by=5)


async def test_a_suspended_and_a_revoked_device_are_out(world: World) -> None:
    await world.change(Suspend(DEVICE))
    await world.refused("suspended", *world.update())
    await world.change(Revoke(DEVICE))
    await world.refused("revoked", *world.update())


async def test_an_edge_cannot_pose_as_a_device(world: World) -> None:
    await world.refused("wrong-tier", *world.update(node=OTHER_EDGE))


async def test_another_edges_device_and_another_edges_leaf_are_refused(world: World) -> None:
    await world.refused("wrong-parent", *world.update(node=FOREIGN))
    await world.refused("wrong-parent", *world.update(edge=OTHER_EDGE))


async def test_another_round_and_another_task_are_refused(world: World) -> None:
    await world.refused("wrong-round", *world.update(round=2))
    await world.refused("wrong-task", *world.update(task=2))


async def test_more_samples_than_the_policy_counts_are_refused(world: World) -> None:
    await world.refused("too-large", *world.update(samples=501))


async def test_a_body_longer_than_the_task_can_need_is_refused_unread(world: World) -> None:
    message, body = world.update(payload=bytes(updates.body_limit(POLICY) + 1))
    await world.refused("too-large", message, body)


@pytest.mark.parametrize(
    "payload",
    [
        np.full(PARAMETERS, 2048, "<i2").tobytes(),  # one past the 12-bit grid
        np.full(PARAMETERS - 1, 1, "<i2").tobytes(),
        b"",
    ],
)
async def test_values_off_the_grid_are_refused_before_a_place_is_promised(world: World, payload: bytes) -> None:
    await world.refused("off-grid", *world.update(payload=payload))


async def test_a_second_update_in_one_round_is_a_duplicate(world: World) -> None:
    await world.send(*world.update())
    await world.refused("duplicate", *world.update(value=6))


async def test_an_old_sequence_number_is_a_replay(world: World) -> None:
    world.edge.gathering.sequences[DEVICE] = 10_000
    await world.refused("replayed", *world.update())


async def test_another_body_than_the_committed_one_is_a_mismatch(world: World) -> None:
    message, body = world.update()
    await world.refused("mismatch", message, bytes(len(body)))


async def test_a_body_sealed_for_another_round_does_not_open(world: World) -> None:
    message, _ = world.update()
    _, body = world.update(round=2)
    leaf = msgspec.structs.replace(message.leaf, ciphertext=hashlib.sha256(body).digest())
    await world.refused("mismatch", msgspec.structs.replace(message, leaf=leaf, body_digest=leaf.ciphertext), body)


async def test_a_replayed_poll_is_refused(world: World) -> None:
    poll = sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 7)).frame()
    assert (await world.link.poll(poll)) is not None
    with pytest.raises(PeerFault, match="replayed"):
        await world.link.poll(poll)


async def test_who_sends_too_fast_is_slowed_and_the_others_are_not(world: World) -> None:
    limits = msgspec.structs.replace(world.agent.limits, requests_per_second=0.001, requests_burst=1)
    world.agent.limits = limits
    first = sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 7)).frame()
    assert (await world.link.poll(first)) is not None
    with pytest.raises(Unavailable, match="over-quota"):
        await world.link.poll(sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 8)).frame())
    assert (await world.link.poll(sign_message(CONTEXT, world.key(5), Poll(5, 1)).frame())) is not None
