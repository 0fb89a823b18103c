"""The inputs of a round: each edge's signed report, each device's signed update, and what the update says once opened.

Every frame is held against the roster at the manifest's block: who it is, what tier, under whom, with which key. An
update that stays in the tree but is marked refused must have been refused for a reason that the auditor finds too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from ledger.audit.report import NOBODY, Bench
from ledger.audit.scene import Scene, fetch, short, unsigned
from middleware.errors import PeerFault
from middleware.protocol import sums as summing
from middleware.protocol import update as updates
from middleware.protocol.settlement import (
    Received,
    Reported,
    declared_weights,
    edge_sums,
    used_weights,
    weights_entries,
)
from middleware.protocol.sums import NOTHING, Summed
from middleware.trust import chunks, keys, roots, seal
from middleware.trust.access import status_fault
from middleware.types import ZERO32, Leaf, Node, Seen, Status, Tier
from middleware.wire import tensors
from middleware.wire.manifest import ManifestEdge, ManifestUpdate
from middleware.wire.message import (
    EdgeBody,
    EdgeReport,
    Signed,
    Update,
    decode_edge_body,
    decode_stored,
    encode_edge_body,
)


class Inputs(msgspec.Struct, frozen=True):
    """What the round's manifest lists, judged. `readable`: every frame decoded; `complete`: every content was seen."""

    edges: tuple[Reported, ...]
    forced: tuple[Received, ...]
    readable: bool
    complete: bool


def judge_inputs(
    scene: Scene, bench: Bench, edges: Iterable[ManifestEdge], forced: Iterable[ManifestUpdate], roster_block: int
) -> Inputs:
    """Every edge and update of a round, in the manifest's order."""
    reported: list[Reported] = []
    readable = complete = True
    seen: dict[int, int] = {}  # device: the edge that it stood under first
    names: set[int] = set()
    for number, edge in enumerate(edges):
        signed = _report(scene, bench, number, edge, names, roster_block)
        at_edge = signed.message.leaf.edge if signed is not None else 0
        rows = [_update(scene, bench, at, row, at_edge, seen) for at, row in enumerate(edge.updates)]
        if signed is None or any(row is None for row in rows):
            readable = complete = False
            continue
        received = tuple(row.received for row in rows if row is not None)
        whole = all(row.complete for row in rows if row is not None)
        wrong = _tree(scene, bench, signed.message, received)
        _body(scene, bench, signed.message, edge, wrong)
        adds = whole and scene.task.policy.rule.name == "mean"
        added = (
            edge_sums(received, used_weights(scene.task.policy, received), scene.task.policy.parameters)
            if adds
            else None
        )
        summed = _sums(scene, bench, signed.message, edge, received, added)
        complete = complete and (whole or summed is not None)
        if adds and scene.task.policy.pay != "scores":  # scores need them again; sums alone do not
            received = tuple(msgspec.structs.replace(row, integers=None) for row in received)
        reported.append(Reported(edge.report, signed.message.leaf, received, summed, edge.sums, edge.content_key))
    told = [_update(scene, bench, at, row, None, seen) for at, row in enumerate(forced)]
    readable = readable and None not in told
    complete = complete and all(row is not None and row.complete for row in told)
    return Inputs(tuple(reported), tuple(row.received for row in told if row is not None), readable, complete)


# ------------------------------------------------------------------------------------------------------------------ edges


def _report(
    scene: Scene, bench: Bench, number: int, edge: ManifestEdge, names: set[int], roster_block: int
) -> Signed[EdgeReport] | None:
    """An edge's report: decoded, from an active edge below this cloud, for this round, signed with both of its keys."""
    try:
        signed = decode_stored(edge.report, EdgeReport)
    except PeerFault as fault:
        bench.invalid("edge", f"report number {number}", str(fault.detail), scene.by_cloud)
        return None
    message = signed.message
    subject, by = f"report of {scene.who(message.sender)}", scene.by_cloud
    node = scene.roster.nodes.get(message.sender)
    wrong = _misplaced(scene, node, message.sender, Tier.EDGE, scene.task.cloud)
    if not wrong and node is not None and node.status is not Status.ACTIVE:
        wrong = f"the edge is {status_fault(node)} in the round's roster"
    if not wrong and (message.leaf.task, message.leaf.round) != (scene.header.task, scene.header.round):
        wrong = f"it was made for task {message.leaf.task}, round {message.leaf.round}"
    if not wrong and message.leaf.roster_block != roster_block:
        wrong = (
            f"it judged by the roster of block {message.leaf.roster_block}, the round by that of block {roster_block}"
        )
    if not wrong and message.sender in names:
        wrong = "the edge stands twice in the round"
    names.add(message.sender)
    if wrong or node is None:
        bench.invalid("edge", subject, wrong, by)
        return signed
    wrong, name = unsigned(scene.context, scene.keys_of, scene.roster, signed)
    if wrong:
        bench.invalid("edge", subject, wrong, NOBODY, fault=name)
        return signed
    try:
        keys.require_edge_root_signature(scene.domain, node.account, message.leaf, message.root_signature)
    except PeerFault:
        bench.invalid("edge", subject, "its account did not sign this root", NOBODY, fault="forged-signature")
        return signed
    bench.valid("edge", subject)
    _past(scene, bench, subject, message.seen, scene.by_edge(message.sender))
    return signed


