"""A device wants more of a model than its licence lets it hold: every digest is in the manifest, so it asks for the files. It
gets the head, nothing behind it, and without a licence nothing at all; whoever asks for it, and with whose name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from ledger.events import Position
from ledger.licences import Licences, PublishedModel
from middleware.errors import PeerFault
from middleware.trust.keys import sign_message
from middleware.types import LIMITS, ZERO32, Tier
from middleware.wire.model import FileRequest, root_of
from nodes.files import ModelFiles
from nodes.http import Meters, application
from nodes.licences import LedgerLicences
from nodes.link import Link
from tests.unit.nodes.serving_world import CLOUD, CONTEXT, DEVICE, EDGE, Member, World, built

HELD = 2
MANIFEST, FILES, _ = built(held=HELD, threshold=0.5)
ROOT = root_of(MANIFEST)
HEAD = {one.digest for one in MANIFEST.device_files()}
TAIL = {one.digest for one in MANIFEST.files()} - HEAD
FREE = b"a blob that no published model names"


class Shop:
    """A node that has every file of the model, and the fold of a ledger that knows it."""

    limits = LIMITS
    ready = True

    def __init__(self, number: int, folder: Path) -> None:
        self.world = World(folder, FILES)
        self.fold = Licences()
        position = Position(1, ZERO32, 1, ZERO32, 0, 0, bytes(20))
        self.fold.models[ROOT] = PublishedModel(ROOT, bytes(20), 0, 0, ZERO32, ZERO32, 0, 5000, position)
        member: Any = Member(self.world, number, folder)
        member.index.licences = self.fold
        member.view = SimpleNamespace(refresh=self.refresh)
        member.config.rank = Tier.CLOUD if number == CLOUD else Tier.EDGE
        for digest, data in FILES.items():
            member.blobs.put(data, digest)
        self.free = member.blobs.put(FREE)
        self.files = ModelFiles(member, LedgerLicences(member, bytes(20)))
        self.blobs, self.meters = member.blobs, Meters()
        self.handlers: dict[int, Any] = {}

    async def refresh(self) -> bool:
        return True

    async def require_reader(self, digest: bytes, request: bytes) -> None:
        await self.files.require_reader(digest, request)

    async def obtain(self, digest: bytes) -> bool:
        return await self.files.obtain(digest)

    def awaits(self, digest: bytes) -> bool:
        return self.files.awaits(digest)

    def license(self) -> None:
        self.fold._licence(ROOT, self.world.keys[DEVICE][1].address, expiry=1 << 40, quota=1 << 40)

    def request(self, digest: bytes, sender: int = DEVICE, by: int = 0, user: bytes = b"") -> bytes:
        """Signed by `by`, in the name of `sender`."""
        network, account = self.world.keys[by or sender]
        message = FileRequest(sender, 1, digest, user or account.address)
        return sign_message(CONTEXT, network, message, LIMITS).stored()


@pytest.fixture(params=[EDGE])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Shop, Link]]:
    made = Shop(request.param, tmp_path)
    async with TestServer(application(made)) as server, aiohttp.ClientSession() as http:  # type: ignore[arg-type]
        yield made, Link(str(server.make_url("")), http, LIMITS)


async def refused(code: str, link: Link, digest: bytes, request: bytes = b"") -> None:
    with pytest.raises(PeerFault) as caught:
        await link.blob(digest, LIMITS.blob_bytes, request)
    assert caught.value.code == code


async def test_a_licensed_device_gets_the_head_and_nothing_behind_it(shop: tuple[Shop, Link]) -> None:
    made, link = shop
    made.license()
    assert HEAD and len(TAIL) >= len(MANIFEST.segments) - HELD
    for digest in HEAD:
        assert await link.blob(digest, LIMITS.blob_bytes, made.request(digest)) == FILES[digest]
    for digest in TAIL:
        await refused("unlicensed", link, digest, made.request(digest))


async def test_without_a_licence_or_a_name_there_is_nothing(shop: tuple[Shop, Link]) -> None:
    made, link = shop
    for digest in HEAD | TAIL:
        await refused("unlicensed", link, digest)
        await refused("unlicensed", link, digest, made.request(digest))
    assert await link.blob(ROOT, LIMITS.blob_bytes) == FILES[ROOT]
    assert await link.blob(made.free, LIMITS.blob_bytes) == FREE


async def test_an_edge_s_name_on_the_request_of_a_device_opens_nothing(shop: tuple[Shop, Link]) -> None:
    made, link = shop
    made.license()
    digest = min(TAIL)
    await refused("forged", link, digest, made.request(digest, EDGE, by=DEVICE))
    await refused("wrong-parent", link, digest, made.request(digest, EDGE))
    await refused("unknown", link, digest, made.request(digest, 77, by=DEVICE))
    await refused("mismatch", link, digest, made.request(min(HEAD)))
    await refused("malformed", link, digest, b"nonsense")
    await refused("unlicensed", link, min(HEAD), made.request(min(HEAD), user=bytes(20)))


@pytest.mark.parametrize("shop", [CLOUD], indirect=True)
async def test_an_edge_gets_every_file_from_its_cloud_and_a_device_none(shop: tuple[Shop, Link]) -> None:
    made, link = shop
    made.license()
    for digest in HEAD | TAIL:
        assert await link.blob(digest, LIMITS.blob_bytes, made.request(digest, EDGE)) == FILES[digest]
        await refused("wrong-parent", link, digest, made.request(digest))


@pytest.mark.parametrize("shop", [CLOUD], indirect=True)
async def test_who_brings_files_sees_whether_they_are_there_and_reads_none(shop: tuple[Shop, Link]) -> None:
    made, link = shop
    digest = min(TAIL)
    assert await link.has_blob(digest) and not await link.has_blob(bytes(32))
    with pytest.raises(PeerFault, match="wrong-task"):
        await link.put_blob(digest, FILES[digest])
    made.blobs.path(digest).unlink()
    assert not await link.has_blob(digest)
    await link.put_blob(digest, FILES[digest])
    assert await link.has_blob(digest)
