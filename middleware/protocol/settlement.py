"""From the accepted updates of a round to its header: one pure function that the cloud runs and the auditor repeats.

`settle` takes what the edges reported and what their updates decoded to, applies the policy's rule, and returns the new
model, the header and the manifest. It knows no order but the committed one (edges in the order of the cloud's receipts,
then index in the edge), so the cloud that computed it and the auditor who recomputes it cannot differ by a bit.

A round with fewer than `min_updates` usable updates is void: it is anchored like any other, with model_out == model_in
and the rewards unchanged, so that the chain of headers has no gap and a quiet round can be told from a hidden one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from middleware.maths import aggregate, reward
from middleware.maths.aggregate import Given, Memory
from middleware.maths.schedule import UNIT
from middleware.policy import Policy
from middleware.protocol import budget, memory, peering, sharding, staleness, sums, widths
from middleware.protocol.measuring import Measure, Questions, slice_of
from middleware.protocol.sums import Summed, SumTree
from middleware.protocol.update import Floats, Integers
from middleware.trust import merkle, roots
from middleware.types import ZERO32, EdgeLeaf, Header, Leaf
from middleware.wire import tensors
from middleware.wire.commitment import Context
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestUpdate, encode_manifest
from middleware.wire.message import Update, decode_stored
from middleware.wire.state import State

NO_MEMORY = Memory()


class Received(msgspec.Struct, frozen=True):
    """One update as its edge's tree has it. `integers` is None where it was refused or is in its edge's sums already."""

    frame: bytes  # without the body
    leaf: Leaf
    content_key: bytes
    refused: str
    integers: Integers | None


class Reported(msgspec.Struct, frozen=True):
    """One edge's round: its signed report and its updates by index.

    `summed` is the tree over its updates when the rule is the mean, computed by the edge (two-level) or by the cloud as
    updates arrive (flat): either way memory does not grow with the number of devices.
    """

    frame: bytes
    leaf: EdgeLeaf
    updates: tuple[Received, ...]
    summed: Summed | None = None
    sums_blob: bytes = ZERO32
    sums_key: bytes = b""


class Forced(msgspec.Struct, frozen=True):
    """Updates that devices put before the ledger because no edge took them, in the ledger's order. `chain` is the
    ledger's value behind the last one that this round acknowledges."""

    chain: bytes = ZERO32
    updates: tuple[Received, ...] = ()


class Opening(msgspec.Struct, frozen=True):
    """What was fixed when the round opened."""

    task: int
    round: int
    prev: bytes
    policy_hash: bytes
    model_in: bytes  # SHA-256 of the blob
    model: Floats
    roster_root: bytes
    roster_block: int
    rewards: Mapping[int, int]  # cumulative, node -> token units
    state: State = memory.EMPTY  # what the round before left
    secret: bytes = b""  # of the noise, in a task under differential privacy


class Settlement(msgspec.Struct, frozen=True):
    """What the cloud anchors and stores. `header.manifest` is `ZERO32` until `anchored` puts the metrics in."""

    header: Header
    manifest: Manifest
    model: Floats
    model_blob: bytes
    weights: dict[int, int]
    rewards: dict[int, int]
    void: bool
    applied: Integers | None = None  # the aggregate on the grid; None when nothing was applied
    state: State = memory.EMPTY  # what the next round takes over
    state_blob: bytes = b""  # empty where the task carries nothing


def edge_sums(updates: Sequence[Received], weights: Mapping[int, int], parameters: int) -> Summed:
    """The sum tree over one edge's updates, by index; `weights` by node, nothing where a node has none."""
    tree = SumTree(parameters)
    for index, update in enumerate(updates):
        tree.add(index, update.integers, weights.get(update.leaf.node, 0))
    return tree.close()


def declared_weights(updates: Sequence[Received]) -> dict[int, int]:
    """The mean's weights: declared samples of whatever was not refused."""
    return {update.leaf.node: update.leaf.weight for update in updates if not update.refused}


def used_weights(policy: Policy, updates: Sequence[Received]) -> dict[int, int]:
    """As `declared_weights`, and where staleness weighs, times what it makes of each."""
    if not staleness.weighs(policy):
        return declared_weights(updates)
    usable = [decode_stored(update.frame, Update).message for update in updates if not update.refused]
    return {message.sender: staleness.weight_of(message, policy) for message in usable}


