"""The side of a node that runs requests of published models for those below it: an edge for devices, a cloud for edges.

One WebSocket is one session (`protocol.session` decides, this performs). Before terms are stated the sender is judged: on the
ledger, active, below this node, licensed. Requests run on threads of their own in fair turns (`nodes.workers`), a tenant being
whoever holds the licence; how long one waits there is what the terms tell as the queue.

What a course hands on goes to the tier above over one line a model, shared by all sessions. When that line breaks, clients are
told (`Degraded`), their requests under way are refused with a delay, and the line is opened again on demand.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec
import numpy as np
import numpy.typing as npt
from aiohttp import web

from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.infer import coding, inputs, tenancy
from middleware.infer.store import Budget, Full, Load, ModelStore, Ready, Wait, Weight
from middleware.protocol import session as machine
from middleware.protocol.session import (
    Answer,
    Asked,
    Done,
    Dropped,
    Ended,
    Opened,
    Refuse,
    Replanned,
    Run,
    Serving,
    serve,
)
from middleware.trust.access import require_active
from middleware.trust.session import Half, SealedChannel, transcript_of
from middleware.types import Node
from middleware.wire.message import Signed, decode_stored
from middleware.wire.model import MODEL_BYTES, decode_model_manifest
from middleware.wire.session import (
    DETAIL_BYTES,
    Busy,
    Close,
    Course,
    Data,
    Degraded,
    Hello,
    Open,
    Pay,
    Probe,
    Record,
    Replan,
    Result,
    Terms,
)  # fmt: skip
from nodes.admission import Admission, Licences, Till
from nodes.agent import Agent
from nodes.line import Identity, Line
from nodes.models import LoadedModel, Served, load
from nodes.workers import Ran, Workers

LOG = logging.getLogger("drystone")
HELLO_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
WINDOW: Final = 16  # requests of one session under way
SESSIONS: Final = 256  # at once
MOST_MODELS: Final = 64  # resident at once
FIRST_LOAD_MS: Final = 1000.0  # that a model is taken to need before it was loaded once
FREE: Final = 1 << 62  # units that may be unpaid where nothing is paid
LIE_EVERY: Final = 5  # requests, of which an edge of a devnet answers one wrongly
BACKOFF_MS: Final = 250.0  # after which a client may try the tier above again

Floats = npt.NDArray[np.float32]


class Inference:
    """What a node that serves holds: models, threads, the line above."""

    def __init__(self, agent: Agent, licences: Licences, http: aiohttp.ClientSession | None = None) -> None:
        self.agent, self.licences, self.http = agent, licences, http
        self.models: dict[bytes, LoadedModel] = {}
        self.loading: dict[bytes, asyncio.Task[LoadedModel]] = {}
        self.store = ModelStore(Budget(agent.config.model_bytes, float(MOST_MODELS)))
        self.workers = Workers(agent.config.slots, agent.config.batch)
        self.above: dict[bytes, Line] = {}
        self.opening: dict[bytes, asyncio.Lock] = {}
        self.link: dict[bytes, tuple[float, float]] = {}  # root -> (milliseconds, bytes a second) to the tier above
        self.sessions = 0
        self.numbers = 0
        self.counted: dict[bytes, Served] = {}

    # ----------------------------------------------------------------------------------------------------------- models

    @asynccontextmanager
    async def held(self, root: bytes) -> AsyncIterator[LoadedModel]:
        """The model, loaded and timed, and not evicted as long as it is held; whoever asks meanwhile waits for the same work.
        PeerFault("overloaded") where nothing that is idle could make room."""
        if root not in self.store.weights:
            manifest = decode_model_manifest(await self._fetch(root, MODEL_BYTES))
            size = sum(file.length for file in manifest.files())
            try:
                self.store.publish(root, Weight(size, FIRST_LOAD_MS, 1.0))
            except ConfigurationError as error:
                raise PeerFault("overloaded", f"{error}") from error
        task: asyncio.Task[LoadedModel] | None = None
        match self.store.acquire(root):
            case Full(why):
                raise PeerFault("overloaded", why)
            case Load(evicted):
                for one in evicted:
                    del self.models[one]
                    LOG.info("model %s makes room", one.hex()[:16])
                task = self.loading[root] = asyncio.create_task(self._load(root))
                task.add_done_callback(lambda _: self.loading.pop(root, None))
            case Wait():
                task = self.loading[root]
            case Ready():
                pass
        found = self.models[root] if task is None else await asyncio.shield(task)
        try:
            yield found
        finally:
            self.store.release(root)

    async def _load(self, root: bytes) -> LoadedModel:
        began = time.perf_counter()
        try:
            found = await load(root, self._fetch, None, self.agent.config.threads)
            await self.workers.run(found.warm)
        except BaseException:
            self.store.failed(root)
            raise
        self.models[root] = found
        self.store.loaded(root, 1000 * (time.perf_counter() - began))
        LOG.info("model %s, %s, is ready: %d segments", root.hex()[:16], found.manifest.name, found.held)
        return found

    async def _fetch(self, digest: bytes, most_bytes: int) -> bytes:
        data = self.agent.blobs.get(digest)
        if data is not None:
            return data
        if self.agent.link is None:
            raise Unavailable(f"blob {digest.hex()[:16]} of a model is not here: publish it again")
        return await self.agent.fetch_model_file(digest, most_bytes)

    # ---------------------------------------------------------------------------------------------------------- serving

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """One session, from hello to close."""
        socket = web.WebSocketResponse(
            max_msg_size=self.agent.limits.tensor_bytes, compress=False, timeout=CLOSE_SECONDS
        )
        await socket.prepare(request)
        if self.sessions >= SESSIONS:
            return await self._turn_away(socket, PeerFault("overloaded", f"{SESSIONS} sessions are open"))
        self.sessions += 1
        try:
            await self._session(socket)
        except PeerFault as fault:
            self.agent.meters.refused.labels(fault.code).inc()
            await self._turn_away(socket, fault)
        except Unavailable as error:
            await self._turn_away(socket, PeerFault("overloaded", str(error)))
        finally:
            self.sessions -= 1
        return socket

    async def _turn_away(self, socket: web.WebSocketResponse, fault: PeerFault) -> web.WebSocketResponse:
        retry = BACKOFF_MS if fault.status == 429 else 0.0
        if not socket.closed:
            await socket.send_str(msgspec.json.encode(Busy(fault.code, _short(fault.detail), retry)).decode())
            await socket.close()
        return socket

    async def _session(self, socket: web.WebSocketResponse) -> None:
        agent = self.agent
        first = await socket.receive(HELLO_SECONDS)
        if first.type is not aiohttp.WSMsgType.BINARY:
            raise PeerFault("malformed", "a session starts with a hello")
        hello: Signed[Hello] = decode_stored(first.data, Hello, agent.limits)
        message = hello.message
        sender = require_active(agent.index.roster(), message.sender)
        if sender.parent != agent.id:
            raise PeerFault("wrong-parent", f"node {sender.id} does not stand below this one")
        agent.require_signed(hello, sender)
        admission = await self.licences.admit(message.root, message.user, sender)
        async with self.held(message.root) as loaded:
            await self._serve(socket, first.data, message, sender, admission, loaded)

    async def _serve(
        self, socket: web.WebSocketResponse, frame: bytes, message: Hello, sender: Node, admission: Admission,
        loaded: LoadedModel,
    ) -> None:  # fmt: skip
        agent = self.agent
        half, self.numbers = Half.generate(os.urandom), self.numbers + 1
        above = await self._describe_above(loaded)
        allowance = admission.unpaid * loaded.manifest.units(0) if admission.price else FREE
        terms = agent.sign(
            Terms(
                sender=agent.id, sequence=agent.sequence(), hello=hashlib.sha256(frame).digest(), exchange=half.public,
                session=self.numbers, price=admission.price, window=WINDOW, allowance=allowance,
                queue_ms=self.workers.wait_ms(message.user), times=loaded.tails(), beyond_times=above.beyond_times,
                beyond_bytes_per_second=above.beyond_bytes_per_second, beyond_ms=above.beyond_ms,
                channel_units=self.licences.channel_units(message.root, message.user),
            )
        )  # fmt: skip
        transcript = transcript_of(frame, terms.stored())
        up, down = half.agree(message.exchange, transcript)
        largest = min(inputs.most_bytes(loaded.manifest) + 1024, agent.limits.tensor_bytes)
        await socket.send_bytes(terms.stored())
        state = Serving(transcript, loaded.manifest, WINDOW, allowance)
        channel = SealedChannel(self.numbers, down, up, largest)
        await Conversation(self, socket, channel, state, loaded, message, sender).run()

    # ------------------------------------------------------------------------------------------------------- tier above

    async def _describe_above(self, loaded: LoadedModel) -> Terms:
        """What the tier above states, with the link to it; without one, or while it is away, nothing."""
        empty = Terms(0, 0, bytes(32), bytes(32), 0, 0, 1, 0, 0.0, ())
        if self.agent.link is None or self.http is None:
            return empty
        try:
            line = await self.line(loaded)
        except (Unavailable, PeerFault) as error:
            LOG.debug("nothing is handed on: %s", error)
            return empty
        ms, rate = self.link[loaded.root]
        return msgspec.structs.replace(
            empty, beyond_times=line.terms.times, beyond_bytes_per_second=rate, beyond_ms=ms + line.terms.queue_ms
        )

    async def line(self, loaded: LoadedModel) -> Line:
        """The open line for this model to the tier above. Raises Unavailable."""
        lock = self.opening.setdefault(loaded.root, asyncio.Lock())
        async with lock:
            line = self.above.get(loaded.root)
            if line is not None and not line.broken:
                return line
            agent = self.agent
            roster, me = agent.index.roster(), agent.me()
            parent = roster.nodes.get(me.parent) if me is not None else None
            if parent is None or self.http is None:
                raise Unavailable("there is no tier above")
            who = Identity(agent.id, agent.network, agent.account.address, agent.context, agent.limits)
            line = await Line.open(self.http, agent.config.parent, who, parent, loaded.root, loaded.manifest)
            self.link[loaded.root] = await line.probe()
            self.above[loaded.root] = line
            return line

    async def hand_on(self, loaded: LoadedModel, course: Course, data: bytes, given: Floats) -> tuple[Floats, float]:
        """(logits, milliseconds) of the tier above, for what crosses at `middle`. Raises Unavailable."""
        began = time.perf_counter()
        line = await self.line(loaded)
        last = len(loaded.manifest.segments)
        further = Course(course.middle, last, course.beyond or course.form)
        sent = data if course.middle == course.front else coding.encode(further.form, given)
        answered = await line.ask(further, sent)
        return answered.logits, 1000 * (time.perf_counter() - began)

    # ----------------------------------------------------------------------------------------------------------- report

    def report(self) -> dict[str, object]:
        """What /status shows of it."""
        return {
            "sessions": self.sessions,
            "queued": len(self.workers.jobs),
            "queue_ms": self.workers.wait_ms(b""),
            "batches": self.workers.batches,
            "batched": self.workers.batched,
            "memory": {
                "resident_bytes": self.store.bytes,
                "budget_bytes": self.store.budget.bytes,
                "hits": self.store.hits,
                "loads": self.store.loads,
                "evictions": self.store.evictions,
                "refusals": self.store.refusals,
            },
            "models": {
                root.hex(): {
                    "name": loaded.manifest.name,
                    **msgspec.to_builtins(self.counted.get(root, Served())),
                }
                for root, loaded in self.models.items()
            },
        }

    async def close(self) -> None:
        for line in self.above.values():
            await line.close()
        self.workers.close()


class Conversation:
    """One open session on its server."""

    def __init__(
        self, inference: Inference, socket: web.WebSocketResponse, channel: SealedChannel, state: Serving,
        loaded: LoadedModel, hello: Hello, sender: Node,
    ) -> None:  # fmt: skip
        self.inference, self.socket, self.channel, self.state = inference, socket, channel, state
        self.loaded, self.hello, self.sender = loaded, hello, sender
        self.till: Till | None = None
        self.running: set[asyncio.Task[None]] = set()
        self.counted = inference.counted.setdefault(hello.root, Served())

    async def run(self) -> None:
        try:
            async for message in self.socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    raise PeerFault("malformed", "a session speaks in binary frames")
                request, record = self.channel.open(message.data)
                self.counted.bytes_in += len(message.data)
                if await self._take(request, record):
                    break
        except PeerFault as fault:
            LOG.warning("a session with node %d ends: %s", self.sender.id, fault)
            self.inference.agent.meters.refused.labels(fault.code).inc()
            await self._send(Busy(fault.code, _short(fault.detail), 0.0))
        finally:
            self._step(Ended())
            for task in self.running:
                task.cancel()
            await self.socket.close()

    async def _take(self, request: int, record: Record) -> bool:
        """Whether the session is over."""
        match record:
            case Open():
                licences, hello = self.inference.licences, self.hello
                self.till = await licences.till(hello.root, hello.user, record.channel, self.sender)
                self._step(Opened(record.course))
            case Replan():
                self._step(Replanned(request, record.course))
            case Data():
                why = self.inference.licences.revoked(self.hello.root, self.hello.user, self.sender)
                if why:
                    raise PeerFault("unlicensed", why)
                await self._asked(request, record.tensor)
            case Pay():
                if self.till is None:
                    raise PeerFault("mismatch", "a voucher in a session that no channel pays for")
                units, chain = self.till.paid(record.voucher, self.state.ledger.units)
                self._step(machine.Paid(units, chain))
            case Probe():
                await self._send(Probe(queue_ms=self.inference.workers.wait_ms(self.hello.user)))
            case Close():
                ledger = self.state.ledger
                await self._send(Close(ledger.count, ledger.units, ledger.root))
                return True
            case _:
                raise PeerFault("malformed", f"a client does not send {type(record).__name__}")
        return False

    async def _asked(self, request: int, tensor: bytes) -> None:
        for effect in self._step(Asked(request)):
            if isinstance(effect, Refuse):
                wait = self.inference.workers.wait_ms(self.hello.user)
                await self._refuse(request, effect.code, effect.detail, max(1.0, wait))
            elif isinstance(effect, Run):
                found = self.inference.workers.offer(self.hello.user, self.loaded, effect.course, tensor)
                if isinstance(found, tenancy.Busy):
                    self._step(Dropped(request))
                    await self._refuse(request, "overloaded", found.reason, found.retry_ms)
                    continue
                task = asyncio.create_task(self._run(effect.request, effect.course, tensor, found))
                self.running.add(task)
                task.add_done_callback(self._finished)

    async def _refuse(self, request: int, code: str, detail: str, retry_ms: float) -> None:
        self.counted.refused += 1
        await self._send(Busy(code, _short(detail), retry_ms), request)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            self.inference.agent.fail(task.exception())

    async def _run(self, request: int, course: Course, tensor: bytes, running: asyncio.Future[Ran]) -> None:
        inference, beyond = self.inference, 0.0
        try:
            ran = await running
            given = ran.given
            if course.middle < len(self.loaded.manifest.segments):
                given, beyond = await inference.hand_on(self.loaded, course, tensor, given)
        except PeerFault as fault:
            self._step(Dropped(request))
            await self._refuse(request, fault.code, fault.detail, 0.0)
            return
        except Unavailable as error:
            self._step(Dropped(request))
            await self._send(Degraded(_short(str(error))))
            await self._refuse(request, "overloaded", str(error), BACKOFF_MS)
            return
        if inference.agent.config.attack == "false-answers" and request % LIE_EVERY == 0:
            given = -given
        logits = np.ascontiguousarray(given, "<f4").tobytes()
        done = Done(request, hashlib.sha256(tensor).digest(), hashlib.sha256(logits).digest())
        for effect in self._step(done):
            if isinstance(effect, Answer):
                self.counted.requests += 1
                self.counted.units += effect.units
                self.counted.unpaid = self.state.ledger.units - self.state.paid
                self.counted.compute_ms += ran.each_ms
                times = ran.queue_ms, ran.decode_ms, ran.compute_ms
                await self._send(Result(logits, *times, beyond, effect.units, effect.chain), request)

    def _step(self, event: machine.ServerEvent) -> tuple[machine.ServerEffect, ...]:
        self.state, effects = serve(self.state, event)
        for effect in effects:
            if isinstance(effect, machine.Record):
                hello = self.hello
                self.inference.licences.record(hello.root, hello.user, self.state.session, effect.ledger, effect.paid)
        return effects

    async def _send(self, record: Record, request: int = 0) -> None:
        frame = self.channel.seal(record, request)
        self.counted.bytes_out += len(frame)
        try:
            await self.socket.send_bytes(frame)
        except (ConnectionError, OSError, RuntimeError) as error:
            LOG.debug("an answer found nobody: %s", error)


def _short(detail: str) -> str:
    return detail.encode()[:DETAIL_BYTES].decode(errors="ignore")
