"""Routes <-> messages. One place maps errors to status codes, counts them, and turns overload away.

    POST /v1/message?offset=N     one frame; its body may start at byte N of what an earlier try left behind
    GET  /v1/upload/DIGEST        {"bytes": how much of that body is here}
    GET  /v1/blob/DIGEST          a content-addressed blob (Range is honoured)
    GET  /v1/proof/TASK/ROUND/NODE   where a node's update stands in the anchored record
    GET  /v1/session              WebSocket: a session of shared inference (`nodes.serving`)
    GET  /status                  what this node is, does and waits for
    GET  /metrics                 Prometheus

The head and the signed header are judged before a byte of the body is read: an intruder costs a node the parsing of at
most one header.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from middleware.errors import DrystoneError, LedgerRefused, PeerFault, Unavailable
from middleware.types import Limits
from middleware.wire import frame
from middleware.wire.message import Message, Signed, receive
from nodes.link import FRAME_TYPE, RECEIPT_HEADER, REQUEST_HEADER, RESUMABLE_BYTES, Refusal
from nodes.store import Blobs

LOG = logging.getLogger("drystone")
RETRY_SECONDS = 1
HEADER_SECONDS = 10.0  # that a stranger's header may take: it holds a place among the requests in flight meanwhile
READ_BUFFER_BYTES = 1 << 20


class Meters:
    """What `/metrics` shows. One registry a node, so that two nodes in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused = Counter("drystone_refused", "Messages refused, by fault.", ["code"], registry=self.registry)
        self.accepted = Counter("drystone_accepted", "Messages accepted, by type.", ["type"], registry=self.registry)
        self.received = Counter("drystone_received_bytes", "Bytes of messages received.", registry=self.registry)
        self.in_flight = Gauge("drystone_requests_in_flight", "Requests being served.", registry=self.registry)
        self.round = Gauge("drystone_round", "The round that is open here.", registry=self.registry)
        self.seconds = Histogram("drystone_request_seconds", "Seconds to serve one message.", registry=self.registry)


class Upload:
    """The body behind a header that has been judged: read once, into one buffer, hashed as it arrives."""

    def __init__(
        self, routes: Routes, request: web.Request, length: int, offset: int, receipt: bytes = b"", direct: bool = False
    ) -> None:
        self.routes, self.request, self.length, self.offset = routes, request, length, offset
        self.receipt = receipt  # an edge's stored ReceiptReply for the update that it passes on; empty without
        self.direct = direct  # the update was forced through the ledger, past its edge
        self.partial = routes.partial

    @contextmanager
    def parked(self) -> Iterator[None]:
        """While a long poll waits it holds no place among the requests in flight."""
        self.routes.in_service -= 1
        try:
            yield
        finally:
            self.routes.in_service += 1

    async def read(self, digest: bytes) -> bytearray:
        """The whole body. PeerFault: "mismatch" unless it has SHA-256 `digest`, "overloaded" when it stops early or takes longer
        than `request_seconds`: a slow sender holds one place for that long and no more."""
        try:
            async with asyncio.timeout(self.routes.node.limits.request_seconds):
                if self.length <= RESUMABLE_BYTES:
                    return await self._read(digest)
                async with self.routes.large:
                    return await self._read(digest)
        except TimeoutError as error:
            raise PeerFault("overloaded", "the body did not arrive in time") from error

    async def _read(self, digest: bytes) -> bytearray:
        data = bytearray(self.length)
        hasher = hashlib.sha256()
        filled = 0
        if self.offset:
            before = self.partial.take(digest)
            if before is None or len(before) != self.offset or self.offset > self.length:
                raise PeerFault("overloaded", f"no {self.offset} bytes of that body are waiting here: ask again")
            data[: self.offset] = before
            hasher.update(before)
            filled = self.offset
        try:
            async for chunk in self.request.content.iter_any():
                if filled + len(chunk) > self.length:
                    raise PeerFault("mismatch", f"the body is longer than the {self.length} bytes announced")
                data[filled : filled + len(chunk)] = chunk
                hasher.update(chunk)
                filled += len(chunk)
        except (ConnectionError, asyncio.CancelledError, web.RequestPayloadError):
            self.partial.keep(digest, data[:filled])
            raise
        if filled < self.length:
            self.partial.keep(digest, data[:filled])
            raise PeerFault("overloaded", f"the body stopped at {filled} of {self.length} bytes: send the rest")
        if hasher.digest() != digest:
            raise PeerFault("mismatch", "the body is not the one that the header commits to")
        return data


