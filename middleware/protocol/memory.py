"""What a task carries from round to round besides its model: the rule's memory, the server step's vectors, edges' models.

A round takes the last round's state and leaves the next one (`settlement`). The state is a blob beside the model's, its digest
is in the manifest and so in the header: a cloud that is started again goes on from it, and an auditor recomputes it to the bit.
A void round leaves the state as it found it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from middleware.errors import PeerFault
from middleware.maths import grid, server
from middleware.maths.aggregate import Memory
from middleware.maths.server import Constants
from middleware.policy import Policy, Server
from middleware.protocol.update import Floats, Integers
from middleware.types import ZERO32
from middleware.wire.state import State, decode_state, encode_state, narrow

EMPTY = State()


def carries(policy: Policy) -> bool:
    """Whether rounds of this task leave a state at all."""
    return policy.rule.remembers or policy.rule.measures or vectors(policy) > 0 or policy.peers is not None


def vectors(policy: Policy) -> int:
    """How many float32 vectors the server step carries."""
    return 0 if policy.server is None else server.VECTORS[policy.server.kind]


def read(policy: Policy, blob: bytes) -> State:
    """The state in `blob`. PeerFault("malformed") for one that no round of this task can leave."""
    state = decode_state(blob, policy.parameters)
    if not policy.rule.remembers and (state.standing or state.centre is not None):
        raise PeerFault("malformed", f"it holds a rule's memory, and {policy.rule.name} has none")
    if state.measured and not policy.rule.measures:
        raise PeerFault("malformed", f"it holds measurements, and {policy.rule.name} makes none")
    if state.peers and policy.peers is None:
        raise PeerFault("malformed", "it holds edges' models, and this task's edges have one together")
    if state.vectors:
        kind = "step" if policy.server is None else policy.server.kind
        if not server.sound(kind, state.vectors, policy.parameters):
            raise PeerFault("malformed", f"its vectors are not ones that the server step called {kind} leaves")
    return state


def recall(state: State) -> Memory:
    """The rule's part of a state."""
    return Memory(state.centre, state.standing)


def remember(policy: Policy, state: State, left: Memory, measured: Sequence[tuple[float, float]] = ()) -> State:
    """The state with what the rule leaves, and with what it measured in this round."""
    state = msgspec.structs.replace(state, measured=tuple(measured))
    if not policy.rule.remembers:
        return state
    centre = None if left.centre is None else narrow(left.centre)
    return msgspec.structs.replace(state, standing=dict(left.standing), centre=centre)


def blob_of(policy: Policy, state: State) -> bytes:
    """The bytes of a round's state; empty for a task that carries none."""
    return encode_state(state) if carries(policy) else b""


def digest(blob: bytes) -> bytes:
    """What the manifest says of it."""
    return hashlib.sha256(blob).digest() if blob else ZERO32


def move(
    policy: Policy, model: Floats, applied: Integers, carried: tuple[Floats, ...]
) -> tuple[Floats, tuple[Floats, ...]]:
    """(the new model, the server step's next vectors) when a round's aggregate is `applied`, on the grid."""
    chosen, exponent = policy.server, policy.grid.exponent
    if chosen is None:
        return grid.apply(model, applied, exponent), ()
    numbers = constants(chosen)
    before = carried or server.start(chosen.kind, numbers, model.size)
    after, moved = server.step(chosen.kind, numbers, before, grid.from_grid(applied, exponent))
    moved += model
    return moved, after


def constants(chosen: Server) -> Constants:
    return Constants(chosen.alpha, chosen.rate, chosen.beta1, chosen.beta2, chosen.tau)
