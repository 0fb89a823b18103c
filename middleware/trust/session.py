"""The sealed channel of a session: one key exchange, then AES-256-GCM with counters.

Both sides sign one half of an X25519 exchange with their network keys, in `Hello` and `Terms`; the terms also name the hello that
they answer. The two keys, one a direction, come out of HKDF-SHA256 over the shared secret with the transcript (both signed
frames) as salt: whoever stands between and changes a byte of either gets other keys. Halves are made for one session and
forgotten with it, so a network key that is stolen later opens nothing (SIGMA's shape; Krawczyk, CRYPTO 2003).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from middleware.errors import PeerFault
from middleware.wire.session import HEAD_BYTES, KINDS, TAG_BYTES, Head, Record, decode_record, encode_record, parse_head

SECRET_BYTES: Final = 32
RECORD_BYTES: Final = 1024  # that every record but a tensor stays below
_INFO: Final = b"drystone/session/1"


class Half:
    """One side's half of an exchange."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> Half:
        return cls(random(SECRET_BYTES))

    def agree(self, other: bytes, transcript: bytes) -> tuple[bytes, bytes]:
        """(key of what the client sends, of what the server sends). PeerFault("forged") for a half that fixes the secret."""
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError as error:
            raise PeerFault("forged", "the other half of the exchange is a point of small order") from error
        keys = HKDF(SHA256(), 64, transcript, _INFO).derive(shared)
        return keys[:32], keys[32:]


def transcript_of(hello: bytes, terms: bytes) -> bytes:
    """SHA-256 over both stored frames: what names a session for ever."""
    return hashlib.sha256(hashlib.sha256(hello).digest() + hashlib.sha256(terms).digest()).digest()


class SealedChannel:
    """Frames out and in. `largest` is the most bytes that a tensor's record may have in this session."""

    def __init__(self, session: int, key_out: bytes, key_in: bytes, largest: int) -> None:
        self.session, self.largest = session, largest
        self._out, self._in = AESGCM(key_out), AESGCM(key_in)
        self.sent = self.seen = 0  # counters of the last frames

    def seal(self, record: Record, request: int = 0) -> bytes:
        """The next frame."""
        self.sent += 1
        plain = encode_record(record)
        head = Head(record.kind, self.session, request, len(plain) + TAG_BYTES, self.sent).to_bytes()
        return head + self._out.encrypt(self.sent.to_bytes(12, "big"), plain, head)

    def open(self, frame: bytes) -> tuple[int, Record]:
        """(request, record) of the other side's next frame. PeerFault: "malformed", "too-large", "replayed" for a counter that
        does not follow, "forged" for a seal that does not hold."""
        head = parse_head(frame, self.largest)
        if head.length > RECORD_BYTES and "tensor" not in _fields(head.kind) and "logits" not in _fields(head.kind):
            raise PeerFault("too-large", f"a record of {head.length} bytes, at most {RECORD_BYTES}")
        if head.session != self.session or head.counter != self.seen + 1:
            raise PeerFault("replayed", f"frame {head.counter} of session {head.session} does not follow {self.seen}")
        view = memoryview(frame)
        try:
            plain = self._in.decrypt(head.counter.to_bytes(12, "big"), view[HEAD_BYTES:], view[:HEAD_BYTES])
        except InvalidTag as error:
            raise PeerFault("forged", "a frame was not sealed by the other side of this session") from error
        self.seen = head.counter
        return head.request, decode_record(head.kind, plain)


def _fields(kind: int) -> tuple[str, ...]:
    return KINDS[kind].__struct_fields__
