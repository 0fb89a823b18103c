"""Two or three tiers that serve, in one process: real keys, loopback sockets, real onnxruntime, a ledger of plain dicts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import torch
from aiohttp import web
from torch import nn

from middleware.errors import PeerFault
from middleware.infer import segments
from middleware.infer.export import export
from middleware.protocol.session import Ledger
from middleware.trust.keys import AccountKey, NetworkKey, require_message_signature, sign_message
from middleware.types import LIMITS, Node, Roster, Status, Tier
from middleware.wire.commitment import Context
from middleware.wire.model import Branch, File, Measured, ModelManifest, Segment, encode_model_manifest
from nodes.admission import Admission
from nodes.http import Meters
from nodes.inference import DeviceSession, Reach
from nodes.line import Identity
from nodes.models import load
from nodes.serving import Inference
from nodes.store import Blobs

CONTEXT = Context(31337, bytes(range(20)))
CLOUD, EDGE, DEVICE = 1, 2, 3


class Net(nn.Sequential):
    """A small chain with a narrow waist: (3, 16, 16) to 10 classes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Flatten(1), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def built(held: int = 64, threshold: float = 0.0) -> tuple[ModelManifest, dict[bytes, bytes], nn.Module]:
    """(manifest, its files by digest, the module)."""
    torch.manual_seed(0)
    module = Net().eval()
    parts = segments.cut(export(module, (3, 16, 16)), 5)
    chain = tuple(Segment(File.of(one.onnx), one.taken[1:], one.given[1:], one.macs, one.parameters) for one in parts)
    files = {File.of(one.onnx).digest: one.onnx for one in parts}
    branches: tuple[Branch, ...] = ()
    if threshold:
        after = 2
        head = nn.Sequential(nn.Flatten(1), nn.Linear(int(np.prod(chain[after - 1].given)), 10)).eval()
        data = export(head, chain[after - 1].given)
        files[File.of(data).digest] = data
        branches = (Branch(after, File.of(data), 1000, threshold, 1.0, 0.5),)
    manifest = ModelManifest(
        "net", "image", (), chain, branches, measured=(Measured("raw", 0.9, 768),), held=min(held, 64), unit_macs=1000,
        scale=(0.5, 0.5, 0.5, 0.25, 0.25, 0.25),
    )  # fmt: skip
    data = encode_model_manifest(manifest)
    files[File.of(data).digest] = data
    return manifest, files, module


class Books:
    """Who may run what: a set of users, a price, nothing paid."""

    def __init__(self, users: set[bytes], price: int = 0, unpaid: int = 0) -> None:
        self.users, self.price, self.unpaid = users, price, unpaid
        self.records: list[tuple[bytes, Ledger, int]] = []
        self.gone = ""

    async def admit(self, root: bytes, user: bytes, sender: Node) -> Admission:
        if user not in self.users and sender.tier is Tier.END:
            raise PeerFault("unlicensed", "no grant for this user")
        return Admission(self.price, self.unpaid)

    def revoked(self, root: bytes, user: bytes, sender: Node) -> str:
        return self.gone

    async def till(self, root: bytes, user: bytes, channel: bytes, sender: Node) -> None:
        return None

    def channel_units(self, root: bytes, user: bytes) -> int:
        return 0

    def record(self, root: bytes, user: bytes, session: bytes, ledger: Ledger, paid: int) -> None:
        self.records.append((session, ledger, paid))


