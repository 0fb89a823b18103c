"""What a round leaves to the next one besides the model, as one blob: its SHA-256 is in the round's manifest.

    standing   how the rule thinks of nodes, two integers a node; empty for a rule that forgets
    centre     the rule's vector on the grid; empty for a rule without one
    vectors    the server step's float32 vectors; none before its first step
    measured   what the rule measured in this round, in the order in which it asked; empty for a rule that does not
    peers      the model of each edge that has one of its own, by edge; empty after a global average, and in other tasks

Which of them a task has follows from its policy (`protocol.memory`); the bytes are a MessagePack array of the five. What was
measured is no memory: it is here so that the round can be repeated, and the next one does not look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import LIMITS, Limits
from middleware.wire import canonical

MOST_VECTORS = 2
_LARGEST = (1 << 31) - 1  # of the centre's integers, in magnitude

Floats = npt.NDArray[np.float32]
Centre = npt.NDArray[np.int32]


Numerators = npt.NDArray[np.int64]


class Peer(msgspec.Struct, frozen=True, eq=False):
    """An edge's model, said from the anchored one (`protocol.peering`): `value` (parameters,) over `mass`, in units of the grid;
    the samples declared since the last global average; and the copy that its neighbours keep of it, where they keep one."""

    mass: int
    weight: int
    value: Numerators
    copy: Numerators | None


class State(msgspec.Struct, frozen=True, eq=False):
    """What is carried. The empty one stands before the first round. Arrays are (parameters,) each."""

    standing: Mapping[int, tuple[int, int]] = {}  # by node
    centre: Centre | None = None
    vectors: tuple[Floats, ...] = ()
    measured: tuple[tuple[float, float], ...] = ()  # (error as a fraction, loss)
    peers: Mapping[int, Peer] = {}  # by edge


class _Standing(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    node: Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]
    first: int
    second: int


class _Measured(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    error: Annotated[float, msgspec.Meta(ge=0, le=1)]
    loss: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class _Peer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    edge: Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]
    mass: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
    weight: Annotated[int, msgspec.Meta(ge=0)]
    value: bytes
    copy: bytes


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    standing: tuple[_Standing, ...]
    centre: bytes
    vectors: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MOST_VECTORS)]
    measured: tuple[_Measured, ...]
    peers: tuple[_Peer, ...]


def encode_state(state: State) -> bytes:
    """The one spelling of a state. ConfigurationError for numbers that it has no room for."""
    standing = tuple(_Standing(node, *state.standing[node]) for node in sorted(state.standing))
    centre = b"" if state.centre is None else np.ascontiguousarray(state.centre, dtype="<i4").tobytes()
    vectors = tuple(np.ascontiguousarray(one, dtype="<f4").tobytes() for one in state.vectors)
    measured = tuple(_Measured(*one) for one in state.measured)
    peers = tuple(
        _Peer(edge, peer.mass, peer.weight, _longs(peer.value), b"" if peer.copy is None else _longs(peer.copy))
        for edge, peer in sorted(state.peers.items())
    )
    return canonical.encode(_Packed(standing, centre, vectors, measured, peers))


def _longs(values: Numerators) -> bytes:
    return np.ascontiguousarray(values, dtype="<i8").tobytes()


def decode_state(data: bytes, parameters: int, limits: Limits = LIMITS) -> State:
    """The state in `data`, for a model of `parameters` numbers. PeerFault: "too-large" past `limits.blob_bytes`, "malformed"
    for any other fault; arrays are read-only and share its memory."""
    if len(data) > limits.blob_bytes:
        raise PeerFault("too-large", f"state of {len(data)} bytes, at most {limits.blob_bytes}")
    packed = canonical.decode(data, _Packed)
    if any(left.node >= right.node for left, right in pairwise(packed.standing)):
        raise PeerFault("malformed", "standings stand in ascending node id, one a node")
    if len(packed.centre) not in (0, 4 * parameters) or any(len(one) != 4 * parameters for one in packed.vectors):
        raise PeerFault("malformed", f"a state's vectors have {parameters} numbers of 4 bytes, as the model has")
    if any(left.edge >= right.edge for left, right in pairwise(packed.peers)):
        raise PeerFault("malformed", "peers stand in ascending edge id, one an edge")
    if any(len(one.value) != 8 * parameters or len(one.copy) not in (0, 8 * parameters) for one in packed.peers):
        raise PeerFault("malformed", f"a peer's values are {parameters} numbers of 8 bytes, as the model has")
    return State(
        standing={one.node: (one.first, one.second) for one in packed.standing},
        centre=np.frombuffer(packed.centre, "<i4").view(np.int32) if packed.centre else None,
        vectors=tuple(np.frombuffer(one, "<f4").view(np.float32) for one in packed.vectors),
        measured=tuple((one.error, one.loss) for one in packed.measured),
        peers={
            one.edge: Peer(
                one.mass,
                one.weight,
                np.frombuffer(one.value, "<i8").view(np.int64),
                np.frombuffer(one.copy, "<i8").view(np.int64) if one.copy else None,
            )
            for one in packed.peers
        },
    )


def narrow(centre: npt.NDArray[Any]) -> Centre:
    """The centre in the 4 bytes a number that its blob has. ConfigurationError when it does not fit."""
    if centre.size and max(int(centre.max()), -int(centre.min())) > _LARGEST:
        raise ConfigurationError(
            "the rule's centre left the 32 bits that it is kept in: the task's updates are off any grid"
        )
    return centre.astype(np.int32)