def _past(scene: Scene, bench: Bench, subject: str, seen: Seen, by: str) -> None:
    """Signers vouch for the ledger's past: a record without what they saw is not the one that they worked on."""
    forgotten = scene.forgotten(seen)
    bench.holds(not forgotten, "past", subject, forgotten, by, fault="rewound-chain")


def _misplaced(scene: Scene, node: Node | None, number: int, tier: Tier, parent: int) -> str:
    """What is wrong with a sender's place in the roster, or ""."""
    if node is None:
        return f"the round's roster knows no node {number}"
    if node.tier is not tier:
        return f"it is of tier {node.tier.label}, not {tier.label}"
    if node.parent != parent:
        return f"its parent is node {node.parent}, not {parent}"
    return ""


def _tree(scene: Scene, bench: Bench, report: EdgeReport, rows: tuple[Received, ...]) -> str:
    """The updates listed are the ones, and in the order, that the edge signed; else the fault's name."""
    subject, leaf = f"tree of {scene.who(report.sender)}", report.leaf
    by = f"{scene.by_edge(report.sender)} against {scene.by_cloud}"
    root = roots.edge_tree(scene.context, [row.leaf for row in rows]).root
    if leaf.count == len(rows) and root == leaf.root:
        bench.valid("edge", subject)
        return ""
    what = f"the updates listed have root {short(root)}, the edge signed {short(leaf.root)}"
    if leaf.count != len(rows):
        what = f"the edge signed {leaf.count} updates, the manifest lists {len(rows)}"
    name = _difference(_signed_leaves(scene, report), [row.leaf for row in rows])
    if not name and len(rows) < leaf.count:
        name = "omitted-update"
    bench.invalid("edge", subject, what, by, fault=name)
    return name


def _signed_leaves(scene: Scene, report: EdgeReport) -> list[Leaf]:
    """The leaves under an edge's root, from the body that it sent; none where nobody has that body."""
    data = scene.blobs.get(report.body_digest)
    if data is None or hashlib.sha256(data).digest() != report.body_digest:
        return []
    try:
        leaves = [decode_stored(frame, Update).message.leaf for frame in decode_edge_body(data).frames]
    except PeerFault:
        return []
    return leaves if roots.edge_tree(scene.context, leaves).root == report.leaf.root else []


def _difference(signed: Sequence[Leaf], listed: Sequence[Leaf]) -> str:
    """The name of what turned the list that an edge signed into the one of the manifest, or ""."""
    theirs, mine = Counter(signed), Counter(listed)
    if not theirs or (theirs - mine and mine - theirs):
        return ""
    if theirs == mine:
        return "reordered-update" if list(signed) != list(listed) else ""
    if theirs - mine:
        return "omitted-update"
    return "duplicated-update" if not set(mine) - set(theirs) else "added-update"


def _body(scene: Scene, bench: Bench, report: EdgeReport, edge: ManifestEdge, name: str) -> None:
    """The body that the edge sent holds the frames that the manifest lists; it is rebuilt where nobody kept it."""
    subject = f"report body of {scene.who(report.sender)}"
    frames = tuple(row.frame for row in edge.updates)
    rebuilt = edge.sums == ZERO32 and report.body_digest in _flat_bodies(frames, edge)
    if rebuilt and scene.blobs.get(report.body_digest) is None:
        bench.valid("edge", subject)
        return
    data = fetch(
        bench, scene.blobs, "edge", subject, report.body_digest, f"{scene.who(report.sender)} or {scene.cloud}"
    )
    if data is None:
        return
    try:
        body = decode_edge_body(data)
    except PeerFault as fault:
        bench.invalid("edge", subject, fault.detail, scene.by_edge(report.sender), report.body_digest)
        return
    same = body.frames == frames and body.sums_digest == edge.sums and body.sums_children == edge.sums_children
    bench.holds(
        same, "edge", subject, "it holds other updates or sums than the manifest lists",
        f"{scene.by_edge(report.sender)} against {scene.by_cloud}", report.body_digest, name,
    )  # fmt: skip


