"""One update, from the member's float vector to the bytes that travel, and back to integers at whoever may read it.

    compose   float update -> grid -> codec -> salt | payload -> sealed body; the leaf commits the sealed body and the
              decoded integers, so a reader needs the plaintext and an outsider does not
    judge     what a receiver checks before it promises anything: the body opens, decodes, and lies on the grid
    audit     the expensive rest: the decoded integers have the committed root

Whoever aggregates calls all three in this order; an edge that only forwards stops after `judge`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import PeerFault
from middleware.maths import compress, grid, nested
from middleware.maths.compress import feedback
from middleware.maths.privacy.clip import clip, within
from middleware.maths.privacy.noise import discrete_gaussian
from middleware.policy import WIDTH_ONE, CodecSpec, Policy
from middleware.protocol import staleness, widths
from middleware.trust import chunks, seal
from middleware.trust.keys import NetworkKey
from middleware.trust.stream import KeyStream
from middleware.types import Leaf
from middleware.wire.message import Update, Wrapped

Integers = npt.NDArray[np.signedinteger]
Floats = npt.NDArray[np.float32]

SALT_BYTES = 16
STREAM_BYTES = 32  # key of the noise that a device adds
SEED_BYTES = 16  # of the generator that codecs draw from


class Composed(msgspec.Struct, frozen=True):
    """An update that is ready to be signed and sent, and what error feedback carries to the next round."""

    leaf: Leaf
    wrapped: tuple[Wrapped, ...]
    metrics: bytes
    body: bytes
    residual: Floats | None  # what was not sent, where the codec keeps one
    wanted: Floats | None  # the residual if the parent refuses this update: all that should have been sent
    saturated: int  # coordinates that the grid cut off


def keeps_residual(policy: Policy) -> bool:
    return policy.codec.choices is not None or not policy.codec.unbiased


class Packed(msgspec.Struct, frozen=True):
    """A float update on the grid and through the policy's codec. `residual` and `wanted` as in `Composed`."""

    payload: bytes
    integers: Integers
    residual: Floats | None
    wanted: Floats | None
    saturated: int


def pack(
    update: Floats, residual: Floats | None, policy: Policy, round: int, generator: np.random.Generator, choice: int = 0
) -> Packed:  # fmt: skip
    """Put `update` (d,) and what earlier rounds kept back on the grid and through the codec.

    A residual is one vector (d,); under dgc it is two, (2 d,): the momentum, then what it adds up to. `choice` is the number of
    the codec where the policy offers several (`choice.choose`).
    """
    if policy.codec.choices is None:
        return _packed(policy.codec, update, residual, policy, round, generator)
    packed = _packed(policy.codec.choices[choice], update, residual, policy, round, generator)
    return msgspec.structs.replace(packed, payload=bytes([choice]) + packed.payload)


def _packed(
    codec: CodecSpec, update: Floats, residual: Floats | None, policy: Policy, round: int, generator: np.random.Generator
) -> Packed:  # fmt: skip
    bits, exponent = policy.grid.bits, policy.grid.exponent
    if codec.name == "dgc":
        if codec.clip is not None:
            update = feedback.clipped(update, codec.clip, policy.min_updates)
        kept = None if residual is None else (residual[: update.size], residual[update.size :])
        density = feedback.warm_up(codec.density, round)
        made = feedback.with_momentum(update, kept, codec.velocity, bits, exponent, density)
        both = np.concatenate([made.momentum, made.residual])
        return Packed(made.payload, made.integers, both, np.concatenate(made.wanted), made.saturated)
    if keeps_residual(policy):
        wanted = update if residual is None else update + residual
        sent = feedback.with_feedback(
            update, residual, codec.name, bits, exponent, codec.density, generator, codec.budget or 0
        )
        return Packed(sent.payload, sent.integers, np.asarray(sent.residual, np.float32), wanted, sent.saturated)
    integers, saturated = grid.to_grid(update, bits, exponent)
    payload = compress.encode(codec.name, integers, bits, generator=generator)
    if codec.name != "none":
        integers = compress.decode(codec.name, payload, update.size, bits)
    return Packed(payload, integers, None, None, saturated)


def unpack(
    payload: bytes | bytearray | memoryview, policy: Policy, length: int | None = None
) -> tuple[CodecSpec, Integers]:
    """(the codec that was used, the integers (d,)) of a payload; ValueError for any bytes that `pack` does not make. `length` is
    that of a narrow model."""
    data, codec = memoryview(payload), policy.codec
    if codec.choices is not None:
        if not data or data[0] >= len(codec.choices):
            number = data[0] if data else "none"
            raise ValueError(f"codec number {number}: the policy offers {len(codec.choices)}, from 0")
        codec, data = codec.choices[data[0]], data[1:]
    return codec, compress.decode(codec.name, data, length or policy.parameters, policy.grid.bits)


