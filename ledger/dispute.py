"""What can be proven to the Arbiter about a run, and the calls that prove it.

Everything comes from signed bytes: headers on the ledger, manifests and blobs, and what nodes kept (receipts above all).
`find` holds each promise against what became of it and returns a ready call for every offence that the EVM can see for
itself (contracts/src/interfaces/IArbiter.sol). It accuses nobody on a guess: a signature that does not bind its node today, a
tree that nobody opens or a content that cannot be read yields nothing, and such a round is for the Court.

    omission, edgeOmission        a receipt whose place went to another leaf, or lies beyond the count
    conflictingReceipts, -Roots   two signatures for one place, or for one round
    inactiveSender, -Duplicate    a leaf under a signed root that should not stand there
    wrong...                      a sum tree, weights or a coordinate that do not follow from what is committed
    forcedIgnored                 a head that leaves out what was forced an hour before it
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np

from ledger import events
from ledger.audit.evidence import Evidence
from ledger.audit.memory import Memory
from ledger.calls import (
    LINEAR,
    MEDIAN,
    TRIMMED_MEAN,
    TWO_LEVELS,
    Chunk,
    ConflictingReceipts,
    ConflictingRoots,
    DuplicateSender,
    EdgeOmission,
    ForcedIgnored,
    Group,
    InactiveSender,
    Inner,
    Member,
    Omission,
    Placed,
    Step,
    Taken,
    WrongCoordinate,
    WrongEdgeGroup,
    WrongEdgeNode,
    WrongGroup,
    WrongInnerNode,
    WrongMember,
    WrongNode,
    WrongWeights,
)
from ledger.disputed_sums import Blobs, Claims, Levels, Openings, Right, group_path, node, over, within
from ledger.forced import acknowledged
from ledger.index import Anchored, Index
from middleware.errors import DrystoneError, PeerFault
from middleware.maths import aggregate
from middleware.policy import Policy, Task
from middleware.ports import Event
from middleware.protocol import update as updates
from middleware.trust import chunks, eip712, keys, merkle, roots, seal
from middleware.trust.keys import NetworkKey
from middleware.types import ZERO32, EdgeLeaf, Header, Leaf, Receipt, Status, Tier
from middleware.wire import tensors
from middleware.wire.commitment import edge_leaf_data, leaf_data, weight_entry
from middleware.wire.manifest import Manifest, ManifestUpdate, decode_manifest
from middleware.wire.message import EdgeReport, ReceiptReply, Update, decode_edge_body, decode_stored

REORG_BLOCKS: Final = 32  # by which an honest edge's view of the roster may be off (contracts/src/Arbiter.sol)
FORCED_SECONDS: Final = 3600  # that a cloud may leave a forced update unread
RETIRED_SECONDS: Final = 86_400  # that an account's signatures bind its node after it was replaced
COORDINATE_UPDATES: Final = 16  # of a round that a coordinate rule's dispute can show

Proof: TypeAlias = (
    Omission | EdgeOmission | ForcedIgnored | ConflictingReceipts | ConflictingRoots | InactiveSender | DuplicateSender
    | WrongGroup | WrongEdgeGroup | WrongNode | WrongInnerNode | WrongEdgeNode | WrongMember | WrongWeights
    | WrongCoordinate
)  # fmt: skip


class Offence(msgspec.Struct, frozen=True):
    """One provable thing: `accused` loses its whole stake when anybody sends `proof`. `kind` is the Arbiter's word."""

    kind: str
    task: int
    round: int
    accused: int
    what: str
    proof: Proof

    @property
    def beneficiary(self) -> str:
        """Who gets half of the stake; the rest is burned."""
        return "the account of the device that was left out" if self.kind == "omission" else "whoever sends the proof"

    @property
    def takes(self) -> str:
        """What it takes to prove it."""
        return "one transaction: its gas, no bond"


class SignedRoot(msgspec.Struct, frozen=True):
    """An edge's root with its account's signature."""

    leaf: EdgeLeaf
    signature: bytes


class SignedReceipt(msgspec.Struct, frozen=True):
    receipt: Receipt
    signature: bytes


