"""One round, judged: its manifest, its roster, its inputs, and the same settlement computed again.

The auditor calls the very function that the cloud called (`protocol.settlement.settle`) on what the manifest lists, and
compares thing by thing in the order in which one follows from the other, so that what is named first is the cause and
not a consequence. A wrong round does not taint the next: that one is judged from what the ledger holds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from ledger.audit.inputs import Inputs, judge_inputs
from ledger.audit.measured import judge_measurements, recorded
from ledger.audit.report import Bench
from ledger.audit.scene import Before, Scene, fetch, short
from ledger.audit.scores import judge_scores, moves_after
from ledger.forced import acknowledged, due
from middleware.errors import DrystoneError, PeerFault
from middleware.maths import reward
from middleware.policy import Policy
from middleware.protocol import budget, memory
from middleware.protocol.scoring import carried
from middleware.protocol.scoring import paid as paid_scores
from middleware.protocol.settlement import Forced, Opening, Settlement, settle
from middleware.protocol.update import Floats
from middleware.trust import merkle, roots
from middleware.types import ZERO32, Roster
from middleware.wire import tensors
from middleware.wire.manifest import Manifest, decode_manifest
from middleware.wire.message import Update, decode_stored
from middleware.wire.state import State


class After(msgspec.Struct, frozen=True):
    """What a judged round leaves: the next one's `Before`, and what was computed on the way (None where it was not)."""

    before: Before
    manifest: Manifest | None
    settlement: Settlement | None


def judge_round(scene: Scene, bench: Bench, before: Before, roster_at: Callable[[int], Roster]) -> After:
    """Everything about one anchored round but its place in the chain of headers. `scene.roster` is that of its block."""
    manifest = _manifest(scene, bench)
    if manifest is None:
        bench.unverifiable("aggregate", "aggregate", "it cannot be repeated without the manifest")
        model = _model_out(scene, bench, None)
        moves = moves_after(scene, before, before.model, model)
        state = None if memory.carries(scene.task.policy) else memory.EMPTY
        return After(Before(model, None, before.roster_block, None, moves, before.forced, state), None, None)
    place = _roster(scene, bench, manifest, before, roster_at)
    inputs = judge_inputs(place, bench, manifest.edges, manifest.forced, manifest.roster_block)
    _commitments(place, bench, manifest, inputs, before)
    start = before.model
    if start is None:
        start = read_model(scene, bench, "model the round starts from", scene.header.model_in)
    opening = _opening(place, manifest, before, start)
    settlement = _settled(place, bench, manifest, inputs, opening)
    if settlement is not None:
        _compare(place, bench, manifest, settlement)
    model = _model_out(place, bench, settlement)
    state = _state_out(place, bench, manifest, settlement)
    if scene.task.policy.pay == "scores":
        settlement = judge_scores(place, bench, manifest, inputs, before, opening, settlement)
    _rewards(place, bench, manifest, before)
    after = Before(
        model, dict(manifest.rewards), manifest.roster_block, carried(scene.task.policy, manifest),
        moves_after(scene, before, start, model), acknowledged(scene.forced, scene.header.forced) or before.forced,
        state,
    )  # fmt: skip
    return After(after, manifest, settlement)


# --------------------------------------------------------------------------------------------------------------- manifest


def _manifest(scene: Scene, bench: Bench) -> Manifest | None:
    """The manifest that the header names, which says of itself what the header says."""
    header, by = scene.header, scene.by_cloud
    data = fetch(bench, scene.blobs, "manifest", "manifest", header.manifest, scene.cloud)
    if data is None:
        return None
    try:
        manifest = decode_manifest(data)
    except PeerFault as fault:
        bench.invalid("manifest", "manifest", fault.detail, by, header.manifest)
        return None
    policy = scene.task.policy
    wanted: dict[str, tuple[object, object]] = {
        "task": (manifest.task, header.task),
        "round": (manifest.round, header.round),
        "chain": (manifest.chain_id, scene.context.chain_id),
        "ledger": (manifest.ledger, scene.context.ledger),
        "exponent": (manifest.exponent, policy.grid.exponent),
        "model_in": (manifest.model_in, header.model_in),
        "model_out": (manifest.model_out, header.model_out),
    }
    for name, (found, expected) in wanted.items():
        if found != expected:
            what = f"its {name} is {_shown(found)}, the header and the policy say {_shown(expected)}"
            bench.invalid("manifest", "manifest", what, by, header.manifest)
            return manifest
    bench.valid("manifest", "manifest")
    return manifest