def weights_entries(updates: Sequence[Received], weights: Mapping[int, int]) -> list[tuple[int, int]]:
    """(node, weight) of one edge's updates in index order: 0 for what was refused or not selected."""
    return [(u.leaf.node, 0 if u.refused else weights.get(u.leaf.node, 0)) for u in updates]


def combine(
    policy: Policy,
    edges: Sequence[Reported],
    forced: Forced,
    seed: bytes = b"",
    recalled: Memory = NO_MEMORY,
    questions: Questions | None = None,
) -> tuple[dict[int, int], Summed, Memory]:
    """(weight by node, the sum tree's top, what the rule remembers) of the round's rule over everything usable, in the
    committed order. `seed` fixes what a rule draws: the root of the round's inputs. ValueError where the rule measures and
    there is nothing to ask."""
    groups, rule = by_group(edges, forced), policy.rule
    usable = [u for group in groups for u in group if not u.refused]
    if rule.adds:
        weights = used_weights(policy, usable)
        members = [edge.summed if edge.summed is not None else sums.NOTHING for edge in edges]
        members += [edge_sums(group, weights, policy.parameters) for group in groups[len(edges) :]]
        return weights, sums.over(members), recalled
    rows = [u.integers for u in usable if u.integers is not None]
    declared = [u.leaf.weight for u in usable]
    given = Given(tuple(u.leaf.node for u in usable), seed, recalled, questions)
    if rule.linear and not rule.remembers:
        chosen, left = aggregate.linear_weights(rule.name, rows, declared, rule.f, given), recalled
    else:
        result = aggregate.aggregate(rule.name, rows, declared, rule.f, given)
        chosen, left = result.weights, result.memory
    weights = {u.leaf.node: weight for u, weight in zip(usable, chosen, strict=True)}
    if rule.linear:
        return weights, sums.over([edge_sums(group, weights, policy.parameters) for group in groups]), left
    return weights, sums.alone(result.sums, result.total) if result.total else sums.NOTHING, left


def by_group(edges: Sequence[Reported], forced: Forced) -> list[tuple[Received, ...]]:
    """The round's updates by edge, in the inputs' order; what was forced comes last."""
    return [edge.updates for edge in edges] + ([forced.updates] if forced.updates else [])


NONE_FORCED = Forced()


