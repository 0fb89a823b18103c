"""Why scores paid a node what they paid it: every factor from committed data to the last token unit, with its proof.

    update -> raw score -> what counts of it -> points -> the epoch's points -> reputation -> claim -> share -> cumulative reward

The manifest says all of these numbers, and each is derived again here from the ones before it. The first two need contents (the
update, the importance, the models of the known moves); where a blob is missing or closed they are taken from the
manifest, whose scores the header commits, and `not_derived` says so.
"""

from __future__ import annotations

import msgspec

from ledger.audit.evidence import Evidence
from ledger.audit.lookup import anchored, manifest_of, step
from ledger.audit.scene import Blobs
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.maths import contribution, reward
from middleware.policy import Policy
from middleware.protocol import scoring
from middleware.protocol import update as updates
from middleware.protocol.inclusion import Step
from middleware.protocol.scoring import Moves, Standing
from middleware.protocol.update import Floats, Integers
from middleware.trust import merkle, roots
from middleware.wire import tensors
from middleware.wire.commitment import score_entry
from middleware.wire.manifest import Manifest, ManifestScore, ManifestUpdate, Scoring
from middleware.wire.message import Update, decode_stored


class ScoredRound(msgspec.Struct, frozen=True):
    """One round of a node's epoch. `points` are what it gained, `epoch` what it stood at behind the round."""

    round: int
    weight: int
    raw: int
    counted: int
    reason: str
    points: int
    epoch: int
    reputation: int


class Worth(msgspec.Struct, frozen=True):
    """Pay by scores, spelt out for one node and one round. Amounts in token units, points in 2**-40 of the loss."""

    slice: int
    importance: str  # digest of v's blob, hex
    importance_exponent: int
    grid_exponent: int
    weight_total: int
    value: float  # the Shapley value: by how much its update lowered the loss, to second order
    score: ScoredRound
    epoch_first: int  # rounds
    epoch_last: int
    epoch: tuple[ScoredRound, ...]  # the rounds of the epoch so far
    reputation: tuple[tuple[int, int], ...]  # (round, thousandths behind it), from the first that knows the node
    settles: bool  # whether the epoch ends with this round
    pool: int  # of the epoch so far
    claim: int  # max(0, epoch) * reputation
    claims: int  # of everybody
    divisor: int  # what claims are measured against: `claims`, or what typical scores would add up to
    share: int  # floor(pool * claim / divisor), 0 where nobody has a score
    remainder: int  # of the pool, after everybody's share; stays in the task's pool
    index: int  # of its line under scoresRoot
    size: int
    path: tuple[bytes, ...]
    not_derived: str  # which factors were taken from the manifest, and why; or ""


