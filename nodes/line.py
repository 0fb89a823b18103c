"""One WebSocket session as its client: a device that asks its edge, or an edge that asks its cloud.

`Line.open` says hello, checks the terms against the ledger's key of the server, and seals everything behind them. `ask` sends one
request and waits for its answer; several may be under way. A line that breaks fails everything that is outstanding with
`Unavailable` and stays broken: whoever asked decides where to ask again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import PeerFault, Unavailable
from middleware.infer import inputs
from middleware.protocol import session as machine
from middleware.protocol.session import Asking
from middleware.trust.keys import NetworkKey, require_message_signature, sign_message
from middleware.trust.session import RECORD_BYTES, Half, SealedChannel, transcript_of
from middleware.types import ZERO32, Limits, Node
from middleware.wire.commitment import Context
from middleware.wire.message import Signed, decode_stored
from middleware.wire.model import ModelManifest
from middleware.wire.session import (
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
)

LOG = logging.getLogger("drystone")
PATH: Final = "/v1/session"
OPEN_SECONDS: Final = 10.0  # that a server may take to state its terms: it may have to fetch and time the model first
CLOSE_SECONDS: Final = 2.0
PROBE_BYTES: Final = 8192

Floats = npt.NDArray[np.float32]


class Refused(Unavailable):
    """The server did not take a request, or ended the session. `code` is its reason, `retry_ms` when to try again (0:
    never)."""

    def __init__(self, code: str, detail: str, retry_ms: float) -> None:
        self.code, self.retry_ms = code, retry_ms
        super().__init__(f"{code}: {detail}")


class Identity(msgspec.Struct, frozen=True):
    """Who opens sessions: a node of the ledger, and the account whose licence it uses."""

    node: int
    network: NetworkKey
    user: bytes
    context: Context
    limits: Limits


class Answered(msgspec.Struct, frozen=True):
    """One answer and what it took: milliseconds from sending to having it, and what the server says of that. `receipt` is its
    place among the session's receipts."""

    request: int
    receipt: int
    logits: Floats
    result: Result
    elapsed_ms: float
    bytes_up: int
    bytes_down: int