class Partial:
    """Beginnings of large bodies whose connection broke, so that a second try sends only the rest.

    At most `most` of them are kept, the oldest goes first: a sender that never comes back costs a bounded memory.
    """

    def __init__(self, most: int = 4) -> None:
        self.most = most
        self.parts: dict[bytes, bytes] = {}

    def keep(self, digest: bytes, data: bytes | bytearray) -> None:
        if len(data) > RESUMABLE_BYTES:
            self.parts[digest] = bytes(data)
            while len(self.parts) > self.most:
                del self.parts[next(iter(self.parts))]

    def take(self, digest: bytes) -> bytes | None:
        return self.parts.pop(digest, None)

    def size(self, digest: bytes) -> int:
        return len(self.parts.get(digest, b""))


Handler = Callable[[Signed[Message], Upload], Awaitable[bytes]]


class Served(Protocol):
    """What the routes need from a node."""

    limits: Limits
    meters: Meters
    blobs: Blobs
    handlers: dict[int, Handler]

    @property
    def ready(self) -> bool:
        """Whether the node is active on the ledger."""
        ...

    async def require_reader(self, digest: bytes, request: bytes) -> None:
        """PeerFault unless whoever signed `request` (b"": nobody) may have this blob."""
        ...

    async def obtain(self, digest: bytes) -> bool:
        """Whether the blob is here, fetched from above if it belongs to a published model."""
        ...

    def awaits(self, digest: bytes) -> bool:
        """Whether the ledger names this blob and nobody has brought it yet: anybody may."""
        ...

    def status(self) -> dict[str, object]: ...

    async def proof(self, task: int, round: int, node: int) -> bytes | None: ...

    def session_proof(self, session: bytes) -> bytes | None:
        """The canonical `SessionProof` of a session that was served here, if a checkpoint covers it."""
        ...

    async def session(self, request: web.Request) -> web.StreamResponse:
        """Serve one session of shared inference, or refuse it."""
        ...


def application(node: Served) -> web.Application:
    """The node's routes as an aiohttp application."""
    routes = Routes(node)
    app = web.Application(middlewares=[routes.guard], client_max_size=node.limits.header_bytes)
    app.router.add_post("/v1/message", routes.message)
    app.router.add_get("/v1/upload/{digest}", routes.upload)
    app.router.add_get("/v1/blob/{digest}", routes.blob)
    app.router.add_put("/v1/blob/{digest}", routes.take_blob)
    app.router.add_get("/v1/proof/{task}/{round}/{node}", routes.proof)
    app.router.add_get("/v1/session", routes.session)
    app.router.add_get("/v1/session/{digest}", routes.session_proof)
    app.router.add_get("/status", routes.status)
    app.router.add_get("/metrics", routes.metrics)
    return app