def settle(
    context: Context,
    policy: Policy,
    opening: Opening,
    edges: Sequence[Reported],
    forced: Forced = NONE_FORCED,
    measure: Measure | None = None,
    servers: sharding.Servers = sharding.in_turn,
) -> Settlement:
    """Apply the rule; `edges` in the order of the cloud's receipts. The manifest's metrics are left empty, see `finish`.

    `measure` answers a rule that measures, see `measuring`; other rules need none. `servers` are the parameter servers of a
    task that has several, see `sharding`.

    Under pay = scores nothing is paid here: what the updates were worth is measured on the new model, see `scoring`.
    """
    groups = by_group(edges, forced)
    inputs = roots.inputs_tree(context, [edge.leaf for edge in edges])
    void = sum(not u.refused for group in groups for u in group) < policy.min_updates
    state = msgspec.structs.replace(opening.state, measured=())
    if void:
        weights: dict[int, int] = {}
        summed = sums.NOTHING
    else:
        asked = None
        if policy.rule.measures and measure is not None:
            chosen = slice_of(inputs.root, opening.task, opening.round, policy.evaluation_slices)
            asked = Questions(policy, opening.model, chosen, measure)
        weights, summed, left = combine(policy, edges, forced, inputs.root, memory.recall(state), asked)
        state = memory.remember(policy, state, left, asked.answers if asked is not None else ())
    applied = divided(summed) if policy.shards is None else None
    model, chunks_root = opening.model, summed.node
    if staleness.weighs(policy) and summed.vector is not None:
        used = [u for group in groups for u in group if not u.refused]
        applied = aggregate.divide(summed.vector, UNIT * sum(u.leaf.weight for u in used))
    if policy.widths is not None and summed.vector is not None:
        used = [u for group in groups for u in group if not u.refused]
        told = [(decode_stored(u.frame, Update).message, weights.get(u.leaf.node, 0)) for u in used]
        applied = widths.averaged(policy, summed.vector, told)
    if policy.peers is not None and not void:
        applied, rows = peering.advance(
            policy, state.peers, _sums_by_edge(policy, edges, forced), opening.round, inputs.root
        )
        state = msgspec.structs.replace(state, peers=rows)
    spent = budget.committed(policy, opening.policy_hash, opening.round)
    if policy.privacy is not None:
        key = budget.noise_key(policy.privacy, opening.secret, inputs.root, opening.task, opening.round)
        applied = None if void else budget.released(policy.privacy, key, summed, policy.parameters)
        chunks_root = budget.veiled(key, summed.node)
    if applied is not None:  # laid over several servers it is moved by them, below
        model, vectors = memory.move(policy, opening.model, applied, state.vectors)
        state = msgspec.structs.replace(state, vectors=vectors)
    if policy.shards is not None and summed.vector is not None:
        moved = servers(policy, opening.model, state.vectors, summed.vector, summed.weight)
        applied, model = moved.applied, moved.model
        state = msgspec.structs.replace(state, vectors=moved.vectors)
    state_blob = memory.blob_of(policy, state)
    rewards = dict(opening.rewards)
    if policy.pay == "participation" and not void:
        paid = sorted(node for node, weight in weights.items() if weight > 0)
        rewards = reward.accumulate(opening.rewards, reward.pays(policy.reward_per_round, paid))
    model_blob = tensors.encode_model(model)
    manifest = Manifest(
        task=opening.task,
        round=opening.round,
        chain_id=context.chain_id,
        ledger=context.ledger,
        roster_block=opening.roster_block,
        exponent=policy.grid.exponent,
        void=void,
        model_in=opening.model_in,
        model_out=hashlib.sha256(model_blob).digest(),
        edges=tuple(_manifest_edge(edge, weights) for edge in edges),
        forced=_manifest_updates(forced.updates, weights),
        weight_total=sum(weights.values()),
        rewards=tuple(sorted(rewards.items())),
        metrics=b"",
        state=memory.digest(state_blob),
    )
    header = Header(
        task=opening.task,
        round=opening.round,
        prev=opening.prev,
        roster=opening.roster_root,
        policy=opening.policy_hash,
        model_in=opening.model_in,
        inputs_root=inputs.root,
        inputs_count=len(edges),
        forced=forced.chain,
        weights_root=roots.weights_root(roots.edge_weights(weights_entries(group, weights)) for group in groups),
        model_out=manifest.model_out,
        chunks_root=chunks_root,
        scores_root=ZERO32,
        rewards_root=merkle.sum_root(sorted(rewards.items())),
        budget=spent,
        manifest=ZERO32,
    )
    return Settlement(header, manifest, model, model_blob, weights, rewards, void, applied, state, state_blob)


def finish(settlement: Settlement, metrics: bytes) -> tuple[Header, bytes]:
    """Put the evaluation's metrics (canonical JSON) into the manifest and its digest into the header."""
    blob = encode_manifest(msgspec.structs.replace(settlement.manifest, metrics=metrics))
    return msgspec.structs.replace(settlement.header, manifest=hashlib.sha256(blob).digest()), blob


def _sums_by_edge(policy: Policy, edges: Sequence[Reported], forced: Forced) -> dict[int, Summed]:
    """What each edge's devices learned; a forced update counts with the edge that its device stands below."""
    found = [(edge.leaf.edge, edge.summed if edge.summed is not None else sums.NOTHING) for edge in edges]
    weights = declared_weights(forced.updates)
    found += [(u.leaf.edge, edge_sums([u], weights, policy.parameters)) for u in forced.updates]
    return peering.by_edge(found)


def divided(summed: Summed) -> Integers | None:
    """By how much the model moves, on the grid: the sums divided once. None for a sum tree without weight."""
    return None if summed.vector is None else aggregate.divide(summed.vector, summed.weight)


def _manifest_edge(edge: Reported, weights: Mapping[int, int]) -> ManifestEdge:
    return ManifestEdge(
        report=edge.frame,
        updates=_manifest_updates(edge.updates, weights),
        sums=edge.sums_blob,
        content_key=edge.sums_key,
        sums_children=edge.summed.children if edge.summed is not None and edge.sums_blob != ZERO32 else (),
    )


def _manifest_updates(updates: Sequence[Received], weights: Mapping[int, int]) -> tuple[ManifestUpdate, ...]:
    return tuple(
        ManifestUpdate(u.frame, index, weight, u.content_key, u.refused)
        for index, (u, (_, weight)) in enumerate(zip(updates, weights_entries(updates, weights), strict=True))
    )