class Member:
    """What `Inference` needs of an agent."""

    def __init__(self, world: World, number: int, folder: Path, link: Any = None) -> None:
        self.id, self.world, self.link = number, world, link
        self.network, self.account = world.keys[number]
        self.context, self.limits = CONTEXT, LIMITS
        self.blobs = Blobs(folder / f"blobs-{number}")
        self.meters = Meters()
        self.config = SimpleNamespace(
            slots=1,
            batch=8,
            threads=1,
            model_bytes=world.model_bytes,
            parent=world.bases.get(CLOUD, ""),
            attack="",
        )
        self.index = SimpleNamespace(roster=lambda: world.roster)
        self.pool = ThreadPoolExecutor(1)
        self.faults: list[BaseException] = []

    def me(self) -> Node:
        return self.world.roster.nodes[self.id]

    def sequence(self) -> int:
        return time.time_ns()

    def sign(self, message: Any) -> Any:
        return sign_message(self.context, self.network, message, self.limits)

    def require_signed(self, signed: Any, node: Node) -> None:
        require_message_signature(self.context, node.net_key, signed)

    def fail(self, error: BaseException | None) -> None:
        if error is not None:
            self.faults.append(error)

    async def fetch_model_file(self, digest: bytes, most_bytes: int) -> bytes:
        return self.world.files[digest]


class World:
    def __init__(self, folder: Path, files: dict[bytes, bytes]) -> None:
        self.folder, self.files = folder, files
        self.keys = {
            number: (NetworkKey(bytes([number]) * 32), AccountKey(bytes([number + 10]) * 32))
            for number in (CLOUD, EDGE, DEVICE)
        }
        tiers = {CLOUD: (Tier.CLOUD, 0), EDGE: (Tier.EDGE, CLOUD), DEVICE: (Tier.END, EDGE)}
        self.roster = Roster(
            1,
            {
                number: Node(
                    number, self.keys[number][0].public, self.keys[number][1].address, bytes(20), tier, Status.ACTIVE, parent,
                    f"node-{number}",
                )
                for number, (tier, parent) in tiers.items()
            },
        )  # fmt: skip
        self.bases: dict[int, str] = {}
        self.members: dict[int, Member] = {}
        self.served: dict[int, Inference] = {}
        self.runners: dict[int, web.AppRunner] = {}
        self.model_bytes = 1 << 30
        self.books = Books({self.keys[DEVICE][1].address})
        self.http: aiohttp.ClientSession | None = None

    async def start(self, number: int) -> None:
        member = Member(self, number, self.folder, link=None if number == CLOUD else object())
        for digest, data in self.files.items():
            member.blobs.put(data, digest)
        above = self.http if number == EDGE and CLOUD in self.bases else None
        inference = Inference(member, self.books, above)  # type: ignore[arg-type]
        app = web.Application()
        app.router.add_get("/v1/session", inference.connect)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        port = int(self.bases[number].rpartition(":")[2]) if number in self.bases else 0
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        bound = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.bases[number] = f"http://127.0.0.1:{bound}"
        self.members[number], self.served[number], self.runners[number] = member, inference, runner

    async def stop(self, number: int) -> None:
        """As a kill: every socket of the node breaks."""
        await self.served.pop(number).close()
        await self.runners.pop(number).cleanup()

    def identity(self, number: int = DEVICE) -> Identity:
        network, account = self.keys[number]
        return Identity(number, network, account.address, CONTEXT, LIMITS)

    def reach(self) -> Reach:
        return Reach(self.bases[EDGE], self.identity(), self.roster.nodes[EDGE])

    async def session(self, root: bytes, **more: Any) -> DeviceSession:
        async def fetch(digest: bytes, most: int) -> bytes:
            return self.files[digest]

        loaded = await load(root, fetch, 64)
        loaded.warm()
        return DeviceSession(loaded, self.http, self.reach(), **more)


@asynccontextmanager
async def world(folder: Path, files: dict[bytes, bytes], cloud: bool = False) -> AsyncIterator[World]:
    made = World(folder, files)
    async with aiohttp.ClientSession() as http:
        made.http = http
        if cloud:
            await made.start(CLOUD)
        await made.start(EDGE)
        try:
            yield made
        finally:
            for number in list(made.runners):
                await made.stop(number)
            assert [error for member in made.members.values() for error in member.faults] == []