def _roster(
    scene: Scene, bench: Bench, manifest: Manifest, before: Before, roster_at: Callable[[int], Roster]
) -> Scene:
    """The scene with the roster that the round was judged by: of a plausible block, and with the header's root."""
    block, by = manifest.roster_block, scene.by_cloud
    if not bench.holds(
        before.roster_block <= block <= scene.block, "roster", "roster block",
        f"block {block} is not between the last round's {before.roster_block} and {scene.block}, which anchored it", by,
    ):  # fmt: skip
        block = min(max(block, before.roster_block), scene.block)
    roster = roster_at(block)
    root = roots.roster_root(roster)
    bench.holds(
        root == scene.header.roster, "roster", "roster",
        f"the ledger's roster at block {block} has root {short(root)}, the header {short(scene.header.roster)}", by,
    )  # fmt: skip
    return msgspec.structs.replace(scene, roster=roster)


# ------------------------------------------------------------------------------------------- what needs no plaintext


def _commitments(scene: Scene, bench: Bench, manifest: Manifest, inputs: Inputs, before: Before) -> None:
    """What the header commits about its inputs, from the manifest alone: anybody can check it in any scope."""
    header, by = scene.header, scene.by_cloud
    _budget(scene, bench)
    unused = {}
    if scene.task.policy.pay == "participation":
        unused["scoresRoot"] = header.scores_root
        if manifest.scoring is not None:
            bench.invalid("manifest", "scores", "it lists some, this task pays participation", by, header.manifest)
    for name, value in unused.items():
        bench.holds(value == ZERO32, "header", name, f"it is {short(value)}, this task has none", by)
    _forced(scene, bench, manifest, inputs, before)
    if not inputs.readable:
        return
    tree = roots.inputs_tree(scene.context, [edge.leaf for edge in inputs.edges])
    bench.holds(
        tree.root == header.inputs_root, "edge", "inputsRoot",
        f"the edges listed have root {short(tree.root)}, the header {short(header.inputs_root)}", by,
    )  # fmt: skip
    bench.holds(
        tree.size == header.inputs_count, "edge", "inputsCount",
        f"{tree.size} edges reported, the header counts {header.inputs_count}", by,
    )  # fmt: skip
    listed = [edge.updates for edge in manifest.edges] + ([manifest.forced] if manifest.forced else [])
    groups = [edge.updates for edge in inputs.edges] + ([inputs.forced] if inputs.forced else [])
    usable = sum(not row.refused for group in groups for row in group)
    least = scene.task.policy.min_updates
    bench.holds(
        manifest.void == (usable < least), "aggregate", "void",
        f"the manifest says {manifest.void}: {usable} updates could be used, the policy wants {least}", by, header.manifest,
    )  # fmt: skip
    total = sum(row.weight for rows in listed for row in rows)
    bench.holds(
        manifest.weight_total == total, "aggregate", "total weight",
        f"the weights listed add up to {total}, not {manifest.weight_total}", by, header.manifest,
    )  # fmt: skip
    root = roots.weights_root(
        roots.edge_weights((one.leaf.node, row.weight) for one, row in zip(group, rows, strict=True))
        for group, rows in zip(groups, listed, strict=True)
    )
    bench.holds(
        root == header.weights_root, "aggregate", "weightsRoot",
        f"the weights listed have root {short(root)}, the header {short(header.weights_root)}", by,
    )  # fmt: skip


def _budget(scene: Scene, bench: Bench) -> None:
    """The spent epsilon follows from the policy and the round's number: anybody can tell a hidden or skipped one."""
    header, by, policy = scene.header, scene.by_cloud, scene.task.policy
    try:
        wanted = budget.committed(policy, header.policy, header.round)
    except DrystoneError as error:
        bench.invalid("header", "budget", str(error), by, fault="wrong-budget")
        return
    what = f"it is {short(header.budget)}, what is spent after round {header.round} hashes to {short(wanted)}"
    if policy.promise is None:
        what = f"it is {short(header.budget)}, this task has none"
    elif header.budget == ZERO32:
        what = f"it is hidden: what is spent after round {header.round} hashes to {short(wanted)}"
    bench.holds(header.budget == wanted, "header", "budget", what, by, fault="wrong-budget")


