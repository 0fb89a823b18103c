"""The cloud changes what a rule or the server step remembers: its own momentum, the standing of a node, an edge's model."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from middleware.policy import Peers, Policy, Rule, Server
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement
from middleware.types import ZERO32, Verdict
from middleware.wire.manifest import Manifest
from middleware.wire.state import State
from tests.sim.history import DEVICES, EDGES, History, policy_of
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


class Forgives(Tampers):
    """The cloud gives one node the reputation of a newcomer, and slanders another."""

    def state_told(self, settlement: Settlement) -> State:
        standing = {**settlement.state.standing, DEVICES[0]: (3, 3), DEVICES[1]: (3, 30)}
        return msgspec.structs.replace(settlement.state, standing=standing)


def test_a_reputation_that_was_not_earned_is_named_and_only_in_its_round() -> None:
    named(Forgives(policy_of(rule=Rule("afa", 1))).run(), "state", "wrong-state")


class OtherCentre(Tampers):
    def state_told(self, settlement: Settlement) -> State:
        assert settlement.state.centre is not None
        centre = settlement.state.centre.copy()
        centre[3] += 1
        return msgspec.structs.replace(settlement.state, centre=centre)


def test_a_centre_that_is_moved_by_one_step_of_the_grid_is_named() -> None:
    named(OtherCentre(policy_of(rule=Rule("centred-clipping", 1))).run(), "state", "wrong-state")


class Ignores(History):
    """In round 3 the cloud weighs as if it had never met anybody, and tells the state that follows from that."""

    def settle(self, opening: Opening, received: list[Reported], forced: Forced) -> Settlement:
        forgot = msgspec.structs.replace(opening, state=State()) if opening.round == 3 else opening
        return super().settle(forgot, received, forced)


def test_weights_by_another_reputation_are_named() -> None:
    found = first(Ignores(policy_of(rule=Rule("afa", 1))).run())
    assert (found.verdict, found.round, found.fault) == (Verdict.INVALID, 3, "wrong-weight")


class Favours(Tampers):
    """The cloud gives its favourite edge's model twice the mass that its schedule gave it."""

    def state_told(self, settlement: Settlement) -> State:
        rows = dict(settlement.state.peers)
        rows[EDGES[0]] = msgspec.structs.replace(rows[EDGES[0]], mass=2 * rows[EDGES[0]].mass)
        return msgspec.structs.replace(settlement.state, peers=rows)


@pytest.mark.parametrize(
    "kind", [Peers("gossip", links="ring"), Peers("push-sum", links="exponential"), Peers("gosgd")]
)
def test_an_edges_model_that_is_not_what_its_rounds_made_of_it_is_named(kind: Peers) -> None:
    named(Favours(policy_of(peers=kind, rule=Rule("mean", 0))).run(), "state", "wrong-state")