class Routes:
    def __init__(self, node: Served) -> None:
        self.node = node
        self.partial = Partial()
        self.large = asyncio.Semaphore(node.limits.uploads_in_flight)
        self.in_service = 0

    @web.middleware
    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Errors to statuses; requests above the limit are turned away unread."""
        meters = self.node.meters
        if self.in_service >= self.node.limits.requests_in_flight:
            return self._refuse(PeerFault("overloaded", f"{self.in_service} requests in flight"))
        meters.in_flight.inc()
        self.in_service += 1
        try:
            return await handler(request)
        except PeerFault as fault:
            return self._refuse(fault)
        except (Unavailable, LedgerRefused) as error:
            return self._refuse(PeerFault("overloaded", str(error)))
        except DrystoneError as error:
            LOG.error("our fault while serving %s: %s", request.path, error)
            raise
        finally:
            self.in_service -= 1
            meters.in_flight.dec()

    def _refuse(self, fault: PeerFault) -> web.Response:
        self.node.meters.refused.labels(fault.code).inc()
        headers = {"Retry-After": str(RETRY_SECONDS)} if fault.status == 429 else {}
        body = msgspec.json.encode(Refusal(fault.code, fault.detail))
        return web.Response(status=fault.status, body=body, content_type="application/json", headers=headers)

    async def message(self, request: web.Request) -> web.Response:
        limits, meters = self.node.limits, self.node.meters
        if not self.node.ready:
            raise PeerFault("overloaded", "this node is still joining the ledger")
        offset = _number(request.query.get("offset", "0"))
        direct = _number(request.query.get("direct", "0")) > 0
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                head = frame.parse_head(await _exactly(request, frame.HEAD_BYTES), limits)
                signed = receive(head, await _exactly(request, head.rest_bytes), limits)
        except TimeoutError as error:
            raise PeerFault("malformed", f"the header did not arrive in {HEADER_SECONDS:g} s") from error
        handler = self.node.handlers.get(head.code)
        if handler is None:
            raise PeerFault("wrong-tier", f"this node takes no {type(signed.message).__name__}")
        upload = Upload(self, request, head.body_bytes, offset, _hex_header(request, RECEIPT_HEADER), direct)
        with meters.seconds.time():
            answer = await handler(signed, upload)
        meters.accepted.labels(type(signed.message).__name__).inc()
        meters.received.inc(frame.HEAD_BYTES + head.rest_bytes + head.body_bytes - offset)
        return web.Response(body=answer, content_type=FRAME_TYPE) if answer else web.Response(status=204)

    async def upload(self, request: web.Request) -> web.Response:
        return _json({"bytes": self.partial.size(_digest(request))})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        digest = _digest(request)
        if request.method == "HEAD":
            return web.Response(status=200 if self.node.blobs.has(digest) else 404)
        await self.node.require_reader(digest, _hex_header(request, REQUEST_HEADER))
        if not await self.node.obtain(digest):
            return _json({"code": "", "detail": f"no blob {digest.hex()} here"}, 404)
        return web.FileResponse(self.node.blobs.path(digest), chunk_size=1 << 20)

    async def take_blob(self, request: web.Request) -> web.Response:
        """A blob that the ledger names and this node lacks, whoever brings it."""
        digest, length = _digest(request), request.content_length or 0
        if not self.node.awaits(digest):
            raise PeerFault("wrong-task", f"the ledger names no missing blob {digest.hex()[:16]}")
        if not 0 < length <= self.node.limits.blob_bytes:
            raise PeerFault("too-large", f"a blob of {length} bytes, at most {self.node.limits.blob_bytes}")
        data = await Upload(self, request, length, 0).read(digest)
        self.node.blobs.put(data, digest)
        return web.Response(status=204)

    async def proof(self, request: web.Request) -> web.Response:
        place = [_number(request.match_info[name]) for name in ("task", "round", "node")]
        proof = await self.node.proof(*place)
        if proof is None:
            return _json({"code": "", "detail": "no such update in the record"}, 404)
        return web.Response(body=proof, content_type=FRAME_TYPE)

    async def session_proof(self, request: web.Request) -> web.Response:
        proof = self.node.session_proof(_digest(request))
        if proof is None:
            return _json({"code": "", "detail": "no checkpoint on the ledger covers such a session yet"}, 404)
        return web.Response(body=proof, content_type=FRAME_TYPE)

    async def session(self, request: web.Request) -> web.StreamResponse:
        if not self.node.ready:
            raise PeerFault("overloaded", "this node is still joining the ledger")
        self.in_service -= 1  # a session is long and mostly waits: it has a limit of its own
        try:
            return await self.node.session(request)
        finally:
            self.in_service += 1

    async def status(self, request: web.Request) -> web.Response:
        return _json(self.node.status())

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.node.meters.registry), content_type="text/plain")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise PeerFault("malformed", f"{text[:40]!r} is not a number")
    return int(text)


def _hex_header(request: web.Request, name: str) -> bytes:
    try:
        return bytes.fromhex(request.headers.get(name, ""))
    except ValueError as error:
        raise PeerFault("malformed", f"{name} is not hex") from error


def _digest(request: web.Request) -> bytes:
    text = request.match_info["digest"]
    if len(text) != 64:
        raise PeerFault("malformed", "a digest has 64 hex digits")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise PeerFault("malformed", "a digest has 64 hex digits") from error


async def _exactly(request: web.Request, count: int) -> bytes:
    try:
        return await request.content.readexactly(count)
    except (asyncio.IncompleteReadError, web.RequestPayloadError) as error:
        raise PeerFault("malformed", f"the frame ended before its first {count} bytes") from error