def _forced(scene: Scene, bench: Bench, manifest: Manifest, inputs: Inputs, before: Before) -> None:
    """What devices put before the ledger: acknowledged as far as the roster's block, and listed where it was used. The
    rule is stated in `ledger.forced`."""
    header, by, came = scene.header, scene.by_cloud, scene.forced
    done = acknowledged(came, header.forced)
    if done is None or done > due(came, scene.block):
        what = f"it is {short(header.forced)}, which no forced update had given when the round was anchored"
        bench.invalid("header", "forced", what, by)
        return
    wanted = max(due(came, manifest.roster_block), before.forced)
    if done < wanted:
        first = came[done]
        what = (
            f"it acknowledges {done} of the {wanted} updates that were forced by block {manifest.roster_block}: "
            f"update {first.k}, of {scene.who(first.leaf.node)} for round {first.leaf.round}, is ignored"
        )
        bench.invalid("header", "forced", what, by)
    else:
        bench.valid("header", "forced")
    mine = [one.leaf_hash for one in came[:done] if one.leaf.round == header.round]
    places = iter(mine)
    listed = [roots.leaf_hash(scene.context, row.leaf) for row in inputs.forced]
    bench.holds(
        all(leaf in places for leaf in listed), "header", "forced updates",
        f"the {len(listed)} listed are not, in their order, among the {len(mine)} that the ledger had for this round",
        by, header.manifest,
    )  # fmt: skip


def _rewards(scene: Scene, bench: Bench, manifest: Manifest, before: Before) -> None:
    """The header pays what the manifest lists, and the manifest lists what the last round left plus this round's shares."""
    header, by = scene.header, scene.by_cloud
    listed = dict(manifest.rewards)
    try:
        root = merkle.sum_root(manifest.rewards)
    except DrystoneError as error:
        bench.invalid("rewards", "rewards", str(error), by, header.manifest)
        return
    bench.holds(
        root == header.rewards_root, "rewards", "rewardsRoot",
        f"the rewards listed have root {short(root)}, the header {short(header.rewards_root)}", by,
    )  # fmt: skip
    if before.rewards is None:
        bench.unverifiable(
            "rewards", "rewards", "the last round's manifest is missing, so this round's share cannot be told"
        )
        return
    owed = reward.accumulate(before.rewards, paid_by(scene.task.policy, manifest))
    wrong = [node for node in sorted(owed.keys() | listed.keys()) if owed.get(node) != listed.get(node)]
    for node in wrong:
        what = f"it stands at {listed.get(node, 'nothing')}, {owed.get(node, 'nothing')} was earned"
        fault = "padded-reward" if listed.get(node, 0) > owed.get(node, 0) else "short-reward"
        bench.invalid("rewards", f"reward of {scene.who(node)}", what, by, header.manifest, fault)
    if not wrong:
        bench.valid("rewards", "rewards")


def paid_by(policy: Policy, manifest: Manifest) -> dict[int, int]:
    """What a round pays by what its manifest lists: participants' equal shares, or those of an epoch that ends with it."""
    if policy.pay == "scores":
        return {} if manifest.scoring is None else paid_scores(policy, manifest.round, manifest.scoring)
    paid = sorted(node for node, weight in manifest_weights(manifest).items() if weight > 0)
    return reward.pays(policy.reward_per_round, paid)


def manifest_weights(manifest: Manifest) -> dict[int, int]:
    """The rule's weight by device, as the manifest lists it. A frame that does not decode counts for nobody."""
    weights: dict[int, int] = {}
    rows = [row for edge in manifest.edges for row in edge.updates]
    rows += [row for row in manifest.forced if not row.refused]
    for row in rows:
        try:
            weights[decode_stored(row.frame, Update).message.sender] = row.weight
        except PeerFault:
            continue
    return weights


# -------------------------------------------------------------------------------------------------------- the settlement


def _opening(scene: Scene, manifest: Manifest, before: Before, model: Floats | None) -> Opening | None:
    """What was fixed when the round opened; None without the model that it starts from, or what the last round left."""
    if model is None or before.state is None:
        return None
    header = scene.header
    return Opening(
        task=header.task, round=header.round, prev=header.prev, policy_hash=header.policy, model_in=header.model_in,
        model=model, roster_root=header.roster, roster_block=manifest.roster_block, rewards=before.rewards or {},
        state=before.state, secret=scene.secret,
    )  # fmt: skip