class Line:
    """A session that is open."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, channel: SealedChannel, state: Asking, terms: Terms
    ) -> None:
        self.socket, self.channel, self.state, self.terms = socket, channel, state, terms
        self.payment = ZERO32  # the channel that pays, named when the first request is sent
        self.course: Course | None = None
        self.last = 0  # request
        self.sending = asyncio.Lock()
        self.waiting: dict[int, asyncio.Future[tuple[Record, int, int]]] = {}
        self.probes: list[asyncio.Future[float]] = []
        self.queue_ms = terms.queue_ms
        self.room = asyncio.Semaphore(terms.window)
        self.closed: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self.broken = ""
        self.fault: PeerFault | None = None  # what the server, or we, ended it for
        self.degraded = ""
        self.bytes_up = self.bytes_down = 0
        self.reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, http: aiohttp.ClientSession, base: str, who: Identity, server: Node, root: bytes, model: ModelManifest
    ) -> Line:
        """Raises Unavailable where nobody answers, Refused where the server will not serve this model or this user, PeerFault
        where the terms are not the server's."""
        half = Half.generate(os.urandom)
        hello = sign_message(
            who.context, who.network, Hello(who.node, time.time_ns(), root, half.public, who.user), who.limits
        )
        try:
            socket = await asyncio.wait_for(
                http.ws_connect(base + PATH, max_msg_size=inputs.most_bytes(model) + 1024, compress=0, autoping=True),
                OPEN_SECONDS,
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{base} opens no session ({type(error).__name__}); is that node running?") from error
        try:
            frame = await cls._terms(socket, base, hello.stored())
            terms: Signed[Terms] = decode_stored(frame, Terms, who.limits)
            if terms.message.sender != server.id or terms.message.hello != hashlib.sha256(hello.stored()).digest():
                raise PeerFault("mismatch", f"terms of node {terms.message.sender} for another hello than ours")
            require_message_signature(who.context, server.net_key, terms)
        except BaseException:
            await socket.close()
            raise
        transcript = transcript_of(hello.stored(), frame)
        up, down = half.agree(terms.message.exchange, transcript)
        largest = max(RECORD_BYTES, inputs.most_bytes(model))
        channel = SealedChannel(terms.message.session, up, down, largest)
        return cls(socket, channel, Asking(transcript, model, terms.message.window), terms.message)

    @staticmethod
    async def _terms(socket: aiohttp.ClientWebSocketResponse, base: str, hello: bytes) -> bytes:
        """The frame with which the server answers a hello; raises Refused or Unavailable where it does not."""
        try:
            await socket.send_bytes(hello)
            first = await socket.receive(OPEN_SECONDS)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{base} states no terms ({type(error).__name__})") from error
        if first.type is aiohttp.WSMsgType.TEXT:
            refusal = msgspec.json.decode(first.data, type=Busy)
            raise Refused(refusal.code, refusal.detail, refusal.retry_ms)
        if first.type is not aiohttp.WSMsgType.BINARY:
            raise Unavailable(f"{base} ended the session before it began")
        return bytes(first.data)

    async def pay(self, voucher: bytes) -> None:
        """Hand over a voucher for everything that was answered."""
        await self._send(Pay(voucher))
        self.state = machine.vouched(self.state)

    async def probe(self) -> tuple[float, float]:
        """(round trip in milliseconds, bytes a second up), measured now."""
        empty = min([await self._probe(b"") for _ in range(3)])
        loaded = await self._probe(bytes(PROBE_BYTES))
        return 1000 * empty, PROBE_BYTES / max(1e-6, loaded - empty)

    async def _probe(self, load: bytes) -> float:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.probes.append(future)
        began = time.perf_counter()
        await self._send(Probe(load))
        self.queue_ms = await future
        return time.perf_counter() - began

    async def ask(self, course: Course, tensor: bytes) -> Answered:
        """The answer to one request, which goes this way. Raises Refused, or Unavailable when the line breaks first."""
        async with self.room:
            future: asyncio.Future[tuple[Record, int, int]] = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            async with (
                self.sending
            ):  # numbers rise in the order of sending, and a course is stated before its first request
                self.last = request = self.last + 1
                if self.course is None:
                    await self._send(Open(course, self.payment))
                elif self.course != course:
                    await self._send(Replan(course), request)
                self.course = course
                self.state = machine.asked(self.state, request, course, hashlib.sha256(tensor).digest())
                self.waiting[request] = future
                await self._send(Data(tensor), request)
            try:
                record, size, receipt = await future
            finally:
                self.waiting.pop(request, None)
        elapsed = 1000 * (time.perf_counter() - began)
        if isinstance(record, Busy):
            raise Refused(record.code, record.detail, record.retry_ms)
        if not isinstance(record, Result):
            raise PeerFault("malformed", f"a request was answered by {type(record).__name__}")
        logits = np.frombuffer(record.logits, "<f4").astype(np.float32)
        return Answered(request, receipt, logits, record, elapsed, len(tensor), size)

    async def close(self) -> machine.Ledger:
        """End the session. Raises PeerFault("mismatch") where the server counts other receipts than we do."""
        ours = self.state.ledger
        if not self.broken:
            try:
                await self._send(Close(ours.count, ours.units, ours.root))
                theirs = await asyncio.wait_for(asyncio.shield(self.closed), CLOSE_SECONDS)
                if theirs != Close(ours.count, ours.units, ours.root):
                    raise PeerFault("mismatch", f"the server counts {theirs.count} answers, we {ours.count}")
            except (TimeoutError, Unavailable) as error:
                LOG.debug("the session ended without the server's close: %s", error)
        await self._end()
        return ours

    async def _end(self) -> None:
        self.reader.cancel()
        await asyncio.gather(self.reader, return_exceptions=True)
        self._break("the session is closed")
        if not self.closed.done():
            self.closed.cancel()
        await self.socket.close()

    async def _send(self, record: Record, request: int = 0) -> None:
        if self.broken:
            raise self.fault or Unavailable(self.broken)
        frame = self.channel.seal(record, request)
        self.bytes_up += len(frame)
        try:
            await self.socket.send_bytes(frame)
        except (aiohttp.ClientError, ConnectionError, OSError) as error:
            self._break(f"the line broke while sending: {error}")
            raise Unavailable(self.broken) from error

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        pending: list[asyncio.Future[Any]] = [*self.waiting.values(), *self.probes]
        for future in pending:
            if not future.done():
                future.set_exception(self.fault or Unavailable(self.broken))
        self.probes.clear()

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                self.bytes_down += len(message.data)
                request, record = self.channel.open(message.data)
                self._take(request, record, len(message.data))
            self._break("the server ended the session")
        except PeerFault as fault:
            LOG.warning("the session ends: %s", fault)
            self.fault = fault
            self._break(str(fault))
        except (aiohttp.ClientError, ConnectionError, OSError) as error:
            self._break(f"the line broke: {error}")

    def _take(self, request: int, record: Record, size: int) -> None:
        match record:
            case Result():
                digest = hashlib.sha256(record.logits).digest()
                self.state = machine.answered(self.state, request, digest, record.units, record.chain)
                self._resolve(request, record, size)
            case Busy() if request:
                self.state = machine.refused(self.state, request)
                self._resolve(request, record, size)
            case Busy():
                raise PeerFault(record.code, record.detail)
            case Degraded():
                self.degraded = record.detail
            case Probe() if self.probes:
                self.probes.pop(0).set_result(record.queue_ms)
            case Close() if not self.closed.done():
                self.closed.set_result(record)
            case _:
                raise PeerFault("malformed", f"a server does not send {type(record).__name__} now")

    def _resolve(self, request: int, record: Record, size: int) -> None:
        future = self.waiting.get(request)
        if future is not None and not future.done():
            future.set_result((record, size, self.state.ledger.count - 1))
