"""From a settled round to its scores and its pay, where a policy pays scores: a pure function, as `settlement` is.

A round of a task that pays scores is settled in two steps. `settlement.settle` applies the rule; then the cloud measures
the new model (`learn.importance`, on the slice that the inputs themselves choose) and `pay` turns what it measured into
scores, standings and, when an epoch ends, rewards. An auditor takes the measured integers from their blob and repeats
`pay` to the bit.

What a round needs of the past is in the last round's manifest (`carried`: points and pool of the running epoch, reputations)
and in the last moves of the model (`remember`), which are differences of models that everybody has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import ConfigurationError, PeerFault
from middleware.maths import contribution, reward
from middleware.maths.contribution import Score
from middleware.policy import Policy
from middleware.protocol import settlement as settling
from middleware.protocol.measuring import slice_of as slice_of
from middleware.protocol.settlement import NONE_FORCED, Forced, Opening, Reported, Settlement
from middleware.protocol.update import Floats, Integers
from middleware.trust import merkle, roots
from middleware.types import ZERO32, Header
from middleware.wire.manifest import Manifest, ManifestScore, Scoring

NOTHING = Score(0, 0, "")

Moves = tuple[Integers, ...]  # newest first, at most contribution.REMEMBERED


class Standing(msgspec.Struct, frozen=True):
    """How a node stands: points since the epoch began, reputation in thousandths."""

    epoch: int = 0
    reputation: int = reward.REPUTATION_FIRST


class Carried(msgspec.Struct, frozen=True):
    """What the rounds before leave to a round: the epoch's pool so far, and everybody's standing."""

    pool: int
    standings: Mapping[int, Standing]


class Measured(msgspec.Struct, frozen=True):
    """v as integers (d,) of at most 16 bits, one unit worth 2**exponent."""

    integers: npt.NDArray[np.int16]
    exponent: int


def settles(policy: Policy, round: int) -> bool:
    """Whether an epoch ends with this round."""
    return policy.pay == "scores" and (round % policy.epoch_rounds == 0 or round == policy.rounds)


def carried(policy: Policy, last: Manifest | None) -> Carried:
    """What the last round's manifest leaves; None before the first round. A settled epoch leaves reputations only."""
    if last is None or last.scoring is None:
        return Carried(0, {})
    over = settles(policy, last.round)
    standings = {one.node: Standing(0 if over else one.epoch, one.reputation) for one in last.scoring.scores}
    return Carried(0 if over else last.scoring.pool, standings)


def remember(moves: Moves, before: Floats, after: Floats, exponent: int) -> Moves:
    """The moves with the one from `before` to `after`; a round that moved nothing is not remembered."""
    move = contribution.move_between(before, after, exponent)
    return (move, *moves)[: contribution.REMEMBERED] if move.any() else moves


def known_moves(headers: Iterable[Header], model: Callable[[bytes], Floats], exponent: int) -> Moves:
    """The moves that `remember` would hold behind these headers (newest first), from the models' blobs alone."""
    moves: list[Integers] = []
    for header in headers:
        if len(moves) == contribution.REMEMBERED:
            break
        if header.model_in != header.model_out:
            moves += remember((), model(header.model_in), model(header.model_out), exponent)
    return tuple(moves)


def quantise(vector: npt.NDArray[np.float64] | None, parameters: int) -> Measured:
    """v on its grid; None, for a model at which nothing can be measured, is all zeros."""
    if vector is None:
        return Measured(np.zeros(parameters, np.int16), contribution.LEAST_EXPONENT)
    return Measured(*contribution.quantise(vector))


def encode_importance(measured: Measured) -> bytes:
    """The blob of v: 2 bytes a number, little-endian. Its exponent is in the manifest."""
    return measured.integers.astype("<i2").tobytes()


def decode_importance(data: bytes, exponent: int, parameters: int) -> Measured:
    """v from its blob. PeerFault("malformed") for another length, or an exponent that no v has."""
    if len(data) != 2 * parameters or not contribution.LEAST_EXPONENT <= exponent <= contribution.LARGEST_EXPONENT:
        raise PeerFault(
            "malformed", f"{len(data)} bytes with exponent {exponent} are not the importance of {parameters} numbers"
        )
    return Measured(np.frombuffer(data, "<i2").astype(np.int16), exponent)


def pay(
    policy: Policy,
    opening: Opening,
    settlement: Settlement,
    edges: Sequence[Reported],
    before: Carried,
    moves: Moves,
    measured: Measured | None,
    forced: Forced = NONE_FORCED,
) -> Settlement:
    """The settlement with scores, standings and, at the end of an epoch, rewards.

    `measured` is None for a void round, which scores nobody. ConfigurationError when an update's integers are not at
    hand, or a number leaves the 128 bits that it is committed in.
    """
    listed = [update for group in settling.by_group(edges, forced) for update in group]
    found: dict[int, Score] = {}
    if measured is not None:
        used = [update for update in listed if not update.refused and settlement.weights.get(update.leaf.node)]
        rows = [update.integers for update in used if update.integers is not None]
        if len(rows) != len(used):
            raise ConfigurationError("scores need the integers of every update that was used")
        weights = [settlement.weights[update.leaf.node] for update in used]
        scored = contribution.scores(rows, weights, measured.integers, moves)
        found = {update.leaf.node: score for update, score in zip(used, scored, strict=True)}
    total = sum(settlement.weights.values())
    exponent = policy.grid.exponent + (measured.exponent if measured is not None else 0)
    nodes = list(dict.fromkeys(update.leaf.node for update in listed))
    nodes += sorted(before.standings.keys() - set(nodes))
    scores = tuple(
        stand(node, before.standings.get(node, Standing()), found.get(node, NOTHING), total, exponent, settlement.void)
        for node in nodes
    )
    pool = before.pool + (0 if settlement.void else policy.reward_per_round)
    blob = ZERO32 if measured is None else hashlib.sha256(encode_importance(measured)).digest()
    chosen = slice_of(settlement.header.inputs_root, opening.task, opening.round, policy.evaluation_slices)
    scoring = Scoring(
        blob, 0 if measured is None else measured.exponent, 0 if measured is None else chosen, pool, scores
    )
    rewards = reward.accumulate(opening.rewards, paid(policy, opening.round, scoring))
    listing = tuple(sorted(rewards.items()))
    return msgspec.structs.replace(
        settlement,
        rewards=rewards,
        manifest=msgspec.structs.replace(settlement.manifest, rewards=listing, scoring=scoring),
        header=msgspec.structs.replace(
            settlement.header, scores_root=scores_root(scoring), rewards_root=merkle.sum_root(listing)
        ),
    )


def stand(node: int, before: Standing, score: Score, total: int, exponent: int, void: bool) -> ManifestScore:
    """A node's line in the manifest: its score, and its standing behind the round. A void round moves nothing."""
    gained = contribution.points(score.counted, total, exponent) if score.counted else 0
    reputation = before.reputation if void else reward.reputation_after(before.reputation, score.counted > 0)
    return ManifestScore(node, score.raw, score.counted, before.epoch + gained, reputation, score.reason)


def paid(policy: Policy, round: int, scoring: Scoring) -> dict[int, int]:
    """What a round pays by its manifest's scores: an epoch's shares when one ends, else nothing."""
    if not settles(policy, round):
        return {}
    return reward.settle_epoch(scoring.pool, {one.node: (one.epoch, one.reputation) for one in scoring.scores})


def scores_root(scoring: Scoring) -> bytes:
    """The header's commitment to the scores."""
    return roots.scores_root((one.node, one.raw, one.counted, one.epoch, one.reputation) for one in scoring.scores)
