"""What a round's rule measured on the server's data: taken from the round's state to repeat it, and measured again where the
auditor has the data."""

from __future__ import annotations

from ledger.audit.report import Bench
from ledger.audit.scene import Scene, fetch, short
from middleware.errors import PeerFault
from middleware.protocol import memory
from middleware.protocol.measuring import Measured, Recorded
from middleware.protocol.update import Floats
from middleware.wire.manifest import Manifest


def recorded(scene: Scene, bench: Bench, manifest: Manifest) -> Recorded | None:
    """The answers that the round's rule was given; None where its state cannot be read, with the finding that says why."""
    data = fetch(bench, scene.blobs, "state", "measurements", manifest.state, scene.cloud)
    if data is None:
        return None
    try:
        answers = memory.read(scene.task.policy, data).measured
    except PeerFault as fault:
        bench.invalid("state", "measurements", fault.detail, scene.by_cloud, manifest.state, "wrong-state")
        return None
    return Recorded(answers, lambda model, slice: _again(scene, model, slice))


def judge_measurements(scene: Scene, bench: Bench, manifest: Manifest, told: Recorded) -> None:
    """The answers against the auditor's own, once the round was repeated with them."""
    policy = scene.task.policy
    root = scene.evaluation.root(policy) if scene.evaluation is not None else None
    if root is None:
        return
    if bench.holds(
        root.hex() == policy.evaluation, "aggregate", "evaluation set",
        f"the auditor's slices have root {short(root)}, the policy says {policy.evaluation[:16]}", scene.by_cloud,
    ):  # fmt: skip
        bench.holds(
            told.apart == 0, "aggregate", "measurements",
            f"measured again, {told.apart} of the errors and losses that the rule was given are others", scene.by_cloud,
            manifest.state,
        )  # fmt: skip


def _again(scene: Scene, model: Floats, slice: int) -> Measured | None:
    policy, evaluation = scene.task.policy, scene.evaluation
    if evaluation is None or (evaluation.root(policy) or b"").hex() != policy.evaluation:
        return None
    return evaluation.error(policy, model, slice)