def _settled(
    scene: Scene, bench: Bench, manifest: Manifest, inputs: Inputs, opening: Opening | None
) -> Settlement | None:
    """The settlement, repeated; None with the finding that says what it lacked."""
    if opening is None or not inputs.readable or not (inputs.complete or manifest.void):
        lacking = "the model and the state it starts from" if opening is None else "every update's content"
        bench.unverifiable("aggregate", "aggregate", f"it cannot be repeated without {lacking}")
        return None
    privacy = scene.task.policy.privacy
    if privacy is not None and not budget.opens(privacy, scene.secret):
        lacking = "the secret of the noise, which only auditors inside the trust boundary have"
        bench.unverifiable("aggregate", "aggregate", f"it cannot be repeated without {lacking}")
        return None
    forced, measure = Forced(scene.header.forced, inputs.forced), None
    if scene.task.policy.rule.measures and not manifest.void:
        measure = recorded(scene, bench, manifest)
        if measure is None:
            bench.unverifiable("aggregate", "aggregate", "it cannot be repeated without what the rule measured")
            return None
    try:
        with np.errstate(all="ignore"):  # a hostile history may add up to infinity; what counts is the same bits
            settlement = settle(scene.context, scene.task.policy, opening, inputs.edges, forced, measure)
    except (DrystoneError, ValueError, ArithmeticError) as error:
        bench.invalid("aggregate", "aggregate", f"it cannot be repeated: {error}", scene.by_cloud)
        return None
    if measure is not None:
        judge_measurements(scene, bench, manifest, measure)
    return settlement


def _compare(scene: Scene, bench: Bench, manifest: Manifest, settlement: Settlement) -> None:
    """The rule's weights, the sums and the model, in the order in which one follows from the other."""
    header, mine, by, rule = scene.header, settlement.header, scene.by_cloud, scene.task.policy.rule
    wrong = False
    for node, listed in manifest_weights(manifest).items():
        weight = settlement.weights.get(node, 0)
        if weight != listed:
            wrong = True
            what = f"{rule.name} gives it {weight}, the manifest {listed}"
            bench.invalid("aggregate", f"weight of {scene.who(node)}", what, by, header.manifest, "wrong-weight")
    if not wrong:
        bench.valid("aggregate", "weights")
    bench.holds(
        mine.chunks_root == header.chunks_root, "aggregate", "chunksRoot",
        f"the sums have root {short(mine.chunks_root)}, the header {short(header.chunks_root)}", by,
        fault="wrong-aggregate",
    )  # fmt: skip
    bench.holds(
        mine.model_out == header.model_out, "model", "model",
        f"replayed it is {short(mine.model_out)}, the header says {short(header.model_out)}", by,
        fault="wrong-aggregate",
    )  # fmt: skip


def _model_out(scene: Scene, bench: Bench, settlement: Settlement | None) -> Floats | None:
    """The model that the round left. A blob that replay gives to the bit need not be kept by anybody."""
    digest = scene.header.model_out
    if settlement is not None and settlement.header.model_out == digest and scene.blobs.get(digest) is None:
        return settlement.model
    return read_model(scene, bench, "model blob", digest)


def _state_out(scene: Scene, bench: Bench, manifest: Manifest, settlement: Settlement | None) -> State | None:
    """What the round left to the next one, as its manifest names it. A blob that replay gives to the bit need not be kept."""
    policy, by, digest = scene.task.policy, scene.by_cloud, manifest.state
    if not memory.carries(policy):
        bench.holds(
            digest == ZERO32, "state", "state", f"it is {short(digest)}, this task carries none", by,
            scene.header.manifest, "wrong-state",
        )  # fmt: skip
        return memory.EMPTY
    if settlement is None:
        bench.unverifiable("state", "state", "it cannot be told without the aggregate, which could not be repeated")
    else:
        mine = settlement.manifest.state
        bench.holds(
            mine == digest, "state", "state", f"replayed it is {short(mine)}, the manifest says {short(digest)}", by,
            scene.header.manifest, "wrong-state",
        )  # fmt: skip
        if mine == digest and scene.blobs.get(digest) is None:
            return settlement.state
    data = fetch(bench, scene.blobs, "state", "state blob", digest, scene.cloud)
    if data is None:
        return None
    try:
        state = memory.read(policy, data)
    except PeerFault as fault:
        bench.invalid("state", "state blob", fault.detail, by, digest, "wrong-state")
        return None
    bench.valid("state", "state blob")
    return state


def read_model(scene: Scene, bench: Bench, subject: str, digest: bytes) -> Floats | None:
    """A model from its blob."""
    data = fetch(bench, scene.blobs, "model", subject, digest, scene.cloud)
    if data is None:
        return None
    try:
        model = tensors.decode_model(data, scene.task.policy.parameters)
    except PeerFault as fault:
        bench.invalid("model", subject, fault.detail, scene.by_cloud, digest)
        return None
    bench.valid("model", subject)
    return model


def _shown(value: object) -> str:
    return short(value) if isinstance(value, bytes) else str(value)
