"""A small history that pays scores, measured by a function that anybody can repeat instead of a neural network."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.policy import Policy, Rule
from middleware.protocol import scoring
from middleware.protocol.scoring import Measured
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement
from middleware.protocol.update import Floats
from middleware.trust import merkle
from middleware.wire.manifest import Manifest, Scoring
from tests.sim.history import PARAMETERS, TASK, History, policy_of

Doubles = npt.NDArray[np.float64]

ROOT = hashlib.sha256(b"evaluation").digest()
SCORED = policy_of(
    rule=Rule("mean", 0),
    min_updates=3,
    rounds=5,
    pay="scores",
    epoch_rounds=2,
    evaluation=ROOT.hex(),
    evaluation_slices=3,
)


def measure(model: Floats, move: Doubles, slice: int) -> Doubles:
    """A quadratic loss around a point that depends on the slice: g = model - point, H = 1."""
    point = np.random.default_rng(slice).normal(0, 1, PARAMETERS)
    return np.asarray(2 * (model.astype(np.float64) - point) + move)


class Data:
    """An auditor's evaluation data. `root` None: it has none."""

    def __init__(self, root: bytes | None = ROOT) -> None:
        self.known = root

    def root(self, policy: Policy) -> bytes | None:
        return self.known

    def measure(self, policy: Policy, model: Floats, move: Doubles, slice: int) -> Doubles | None:
        return measure(model, move, slice)


class ScoredHistory(History):
    """A test that wants a lie overrides `measured` (before scoring) or `told` (behind it)."""

    def __init__(self, policy: Policy = SCORED, rounds: int = 5) -> None:
        super().__init__(policy, rounds)
        self.moves: scoring.Moves = ()

    def vector(self, number: int, settlement: Settlement, opening: Opening, slice: int) -> Doubles:
        if settlement.applied is None:
            raise AssertionError("a void round is not measured")
        return measure(opening.model, settlement.applied * self.policy.grid.step, slice)

    def measured(self, number: int, settlement: Settlement, opening: Opening) -> Measured | None:
        if settlement.applied is None:
            return None
        slice = scoring.slice_of(settlement.header.inputs_root, TASK, number, self.policy.evaluation_slices)
        measured = scoring.quantise(self.vector(number, settlement, opening, slice), self.policy.parameters)
        self.store.put(scoring.encode_importance(measured))
        return measured

    def last(self) -> Manifest | None:
        return self.manifests[-1] if self.manifests else None

    def scored(
        self, number: int, settlement: Settlement, opening: Opening, received: list[Reported], forced: Forced
    ) -> Settlement:
        measured = self.measured(number, settlement, opening)
        before = scoring.carried(self.policy, self.last())
        honest = scoring.pay(self.policy, opening, settlement, received, before, self.moves, measured, forced)
        self.moves = scoring.remember(self.moves, opening.model, settlement.model, self.policy.grid.exponent)
        made = honest.manifest.scoring
        if made is None:
            raise AssertionError("a round that pays scores lists them")
        return relisted(self.policy, opening, honest, self.told(number, made))

    def told(self, number: int, made: Scoring) -> Scoring:
        """What the cloud lists; its roots and its pay follow from that, as a liar's would."""
        return made


def relisted(policy: Policy, opening: Opening, settlement: Settlement, made: Scoring) -> Settlement:
    """The settlement with other scores, and everything behind them computed from those."""
    rewards = dict(opening.rewards)
    for node, amount in scoring.paid(policy, opening.round, made).items():
        rewards[node] = rewards.get(node, 0) + amount
    listing = tuple(sorted(rewards.items()))
    return msgspec.structs.replace(
        settlement,
        rewards=rewards,
        manifest=msgspec.structs.replace(settlement.manifest, rewards=listing, scoring=made),
        header=msgspec.structs.replace(
            settlement.header, scores_root=scoring.scores_root(made), rewards_root=merkle.sum_root(listing)
        ),
    )
