"""Keeps a local log and serves it: the one process that appends to it.

    GET  /v1/log?from=N   the lines of blocks N, N+1, ... (a page of them); the newest line alone where there is no block N
    POST /v1/log          a signed call; the answer is the signed line of the block that took it in

Nothing here has to be believed: readers check every line, and a call counts by its sender's signature alone. A call is
answered once its block is on disk. A fault of the disk ends the process: what is on disk is enough to go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from ledger.calls import AnyCall, GrantRole, Mint, SetLedgerArbiters, SetRegistryArbiters
from ledger.client import AddressBook
from ledger.deploy import MINTED, TERMS, UNBONDING_SECONDS
from ledger.journal import FORMAT, Genesis, encode_line, sign_call
from ledger.local import LOG_PATH, Refusal, local_book
from ledger.logfile import LogFile
from ledger.state import COUNCIL, PAUSER, PUBLISHER, REGISTRAR
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey
from nodes.create import write_keys

LOG = logging.getLogger("drystone")
CALL_BYTES: Final = 1 << 19  # a signed call; the largest is a dispute with the chunks of sixteen members
LINES_TYPE: Final = "application/x-ndjson"
LOG_FILE: Final = "blocks.jsonl"
KEY_FILE: Final = "keys.json"


def begin(folder: Path, admin: AccountKey, address: str, now: int) -> AddressBook:
    """A new log below `folder` with a fresh key, and with `admin` in the roles that a deployment on a chain gives it.
    ConfigurationError where there is one."""
    if (folder / LOG_FILE).exists():
        raise ConfigurationError(f"{folder / LOG_FILE} exists: a log is never begun anew in its place")
    keys = KeyFile.generate(os.urandom)
    write_keys(folder / KEY_FILE, keys)
    key = keys.network
    terms = (TERMS.bond, TERMS.answer_seconds, TERMS.commit_seconds, TERMS.reveal_seconds, TERMS.council_seconds)
    genesis = Genesis(FORMAT, key.public, admin.address, (0, 0, 0), UNBONDING_SECONDS, terms, os.urandom(16))
    with LogFile.create(folder / LOG_FILE, genesis, now, key) as file:
        identity = file.journal.identity
        judges = identity.address("Arbiter"), identity.address("Court")
        roles: list[AnyCall] = [GrantRole(role, admin.address) for role in (REGISTRAR, PUBLISHER, COUNCIL, PAUSER)]
        rest: list[AnyCall] = [SetRegistryArbiters(*judges), SetLedgerArbiters(*judges), Mint(admin.address, MINTED)]
        for nonce, call in enumerate([*roles, *rest]):
            file.append(sign_call(identity, call, admin, nonce).raw, now, key)
        return local_book(file.journal.identity, key.public, address)


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) of "host:port"."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError(f"{text!r} is no address to listen on: write host:port, e.g. 127.0.0.1:8600")
    return host, int(port)


class Keeper:
    """The routes over one open log. `failed` is set by a fault after which only a restart helps."""

    def __init__(self, file: LogFile, key: NetworkKey, clock: Callable[[], float] = time.time) -> None:
        if file.journal.genesis.operator != key.public:
            raise ConfigurationError(
                f"{file.path} is the log of operator {file.journal.genesis.operator.hex()}, the key is {key.public.hex()}'s"
            )
        self.file, self.key, self.clock = file, key, clock
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=CALL_BYTES)
        app.add_routes([web.get(LOG_PATH, self.lines), web.post(LOG_PATH, self.take)])
        return app

    async def lines(self, request: web.Request) -> web.Response:
        begin = request.query.get("from", "0")
        if not begin.isdigit() or len(begin) > 18:
            return web.Response(status=400, text=f"from={begin[:40]!r} is no block number")
        return web.Response(body=self.file.lines(int(begin)), content_type=LINES_TYPE)

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if self.failed.done():
            return web.Response(status=503, text="the log's disk failed: it must be started again")
        try:
            block = self.file.append(raw, int(self.clock()), self.key)
        except PeerFault as fault:
            return web.Response(status=400, text=fault.detail)
        except LedgerRefused as refused:
            numbers = tuple(a for a in refused.arguments if isinstance(a, int))
            return web.Response(status=409, body=msgspec.json.encode(Refusal(refused.name, numbers)))
        except Unavailable as gap:
            return web.Response(status=503, text=str(gap))
        except Exception as error:
            self.failed.set_exception(error)
            raise
        return web.Response(body=encode_line(block), content_type=LINES_TYPE)


async def serve(file: LogFile, key: NetworkKey, address: tuple[str, int], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, or raise what ended it."""
    async with AsyncExitStack() as stack:
        keeper = Keeper(file, key)
        runner = web.AppRunner(keeper.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, *address, reuse_address=True).start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address[0]}:{address[1]}: {error.strerror}; choose another port"
            ) from error
        head = file.journal.head
        LOG.info(
            "log of operator %s, block %d, 0x%s, listening on %s:%d", key.public.hex()[:12], head.number, head.hash.hex(),
            *address,
        )  # fmt: skip
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait((stopped, keeper.failed), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if keeper.failed.done():
            keeper.failed.result()
