"""Can a crash make an honest edge or cloud slashable? Both, with their real stores on disk, killed between composing, storing and
sending; everything that ever left them is kept as their accusers would keep it.

An edge: two receipts for one index, two roots for one round, a receipt whose leaf is not at its index of the root.
A cloud: two receipts for one index, two offers for one round.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import numpy as np

from devnet.kill import DyingConnection, DyingLedger, Fuse, Killed
from devnet.simulation import Simulation, in_memory
from ledger.outbox import Outbox
from middleware.errors import OurFault, PeerFault
from middleware.policy import CodecSpec, Grid, Policy, Rule
from middleware.protocol.machine import Phase, Rang
from middleware.protocol.settlement import Settlement
from middleware.protocol.update import Floats
from middleware.trust import eip712, roots
from middleware.trust.keys import AccountKey, sign_message, sign_receipt
from middleware.types import ZERO32, Leaf, Receipt
from middleware.wire import tensors
from middleware.wire.message import (
    EdgeReport,
    Metrics,
    Offer,
    ReceiptReply,
    Signed,
    Update,
    decode_edge_body,
    decode_stored,
)
from nodes.agent import Agent
from nodes.chain import ChainView
from nodes.cloud import Cloud
from nodes.config import NodeConfig, Settings
from nodes.edge import Edge
from nodes.store import Store
from nodes.workloads import Workloads

OPERATOR = AccountKey(bytes(range(1, 33)))
CONTEXT = in_memory(OPERATOR)[1]
PARAMETERS = 60
CLOUD, EDGE = 1, 2
DEVICES, EDGES, ROUNDS = 3, 2, 2

Reports = dict[tuple[int, int], tuple[list[bytes], bytes]]  # by edge and round: updates, report


def policy(arrangement: str, rule: str) -> Policy:
    return Policy(
        workload="digits", model="mlp:1", parameters=PARAMETERS, rounds=ROUNDS, rule=Rule(rule, 0), grid=Grid(12, -8),
        codec=CodecSpec("none"), min_updates=1, samples_cap=500, round_seconds=600.0, arrangement=arrangement,
    )  # fmt: skip


def learned(device: int, round: int, model: Floats) -> Floats:
    return np.full(len(model), 0.01 * (device + 1), np.float32)


class Body:
    """An upload that has arrived."""

    def __init__(self, data: bytes, receipt: bytes = b"") -> None:
        self.data, self.receipt, self.direct = data, receipt, False

    async def read(self, digest: bytes) -> bytearray:
        return bytearray(self.data)


class Record:
    """Everything that left the node under test, in all of its lives."""

    def __init__(self) -> None:
        self.receipts: dict[tuple[int, int, int], set[Receipt]] = defaultdict(set)
        self.roots: dict[tuple[int, int], set[Any]] = defaultdict(set)
        self.offers: dict[tuple[int, int], set[bytes]] = defaultdict(set)
        self.reports: dict[int, tuple[EdgeReport, bytes]] = {}

    def receipt(self, reply: bytes) -> None:
        receipt = decode_stored(reply, ReceiptReply).message.receipt
        self.receipts[receipt.task, receipt.round, receipt.index].add(receipt)

    def report(self, frame: bytes, body: bytes) -> None:
        message = decode_stored(frame, EdgeReport).message
        self.roots[message.leaf.task, message.leaf.round].add((message.leaf, message.root_signature))
        self.reports[message.leaf.round] = (message, body)

    def require_sound(self) -> None:
        """Nothing here convicts the node."""
        for kept in (self.receipts, self.roots, self.offers):
            for place, found in kept.items():
                if len(found) != 1:
                    raise OurFault(f"{place} has {len(found)} versions")
        for (_, round, index), found in self.receipts.items():
            if round in self.reports:
                message, body = self.reports[round]
                if index >= message.leaf.count:
                    raise OurFault(f"the root of round {round} leaves out promised index {index}")
                leaf = decode_stored(decode_edge_body(body).frames[index], Update).message.leaf
                if {receipt.leaf for receipt in found} != {roots.leaf_hash(CONTEXT, leaf)}:
                    raise OurFault(f"the root of round {round} holds another leaf than promised at index {index}")


class Parent:
    """The cloud above an edge: takes everything, and gives the receipts that it must."""

    def __init__(self, fleet: Simulation, record: Record, fuse: Fuse) -> None:
        self.fleet, self.record, self.fuse = fleet, record, fuse

    async def post(self, frame: bytes, body: bytes = b"", digest: bytes = b"", promised: bytes = b"") -> bytes:
        self.fuse.burn()
        try:
            leaf = decode_stored(frame, EdgeReport).message.leaf
        except PeerFault:
            self.fuse.burn()
            return b""  # an update that is passed on
        self.record.report(frame, bytes(body))
        self.fuse.burn()
        keys = self.fleet.keys[CLOUD]
        receipt = Receipt(leaf.task, leaf.round, CLOUD, 0, roots.edge_leaf_hash(CONTEXT, leaf))
        domain = eip712.Domain(CONTEXT.chain_id, CONTEXT.ledger)
        reply = ReceiptReply(CLOUD, 1, receipt, sign_receipt(domain, keys.account, receipt))
        return sign_message(CONTEXT, keys.network, reply).stored()

    async def blob(self, digest: bytes, most_bytes: int) -> bytes:
        return self.fleet.blobs[digest]


async def a_fleet(arrangement: str, rule: str) -> Simulation:
    ledger, _, registry = in_memory(OPERATOR)
    fleet = Simulation(ledger, CONTEXT, registry, OPERATOR, policy(arrangement, rule), learned, DEVICES * EDGES, EDGES)
    await fleet.join()
    return fleet


async def an_agent(fleet: Simulation, folder: Path, node: int, fuse: Fuse) -> Agent:
    """A node that starts on `folder`, whose writes may kill it."""
    settings = Settings(folder, NodeConfig("cloud", "cloud", listen="127.0.0.1:0"))
    store = Store(folder)
    store.connection.close()
    dying: DyingConnection = sqlite3.connect(store.file, isolation_level=None, factory=DyingConnection)
    dying.execute("PRAGMA synchronous=OFF")  # nothing here ends the machine
    dying.fuse = fuse
    store.connection = dying
    put = store.blobs.put

    def put_or_die(data: bytes, digest: bytes | None = None) -> bytes:
        fuse.burn()
        name = put(data, digest)
        fuse.burn()
        return name

    store.blobs.put = put_or_die  # type: ignore[method-assign, assignment]
    view = ChainView(fleet.ledger, 1.0)
    await view.refresh()
    keys = fleet.keys[node]
    nothing = cast(aiohttp.ClientSession, None)
    agent = Agent(settings, keys.network, keys.account, fleet.registry.contract, view, store, nothing, CONTEXT)
    agent.id = node
    return agent


async def finish(work: Edge | Cloud) -> None:
    """Wait for what runs beside the loop; what killed it is raised here."""
    forwards = list(work.forwards.values()) if isinstance(work, Edge) else []
    while running := [*work.gathering._tasks, *(task for task in forwards if not task.done())]:
        await asyncio.wait(running)
        for task in running:
            task.result()


async def bury(agent: Agent, work: Edge | Cloud) -> None:
    """Nothing of a dead process runs."""
    running = [*work.gathering._tasks, *(work.forwards.values() if isinstance(work, Edge) else ())]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    if agent.failed.done():
        agent.failed.exception()
    agent.pool.shutdown(wait=True)
    agent.store.connection.close()


# ----------------------------------------------------------------------------------------------------------------- edges


async def edge_lives(
    fleet: Simulation, folder: Path, fuse: Fuse, record: Record, senders: list[int], early: int | None
) -> bool:
    """One process of the edge: its round from the offer to the report. `early` updates, then the deadline; None: all.
    Says whether it survived."""
    agent = await an_agent(fleet, folder, EDGE, fuse)
    agent.link = Parent(fleet, record, fuse)  # type: ignore[assignment]
    edge = Edge(agent)
    try:
        last = agent.store.last_offer()
        if last is not None:
            await edge._take(decode_stored(last[3], Offer), fresh=False)
        else:
            await edge._take(an_offer(fleet), fresh=True)
        for place, device in enumerate(senders):
            if place == early and edge.gathering.is_open:
                edge.gathering.feed(Rang())
            await send(fleet, edge, device, record, fuse)
        if edge.gathering.is_open:
            edge.gathering.feed(Rang())
        await finish(edge)
    except Killed:
        return False
    finally:
        await bury(agent, edge)
    return True


async def send(fleet: Simulation, edge: Edge, device: int, record: Record, fuse: Fuse) -> None:
    """A device sends an update; each time another one, as a device that lost its disk does."""
    signed = decode_stored(fleet._device(device, EDGE).frame, Update)
    try:
        body = fleet.blobs[signed.message.leaf.ciphertext]
        reply = await edge._on_update(signed, Body(body))  # type: ignore[arg-type]
    except PeerFault:
        return  # duplicate, or too late
    fuse.burn()
    record.receipt(reply)
    fuse.burn()


def an_offer(fleet: Simulation) -> Signed[Offer]:
    task, model = fleet.index.tasks[1], tensors.encode_model(fleet.model)
    return sign_message(
        CONTEXT, fleet.keys[CLOUD].network,
        Offer(CLOUD, 1, 1, 1, task.policy_hash, tensors.model_hash(model), len(model), -8, 600.0, ZERO32, "open",
              fleet.index.head_block),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- clouds


class Shown:
    """Watches what a cloud shows to whoever polls."""

    def __init__(self, cloud: Cloud, record: Record, fuse: Fuse) -> None:
        self.show: Callable[..., None] = cloud.gathering.show
        self.record, self.fuse = record, fuse

    def __call__(self, offer: Signed[Offer], roster: Any) -> None:
        self.fuse.burn()
        self.record.offers[offer.message.task, offer.message.round].add(offer.stored())
        self.show(offer, roster)
        self.fuse.burn()


async def cloud_lives(
    fleet: Simulation, reports: Reports, folder: Path, fuse: Fuse, record: Record, edges: list[int]
) -> bool:
    """One process of the cloud, to the end of its task; says whether it survived."""
    agent = await an_agent(fleet, folder, CLOUD, fuse)
    ledger = DyingLedger(fleet.ledger, fuse)
    outbox = Outbox(agent.store.connection, ledger, agent.account, 0)
    cloud = Cloud(agent, Workloads(agent.settings), outbox)
    cloud._evaluate = no_evaluation  # type: ignore[method-assign]
    cloud.gathering.show = Shown(cloud, record, fuse)  # type: ignore[method-assign]
    cloud.task = task = agent.index.tasks[1]
    cloud.model = np.zeros(PARAMETERS, np.float32)
    try:
        agent.blobs.put(tensors.encode_model(cloud.model))
        while (head := cloud._head(1)[0]) < ROUNDS:
            if head:
                model = agent.blobs.get(cast(Any, cloud._head(1)[2]).model_out)
                cloud.model = tensors.decode_model(cast(bytes, model), PARAMETERS)
            await cloud._open_round(task, head + 1)
            for edge in edges:
                await report(fleet, reports, cloud, edge, head + 1, record, fuse)
            if cloud.gathering.state.phase is Phase.OPEN:
                cloud.gathering.feed(Rang())
            await finish(cloud)
            await outbox.drain()
        await outbox.drain()
    except Killed:
        return False
    finally:
        await bury(agent, cloud)
    return True


async def no_evaluation(policy: Policy, result: Settlement) -> Metrics:
    return {"accuracy": 0.0, "loss": 0.0}


def promise(fleet: Simulation, leaf: Leaf, place: int) -> bytes:
    """The receipt that an edge passes an update on with."""
    receipt = Receipt(leaf.task, leaf.round, leaf.edge, place, roots.leaf_hash(fleet.context, leaf))
    keys = fleet.keys[leaf.edge]
    reply = ReceiptReply(leaf.edge, 1 + place, receipt, sign_receipt(fleet.domain, keys.account, receipt))
    return sign_message(fleet.context, keys.network, reply).stored()


async def report(
    fleet: Simulation, reports: Reports, cloud: Cloud, edge: int, round: int, record: Record, fuse: Fuse
) -> None:
    """An edge passes its updates on and reports; the same bytes each time, as an honest edge does."""
    updates, frame = reports[edge, round]
    try:
        for place, frame_of_update in enumerate(updates):
            update = decode_stored(frame_of_update, Update)
            body = Body(fleet.blobs[update.message.leaf.ciphertext], promise(fleet, update.message.leaf, place))
            await cloud._on_update(update, body)  # type: ignore[arg-type]
        signed = decode_stored(frame, EdgeReport)
        reply = await cloud._on_report(signed, Body(fleet.blobs[signed.message.body_digest]))  # type: ignore[arg-type]
    except PeerFault as fault:
        if fault.code not in ("wrong-round", "wrong-task"):
            raise
        return  # it was settled before it died
    fuse.burn()
    record.receipt(reply)
    fuse.burn()


def all_reports(fleet: Simulation) -> Reports:
    """What each edge has to tell in each round, made once."""
    made: Reports = {}
    for round in range(1, ROUNDS + 1):
        fleet.round = round
        for edge in fleet.edge_ids():
            found = fleet._edge(edge)
            made[edge, round] = [update.frame for update in found.updates], found.frame
    return made
