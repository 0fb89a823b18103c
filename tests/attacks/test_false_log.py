"""Attack: somebody on the way to a local log answers in its place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from ledger.journal import decode_line, encode_line
from ledger.local import LOG_PATH, LocalLedger, local_book
from ledger.logfile import LogFile
from middleware.errors import Unavailable
from middleware.trust.keys import NetworkKey
from tests.unit.ledger.log_world import OPERATOR, grown, served


async def test_whoever_answers_without_the_operators_key_is_weather(tmp_path: Path) -> None:
    """Somebody on the way can stop a reader, but not make it believe anything, nor give up the log for good."""
    path = tmp_path / "blocks.jsonl"
    grown(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    stranger = NetworkKey(bytes(31) + b"\x05")
    last = decode_line(lines[-1])
    forged = msgspec.structs.replace(last, signature=stranger.sign_digest(last.hash))
    answers = [b"".join([*lines[:-1], encode_line(forged)]), b"<html>\n", b"", lines[0][:-5], b"".join(lines)]

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=answers.pop(0))

    app = web.Application()
    app.add_routes([web.get(LOG_PATH, show)])
    with LogFile(path) as file:
        identity = file.journal.identity
    async with (
        served(app) as port,
        LocalLedger(local_book(identity, OPERATOR.public, f"http://127.0.0.1:{port}")) as ledger,
    ):
        for what in ("is not the operator", "no log of this version", "look again", "look again"):
            with pytest.raises(Unavailable, match=what):
                await ledger.entries(None)
        assert (await ledger.entries(None)).head.number == 2
