"""A stranger wants a session, or breaks into one: he speaks as nobody, as a node that was thrown out, below another edge, with a
hello that he saw, with another key in it, with bytes of any kind. Nothing is run for him, and the node goes on serving."""

from __future__ import annotations

import random
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import pytest

from middleware.errors import PeerFault, Unavailable
from middleware.trust.keys import NetworkKey, sign_message
from middleware.trust.session import Half
from middleware.types import LIMITS, Status
from middleware.wire.model import root_of
from middleware.wire.session import Busy, Data, Hello
from nodes.line import PATH, Line, Refused
from tests.unit.nodes.serving_world import CONTEXT, DEVICE, EDGE, World, built, world

MANIFEST, FILES, _ = built()
ROOT = root_of(MANIFEST)
PICTURE = np.zeros((16, 16, 3), np.uint8)
FRAMES = 300


async def opened(here: World, **changes: object) -> Line:
    assert here.http is not None
    who = msgspec.structs.replace(here.identity(), **changes)
    return await Line.open(here.http, here.bases[EDGE], who, here.roster.nodes[EDGE], ROOT, MANIFEST)


async def still_serves(here: World) -> None:
    async with await here.session(ROOT, forced="f32@2") as session:
        assert (await session(PICTURE)).tier == "edge"


def changed(here: World, **changes: object) -> None:
    node = msgspec.structs.replace(here.roster.nodes[DEVICE], **changes)
    here.roster = msgspec.structs.replace(here.roster, nodes={**here.roster.nodes, DEVICE: node})
    for member in here.members.values():
        member.index.roster = lambda: here.roster


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"node": 99}, "unknown"), ({"network": NetworkKey(b"s" * 32)}, "forged"), ({"user": bytes(20)}, "unlicensed")],
)
async def test_a_stranger_opens_no_session(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    async with world(tmp_path, FILES) as here:
        with pytest.raises(Refused) as refused:
            await opened(here, **changes)
        assert refused.value.code == code
        await still_serves(here)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": Status.SUSPENDED}, "suspended"),
        ({"status": Status.REVOKED}, "revoked"),
        ({"parent": 77}, "wrong-parent"),
    ],
)
async def test_who_was_thrown_out_or_stands_elsewhere_opens_none(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    async with world(tmp_path, FILES) as here:
        changed(here, **change)
        with pytest.raises(Refused) as refused:
            await opened(here)
        assert refused.value.code == code


async def test_a_replayed_hello_gives_its_thief_nothing_to_read(tmp_path: Path) -> None:
    """The terms come back, but the keys behind them need the secret half of the exchange."""
    async with world(tmp_path, FILES) as here:
        who = here.identity()
        hello = sign_message(
            CONTEXT, who.network, Hello(DEVICE, 1, ROOT, Half(b"h" * 32).public, who.user), LIMITS
        ).stored()
        assert here.http is not None
        async with here.http.ws_connect(here.bases[EDGE] + PATH) as socket:
            await socket.send_bytes(hello)
            assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY
            await socket.send_bytes(b"DS\x01\x03" + bytes(20))
            answer = await socket.receive()
            assert answer.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert here.books.records[-1][1].count == 0


async def test_another_half_of_the_exchange_in_a_signed_hello_is_forged(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        who = here.identity()
        hello = sign_message(CONTEXT, who.network, Hello(DEVICE, 1, ROOT, Half(b"h" * 32).public, who.user), LIMITS)
        stored = hello.stored().replace(Half(b"h" * 32).public, Half(b"m" * 32).public)
        assert here.http is not None
        async with here.http.ws_connect(here.bases[EDGE] + PATH) as socket:
            await socket.send_bytes(stored)
            told = msgspec.json.decode((await socket.receive()).data, type=Busy)
        assert told.code == "forged"


async def test_random_bytes_before_and_in_a_session_are_refused_and_the_node_lives(tmp_path: Path) -> None:
    draw = random.Random(0)
    async with world(tmp_path, FILES) as here:
        assert here.http is not None
        for _ in range(FRAMES // 10):
            async with here.http.ws_connect(here.bases[EDGE] + PATH) as socket:
                await socket.send_bytes(draw.randbytes(draw.randint(0, 400)))
                told = msgspec.json.decode((await socket.receive()).data, type=Busy)
                assert told.code in {"malformed", "too-large"}
        for number in range(FRAMES // 10):
            line = await opened(here)
            frame = bytearray(line.channel.seal(Data(draw.randbytes(100)), 1))
            frame[draw.randrange(len(frame))] ^= 1 + draw.randrange(255)
            await line.socket.send_bytes(bytes(frame))
            with pytest.raises((PeerFault, Unavailable)):
                await line._probe(b"")
            await line.close()
            assert here.served[EDGE].sessions <= 1, number
        await still_serves(here)


async def test_a_tensor_of_another_shape_and_a_picture_that_is_none_cost_their_sender_one_answer(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, FILES) as here, await here.session(ROOT, forced="f32@2") as session:
        await session(PICTURE)
        line = session.line
        assert line is not None and line.course is not None
        for bad in (b"", bytes(10), bytes(5000)):
            with pytest.raises(Refused, match="malformed"):
                await line.ask(line.course, bad)
        with pytest.raises(Refused, match="malformed"):
            await line.ask(msgspec.structs.replace(line.course, front=0, form="png"), b"\x89PNG\r\n\x1a\n" + bytes(50))
        assert (await session(PICTURE)).tier == "edge"
