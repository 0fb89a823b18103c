"""The only way a node calls out: requests to its parent, each with a deadline, repeated as the weather asks.

A refusal by the parent comes back as the `PeerFault` it named; anything that may go better next time (no connection, a
timeout, 429, 5xx) is `Unavailable`. Large bodies resume where the connection broke: the parent is asked how many bytes
it has, and only the rest is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import msgspec

from middleware.errors import FAULTS, PeerFault, Unavailable
from middleware.types import Limits
from middleware.wire.message import Offer, Signed, decode_stored

RESUMABLE_BYTES = 1 << 20  # bytes; smaller bodies are sent again whole
SEND_BYTES = 1 << 20  # bytes handed to the socket at once
PACE_SECONDS = 0.05  # from piece to piece on a link that is held back
Buffer = bytes | bytearray
RECEIPT_HEADER = "Drystone-Receipt"
REQUEST_HEADER = "Drystone-Request"
FRAME_TYPE = "application/vnd.drystone.frame"


class Refusal(msgspec.Struct):
    """The JSON body of an answer that is not 2xx."""

    code: str
    detail: str


class Link:
    """A parent's address, and a connection that is kept open."""

    def __init__(
        self, base: str, session: aiohttp.ClientSession, limits: Limits, bytes_per_second: float = 0.0
    ) -> None:  # fmt: skip
        """`bytes_per_second` holds uploads back to this rate; 0 does not."""
        self.base = base.rstrip("/")
        self.session = session
        self.limits = limits
        self.bytes_per_second = bytes_per_second

    async def post(
        self, frame: bytes, body: Buffer = b"", digest: bytes = b"", receipt: bytes = b"", direct: bool = False
    ) -> bytes:
        """Deliver one message; returns the answer's bytes (empty for 204).

        With the body's `digest` a large body goes on where an earlier try broke off: give it on every try but the first.
        `receipt` is an edge's own, for the update that it passes on: it proves to the cloud who does, and at which place;
        `direct` marks one that was forced through the ledger, past its edge.
        """
        offset = 0
        if digest and len(body) > RESUMABLE_BYTES:
            offset = await self._received(digest.hex())

        async def content() -> AsyncIterator[bytes | memoryview]:
            yield frame
            view = memoryview(body)
            for start in range(offset, len(view), SEND_BYTES):
                yield view[start : start + SEND_BYTES]

        length = str(len(frame) + len(body) - offset)
        data: bytes | AsyncIterator[bytes | memoryview] = content() if len(body) > RESUMABLE_BYTES else frame + body
        if self.bytes_per_second:
            data = _paced(content(), self.bytes_per_second)
        headers = {"Content-Type": FRAME_TYPE, "Content-Length": length}
        if receipt:
            headers[RECEIPT_HEADER] = receipt.hex()
        return await self._request(
            "POST", f"/v1/message?offset={offset}&direct={int(direct)}", data=data, headers=headers
        )

    async def poll(self, frame: bytes) -> Signed[Offer] | None:
        """The parent's next offer, or None after its long poll ran out."""
        answer = await self._request("POST", "/v1/message?offset=0", data=frame, headers={"Content-Type": FRAME_TYPE})
        return decode_stored(answer, Offer) if answer else None

    async def blob(self, digest: bytes, most_bytes: int, request: bytes = b"") -> bytes:
        """A blob of at most `most_bytes`, checked against its digest. `request` is a stored `FileRequest`, which a file of a
        published model asks for."""
        headers = {REQUEST_HEADER: request.hex()} if request else None
        data = await self._request("GET", f"/v1/blob/{digest.hex()}", headers=headers, most_bytes=most_bytes)
        if hashlib.sha256(data).digest() != digest:
            raise PeerFault("mismatch", f"{self.base} sent other bytes for blob {digest.hex()[:12]}")
        return data

    async def has_blob(self, digest: bytes) -> bool:
        """Whether the parent holds a blob already."""
        try:
            await self._request("HEAD", f"/v1/blob/{digest.hex()}")
        except Unavailable:
            return False
        return True

    async def put_blob(self, digest: bytes, data: bytes) -> None:
        """Bring the parent a blob that the ledger names. PeerFault when it does not wait for this one."""
        await self._request("PUT", f"/v1/blob/{digest.hex()}", data=data)

    async def proof(self, task: int, round: int, node: int) -> bytes:
        """The canonical inclusion proof of a node's update."""
        return await self._request("GET", f"/v1/proof/{task}/{round}/{node}", most_bytes=self.limits.header_bytes)

    async def session_proof(self, session: bytes) -> bytes:
        """The canonical `SessionProof` of a session that the parent served."""
        return await self._request("GET", f"/v1/session/{session.hex()}", most_bytes=self.limits.header_bytes)

    async def describe(self) -> dict[str, object]:
        """The parent's public description: its name and id on the ledger, its tier."""
        return msgspec.json.decode(await self._request("GET", "/status"), type=dict[str, object])

    async def _received(self, digest: str) -> int:
        answer = await self._request("GET", f"/v1/upload/{digest}")
        return msgspec.json.decode(answer, type=dict[str, int])["bytes"]

    async def _request(
        self,
        method: str,
        path: str,
        data: bytes | AsyncIterator[bytes | memoryview] | None = None,
        headers: dict[str, str] | None = None,
        most_bytes: int | None = None,
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self.limits.request_seconds + self.limits.poll_seconds)
        try:
            async with self.session.request(
                method, self.base + path, data=data, headers=headers, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.read(), self.base)
                if most_bytes is not None and (answer.content_length or 0) > most_bytes:
                    raise PeerFault(
                        "too-large", f"{self.base}{path} has {answer.content_length} bytes, expected {most_bytes}"
                    )
                return await answer.read()
        except (TimeoutError, aiohttp.ClientError, ConnectionError, OSError) as error:
            raise Unavailable(f"{self.base} does not answer ({type(error).__name__}); is that node running?") from error


async def _paced(content: AsyncIterator[bytes | memoryview], rate: float) -> AsyncIterator[bytes | memoryview]:
    """The same bytes, each piece not before all up to its end had time to pass a link of `rate` bytes a second."""
    clock, size, passed = asyncio.get_running_loop(), max(1, int(rate * PACE_SECONDS)), 0
    began = clock.time()
    async for part in content:
        view = memoryview(part)
        for start in range(0, len(view), size):
            piece = view[start : start + size]
            passed += len(piece)
            await asyncio.sleep(began + passed / rate - clock.time())
            yield piece


def _refusal(status: int, body: bytes, base: str) -> Exception:
    try:
        refusal = msgspec.json.decode(body, type=Refusal)
    except msgspec.MsgspecError:
        refusal = Refusal("", body[:200].decode(errors="replace"))
    if status == 429 or status >= 500 or refusal.code not in FAULTS:
        return Unavailable(f"{base} answered {status} {refusal.code} {refusal.detail}".rstrip())
    return PeerFault(refusal.code, refusal.detail)
