"""The composition root: the only place that joins ports to their implementations and owns every resource.

`run` holds one node for the life of its process: it opens the store, connects to the ledger, serves, joins, works, and on
SIGINT or SIGTERM closes everything in reverse. A fault of our own ends the process with a clear line, because what is
on disk is enough to go on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from aiohttp import web

from ledger.client import AddressBook
from ledger.connect import connect
from ledger.outbox import Outbox
from middleware.errors import ConfigurationError, DrystoneError
from middleware.trust.keys import KeyFile
from middleware.types import Tier
from middleware.wire.commitment import Context
from nodes.agent import Agent
from nodes.chain import ChainView
from nodes.checkpoints import session_proof
from nodes.config import Settings, read_config
from nodes.files import ModelFiles
from nodes.http import READ_BUFFER_BYTES, Handler, Meters, application
from nodes.licences import LedgerLicences
from nodes.store import Blobs, Store
from nodes.tiers import Capability, capability, status
from nodes.workloads import Workloads

if TYPE_CHECKING:
    from nodes.serving import Inference

LOG = logging.getLogger("drystone")
EXIT_FAULT = 1
HEAD_FILE = "ledger.head"  # in the state folder: the newest block of a local log that this node saw


class Node:
    """One running node, as the routes see it (`http.Served`)."""

    def __init__(self, agent: Agent, work: Capability, models: bytes, http: aiohttp.ClientSession) -> None:
        """`models`: the address of that contract; `http`: for sessions with the tier above."""
        self.agent, self.work, self.http = agent, work, http
        self.licences = LedgerLicences(agent, models)
        self.files = ModelFiles(agent, self.licences)
        self.inference: Inference | None = None
        self.limits = agent.limits
        self.meters: Meters = agent.meters
        self.blobs: Blobs = agent.blobs
        self.handlers: dict[int, Handler] = work.handlers

    @property
    def ready(self) -> bool:
        return self.agent.id != 0

    async def require_reader(self, digest: bytes, request: bytes) -> None:
        await self.files.require_reader(digest, request)

    async def obtain(self, digest: bytes) -> bool:
        return await self.files.obtain(digest)

    def awaits(self, digest: bytes) -> bool:
        return any(batch.list == digest for batch in self.agent.index.unlisted()) or self.files.awaits(digest)

    def status(self) -> dict[str, object]:
        found = status(self.agent, self.work)
        if self.inference is not None:
            found["inference"] = self.inference.report()
        return found

    def session_proof(self, session: bytes) -> bytes | None:
        return session_proof(self.agent, session)

    async def session(self, request: web.Request) -> web.StreamResponse:
        if self.inference is None:  # onnxruntime is loaded by the first session, not by a node that never serves one
            from nodes.serving import Inference

            above = self.http if self.agent.link is not None else None
            self.inference = Inference(self.agent, self.licences, above)
        return await self.inference.connect(request)

    async def close(self) -> None:
        if self.inference is not None:
            await self.inference.close()

    async def proof(self, task: int, round: int, node: int) -> bytes | None:
        return await self.work.proof(task, round, node)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the node that `settings` describe until `stop` is set. Raises what ended it otherwise."""
    config = settings.config
    async with AsyncExitStack() as stack:
        store = Store(settings.path(config.state))
        stack.callback(store.close)
        keys = read_keys(settings.path(config.keys))
        book = AddressBook.from_bytes(_read(settings.path(config.ledger), "contracts deploy"))
        ledger = await stack.enter_async_context(connect(book, settings.path(config.state) / HEAD_FILE))
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=300)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, read_bufsize=READ_BUFFER_BYTES, auto_decompress=False)
        )
        view = ChainView(ledger, config.ledger_poll_seconds, config.finality_blocks)
        context = Context(book.chain_id, book.ledger)
        agent = Agent(settings, keys.network, keys.account, book.registry, view, store, session, context)
        stack.callback(agent.pool.shutdown, wait=False, cancel_futures=True)
        outbox = (
            Outbox(store.connection, ledger, keys.account, config.finality_blocks)
            if config.rank is Tier.CLOUD
            else None
        )
        work = capability(agent, Workloads(settings), outbox)
        if config.listen:
            node = Node(agent, work, book.models, session)
            stack.push_async_callback(node.close)
            await _serve(stack, node, config.address)
        LOG.info(
            "node %s, tier %s, key %s, ledger %s, %s, config in %s", config.name, config.tier,
            keys.network.public.hex()[:12], book.rpc, f"listening on {config.listen}" if config.listen else "calls out only",
            settings.folder,
        )  # fmt: skip
        await _until_stopped(stop, agent, view, work)


async def _until_stopped(stop: asyncio.Event, agent: Agent, view: ChainView, work: Capability) -> None:
    async def live() -> None:
        await agent.join(work.register)
        await work.run()

    tasks = [
        asyncio.ensure_future(c) for c in (view.run(), agent.follow_lists(), *work.background(), live(), stop.wait())
    ]
    waited: list[asyncio.Future[object]] = [*tasks, agent.failed]  # type: ignore[list-item]
    done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for future in done:
        future.result()


async def _serve(stack: AsyncExitStack, node: Node, address: tuple[str, int]) -> None:
    runner = web.AppRunner(application(node), access_log=None, shutdown_timeout=1.0, read_bufsize=READ_BUFFER_BYTES)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, *address, backlog=1024, reuse_address=True).start()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address[0]}:{address[1]}: {error.strerror}; choose another port"
        ) from error


def read_keys(path: Path) -> KeyFile:
    return KeyFile.from_bytes(_read(path, "node init"))


def _read(path: Path, verb: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"no file {path}: `drystone {verb}` writes it") from error


def main(config: Path, tier: str) -> None:
    """Run one node in this process until it is told to stop."""
    settings = read_config(config)
    if tier and tier != settings.config.tier:
        raise ConfigurationError(f"{config} describes a node of tier {settings.config.tier}, not {tier}")
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.config.threads))  # read once, when torch is loaded
    logging.basicConfig(
        level=os.environ.get("DRYSTONE_LOG", "INFO"), stream=sys.stderr,
        format=f"%(asctime)s {settings.config.name} %(levelname)s %(message)s",
    )  # fmt: skip

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, stop)

    try:
        uvloop.run(until_signalled())
    except DrystoneError:
        raise
    except Exception:
        LOG.exception(
            "node %s stops on a fault of its own; restart it, nothing acknowledged is lost", settings.config.name
        )
        sys.exit(EXIT_FAULT)
