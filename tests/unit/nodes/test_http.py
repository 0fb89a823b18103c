"""The routes over a real socket on loopback, with a node behind them that does nothing but read."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from middleware.errors import FAULTS, PeerFault, Unavailable
from middleware.trust.keys import NetworkKey, sign_message
from middleware.types import LIMITS, Leaf, Limits
from middleware.wire.commitment import Context
from middleware.wire.message import Message, Poll, Signed, Update
from nodes.http import Handler, Meters, Upload, application
from nodes.link import RESUMABLE_BYTES, Link
from nodes.store import Blobs

CONTEXT = Context(1, bytes(20))
KEY = NetworkKey(bytes(32))


class Reader:
    """Reads every update's body and keeps it; refuses polls with a fault of choice."""

    def __init__(self, folder: Path, limits: Limits = LIMITS, fault: str = "unknown") -> None:
        self.limits, self.meters, self.blobs, self.fault = limits, Meters(), Blobs(folder), fault
        self.ready = True
        self.bodies: list[bytes] = []
        self.asked: list[bytes] = []
        self.handlers: dict[int, Handler] = {Update.code: self.read, Poll.code: self.refuse}

    async def read(self, signed: Signed[Message], upload: Upload) -> bytes:
        message = signed.message
        if not isinstance(message, Update):
            raise PeerFault("malformed", "not an update")
        self.bodies.append(bytes(await upload.read(message.body_digest)))
        return b"taken"

    async def refuse(self, signed: Signed[Message], upload: Upload) -> bytes:
        raise PeerFault(self.fault, "because")

    async def require_reader(self, digest: bytes, request: bytes) -> None:
        self.asked.append(request)

    async def obtain(self, digest: bytes) -> bool:
        return self.blobs.has(digest)

    def session_proof(self, session: bytes) -> bytes | None:
        return b"proof" if session == bytes(32) else None

    async def session(self, request: web.Request) -> web.StreamResponse:
        raise PeerFault("unknown", "nothing is served here")

    def status(self) -> dict[str, object]:
        return {"name": "reader"}

    async def proof(self, task: int, round: int, node: int) -> bytes | None:
        return b"proof" if (task, round, node) == (1, 2, 3) else None


def update(body: bytes) -> Signed[Update]:
    digest, empty = hashlib.sha256(body).digest(), hashlib.sha256(b"{}").digest()
    leaf = Leaf(1, 1, 4, 2, 1, 1, digest, bytes(32), empty)
    return sign_message(CONTEXT, KEY, Update(4, 1, leaf, (), b"{}", digest, len(body)))


def poll() -> bytes:
    return sign_message(CONTEXT, KEY, Poll(4, 1)).frame()


@pytest.fixture
async def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


@pytest.fixture
async def link(reader: Reader) -> AsyncIterator[Link]:
    async with TestServer(application(reader)) as server, aiohttp.ClientSession() as session:
        yield Link(str(server.make_url("")), session, LIMITS)


async def test_a_body_arrives_whole_and_is_checked(reader: Reader, link: Link) -> None:
    for size in (1, 300, RESUMABLE_BYTES + 77):
        body = os.urandom(size)
        signed = update(body)
        assert await link.post(signed.stored(), body) == b"taken"
        assert reader.bodies[-1] == body


async def test_a_link_that_is_held_back_sends_the_same_bytes_and_no_faster(reader: Reader, link: Link) -> None:
    slow, body, clock = Link(link.base, link.session, LIMITS, 1e5), os.urandom(20_000), asyncio.get_running_loop()
    frame, began = update(body).stored(), clock.time()
    assert await slow.post(frame, body) == b"taken"
    assert reader.bodies == [body]
    assert (len(frame) + len(body)) / (clock.time() - began) <= 1e5