def compose(
    update: Floats,
    residual: Floats | None,
    policy: Policy,
    place: tuple[int, int, int, int, int],
    samples: int,
    metrics: bytes,
    readers: Iterable[bytes],
    random: Callable[[int], bytes],
    choice: int = 0,
    width: int = WIDTH_ONE,
) -> Composed:
    """Turn `update` (d float32, or as many as a model of this width has) into a sealed, committed message body.

    `place` is (task, round, node, edge, sequence); `readers` are ed25519 network keys to wrap the content key to;
    `random(n)` returns n unpredictable bytes; `choice` is as in `pack`. Declared samples above the policy's cap count as the cap.
    """
    task, round_number, node, edge, sequence = place
    packed = pack(update, residual, policy, round_number, np.random.default_rng(list(random(SEED_BYTES))), choice)
    payload, integers = packed.payload, widened(packed.integers, policy, width)
    if policy.privacy is not None or policy.local is not None:
        integers = protected(integers, policy, random)
        payload = compress.encode(policy.codec.name, integers, policy.grid.bits)
    salt = random(SALT_BYTES)
    key = seal.new_content_key(random)
    body = seal.seal(key, (salt, payload), seal.leaf_context(task, round_number, node))
    leaf = Leaf(
        task=task,
        round=round_number,
        node=node,
        edge=edge,
        sequence=sequence,
        weight=min(samples, policy.samples_cap),
        ciphertext=hashlib.sha256(body).digest(),
        update_root=chunks.update_root(integers, salt, policy.grid.width),
        metrics=hashlib.sha256(metrics).digest(),
    )
    wrapped = tuple(Wrapped(reader, seal.wrap(key, reader)) for reader in readers)
    return Composed(leaf, wrapped, metrics, body, packed.residual, packed.wanted, packed.saturated)


def widened(integers: Integers, policy: Policy, width: int) -> Integers:
    """The integers of a model of this width in their places of the whole vector (d,)."""
    mask = widths.held(policy, width)
    return integers if mask is None else nested.widened(integers, mask)


def protected(integers: Integers, policy: Policy, random: Callable[[int], bytes]) -> Integers:
    """What may leave the device of an update (d,): cut to the policy's bound, and with noise where the device adds it.

    What the noise brings beyond the grid is cut off; the policy has room for six deviations.
    """
    if policy.privacy is not None:
        return clip(integers, policy.privacy.bound)
    if policy.local is None:
        return integers
    noise = discrete_gaussian(policy.local.variance, integers.size, KeyStream(random(STREAM_BYTES)).words)
    limit = policy.grid.limit
    noised: Integers = np.clip(clip(integers, policy.local.bound) + noise, -limit, limit).astype(integers.dtype)
    return noised


def content_key(wrapped: Iterable[Wrapped], reader: NetworkKey) -> bytes:
    """The content key, unwrapped with `reader`'s key; PeerFault("mismatch") if it was not wrapped to that reader."""
    for item in wrapped:
        if item.reader == reader.public:
            return seal.unwrap(item.sealed, reader)
    raise PeerFault("mismatch", "the content key is not wrapped to this reader")


class Opened(msgspec.Struct, frozen=True):
    """A body that opened: integers on the grid (d), the salt of their tree, and the codec that they came through."""

    integers: Integers
    salt: bytes
    codec: CodecSpec


def judge(message: Update, body: bytes | bytearray | memoryview, key: bytes, policy: Policy) -> Opened:
    """Open and decode a body; PeerFault says "mismatch", "off-grid" or "stale". The caller has checked the body's digest."""
    leaf = message.leaf
    staleness.base_of(message, policy)
    plain = memoryview(seal.open_sealed(key, body, seal.leaf_context(leaf.task, leaf.round, leaf.node)))
    if len(plain) < SALT_BYTES:
        raise PeerFault("mismatch", "the sealed body is shorter than its salt")
    width = widths.width_of(message, policy)
    try:
        codec, integers = unpack(plain[SALT_BYTES:], policy, widths.length(policy, width))
        integers = widened(integers, policy, width)
    except ValueError as error:
        raise PeerFault("off-grid", f"update of node {leaf.node}: {error}") from error
    if policy.privacy is not None and not within(integers, policy.privacy.bound):
        raise PeerFault("off-grid", f"update of node {leaf.node} is longer than the policy's bound")
    return Opened(integers, bytes(plain[:SALT_BYTES]), codec)


def audit(message: Update, opened: Opened, policy: Policy) -> None:
    """PeerFault("mismatch") unless the decoded integers have the root that the leaf commits."""
    if chunks.update_root(opened.integers, opened.salt, policy.grid.width) != message.leaf.update_root:
        raise PeerFault("mismatch", f"update of node {message.leaf.node} does not have the root it commits")


def body_limit(policy: Policy) -> int:
    """The longest sealed body in bytes that this policy can need; anything longer is refused unread."""
    longest = max(
        compress.payload_limit(codec.name, policy.parameters, policy.grid.bits) for codec in policy.codec.offered
    )
    return seal.sealed_size(SALT_BYTES + (policy.codec.choices is not None) + longest)