def find(
    record: Evidence, blobs: Blobs, memories: Iterable[Memory] = (), reader: NetworkKey | None = None
) -> list[Offence]:
    """Every offence that the record, the blobs and what nodes remember prove, task by task and round by round, each once.
    `reader` opens contents where only auditors may."""
    case = Case(record.index, record.ledger_domain, blobs, memories, reader)
    found: dict[tuple[str, int, int, int], Offence] = {}
    for offence in (
        *case.two_faced(),
        *case.broken_promises(),
        *case.wrong_senders(),
        *case.ignored(),
        *case.wrong_sums(),
    ):
        key = (offence.kind, offence.task, offence.round, offence.accused)
        if key not in case.settled:
            found.setdefault(key, offence)
    return sorted(found.values(), key=lambda offence: (offence.task, offence.round, offence.accused, offence.kind))


class Round(msgspec.Struct, frozen=True):
    """One anchored round and its manifest, None where no blob has it."""

    anchored: Anchored
    manifest: Manifest | None
    reports: tuple[SignedRoot, ...]  # in the inputs' order; empty without a readable manifest

    @property
    def header(self) -> Header:
        return self.anchored.header


class Case:
    """Everything that was signed, sorted for the questions that are asked of it."""

    def __init__(
        self, index: Index, domain: eip712.Domain, blobs: Blobs, memories: Iterable[Memory] = (),
        reader: NetworkKey | None = None, only: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """`domain` is the Ledger's; `only` one (task, round) is read where it is given."""
        self.index, self.domain, self.blobs, self.reader = index, domain, blobs, reader
        self.context = self.domain.context
        self.receipts: list[SignedReceipt] = []
        self.roots: dict[tuple[int, int, int], list[SignedRoot]] = {}
        self.leaves: dict[bytes, Leaf] = {}  # by leaf hash
        self.frames: dict[
            bytes, tuple[bytes, bytes]
        ] = {}  # by leaf hash: stored Update, its content key where published
        self.trees: dict[bytes, tuple[Leaf, ...]] = {}  # by the root over them
        self.rounds: list[Round] = []
        self._read_standing()
        for task in sorted(self.index.anchored):
            for anchored in self.index.anchored[task]:
                if only in (None, (task, anchored.header.round)):
                    self._read_round(anchored)
        for memory in memories:
            self._read_memory(memory)

    # ---------------------------------------------------------------------------------------------------------- reading

    def _read_standing(self) -> None:
        """Accounts that bind each node, blocks of registration and of the last change of status, what is settled."""
        now = self.index.head.time if self.index.head is not None else 0
        self.accounts: dict[int, set[bytes]] = {}
        self.registered: dict[int, int] = {}
        self.changed: dict[int, int] = {}
        lasts = [batch.first + batch.count - 1 for batch in self.index.batches()]
        self.last_id = max([0, *self.index.roster().nodes, *lasts])
        self.settled = {
            (event.kind.rstrip(b"\0").decode("ascii", "replace"), event.task, event.round, event.accused)
            for event in self.index.proven
        }
        self.rules: dict[int, tuple[int, int]] = {}  # by task: what the Arbiter may recompute, and the trim
        current: dict[int, bytes] = {}
        for entry in self.index.entries:
            match entry.event:
                case events.Registered() as event:
                    current[event.id] = event.account
                    self.accounts.setdefault(event.id, set()).add(event.account)
                    self.registered[event.id] = self.changed[event.id] = entry.position.block
                case events.StatusChanged() as event:
                    self.changed[event.id] = entry.position.block
                case events.AccountRotated() as event:
                    old = current.get(event.id)
                    if old is not None and now > entry.position.time + RETIRED_SECONDS:
                        self.accounts[event.id].discard(old)
                    current[event.id] = event.account
                    self.accounts.setdefault(event.id, set()).add(event.account)
                case events.TaskCreated() as event:
                    self.rules[event.task] = (event.rule, event.trim)
                case _:
                    pass

    def _read_round(self, anchored: Anchored) -> None:
        manifest = self._manifest(anchored.header)
        reports: list[SignedRoot] = []
        for edge in manifest.edges if manifest is not None else ():
            report = _report(edge.report)
            if report is None:
                manifest, reports = None, []
                break
            reports.append(report)
            self._add_root(report)
            self._add_tree((row.frame, row.content_key) for row in edge.updates)
        for edge in manifest.edges if manifest is not None else ():
            self._read_body(edge.report)
        self.rounds.append(Round(anchored, manifest, tuple(reports)))

    def _manifest(self, header: Header) -> Manifest | None:
        data = self.blobs.get(header.manifest)
        if data is None or hashlib.sha256(data).digest() != header.manifest:
            return None
        try:
            return decode_manifest(data)
        except PeerFault:
            return None

    def _read_body(self, frame: bytes) -> None:
        """What an edge sent with its report: its own list of what it took in, whatever the manifest says."""
        message = decode_stored(frame, EdgeReport).message
        data = self.blobs.get(message.body_digest)
        if data is None or hashlib.sha256(data).digest() != message.body_digest:
            return
        try:
            self._add_tree((one, b"") for one in decode_edge_body(data).frames)
        except PeerFault:
            return

    def _read_memory(self, memory: Memory) -> None:
        trees: dict[tuple[int, int, int], list[tuple[int, bytes]]] = {}
        for row in memory.contributions:
            self._add_receipt(row.reply)
            report = _report(row.frame)
            if report is not None:
                self._add_root(report)
                self._read_body(row.frame)
                continue
            edge = memory.node if row.child == row.node else row.child
            trees.setdefault((row.task, row.round, edge), []).append((row.place, row.frame))
        for rows in trees.values():
            self._add_tree((frame, b"") for _, frame in sorted(rows, key=lambda row: row[0]))
        for sent in memory.outgoing:
            self._add_receipt(sent.reply)
            report = _report(sent.frame)
            if report is not None:
                self._add_root(report)
                self._read_body(sent.frame)
            self._add_tree([(sent.frame, b"")])

    def _add_root(self, root: SignedRoot) -> None:
        leaf = root.leaf
        if self.binds(leaf.edge, eip712.edge_root_digest(self.domain, leaf), root.signature):
            known = self.roots.setdefault((leaf.task, leaf.round, leaf.edge), [])
            if all(other.leaf != leaf for other in known):
                known.append(root)

    def _add_receipt(self, reply: bytes) -> None:
        if not reply:
            return
        try:
            message = decode_stored(reply, ReceiptReply).message
        except PeerFault:
            return
        receipt = message.receipt
        if self.binds(receipt.edge, eip712.receipt_digest(self.domain, receipt), message.signature):
            signed = SignedReceipt(receipt, message.signature)
            if signed not in self.receipts:
                self.receipts.append(signed)

    def _add_tree(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Stored updates in the order of a tree, each with its content key where that is published."""
        listed = [(_leaf(frame), frame, key) for frame, key in rows]
        known = [leaf for leaf, _, _ in listed if leaf is not None]
        for leaf, frame, key in listed:
            if leaf is not None:
                name = roots.leaf_hash(self.context, leaf)
                self.leaves[name] = leaf
                if key or name not in self.frames:
                    self.frames[name] = (frame, key)
        if len(known) == len(listed):
            self.trees[roots.edge_tree(self.context, known).root] = tuple(known)

    def binds(self, node: int, digest: bytes, signature: bytes) -> bool:
        """Whether the Arbiter takes this signature for the node's: of its account, or of one retired for a day at most."""
        try:
            return keys.recover_account(digest, signature) in self.accounts.get(node, set())
        except PeerFault:
            return False

    def who(self, node: int) -> str:
        known = self.index.roster().nodes.get(node)
        return f"{known.name} (node {node})" if known is not None else f"node {node}"

    # --------------------------------------------------------------------------------------------------- what was signed

    def two_faced(self) -> Iterator[Offence]:
        """One place promised twice, one round reported twice."""
        places: dict[tuple[int, int, int, int], SignedReceipt] = {}
        for signed in self.receipts:
            receipt = signed.receipt
            first = places.setdefault((receipt.task, receipt.round, receipt.edge, receipt.index), signed)
            if first.receipt.leaf != receipt.leaf:
                yield Offence(
                    "conflictingReceipts", receipt.task, receipt.round, receipt.edge,
                    f"place {receipt.index} was promised to leaf {_short(first.receipt.leaf)} and to {_short(receipt.leaf)}",
                    ConflictingReceipts(first.receipt, first.signature, receipt, signed.signature),
                )  # fmt: skip
        for (task, round, edge), known in self.roots.items():
            if len(known) > 1:
                a, b = known[:2]
                yield Offence(
                    "conflictingRoots", task, round, edge,
                    f"the round was reported with root {_short(a.leaf.root)} and with {_short(b.leaf.root)}",
                    ConflictingRoots(a.leaf, a.signature, b.leaf, b.signature),
                )  # fmt: skip

    def broken_promises(self) -> Iterator[Offence]:
        """A receipt whose place another leaf has, or that lies beyond the count."""
        for signed in self.receipts:
            receipt = signed.receipt
            place = (receipt.task, receipt.round, receipt.edge)
            for root in self.roots.get(place, ()):
                yield from self._omission(signed, root)
            task = self.index.tasks.get(receipt.task)
            if task is not None and task.cloud == receipt.edge:
                yield from self._edge_omission(signed)

    def _omission(self, signed: SignedReceipt, root: SignedRoot) -> Iterator[Offence]:
        receipt, leaf = signed.receipt, self.leaves.get(signed.receipt.leaf)
        if leaf is None:
            return
        shown = self._other(receipt, root.leaf)
        if shown is None:
            return
        what = f"{self.who(leaf.node)} has a receipt for place {receipt.index}, " + (
            f"the edge signed a round of {root.leaf.count}" if receipt.index >= root.leaf.count
            else f"which went to leaf {_short(shown[0])}"
        )  # fmt: skip
        yield Offence(
            "omission", receipt.task, receipt.round, receipt.edge, what,
            Omission(receipt, signed.signature, leaf, root.leaf, root.signature, *shown),
        )  # fmt: skip

    def _other(self, receipt: Receipt, root: EdgeLeaf) -> tuple[bytes, tuple[bytes, ...]] | None:
        """(the leaf hash that stands in the promised place, its path); zeros beyond the count; None if it holds, or if
        nobody shows the tree."""
        if receipt.index >= root.count:
            return ZERO32, ()
        listed = self.trees.get(root.root)
        if listed is None or len(listed) != root.count:
            return None
        tree = roots.edge_tree(self.context, listed)
        found = tree.levels[0][receipt.index]
        return None if found == receipt.leaf else (found, tuple(tree.path(receipt.index)))

    def _edge_omission(self, signed: SignedReceipt) -> Iterator[Offence]:
        receipt = signed.receipt
        for round in self.rounds:
            header = round.header
            if (header.task, header.round) != (receipt.task, receipt.round):
                continue
            found, path = ZERO32, tuple[bytes, ...]()
            if receipt.index < header.inputs_count:
                tree = self._inputs(round)
                if tree is None or tree.levels[0][receipt.index] == receipt.leaf:
                    continue
                found, path = tree.levels[0][receipt.index], tuple(tree.path(receipt.index))
            what = f"an edge has the cloud's receipt for place {receipt.index}, " + (
                f"the header counts {header.inputs_count}" if receipt.index >= header.inputs_count
                else f"which went to leaf {_short(found)}"
            )  # fmt: skip
            yield Offence(
                "edgeOmission", receipt.task, receipt.round, receipt.edge, what,
                EdgeOmission(receipt, signed.signature, header, round.anchored.position.time, found, path),
            )  # fmt: skip

    def _inputs(self, round: Round) -> merkle.Tree | None:
        """The tree under the header's `inputs_root`; None where the manifest does not show it."""
        tree = merkle.Tree.of(edge_leaf_data(self.context, root.leaf) for root in round.reports)
        return tree if round.reports and tree.root == round.header.inputs_root else None

    # -------------------------------------------------------------------------------------------------------- who was in

    def wrong_senders(self) -> Iterator[Offence]:
        """Leaves under signed roots that their edge had to refuse, and nodes that stand there twice."""
        for known in self.roots.values():
            for root in known:
                listed = self.trees.get(root.leaf.root)
                if listed is None or len(listed) != root.leaf.count:
                    continue
                yield from self._wrong_leaves(root, listed)

    def _wrong_leaves(self, root: SignedRoot, listed: tuple[Leaf, ...]) -> Iterator[Offence]:
        tree = roots.edge_tree(self.context, listed)
        place = (root.leaf.task, root.leaf.round, root.leaf.edge)
        first: dict[int, int] = {}
        for index, leaf in enumerate(listed):
            placed = Placed(leaf, index, tuple(tree.path(index)))
            why = self._must_not_be_in(root.leaf, leaf)
            if why:
                yield Offence(
                    "inactiveSender", *place, f"place {index} holds a leaf of {self.who(leaf.node)}: {why}",
                    InactiveSender(root.leaf, root.signature, placed),
                )  # fmt: skip
            if leaf.node in first:
                other = first[leaf.node]
                yield Offence(
                    "duplicateSender", *place, f"{self.who(leaf.node)} stands in places {other} and {index}",
                    DuplicateSender(
                        root.leaf, root.signature, Placed(listed[other], other, tuple(tree.path(other))), placed
                    ),
                )  # fmt: skip
            first.setdefault(leaf.node, index)

    def _must_not_be_in(self, root: EdgeLeaf, leaf: Leaf) -> str:
        """Why the edge had to refuse the leaf, as the Arbiter sees it today; or ""."""
        if (leaf.task, leaf.round, leaf.edge) != (root.task, root.round, root.edge):
            return f"it was made for task {leaf.task}, round {leaf.round}, edge {leaf.edge}"
        if leaf.node == 0 or leaf.node > self.last_id:
            return "the ledger knows no such node"
        known = self.index.roster().nodes.get(leaf.node)
        if known is None:
            return ""  # a member of a batch that is not materialised: the Arbiter cannot see what it is
        if known.tier is not Tier.END or known.parent != root.edge:
            return f"it is of tier {known.tier.label} below node {known.parent}"
        since, changed = self._blocks(leaf.node)
        if since > root.roster_block + REORG_BLOCKS:
            return f"it was registered in block {since}, the edge judged by block {root.roster_block}"
        if known.status is not Status.ACTIVE and changed + REORG_BLOCKS <= root.roster_block:
            return (
                f"it is {known.status.name.lower()} since block {changed}, the edge judged by block {root.roster_block}"
            )
        return ""

    def _blocks(self, node: int) -> tuple[int, int]:
        """(block that registered it, block of its last change of status), those of its batch where it came in one."""
        known, changed = self.index.roster().nodes[node], self.changed.get(node, 0)
        if self.index.batch_of(node) is None or changed != self.registered.get(node):
            return known.since, changed
        return known.since, max(
            (entry.position.block for entry in self.index.entries if _of_batch(entry.event, self.index, node)),
            default=known.since,
        )

    # -------------------------------------------------------------------------------------------------------- what was forced

    def ignored(self) -> Iterator[Offence]:
        """A head that was anchored more than an hour after an update that it does not acknowledge."""
        for task, forced in self.index.forced.items():
            rounds = self.index.anchored.get(task, [])
            if not rounds:
                continue
            head = rounds[-1]
            done = acknowledged(forced, head.header.forced) or 0
            for one in forced[done:]:
                late = head.position.time - one.position.time
                if late > FORCED_SECONDS:
                    yield Offence(
                        "forcedIgnored", task, head.header.round, self.index.tasks[task].cloud,
                        f"{self.who(one.leaf.node)} forced update {one.k} in {late} seconds before the head, "
                        f"which acknowledges {done}",
                        ForcedIgnored(one.k, head.header, head.position.time),
                    )  # fmt: skip
                    break

    # --------------------------------------------------------------------------------------------------------- who cannot add

    def wrong_sums(self) -> Iterator[Offence]:
        """The first wrong node, weight or coordinate of each round's committed sums, as far as they are opened."""
        for round in self.rounds:
            task = self.index.tasks.get(round.header.task)
            if task is None or round.manifest is None or self._inputs(round) is None:
                continue
            try:
                yield from SumsCase(self, round, task).offences()
            except DrystoneError:
                continue  # a stranger's bytes that no honest round holds: the audit says what is wrong with them


class _Read(msgspec.Struct, frozen=True):
    """One update of the round: its leaf, the weight that was used, and its content, None where it has no weight."""

    leaf: Leaf
    weight: int
    opened: updates.Opened | None


class SumsCase:
    """One round's sums against what its updates and weights make of them."""

    def __init__(self, case: Case, round: Round, task: Task) -> None:
        manifest = round.manifest
        if manifest is None:
            raise PeerFault("malformed", "a round without a manifest")
        self.case, self.round, self.task, self.manifest = case, round, task, manifest
        self.policy: Policy = task.policy
        self.rule, self.trim = case.rules.get(task.id, (0, 0))
        self.header, self.at = round.header, round.anchored.position.time
        self.openings = Openings(case.blobs)
        self.edges = [_edge.leaf for _edge in round.reports]
        self.members = len(self.edges) + bool(manifest.forced)

    def offences(self) -> Iterator[Offence]:
        if self.rule == LINEAR:
            yield from self._linear()
        elif self.rule == TWO_LEVELS:
            yield from self._two_levels()
        elif self.rule in (MEDIAN, TRIMMED_MEAN):
            yield from self._coordinates()

    def _offence(self, kind: str, accused: int, what: str, proof: Proof) -> Offence:
        return Offence(kind, self.header.task, self.header.round, accused, what, proof)

    # ---------------------------------------------------------------------------------------------------------- rule 1

    def _linear(self) -> Iterator[Offence]:
        rows = [self._rows(edge.updates) for edge in self.manifest.edges]
        forced = self._rows(self.manifest.forced)
        groups = [*rows, *([forced] if self.manifest.forced else [])]
        entries = [self._entries(group) for group in groups]
        weights = [merkle.root(entry) for entry in entries]
        if merkle.root(weights) != self.header.weights_root:
            return
        trees = [self._within(group) for group in groups]
        top = over([tree.top for tree in trees])
        claims = Claims(self.header.chunks_root, top, self.openings)
        for number, tree in enumerate(trees[: len(rows)]):
            claimed = claims.hashes[0][number]
            above = claims.walk(0, number)
            if claimed is None or claimed == tree.top.hash or above is None:
                continue
            inside = Claims(claimed, tree, self.openings)
            wrong = inside.wrong()
            walk = inside.walk(wrong.level, wrong.number) if wrong is not None else None
            if wrong is None or walk is None:
                continue
            edge, cloud = self.edges[number], self.task.cloud
            where = f"chunk {wrong.chunk.index} of the sums of node {wrong.number}, level {wrong.level}, of edge {edge.edge}"
            member = self._member(number)
            if wrong.level == 0:
                group = self._group(rows[number], entries[number], edge, wrong.number, wrong.chunk, (*walk, *above))
                path = tuple(merkle.Tree.of(weights).path(number))
                yield self._offence(
                    "wrongGroup", cloud, f"{where} is not what its updates add up to",
                    WrongGroup(self.header, self.at, member, weights[number], path, group),
                )  # fmt: skip
            else:
                inner = Inner(wrong.level, wrong.number, inside.shown_children(wrong), wrong.chunk, (*walk, *above))
                yield self._offence(
                    "wrongInnerNode", cloud, f"{where} is not the sum of its children",
                    WrongInnerNode(self.header, self.at, member, inner),
                )  # fmt: skip
            return
        yield from self._wrong_node(claims)

    def _wrong_node(self, claims: Claims) -> Iterator[Offence]:
        wrong = claims.wrong(lowest=1)
        walk = claims.walk(wrong.level, wrong.number) if wrong is not None else None
        if wrong is None or walk is None:
            return
        inner = Inner(wrong.level, wrong.number, claims.shown_children(wrong), wrong.chunk, walk)
        yield self._offence(
            "wrongNode", self.task.cloud,
            f"chunk {wrong.chunk.index} of node {wrong.number}, level {wrong.level} above the edges, is not its children's sum",
            WrongNode(self.header, self.at, self.members, inner),
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------------- rule 2

    def _two_levels(self) -> Iterator[Offence]:
        for number, edge in enumerate(self.edges):
            yield from self._edge_sums(number, edge)
        yield from self._weights()
        members = [self._committed(number) for number in range(len(self.edges))]
        if self.manifest.forced:
            members.append(self._within(self._rows(self.manifest.forced)).top)
        if any(member is None for member in members):
            return
        claims = Claims(
            self.header.chunks_root, over([member for member in members if member is not None]), self.openings
        )
        for number, edge in enumerate(self.edges):
            claimed, walk = claims.hashes[0][number], claims.walk(0, number)
            if claimed is not None and claimed != edge.aggregate and walk is not None:
                yield self._offence(
                    "wrongMember", self.task.cloud, f"it counts {_short(claimed)} where edge {edge.edge} signed "
                    f"{_short(edge.aggregate)}", WrongMember(self.header, self.at, self._member(number), claimed, walk),
                )  # fmt: skip
                return
        yield from self._wrong_node(claims)

    def _edge_sums(self, number: int, edge: EdgeLeaf) -> Iterator[Offence]:
        """The edge's own tree: its committed aggregate against its updates with the weights that it signed."""
        listed = self.manifest.edges[number].updates
        leaves = [_leaf(row.frame) for row in listed]
        entries = [weight_entry(leaf.node, 0 if row.refused else leaf.weight)
                   for leaf, row in zip(leaves, listed, strict=True) if leaf is not None]  # fmt: skip
        if merkle.root(entries) != edge.weights or self.case.trees.get(edge.root) is None:
            return
        rows = [
            _Read(row.leaf, 0 if listed[at].refused else row.leaf.weight, row.opened)
            for at, row in enumerate(self._rows(listed, declared=True))
        ]
        right = self._within(rows)
        if right.top.hash == edge.aggregate:
            return
        self._committed(number)
        claims = Claims(edge.aggregate, right, self.openings)
        wrong = claims.wrong()
        walk = claims.walk(wrong.level, wrong.number) if wrong is not None else None
        if wrong is None or walk is None:
            return
        signature = self.round.reports[number].signature
        where = f"chunk {wrong.chunk.index} of node {wrong.number}, level {wrong.level}, of its sums"
        if wrong.level == 0:
            group = self._group(rows, entries, edge, wrong.number, wrong.chunk, walk)
            yield self._offence(
                "wrongEdgeGroup", edge.edge, f"{where} is not what its updates add up to",
                WrongEdgeGroup(edge, signature, group),
            )  # fmt: skip
        else:
            inner = Inner(wrong.level, wrong.number, claims.shown_children(wrong), wrong.chunk, walk)
            yield self._offence(
                "wrongEdgeNode", edge.edge, f"{where} is not the sum of its children",
                WrongEdgeNode(edge, signature, inner),
            )  # fmt: skip

    def _weights(self) -> Iterator[Offence]:
        """The cloud's list of the edges' weight roots against what the edges signed."""
        weights = [merkle.root(self._entries(self._rows(edge.updates, contents=False))) for edge in self.manifest.edges]
        if self.manifest.forced:
            weights.append(merkle.root(self._entries(self._rows(self.manifest.forced, contents=False))))
        if merkle.root(weights) != self.header.weights_root or self.manifest.void:
            return
        for number, edge in enumerate(self.edges):
            if weights[number] != edge.weights:
                path = tuple(merkle.Tree.of(weights).path(number))
                yield self._offence(
                    "wrongWeights", self.task.cloud, f"it names weights {_short(weights[number])} where edge {edge.edge} "
                    f"signed {_short(edge.weights)}",
                    WrongWeights(self.header, self.at, self._member(number), weights[number], path),
                )  # fmt: skip
                return

    def _committed(self, number: int) -> Right | None:
        """The node that an edge signed, with the vector that it published; None where that cannot be read."""
        edge, listed = self.edges[number], self.manifest.edges[number]
        if edge.aggregate == ZERO32:
            return Right(ZERO32, None, ())
        sealed = self.case.blobs.get(listed.sums)
        if sealed is None or hashlib.sha256(sealed).digest() != listed.sums:
            return None
        key = listed.content_key
        if self.policy.readers == "auditors" and self.case.reader is not None:
            report = decode_stored(listed.report, EdgeReport).message
            key = updates.content_key(report.wrapped, self.case.reader)
        plain = seal.open_sealed(key, sealed, seal.leaf_context(self.header.task, self.header.round, edge.edge))
        found = node(tensors.decode_sums(plain, self.policy.parameters), listed.sums_children)
        if found.hash != edge.aggregate:
            return None
        self.openings.publish(found)
        return found

    # ------------------------------------------------------------------------------------------------------ rules 3 and 4

    def _coordinates(self) -> Iterator[Offence]:
        groups = [self._rows(edge.updates) for edge in self.manifest.edges]
        used = [row for group in groups for row in group if row.weight]
        small = len(groups) <= COORDINATE_UPDATES and all(len(group) <= COORDINATE_UPDATES for group in groups)
        if not used or len(used) > COORDINATE_UPDATES or not small or self.manifest.forced:
            return
        if merkle.root(merkle.root(self._entries(group)) for group in groups) != self.header.weights_root:
            return
        integers = [row.opened.integers for row in used if row.opened is not None]
        name = "median" if self.rule == MEDIAN else "trimmed-mean"
        try:
            result = aggregate.aggregate(name, integers, [1] * len(integers), self.trim).sums
        except ValueError:
            return  # too few values for the trim: nothing is right
        opened = self.openings.node(self.header.chunks_root)
        if opened is None or opened[1] != ZERO32:
            return
        found = self.openings.difference(opened[0], chunks.sums_tree(result))
        shown = self.openings.leaf(found[1]) if found is not None else None
        if found is None or shown is None or len(shown) != 8 * chunks.CHUNK:
            return
        right = np.frombuffer(chunks.sums_chunk(result, found[0]), ">i8")
        wrong = np.flatnonzero(right != np.frombuffer(shown, ">i8"))
        chunk = Chunk(found[0], opened[0], found[1], found[2])
        taken = tuple(
            Taken(edge, tuple(self._packed(row, chunk.index) for row in group))
            for edge, group in zip(self.edges, groups, strict=True)
        )
        coordinate = int(wrong[0])
        yield self._offence(
            "wrongCoordinate", self.task.cloud,
            f"coordinate {chunk.index * chunks.CHUNK + coordinate} of the sums is not the {name} of the updates",
            WrongCoordinate(self.header, self.at, taken, chunk, shown, coordinate),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------ pieces

    def _rows(self, listed: Sequence[ManifestUpdate], contents: bool = True, declared: bool = False) -> list[_Read]:
        """The updates with their contents; PeerFault where one that has weight cannot be read as it was committed."""
        rows = []
        for row in listed:
            message = decode_stored(row.frame, Update).message
            weight = row.weight if not declared else (0 if row.refused else message.leaf.weight)
            opened = None
            if contents and weight:
                body = self.case.blobs.get(message.leaf.ciphertext)
                if body is None or hashlib.sha256(body).digest() != message.leaf.ciphertext:
                    raise PeerFault("mismatch", f"the body of node {message.leaf.node}'s update is missing")
                key = row.content_key
                if self.policy.readers == "auditors" and self.case.reader is not None:
                    key = updates.content_key(message.wrapped, self.case.reader)
                opened = updates.judge(message, body, key, self.policy)
                updates.audit(message, opened, self.policy)
            rows.append(_Read(message.leaf, weight, opened))
        return rows

    def _entries(self, rows: Sequence[_Read]) -> list[bytes]:
        return [weight_entry(row.leaf.node, row.weight) for row in rows]

    def _within(self, rows: Sequence[_Read]) -> Levels:
        return within(
            [(row.opened.integers if row.opened is not None else None, row.weight) for row in rows],
            self.policy.parameters,
        )

    def _member(self, number: int) -> Member:
        tree = self.case._inputs(self.round)
        if tree is None:
            raise PeerFault("malformed", "the manifest does not show the inputs")
        return Member(self.edges[number], number, tuple(tree.path(number)), self.members)

    def _group(
        self,
        rows: Sequence[_Read],
        entries: Sequence[bytes],
        edge: EdgeLeaf,
        number: int,
        chunk: Chunk,
        walk: tuple[Step, ...],
    ) -> Group:
        leaves = merkle.Tree.of(leaf_data(self.case.context, row.leaf) for row in rows)
        if leaves.root != edge.root:
            raise PeerFault("mismatch", "the manifest lists other updates than the edge signed")
        shown = rows[16 * number : 16 * (number + 1)]
        return Group(
            number, tuple(self._packed(row, chunk.index) for row in shown), group_path(leaves, number),
            group_path(merkle.Tree.of(entries), number), chunk, walk,
        )  # fmt: skip

    def _packed(self, row: _Read, chunk: int) -> bytes:
        """An update as the Arbiter reads it: what its leaf holds, the weight used, and its chunk if it has weight."""
        leaf = row.leaf
        head = b"".join((
            leaf.node.to_bytes(4, "big"), leaf.sequence.to_bytes(8, "big"), leaf.weight.to_bytes(4, "big"),
            leaf.ciphertext, leaf.update_root, leaf.metrics, row.weight.to_bytes(8, "big"),
        ))  # fmt: skip
        if not row.weight or row.opened is None:
            return head
        width, integers, salt = self.policy.grid.width, row.opened.integers, row.opened.salt
        path = chunks.update_tree(integers, salt, width).path(chunk)
        return head + salt + chunks.update_chunk(integers, chunk, width) + b"".join(path)


def _of_batch(event: Event, index: Index, node: int) -> bool:
    """Whether the event changed the status of the batch that `node` came with."""
    batch = index.batch_of(node)
    return isinstance(event, events.BatchStatusChanged) and batch is not None and event.first == batch.first


def _report(frame: bytes) -> SignedRoot | None:
    """The signed root in a stored EdgeReport; None for another message, or a stranger's bytes."""
    try:
        message = decode_stored(frame, EdgeReport).message
    except PeerFault:
        return None
    return SignedRoot(message.leaf, message.root_signature)


def _leaf(frame: bytes) -> Leaf | None:
    """The leaf in a stored Update; None for another message, or a stranger's bytes."""
    try:
        return decode_stored(frame, Update).message.leaf
    except PeerFault:
        return None


def _short(digest: bytes) -> str:
    return digest.hex()[:16]
