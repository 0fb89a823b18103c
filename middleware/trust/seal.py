"""Bodies that only their readers can open.

One content key per body. The body is cut into 1 MiB segments, each under AES-256-GCM with the nonce
(7 zero bytes | segment number u32 | 1 on the last segment, else 0): the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizar (CRYPTO 2015, section 7), so that reordering, dropping, cutting, extending fail like a bit flip.
The nonce needs no randomness because a key seals one body only: never seal twice with one key. The associated data is
the place the body was made for (`leaf_context`), so a body cannot be moved to another round or sender.

GCM does not commit to its key: a liar can make one ciphertext that opens under two keys. Nothing here stops that; the
leaf's `update_root` does, because it commits to the plaintext and every reader checks it.

The content key is wrapped per reader in a libsodium sealed box to the X25519 form of the reader's ed25519 key.
Everything is a function of its arguments but `wrap`, which draws its ephemeral key from libsodium's own generator.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_box_seal, crypto_sign_ed25519_pk_to_curve25519
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as NaclRuntimeError
from nacl.public import SealedBox

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.keys import NetworkKey

KEY_BYTES: Final = 32
SEGMENT_BYTES: Final = 1 << 20  # of plaintext
TAG_BYTES: Final = 16
_SEALED_SEGMENT: Final = SEGMENT_BYTES + TAG_BYTES
_NONCE: Final = struct.Struct(">7xIB")
_CONTEXT: Final = struct.Struct(">QQI")

Buffer = bytes | bytearray | memoryview


def new_content_key(random: Callable[[int], bytes]) -> bytes:
    """A fresh content key; `random(n)` returns n unpredictable bytes."""
    return random(KEY_BYTES)


def leaf_context(task: int, round: int, node: int) -> bytes:
    """20 bytes: the place a body belongs to, task u64 | round u64 | node u32."""
    try:
        return _CONTEXT.pack(task, round, node)
    except struct.error as error:
        raise ConfigurationError(f"({task}, {round}, {node}) is not (u64, u64, u32)") from error


def sealed_size(plaintext_bytes: int) -> int:
    """Bytes of the sealed form of so many bytes; an empty body is one empty segment."""
    segments = max(1, -(-plaintext_bytes // SEGMENT_BYTES))
    return plaintext_bytes + TAG_BYTES * segments


class Sealer:
    """Seals a body piece by piece: `feed` as it comes, `finish` once; the outputs joined are `seal`'s."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = _cipher(key)
        self._context = context
        self._counter = 0
        self._held = bytearray()

    def feed(self, plaintext: Buffer) -> bytes:
        """The sealed segments that are surely not the last: a full segment waits until more comes."""
        self._held += plaintext
        sealed = []
        while len(self._held) > SEGMENT_BYTES:
            sealed.append(self._seal(bytes(self._held[:SEGMENT_BYTES]), last=False))
            del self._held[:SEGMENT_BYTES]
        return b"".join(sealed)

    def finish(self) -> bytes:
        return self._seal(bytes(self._held), last=True)

    def _seal(self, segment: bytes, *, last: bool) -> bytes:
        sealed = self._cipher.encrypt(_NONCE.pack(self._counter, last), segment, self._context)
        self._counter += 1
        return sealed


class Opener:
    """Opens a sealed body piece by piece. What `feed` returns is authentic; that it is *all* only `finish` says."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = _cipher(key)
        self._context = context
        self._counter = 0
        self._held = bytearray()

    def feed(self, sealed: Buffer) -> bytes:
        """The plaintext of every segment that is surely not the last. PeerFault("mismatch")."""
        self._held += sealed
        opened = []
        while len(self._held) > _SEALED_SEGMENT:
            opened.append(self._open(bytes(self._held[:_SEALED_SEGMENT]), last=False))
            del self._held[:_SEALED_SEGMENT]
        return b"".join(opened)

    def finish(self) -> bytes:
        """The last segment's plaintext. PeerFault("mismatch") when the body was cut or extended."""
        return self._open(bytes(self._held), last=True)

    def _open(self, segment: bytes, *, last: bool) -> bytes:
        opened = _open_segment(self._cipher, self._counter, segment, last, self._context)
        self._counter += 1
        return opened


def seal(key: bytes, plaintext: Buffer | Iterable[Buffer], context: bytes) -> bytes:
    """The sealed body of `plaintext`, whole or in parts, for the place `context`."""
    cipher = _cipher(key)
    whole = memoryview(_joined(plaintext))
    pieces = _segments(whole, SEGMENT_BYTES)
    return b"".join(cipher.encrypt(_NONCE.pack(counter, last), piece, context) for counter, piece, last in pieces)


def open_sealed(key: bytes, sealed: Buffer, context: bytes) -> bytes:
    """The plaintext of a sealed body. PeerFault("mismatch") for any other key, place or byte."""
    cipher = _cipher(key)
    pieces = _segments(memoryview(sealed), _SEALED_SEGMENT)
    return b"".join(_open_segment(cipher, counter, piece, last, context) for counter, piece, last in pieces)


def wrap(content_key: bytes, reader: bytes) -> bytes:
    """80 bytes: the content key sealed to a reader's ed25519 network key; randomised by libsodium.

    PeerFault("malformed") when the reader's key is no point of the curve: the reader chose it, not we.
    """
    if len(content_key) != KEY_BYTES:
        raise ConfigurationError(f"a content key has {KEY_BYTES} bytes, got {len(content_key)}")
    if len(reader) != 32:
        raise ConfigurationError(f"a network key has 32 bytes, got {len(reader)}")
    try:
        return crypto_box_seal(content_key, crypto_sign_ed25519_pk_to_curve25519(reader))
    except NaclRuntimeError as error:
        raise PeerFault("malformed", f"network key {reader.hex()} is not a usable curve point") from error


def unwrap(sealed: bytes, reader: NetworkKey) -> bytes:
    """The content key that was wrapped to `reader`. PeerFault("mismatch") when it does not open to 32 bytes."""
    try:
        content_key = SealedBox(reader.exchange_key()).decrypt(sealed)
    except (CryptoError, TypeError, ValueError) as error:
        raise PeerFault("mismatch", "the wrapped content key does not open for this reader") from error
    if len(content_key) != KEY_BYTES:
        raise PeerFault("mismatch", f"the wrapped content key has {len(content_key)} bytes, not {KEY_BYTES}")
    return content_key


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise PeerFault("mismatch", f"a content key has {KEY_BYTES} bytes, got {len(key)}")
    return AESGCM(key)


def _joined(plaintext: Buffer | Iterable[Buffer]) -> Buffer:
    return plaintext if isinstance(plaintext, (bytes, bytearray, memoryview)) else b"".join(plaintext)


def _segments(whole: memoryview, size: int) -> Iterator[tuple[int, memoryview, bool]]:
    """(number, bytes, whether it is the last) of each segment; at least one."""
    count = max(1, -(-len(whole) // size))
    for counter in range(count):
        yield counter, whole[counter * size : (counter + 1) * size], counter == count - 1


def _open_segment(cipher: AESGCM, counter: int, segment: bytes | memoryview, last: bool, context: bytes) -> bytes:
    try:
        return cipher.decrypt(_NONCE.pack(counter, last), segment, context)
    except InvalidTag as error:
        raise PeerFault("mismatch", f"segment {counter} of the sealed body does not open here") from error