def _flat_bodies(frames: tuple[bytes, ...], edge: ManifestEdge) -> set[bytes]:
    """The digests that the body can have without sums: the edge's own marks are all empty, or those of the manifest."""
    marks = {("",) * len(frames), tuple(row.refused for row in edge.updates)}
    return {hashlib.sha256(encode_edge_body(EdgeBody(frames, mark))).digest() for mark in marks}


def _sums(
    scene: Scene, bench: Bench, report: EdgeReport, edge: ManifestEdge, rows: tuple[Received, ...], added: Summed | None
) -> Summed | None:
    """The undivided sums that the round used of this edge: what its updates add up to, and what it committed."""
    policy, subject = scene.task.policy, f"sums of {scene.who(report.sender)}"
    by = scene.by_edge(report.sender)
    weights = declared_weights(rows)
    total = sum(weights.values())
    if policy.arrangement == "flat":
        none = edge.sums == ZERO32 and report.leaf.aggregate == ZERO32 and report.leaf.weights == ZERO32
        bench.holds(none, "edge", subject, "there should be none here", by)
        return added
    bench.holds(
        report.leaf.weights == roots.edge_weights(weights_entries(rows, weights)), "edge",
        f"weights of {scene.who(report.sender)}", "they are not those of its usable updates", by,
    )  # fmt: skip
    if not total:
        none = edge.sums == ZERO32 and report.leaf.aggregate == ZERO32
        bench.holds(none, "edge", subject, "there should be none here", by)
        return NOTHING
    if not bench.holds(
        report.weight_total == total, "edge", f"weight of {scene.who(report.sender)}",
        f"its usable updates weigh {total}, it claims {report.weight_total}", by,
    ):  # fmt: skip
        return added
    committed = _committed_sums(scene, bench, report, edge, subject, total)
    if committed is None:
        return added
    if added is None:
        return committed
    bench.holds(
        committed.node == added.node,
        "edge",
        subject,
        "they are not the weighted sum of its usable updates, group by group",
        by,
        edge.sums,
        "wrong-aggregate",
    )
    return committed


def _committed_sums(
    scene: Scene, bench: Bench, report: EdgeReport, edge: ManifestEdge, subject: str, total: int
) -> Summed | None:
    closed = scene.closed()
    sealed = fetch(bench, scene.blobs, "edge", f"sealed {subject}", edge.sums, scene.cloud)
    if sealed is None:
        return None
    if closed:
        bench.unverifiable("edge", subject, closed, edge.sums)
        return None
    try:
        key = edge.content_key
        if scene.task.policy.readers == "auditors" and scene.reader is not None:
            key = updates.content_key(report.wrapped, scene.reader)
        plain = seal.open_sealed(key, sealed, seal.leaf_context(report.leaf.task, report.leaf.round, report.sender))
        sums = tensors.decode_sums(plain, scene.task.policy.parameters)
    except PeerFault as fault:
        bench.invalid("edge", subject, fault.detail, scene.by_cloud, edge.sums)
        return None
    root = chunks.sums_root(sums)
    good = bench.holds(
        summing.opens(report.leaf.aggregate, root, edge.sums_children), "edge", subject,
        f"they have root {short(root)}, which is not what the edge signed", scene.by_edge(report.sender), edge.sums,
    )  # fmt: skip
    return Summed(report.leaf.aggregate, root, edge.sums_children, sums, total) if good else None


# ---------------------------------------------------------------------------------------------------------------- updates


class _Row(msgspec.Struct, frozen=True):
    received: Received
    complete: bool  # its content was seen, or it was refused for good reason


def _update(
    scene: Scene, bench: Bench, at: int, row: ManifestUpdate, under: int | None, seen: dict[int, int]
) -> _Row | None:
    """One update: its frame, then its content. `under` is the edge that lists it, None for one that the ledger forced."""
    try:
        signed = decode_stored(row.frame, Update)
    except PeerFault as fault:
        listed = "forced" if under is None else f"of {scene.who(under)}"
        bench.invalid("update", f"update number {at} {listed}", fault.detail, scene.by_cloud)
        return None
    leaf = signed.message.leaf
    edge = leaf.edge if under is None else under
    subject = f"{'forced ' * (under is None)}update of {scene.who(leaf.node)}"
    wrong, by, name = _wrong_frame(scene, signed, edge, row)
    if not wrong and under is None and leaf.node in seen and row.refused == "duplicate":
        bench.valid("update", subject)  # an edge took the device in after all
        return _Row(Received(row.frame, leaf, row.content_key, row.refused, None), True)
    if not wrong and leaf.node in seen:
        name = "duplicated-update"
        wrong = f"the node stands twice in the round, under {scene.who(seen[leaf.node])} and {scene.who(edge)}"
        by = f"{scene.by_edge(edge)} and {scene.by_cloud}"
    seen.setdefault(leaf.node, edge)
    if wrong:
        bench.invalid("update", subject, wrong, by, fault=name)
    else:
        bench.valid("update", subject)
        _past(scene, bench, subject, signed.message.seen, scene.by_device(leaf.node))
    integers, complete = _content(scene, bench, signed.message, row, subject)
    return _Row(Received(row.frame, leaf, row.content_key, row.refused, integers), complete)