def worth(
    evidence: Evidence, blobs: Blobs, task: int, policy: Policy, round: int, node: int
) -> tuple[Worth, list[Step]]:
    """The factors of a node's pay in a round, and the comparisons that prove them. ConfigurationError, Unavailable."""
    manifests = {number: manifest_of(blobs, anchored(evidence, task, number)) for number in range(1, round + 1)}
    header, manifest = anchored(evidence, task, round).header, manifests[round]
    listed = _scoring(manifest)
    place = next((place for place, one in enumerate(listed.scores) if one.node == node), None)
    if place is None:
        raise ConfigurationError(f"node {node} has no score in round {round}, nor in one before it")
    first = (round - 1) // policy.epoch_rounds * policy.epoch_rounds + 1
    rounds = [_round(policy, manifests, number, node) for number in range(first, round + 1)]
    mine = rounds[-1]
    entries = [score_entry(one.node, one.raw, one.counted, one.epoch, one.reputation) for one in listed.scores]
    path = merkle.Tree.of(entries).path(place)
    steps = [
        step("the path from its line leads to scoresRoot", merkle.root_from_path(
            merkle.leaf_hash(entries[place]), place, len(entries), path), header.scores_root),
        step("the weights listed have the header's weightsRoot", _weights_root(manifest), header.weights_root),
    ]  # fmt: skip
    derived, why = _rescore(evidence, blobs, task, policy, manifest, node)
    if derived is not None:
        steps.append(step("its update and the importance give its raw score", derived.raw, mine.raw))
        steps.append(step("without the moves that were known, this much counts", derived.counted, mine.counted))
    before = scoring.carried(policy, manifests.get(round - 1))
    steps += _standing_steps(policy, manifest, before.standings.get(node, Standing()), mine)
    steps.append(
        step(
            "the last round's pool and this round's reward are the pool",
            before.pool + (0 if manifest.void else policy.reward_per_round),
            listed.pool,
        )
    )
    claims = {one.node: reward.claim(one.epoch, one.reputation) for one in listed.scores}
    total, claim = reward.divisor((one.epoch, one.reputation) for one in listed.scores), claims[node]
    shares = [listed.pool * other // total for other in claims.values()] if total else []
    return Worth(
        slice=listed.slice, importance=listed.importance.hex(), importance_exponent=listed.exponent,
        grid_exponent=policy.grid.exponent, weight_total=manifest.weight_total, value=_value(policy, manifest, mine.raw),
        score=mine, epoch_first=first, epoch_last=min(first + policy.epoch_rounds - 1, policy.rounds), epoch=tuple(rounds),
        reputation=_history(manifests, node), settles=scoring.settles(policy, round), pool=listed.pool, claim=claim,
        claims=sum(claims.values()), divisor=total,
        share=listed.pool * claim // total if total else 0, remainder=listed.pool - sum(shares),
        index=place, size=len(entries), path=tuple(path), not_derived=why,
    ), steps  # fmt: skip


def _scoring(manifest: Manifest) -> Scoring:
    if manifest.scoring is None:
        raise ConfigurationError(f"the manifest of round {manifest.round} lists no scores")
    return manifest.scoring


def _line(manifest: Manifest, node: int) -> ManifestScore:
    """A node's line; one that the round does not know stands as a newcomer."""
    unknown = ManifestScore(node, 0, 0, 0, reward.REPUTATION_FIRST)
    return next((one for one in _scoring(manifest).scores if one.node == node), unknown)


def _row(manifest: Manifest, node: int) -> tuple[Update, ManifestUpdate] | None:
    """A node's update in a round, as the manifest lists it."""
    for row in [row for edge in manifest.edges for row in edge.updates] + list(manifest.forced):
        message = decode_stored(row.frame, Update).message
        if message.sender == node:
            return message, row
    return None


def _round(policy: Policy, manifests: dict[int, Manifest], number: int, node: int) -> ScoredRound:
    manifest = manifests[number]
    line, row = _line(manifest, node), _row(manifest, node)
    before = scoring.carried(policy, manifests.get(number - 1)).standings.get(node, Standing())
    return ScoredRound(
        number, row[1].weight if row else 0, line.raw, line.counted, line.reason, line.epoch - before.epoch, line.epoch,
        line.reputation,
    )  # fmt: skip


def _history(manifests: dict[int, Manifest], node: int) -> tuple[tuple[int, int], ...]:
    known = [(number, one) for number, each in manifests.items() for one in _scoring(each).scores if one.node == node]
    return tuple((number, one.reputation) for number, one in known)


def _weights_root(manifest: Manifest) -> bytes:
    groups = [edge.updates for edge in manifest.edges] + ([manifest.forced] if manifest.forced else [])
    return roots.weights_root(
        roots.edge_weights((decode_stored(row.frame, Update).message.sender, row.weight) for row in group)
        for group in groups
    )


def _value(policy: Policy, manifest: Manifest, raw: int) -> float:
    """phi = raw * 2**(e_v + e_grid) / (2 W)."""
    exponent = _scoring(manifest).exponent + policy.grid.exponent - 1
    return raw / manifest.weight_total * 2.0**exponent if manifest.weight_total else 0.0


def _standing_steps(policy: Policy, manifest: Manifest, before: Standing, mine: ScoredRound) -> list[Step]:
    """Points, the epoch's sum and the reputation, each from the last round's and this round's score."""
    exponent = _scoring(manifest).exponent + policy.grid.exponent
    gained = contribution.points(mine.counted, manifest.weight_total, exponent) if mine.counted else 0
    counted = mine.counted > 0
    after = before.reputation if manifest.void else reward.reputation_after(before.reputation, counted)
    return [
        step("what counts, over the total weight, gives its points", gained, mine.points),
        step("its points before, and these, are the epoch's", before.epoch + gained, mine.epoch),
        step("its reputation before, and whether it counted, give its reputation", after, mine.reputation),
    ]


# -------------------------------------------------------------------------------------------------------- from contents


def _rescore(
    evidence: Evidence, blobs: Blobs, task: int, policy: Policy, manifest: Manifest, node: int
) -> tuple[contribution.Score | None, str]:
    """(the node's score from the round's contents, why it is not there or "")."""
    taken = "raw and counted scores are the manifest's: "
    row = _row(manifest, node)
    if row is None or not row[1].weight:
        return contribution.Score(0, 0, ""), ""
    if policy.readers != "public":
        return None, taken + "only the task's auditors can open updates (audit replay --scope auditor derives them)"
    try:
        measured = scoring.decode_importance(
            _read(blobs, _scoring(manifest).importance, "importance"), _scoring(manifest).exponent, policy.parameters
        )
        moves = _known_moves(evidence, blobs, task, policy, manifest.round)
        rows, weights = _used(blobs, policy, manifest, node)
    except (Unavailable, PeerFault) as error:
        return None, taken + str(error)
    return contribution.scores(rows, weights, measured.integers, moves)[-1], ""


def _used(blobs: Blobs, policy: Policy, manifest: Manifest, node: int) -> tuple[list[Integers], list[int]]:
    """Integers and weights of the updates that were used, in the committed order, up to the node's own."""
    rows: list[Integers] = []
    weights: list[int] = []
    for row in [row for edge in manifest.edges for row in edge.updates] + list(manifest.forced):
        if row.weight:
            message = decode_stored(row.frame, Update).message
            body = _read(blobs, message.leaf.ciphertext, f"update of node {message.sender}")
            rows.append(updates.judge(message, body, row.content_key, policy).integers)
            weights.append(row.weight)
            if message.sender == node:
                break
    return rows, weights


def _known_moves(evidence: Evidence, blobs: Blobs, task: int, policy: Policy, round: int) -> Moves:
    """The moves that were known when the round opened, from the models around them."""
    headers = (anchored(evidence, task, number).header for number in range(round - 1, 0, -1))

    def model(digest: bytes) -> Floats:
        return tensors.decode_model(_read(blobs, digest, "a model of the rounds before"), policy.parameters)

    return scoring.known_moves(headers, model, policy.grid.exponent)


def _read(blobs: Blobs, digest: bytes, what: str) -> bytes:
    data = blobs.get(digest)
    if data is None:
        raise Unavailable(f"blob {digest.hex()[:16]} ({what}) is missing")
    return data
