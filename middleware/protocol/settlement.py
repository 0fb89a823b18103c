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
import numpy as np
import numpy.typing as npt

from middleware.maths import aggregate, grid, reward
from middleware.protocol.update import Floats, Integers
from middleware.trust import chunks, merkle, roots
from middleware.types import ZERO32, EdgeLeaf, Header, Leaf, Policy
from middleware.wire import tensors
from middleware.wire.commitment import Context
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestUpdate, encode_manifest

Sums = npt.NDArray[np.int64]


class Received(msgspec.Struct, frozen=True):
    """One update as its edge's tree has it. `integers` is None where it was refused or is in its edge's sums already."""

    frame: bytes  # without the body
    leaf: Leaf
    content_key: bytes
    refused: str
    integers: Integers | None


class Reported(msgspec.Struct, frozen=True):
    """One edge's round: its signed report and its updates by index.

    `sums` are the undivided weighted sums of its updates when the rule is the mean, computed by the edge (two-level) or
    by the cloud as updates arrive (flat): either way memory does not grow with the number of devices.
    """

    frame: bytes
    leaf: EdgeLeaf
    updates: tuple[Received, ...]
    sums: Sums | None = None
    sums_blob: bytes = ZERO32
    sums_key: bytes = b""


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


class Settlement(msgspec.Struct, frozen=True):
    """What the cloud anchors and stores. `header.manifest` is `ZERO32` until `anchored` puts the metrics in."""

    header: Header
    manifest: Manifest
    model: Floats
    model_blob: bytes
    weights: dict[int, int]
    rewards: dict[int, int]
    void: bool


def edge_sums(updates: Sequence[Received], parameters: int) -> tuple[Sums, int]:
    """The undivided weighted sum of an edge's usable updates and their total weight."""
    sums: Sums = np.zeros(parameters, np.int64)
    total = 0
    for update in updates:
        if update.integers is not None:
            aggregate.add_weighted(sums, update.integers, update.leaf.weight)
            total += update.leaf.weight
    return sums, total


def combine(policy: Policy, edges: Sequence[Reported]) -> tuple[dict[int, int], Sums, int]:
    """(weight by node, undivided sums, total) of the round's rule over everything usable, in the committed order."""
    usable = [u for edge in edges for u in edge.updates if not u.refused]
    if policy.rule.name == "mean":
        sums: Sums = np.zeros(policy.parameters, np.int64)
        for edge in edges:
            if edge.sums is not None:
                sums += edge.sums
        weights = {u.leaf.node: u.leaf.weight for u in usable}
        return weights, sums, sum(weights.values())
    rows = [u.integers for u in usable if u.integers is not None]
    result = aggregate.aggregate(policy.rule.name, rows, [u.leaf.weight for u in usable], policy.rule.f)
    return {u.leaf.node: int(w) for u, w in zip(usable, result.weights, strict=True)}, result.sums, result.total


def settle(context: Context, policy: Policy, opening: Opening, edges: Sequence[Reported]) -> Settlement:
    """Apply the rule; `edges` in the order of the cloud's receipts. The manifest's metrics are left empty, see `finish`."""
    usable = sum(1 for edge in edges for u in edge.updates if not u.refused)
    void = usable < policy.min_updates
    if void:
        weights: dict[int, int] = {}
        sums: Sums = np.zeros(0, np.int64)
        model, rewards = opening.model, dict(opening.rewards)
    else:
        weights, sums, total = combine(policy, edges)
        model = grid.apply(opening.model, aggregate.divide(sums, total), policy.grid.exponent)
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
        weight_total=sum(weights.values()),
        rewards=tuple(sorted(rewards.items())),
        metrics=b"",
    )
    entries = [(u.leaf.node, 0 if u.refused else weights.get(u.leaf.node, 0)) for edge in edges for u in edge.updates]
    header = Header(
        task=opening.task,
        round=opening.round,
        prev=opening.prev,
        roster=opening.roster_root,
        policy=opening.policy_hash,
        model_in=opening.model_in,
        inputs_root=roots.inputs_tree(context, [edge.leaf for edge in edges]).root,
        inputs_count=len(edges),
        forced=ZERO32,
        weights_root=roots.weights_root(entries),
        model_out=manifest.model_out,
        chunks_root=ZERO32 if void else chunks.sums_root(sums),
        scores_root=ZERO32,
        rewards_root=merkle.sum_root(sorted(rewards.items())),
        budget=ZERO32,
        manifest=ZERO32,
    )
    return Settlement(header, manifest, model, model_blob, weights, rewards, void)


def finish(settlement: Settlement, metrics: bytes) -> tuple[Header, bytes]:
    """Put the evaluation's metrics (canonical JSON) into the manifest and its digest into the header."""
    blob = encode_manifest(msgspec.structs.replace(settlement.manifest, metrics=metrics))
    return msgspec.structs.replace(settlement.header, manifest=hashlib.sha256(blob).digest()), blob


def _manifest_edge(edge: Reported, weights: Mapping[int, int]) -> ManifestEdge:
    return ManifestEdge(
        report=edge.frame,
        updates=tuple(
            ManifestUpdate(u.frame, index, 0 if u.refused else weights.get(u.leaf.node, 0), u.content_key, u.refused)
            for index, u in enumerate(edge.updates)
        ),
        sums=edge.sums_blob,
        content_key=edge.sums_key,
    )