async def test_an_upload_that_broke_off_sends_only_the_rest(reader: Reader, link: Link) -> None:
    body = os.urandom(3 * RESUMABLE_BYTES)
    signed = update(body)
    host, port = link.base.removeprefix("http://").split(":")
    _, write = await asyncio.open_connection(host, int(port))
    frame = signed.stored()
    length = len(frame) + len(body)
    write.write(f"POST /v1/message?offset=0 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + frame)
    write.write(body[: 2 * RESUMABLE_BYTES])
    await write.drain()
    while not reader.meters.in_flight._value.get():
        await asyncio.sleep(0)
    write.close()
    digest = hashlib.sha256(body).hexdigest()
    while (await link._received(digest)) == 0:
        await asyncio.sleep(0)
    kept = await link._received(digest)
    assert RESUMABLE_BYTES < kept <= 2 * RESUMABLE_BYTES
    assert await link.post(frame, body, hashlib.sha256(body).digest()) == b"taken"
    assert reader.bodies == [body]
    assert reader.meters.received._value.get() == length - kept
    assert await link._received(digest) == 0


async def test_a_body_that_is_not_the_committed_one_is_a_mismatch(reader: Reader, link: Link) -> None:
    body = os.urandom(500)
    with pytest.raises(PeerFault) as caught:
        await link.post(update(body).stored(), body[::-1])
    assert caught.value.code == "mismatch" and reader.bodies == []


async def test_a_wrong_offset_is_asked_to_try_again(link: Link) -> None:
    body = os.urandom(500)
    with pytest.raises(Unavailable, match="are waiting here"):
        await link._request("POST", "/v1/message?offset=100", data=update(body).stored() + body[100:])


@pytest.mark.parametrize("code", sorted(FAULTS))
async def test_every_fault_comes_back_as_itself_and_is_counted(reader: Reader, link: Link, code: str) -> None:
    reader.fault = code
    if FAULTS[code][0] == 429:
        with pytest.raises(Unavailable, match=code):
            await link.post(poll())
    else:
        with pytest.raises(PeerFault) as caught:
            await link.post(poll())
        assert (caught.value.code, caught.value.detail) == (code, "because")
    assert f'drystone_refused_total{{code="{code}"}} 1.0' in await metrics(link)


async def metrics(link: Link) -> str:
    return (await link._request("GET", "/metrics")).decode()


async def test_overload_is_answered_429_before_anything_is_read(tmp_path: Path) -> None:
    reader = Reader(tmp_path, Limits(requests_in_flight=0))
    async with TestServer(application(reader)) as server, aiohttp.ClientSession() as session:
        async with session.post(server.make_url("/v1/message"), data=b"x" * 1000) as answer:
            assert answer.status == 429 and answer.headers["Retry-After"] == "1"
            assert (await answer.json())["code"] == "overloaded"


async def test_a_node_that_is_still_joining_asks_for_patience(reader: Reader, link: Link) -> None:
    reader.ready = False
    with pytest.raises(Unavailable, match="joining"):
        await link.post(poll())


@pytest.mark.parametrize("data", [b"", b"DRY1", b"x" * 17, b"DRY1" + bytes(13), b"DRY1\x01\xff\xff\xff\xff" + bytes(8)])
async def test_bytes_that_are_no_frame_are_refused_with_4xx(link: Link, data: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        await link._request("POST", "/v1/message?offset=0", data=data)
    assert caught.value.code in ("malformed", "too-large")


async def test_a_message_that_this_tier_does_not_take_names_the_fault(reader: Reader, link: Link) -> None:
    del reader.handlers[Poll.code]
    with pytest.raises(PeerFault, match="takes no Poll"):
        await link.post(poll())


async def test_a_blob_is_served_and_checked(reader: Reader, link: Link) -> None:
    digest = reader.blobs.put(b"stone" * 1000)
    assert await link.blob(digest, 10_000) == b"stone" * 1000
    with pytest.raises(PeerFault, match="too-large"):
        await link.blob(digest, 10)
    reader.blobs.path(digest).write_bytes(b"other" * 1000)
    with pytest.raises(PeerFault, match="mismatch"):
        await link.blob(digest, 10_000)
    with pytest.raises(Unavailable, match="no blob"):
        await link.blob(bytes(32), 10)


@pytest.mark.parametrize(
    "path", ["/v1/blob/xyz", "/v1/blob/" + "g" * 64, "/v1/upload/1", "/v1/proof/1/x/3", "/v1/proof/1/2/" + "9" * 30]
)
async def test_paths_that_name_nothing_are_4xx(link: Link, path: str) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        await link._request("GET", path)


async def test_a_proof_is_passed_through_or_not_there(link: Link) -> None:
    assert await link.proof(1, 2, 3) == b"proof"
    with pytest.raises(Unavailable, match="no such update"):
        await link.proof(1, 2, 4)


async def test_nobody_at_the_address_is_one_clear_line() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unavailable, match="is that node running"):
            await Link("http://127.0.0.1:1", session, LIMITS).describe()