def _wrong_frame(scene: Scene, signed: Signed[Update], edge: int, row: ManifestUpdate) -> tuple[str, str, str]:
    """(what is wrong with an update's frame, whose signature proves it, the fault's name), all "" when nothing is."""
    leaf = signed.message.leaf
    node = scene.roster.nodes.get(leaf.node)
    wrong = _misplaced(scene, node, leaf.node, Tier.END, edge)
    if wrong or node is None:
        return wrong, f"{scene.by_edge(edge)} and {scene.by_cloud}", ""
    wrong, fault = unsigned(scene.context, scene.keys_of, scene.roster, signed)
    if wrong:
        return wrong, scene.by_device(leaf.node) if fault == "early-key" else NOBODY, fault
    device = scene.by_device(leaf.node)
    if leaf.edge != edge:
        return f"it was made for {scene.who(leaf.edge)}", device, ""
    if (leaf.task, leaf.round) != (scene.header.task, scene.header.round):
        return f"it was made for task {leaf.task}, round {leaf.round}", device, ""
    if leaf.weight > scene.task.policy.samples_cap:
        return f"it declares {leaf.weight} samples, the cap is {scene.task.policy.samples_cap}", device, ""
    status = status_fault(node)
    if status and not row.refused:
        return f"the node is {status} in the round's roster, and its update was used", scene.by_cloud, ""
    return "", "", ""


def _content(
    scene: Scene, bench: Bench, message: Update, row: ManifestUpdate, subject: str
) -> tuple[updates.Integers | None, bool]:
    """(the update's integers when they were used, whether nothing about its content is left open)."""
    leaf, inside = message.leaf, f"content of the {subject}"
    node = scene.roster.nodes.get(leaf.node)
    status = status_fault(node) if node is not None else "unknown"
    if row.refused and row.refused == status:
        bench.valid("content", inside)
        return None, True
    keeper = f"{scene.who(leaf.edge)} or {scene.cloud}"
    body = fetch(bench, scene.blobs, "content", f"sealed {subject}", leaf.ciphertext, keeper)
    if body is None:
        return None, False
    bench.holds(
        len(body) == message.body_bytes, "content", f"sealed {subject}",
        f"it has {len(body)} bytes, the header says {message.body_bytes}", scene.by_device(leaf.node), leaf.ciphertext,
    )  # fmt: skip
    closed = scene.closed()
    if closed:
        bench.unverifiable("content", inside, closed, leaf.ciphertext)
        return None, False
    return _opened(scene, bench, message, row, body, inside)


def _opened(
    scene: Scene, bench: Bench, message: Update, row: ManifestUpdate, body: bytes, inside: str
) -> tuple[updates.Integers | None, bool]:
    """The content against its commitment: used updates are good, refused ones are bad for the reason that is written."""
    leaf, integers, found, detail = message.leaf, None, "", ""
    if scene.task.policy.readers == "public" and not row.content_key:
        if row.refused:
            bench.unverifiable(
                "content", inside, f"refused as {row.refused!r}, and no content key to see why", leaf.ciphertext
            )
        else:
            bench.invalid("content", inside, "the manifest withholds its content key", scene.by_cloud, leaf.ciphertext)
        return None, False
    try:
        key = row.content_key
        if scene.task.policy.readers == "auditors" and scene.reader is not None:
            key = updates.content_key(message.wrapped, scene.reader)
        opened = updates.judge(message, body, key, scene.task.policy)
        updates.audit(message, opened, scene.task.policy)
        integers = opened.integers
    except PeerFault as fault:
        found, detail = fault.code, fault.detail
    if found == row.refused:
        bench.valid("content", inside)
        return integers, True
    if row.refused:
        bench.invalid(
            "content",
            inside,
            f"refused as {row.refused!r}, but the auditor finds {found or 'no fault'!r}",
            scene.by_cloud,
        )
    else:
        bench.invalid(
            "content", inside, f"it was used although {detail}", f"{scene.by_device(leaf.node)} and {scene.by_cloud}",
            leaf.ciphertext,
        )  # fmt: skip
    return None, False
