"""One value, one byte string.

Everything that is signed or hashed goes through here, so two rules hold for all of it:

1. `encode` is a function: equal values give equal bytes.
2. `decode` is its exact inverse: bytes that `encode` would not have written are refused, however well they parse. A
   second spelling of one value would be a second hash of one promise.

A stranger's bytes either decode or raise `PeerFault("malformed")`. The nouns check themselves when they are built and
blame us (`ConfigurationError`); this boundary relabels that blame, because here the peer wrote the value (the habit of
h11's local and remote protocol errors).

Every noun decoded here forbids unknown fields and holds no noun of its own kind, and not for strictness alone. msgspec
skips an unknown field by recursion that only the interpreter's recursion limit bounds, and that limit is not ours: py_ecc,
behind eth_account, raises it to 100,000 in our own process, where a self-nested noun overflows the C stack (measured: a
segmentation fault). Where nothing is skipped, decoding goes no deeper than the type, whatever the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from middleware.errors import ConfigurationError, PeerFault

T = TypeVar("T")

_DETAIL_CHARACTERS = 200  # of a parser's complaint that are worth sending back

_decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}  # built once a type; building costs more than decoding
_encoder = msgspec.msgpack.Encoder()


def encode(value: object) -> bytes:
    """MessagePack bytes of `value`. Raises ConfigurationError for what has none: an integer past 64 bits, a noun with
    named fields (a Policy, a Manifest), which has an encoder of its own."""
    _require_array_like(type(value))
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"{type(value).__name__} has no canonical bytes: {error}") from error


def decode(data: bytes | memoryview, kind: type[T]) -> T:
    """The value of type `kind` whose `encode` is exactly `data`, or PeerFault("malformed")."""
    _require_strict(kind)
    value = refuse_malformed(lambda: _decoder(kind).decode(data), kind.__name__)
    if _encoder.encode(value) != data:
        raise PeerFault("malformed", f"{kind.__name__} is not in its one canonical form")
    return value


def refuse_malformed(parse: Callable[[], T], what: str) -> T:
    """`parse()`, with whatever a hostile input can make a parser raise turned into PeerFault("malformed").

    MemoryError and RecursionError are on the list because a length or a depth is only a number in the sender's hand;
    both are raised before anything large exists, so the process is still sound.
    """
    try:
        return parse()
    except (msgspec.MsgspecError, ConfigurationError, ValueError, TypeError, OverflowError) as error:
        raise PeerFault("malformed", f"{what}: {str(error)[:_DETAIL_CHARACTERS]}") from error
    except (MemoryError, RecursionError) as error:
        raise PeerFault("malformed", f"{what} is too deep or too long to parse") from error


def _require_array_like(kind: type[Any]) -> None:
    if issubclass(kind, msgspec.Struct) and not kind.__struct_config__.array_like:
        raise ConfigurationError(f"{kind.__name__} is not written field by field: use its own encode and decode")


def _require_strict(kind: type[Any]) -> None:
    _require_array_like(kind)
    if issubclass(kind, msgspec.Struct) and not kind.__struct_config__.forbid_unknown_fields:
        raise ConfigurationError(f"{kind.__name__} must forbid unknown fields to be decoded from a stranger's bytes")


def _decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return decoder
