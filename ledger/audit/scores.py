"""A round's scores, judged: what it was measured with, and the same scoring computed again.

What is floating point (v, the importance of each number of the model) was published as integers, and is measured again within
a tolerance where the auditor has the evaluation data. What follows from those integers is repeated with the function that
the cloud called (`protocol.scoring.pay`), to the bit.
"""

from __future__ import annotations

import numpy as np

from ledger.audit.inputs import Inputs
from ledger.audit.report import Bench
from ledger.audit.scene import Before, Scene, fetch, short
from middleware.errors import DrystoneError, PeerFault
from middleware.maths import contribution
from middleware.protocol import scoring
from middleware.protocol.scoring import Measured, Moves
from middleware.protocol.settlement import Forced, Opening, Settlement
from middleware.protocol.update import Floats
from middleware.types import ZERO32
from middleware.wire.manifest import Manifest, ManifestScore, Scoring


def moves_after(scene: Scene, before: Before, start: Floats | None, end: Floats | None) -> Moves | None:
    """The known moves behind a round, from the models around it. None where one of them is missing."""
    if scene.task.policy.pay != "scores":
        return ()
    if before.moves is None or start is None or end is None:
        return None
    return scoring.remember(before.moves, start, end, scene.task.policy.grid.exponent)


def judge_scores(
    scene: Scene, bench: Bench, manifest: Manifest, inputs: Inputs, before: Before, opening: Opening | None,
    settlement: Settlement | None,
) -> Settlement | None:  # fmt: skip
    """The settlement with its scores and its pay, repeated; None where something is lacking. Findings say what."""
    header, by, listed = scene.header, scene.by_cloud, manifest.scoring
    if listed is None:
        bench.invalid("scores", "scores", "the manifest lists none, and the task pays by them", by, header.manifest)
        return settlement
    root = scoring.scores_root(listed)
    bench.holds(
        root == header.scores_root, "scores", "scoresRoot",
        f"the scores listed have root {short(root)}, the header {short(header.scores_root)}", by,
    )  # fmt: skip
    measured = _measured(scene, bench, manifest, listed)
    if settlement is not None and opening is not None and measured is not None:
        _measure_again(scene, bench, listed, opening, settlement, measured)
    lacking = _lacking(manifest, before, measured)
    if settlement is None or opening is None or lacking or before.carried is None or before.moves is None:
        words = lacking or "the aggregate, which could not be repeated"
        bench.unverifiable("scores", "scores", f"they cannot be repeated without {words}")
        return None
    try:
        forced = Forced(header.forced, inputs.forced)
        again = scoring.pay(
            scene.task.policy, opening, settlement, inputs.edges, before.carried, before.moves, measured, forced
        )
    except (DrystoneError, ValueError, ArithmeticError) as error:
        bench.invalid("scores", "scores", f"they cannot be repeated: {error}", by, header.manifest)
        return settlement
    if again.manifest.scoring is not None:
        _compare(scene, bench, listed, again.manifest.scoring)
    return again


def _lacking(manifest: Manifest, before: Before, measured: Measured | None) -> str:
    """What the scores cannot be repeated without, or ""."""
    if measured is None and not manifest.void:
        return "the importance that they were measured with"
    if before.carried is None:
        return "the last round's manifest"
    return "the models of the rounds before" if before.moves is None else ""


def _measured(scene: Scene, bench: Bench, manifest: Manifest, listed: Scoring) -> Measured | None:
    """v from its blob, measured on the slice that the inputs chose; None in a void round."""
    header, by, policy = scene.header, scene.by_cloud, scene.task.policy
    if manifest.void:
        nothing = (listed.importance, listed.exponent, listed.slice) == (ZERO32, 0, 0)
        bench.holds(nothing, "scores", "importance", "a void round measures nothing", by, header.manifest)
        return None
    chosen = scoring.slice_of(header.inputs_root, header.task, header.round, policy.evaluation_slices)
    bench.holds(
        listed.slice == chosen, "scores", "slice",
        f"the inputs choose evaluation slice {chosen}, the manifest says {listed.slice}", by, header.manifest,
    )  # fmt: skip
    data = fetch(bench, scene.blobs, "scores", "importance", listed.importance, scene.cloud)
    if data is None:
        return None
    try:
        measured = scoring.decode_importance(data, listed.exponent, policy.parameters)
    except PeerFault as fault:
        bench.invalid("scores", "importance", fault.detail, by, listed.importance)
        return None
    bench.valid("scores", "importance")
    return measured


def _measure_again(
    scene: Scene, bench: Bench, listed: Scoring, opening: Opening, settlement: Settlement, measured: Measured
) -> None:
    """v against the auditor's own, where there is evaluation data."""
    policy, by = scene.task.policy, scene.by_cloud
    root = scene.evaluation.root(policy) if scene.evaluation is not None else None
    if root is None or scene.evaluation is None or settlement.applied is None:
        return
    if not bench.holds(
        root.hex() == policy.evaluation, "scores", "evaluation set",
        f"the auditor's slices have root {short(root)}, the policy says {policy.evaluation[:16]}", by,
    ):  # fmt: skip
        return
    move = settlement.applied.astype(np.float64) * policy.grid.step
    chosen = min(listed.slice, policy.evaluation_slices - 1)
    mine = scene.evaluation.measure(policy, opening.model, move, chosen)
    other = contribution.differs(
        measured.integers, measured.exponent, np.zeros(policy.parameters) if mine is None else mine
    )
    bench.holds(
        not other, "scores", "measurement", f"measured again on slice {chosen}, the importance is another", by,
        listed.importance,
    )  # fmt: skip


def _compare(scene: Scene, bench: Bench, listed: Scoring, mine: Scoring) -> None:
    """Every node's line, then what is common to all."""
    by, blob = scene.by_cloud, scene.header.manifest
    found, expected = ({one.node: one for one in side.scores} for side in (listed, mine))
    wrong = False
    for node in [*expected, *(node for node in found if node not in expected)]:
        if found.get(node) != expected.get(node):
            wrong = True
            what = f"replayed it is {_line(expected.get(node))}, the manifest says {_line(found.get(node))}"
            bench.invalid("scores", f"score of {scene.who(node)}", what, by, blob)
    if not wrong and listed.scores != mine.scores:
        wrong = True
        bench.invalid("scores", "scores", "they do not stand in the inputs' order", by, blob)
    if listed.pool != mine.pool:
        wrong = True
        bench.invalid("scores", "pool", f"the epoch's is {mine.pool} so far, the manifest says {listed.pool}", by, blob)
    if not wrong:
        bench.valid("scores", "scores")


def _line(score: ManifestScore | None) -> str:
    if score is None:
        return "not there"
    words = ", ".join(f"{name} {getattr(score, name)}" for name in ("raw", "counted", "epoch", "reputation"))
    return words + (f" ({score.reason})" if score.reason else "")
