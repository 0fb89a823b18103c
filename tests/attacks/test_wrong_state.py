"""The cloud changes what a rule or the server step remembers: its own momentum, or the standing of a node."""

from __future__ import annotations

import msgspec
import numpy as np

from middleware.policy import Policy, Server
from middleware.protocol.settlement import Settlement
from middleware.types import ZERO32
from middleware.wire.manifest import Manifest
from middleware.wire.state import State
from tests.sim.history import History, policy_of
from tests.sim.test_state import Tampers, first, named

MOMENTUM: Policy = policy_of(server=Server("momentum"))


class OtherMomentum(Tampers):
    def state_told(self, settlement: Settlement) -> State:
        vector = settlement.state.vectors[0].copy()
        vector[7] = np.nextafter(vector[7], np.float32(1))
        return msgspec.structs.replace(settlement.state, vectors=(vector,))


def test_one_changed_bit_of_the_momentum_is_named_and_only_in_its_round() -> None:
    named(OtherMomentum(MOMENTUM).run(), "state", "wrong-state")


class Resets(Tampers):
    """The state is what it was before the first round."""

    def state_told(self, settlement: Settlement) -> State:
        return State()


def test_a_state_that_is_reset_is_named() -> None:
    named(Resets(MOMENTUM).run(), "state", "wrong-state")


class Hides(History):
    """A task with a state whose manifest says that there is none."""

    def manifest(self, number: int, manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, state=ZERO32) if number == 2 else manifest


def test_a_hidden_state_is_named() -> None:
    found = first(Hides(MOMENTUM).run())
    assert (found.subject, found.fault, found.round) == ("state", "wrong-state", 2)
