"""What the nodes themselves remember, held against the record: offers, receipts, contributions, settled rounds.

A node's database proves nothing to others, but it holds signed bytes, and they must be the ones that the rounds rest on.
So each row is judged: its frame decodes and is signed, its columns say what the frame says, its receipt is the parent's
promise for this very leaf, and no row that an anchored round rests on is missing. Reading the files is the caller's work.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from eth_hash.auto import keccak

from ledger.audit.report import NOBODY, Bench
from ledger.audit.scene import KeysOf, rewound, short, unsigned
from ledger.calls import AnchorRound, call_id, decode_call
from ledger.index import RecordedLog
from middleware.errors import FAULTS, PeerFault
from middleware.policy import Task
from middleware.ports import Position
from middleware.trust import eip712, keys, merkle, roots
from middleware.types import Header, Receipt, Roster, Seen
from middleware.wire import canonical
from middleware.wire.canonical import refuse_malformed
from middleware.wire.manifest import Manifest
from middleware.wire.message import (
    EdgeReport,
    M,
    Offer,
    ReceiptReply,
    Signed,
    Update,
    decode_metrics,
    decode_stored,
)

Place = tuple[int, int]  # (task, round)
DIRECT: Final = 0  # the child of an update that its device forced through the ledger
Promise = tuple[str, int, int, int, int]  # ("receipt" or "root", task, round, who signed it, index: 0 for a root)
PROMISED: Final = ("round", "accuracy", "loss", "void", "updates", "weights", "bytes_sent", "training", "steps")


class OfferRow(msgspec.Struct, frozen=True):
    task: int
    round: int
    state: str
    frame: bytes


class ContributionRow(msgspec.Struct, frozen=True):
    """`child` brought it, `node` signed it: equal at an edge, and at a cloud for an edge's own report; `DIRECT` when it
    was forced through the ledger."""

    task: int
    round: int
    child: int
    node: int
    place: int
    frame: bytes
    body: bytes
    reply: bytes
    refused: str


class OutgoingRow(msgspec.Struct, frozen=True):
    task: int
    round: int
    frame: bytes
    body: bytes
    reply: bytes
    answer: str


class SettledRow(msgspec.Struct, frozen=True):
    task: int
    round: int
    header: bytes
    manifest: bytes
    summary: bytes


class OutboxRow(msgspec.Struct, frozen=True):
    """`block` and `gas` are -1 while the transaction is in no block."""

    number: int
    id: bytes
    function: str
    call: bytes
    block: int
    gas: int


class AttemptRow(msgspec.Struct, frozen=True):
    hash: bytes
    number: int
    raw: bytes


class Memory(msgspec.Struct, frozen=True):
    """One node's database as it was read. `faults` say what could not be read, and why."""

    place: str  # the file, as a person finds it
    node: int  # its number on the ledger; 0 when the ledger does not know it
    offers: tuple[OfferRow, ...] = ()
    contributions: tuple[ContributionRow, ...] = ()
    outgoing: tuple[OutgoingRow, ...] = ()
    settled: tuple[SettledRow, ...] = ()
    outbox: tuple[OutboxRow, ...] = ()
    attempts: tuple[AttemptRow, ...] = ()
    log: tuple[bytes, ...] = ()  # hashes of what it signed, in order (nodes.store)
    witness: Seen = Seen()  # the newest block, deep below the head, that it noted as the ledger's past
    faults: tuple[str, ...] = ()
    altered: tuple[
        tuple[str, bytes], ...
    ] = ()  # (file, its name as digest) of blobs that do not have their name's hash


class Facts(msgspec.Struct, frozen=True):
    """What the audit of the record established."""

    domain: eip712.Domain
    tasks: Mapping[int, Task]
    headers: Mapping[Place, Header]
    models: Mapping[Place, tuple[tuple[int, bytes], ...]]  # that edges had of their own when a round opened
    manifests: Mapping[Place, Manifest]
    transactions: Mapping[bytes, Position]  # where each transaction of the record stands, by hash
    roster_at: Callable[[int], Roster]
    keys_of: KeysOf
    holds: Callable[[Seen], bool]  # whether the record has this block
    checkpoints: Mapping[int, Sequence[RecordedLog]]  # what each node put on the ledger of its log, in order
    head_block: int
    task: int = 0  # the one whose rows are judged; 0: every task's

    def roster(self, task: int, round: int) -> Roster:
        """The roster that a round was judged by; today's for a round that is not anchored."""
        manifest = self.manifests.get((task, round))
        return self.roster_at(min(manifest.roster_block, self.head_block) if manifest else self.head_block)


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong with a row, the fault's name, and whose signature proves it."""

    what: str
    fault: str = ""
    by: str = NOBODY


def judge_memory(facts: Facts, memory: Memory, bench: Bench, disputed: Container[Promise] = ()) -> None:
    """Every row of one node's database, and every blob file below it. `disputed` promises were found to contradict each
    other: that one of them was not kept needs no second finding."""
    for fault in memory.faults:
        bench.invalid("record", memory.place, fault, NOBODY)
    for file, digest in memory.altered:
        what = f"blob {digest.hex()[:16]} does not have the SHA-256 that is its name"
        bench.invalid("record", file, what, NOBODY, digest, "altered-blob")
    judge = _Judge(facts, memory, bench, disputed)
    if memory.witness != Seen():
        judge.row("the past that it noted", judge.witness)
    for offer in _of_task(facts, memory.offers):
        judge.row(f"offer of round {offer.round}", partial(judge.offer, offer))
    for item in _of_task(facts, memory.contributions):
        judge.row(f"contribution of node {item.node} to round {item.round}", partial(judge.contribution, item))
    for sent in _of_task(facts, memory.outgoing):
        judge.row(f"own message of round {sent.round}", partial(judge.outgoing, sent))
    for settled in _of_task(facts, memory.settled):
        judge.row(f"settled round {settled.round}", partial(judge.settled, settled))
    for wish in memory.outbox:
        judge.row(f"outbox entry {wish.number}", partial(judge.wish, wish))
    for attempt in memory.attempts:
        judge.row(f"transaction of outbox entry {attempt.number}", partial(judge.attempt, attempt))
    if not memory.faults:
        judge.completeness()
        judge.logged()


R = TypeVar("R", OfferRow, ContributionRow, OutgoingRow, SettledRow)


def _of_task(facts: Facts, rows: Iterable[R]) -> list[R]:
    return [row for row in rows if facts.task in (0, row.task)]


class _Judge:
    def __init__(self, facts: Facts, memory: Memory, bench: Bench, disputed: Container[Promise]) -> None:
        self.facts, self.memory, self.bench, self.disputed = facts, memory, bench, disputed

    def row(self, subject: str, judge: Callable[[], str | Wrong]) -> None:
        """One row: what is wrong with it, as a finding that names the file and the row."""
        try:
            found = judge()
        except PeerFault as fault:
            found = Wrong(fault.detail, "forged-signature" if fault.code == "forged" else "")
        wrong = found if isinstance(found, Wrong) else Wrong(found)
        name = f"{self.memory.place}: {subject}"
        if wrong.what.startswith("?"):
            self.bench.unverifiable("record", name, wrong.what[1:])
        else:
            self.bench.holds(not wrong.what, "record", name, wrong.what, wrong.by, fault=wrong.fault)

    def witness(self) -> str | Wrong:
        """The record still has the block that this node noted as deep enough to stay."""
        seen = self.memory.witness
        return "" if self.facts.holds(seen) else Wrong(rewound(seen), "rewound-chain", "nobody: a note of its own")

    def signed_by(self, signed: Signed[M], roster: Roster) -> Wrong | None:
        """What is wrong with a frame's signature, or None."""
        what, fault = unsigned(self.facts.domain.context, self.facts.keys_of, roster, signed)
        return Wrong(what, fault) if what else None

    def offer(self, row: OfferRow) -> str | Wrong:
        signed = decode_stored(row.frame, Offer)
        offer = signed.message
        if (offer.task, offer.round, offer.state) != (row.task, row.round, row.state):
            return "its columns are not what its frame says"
        wrong = self.signed_by(signed, self.facts.roster_at(min(offer.roster_block, self.facts.head_block)))
        if wrong is None and offer.seen != Seen() and not self.facts.holds(offer.seen):
            by = f"the offer signature of node {offer.sender}"
            wrong = Wrong(rewound(offer.seen), "rewound-chain", by)
        header = self.facts.headers.get((row.task, row.round))
        if wrong or header is None or offer.state != "open":
            return wrong or ""
        if (offer.policy_hash, offer.model_in, offer.prev) != (header.policy, header.model_in, header.prev):
            return "it is not the offer that this round was anchored for"
        models = self.facts.models.get((row.task, row.round), offer.models)
        wrong_for = sorted({edge for edge, _ in set(models) ^ set(offer.models)})
        if not wrong_for:
            return ""
        what = f"the model that it names for {', '.join(f'edge {edge}' for edge in wrong_for)} is not what the rounds before left"
        return Wrong(what, "wrong-edge-model", f"the offer signature of node {offer.sender}")

    def contribution(self, row: ContributionRow) -> str | Wrong:
        roster = self.facts.roster(row.task, row.round)
        mine = self.memory.node
        if row.child == row.node and row.node in roster.nodes and roster.nodes[row.node].tier.label == "edge":
            report = decode_stored(row.frame, EdgeReport)
            edge_leaf = report.message.leaf
            found: tuple[object, ...] = (edge_leaf.task, edge_leaf.round, edge_leaf.edge, report.message.body_digest)
            wrong = self.signed_by(report, roster)
            leaf_hash = roots.edge_leaf_hash(self.facts.domain.context, edge_leaf)
        else:
            update = decode_stored(row.frame, Update)
            leaf = update.message.leaf
            found = (leaf.task, leaf.round, leaf.node, leaf.ciphertext)
            wrong = self.signed_by(update, roster)
            leaf_hash = roots.leaf_hash(self.facts.domain.context, leaf)
            if row.child not in (row.node, leaf.edge, DIRECT):
                wrong = wrong or Wrong(f"node {row.child} cannot have brought it")
        if found != (row.task, row.round, row.node, row.body):
            return "its columns are not what its frame says"
        if row.refused and row.refused not in FAULTS:
            return f"{row.refused!r} is no reason to refuse"
        if wrong or (not row.reply and row.child != row.node):
            return wrong or ""
        return self.receipt(row.reply, (row.task, row.round, mine, row.place), leaf_hash, roster)

    def receipt(self, reply: bytes, place: tuple[int, int, int, int], leaf_hash: bytes, roster: Roster) -> str | Wrong:
        """What is wrong with a receipt for this leaf in this (task, round, promising node, index), or ""."""
        signed = decode_stored(reply, ReceiptReply)
        receipt = signed.message.receipt
        if receipt.leaf != leaf_hash:
            return "its receipt names another leaf"
        found = (receipt.task, receipt.round, receipt.edge, receipt.index if place[3] >= 0 else place[3])
        if found != place:
            return "its receipt names another place"
        wrong = self.signed_by(signed, roster)
        if wrong:
            return msgspec.structs.replace(wrong, what=f"receipt: {wrong.what}")
        account = roster.nodes[receipt.edge].account
        keys.require_receipt_signature(self.facts.domain, account, receipt, signed.message.signature)
        return ""

    def kept(self, receipt: Receipt, roster: Roster) -> str | Wrong:
        """The promise stands: the leaf is where its receipt says in what the round rests on. A round in which the promising
        edge did not report shows nothing."""
        manifest = self.facts.manifests.get((receipt.task, receipt.round))
        if manifest is None or ("receipt", receipt.task, receipt.round, receipt.edge, receipt.index) in self.disputed:
            return ""
        leaves = _leaves_under(self.facts.domain, manifest, receipt.edge, roster)
        if leaves is None or leaves[receipt.index : receipt.index + 1] == [receipt.leaf]:
            return ""
        by = f"the receipt and the root of node {receipt.edge}"
        promised = f"node {receipt.edge} promised it place {receipt.index}"
        if receipt.leaf in leaves:
            return Wrong(f"{promised}, it stands at {leaves.index(receipt.leaf)}", "reordered-update", by)
        what = "update" if roster.nodes[receipt.edge].tier.label == "edge" else "report"
        return Wrong(f"{promised}, and it is not among the {len(leaves)} of the round", f"omitted-{what}", by)

    def outgoing(self, row: OutgoingRow) -> str | Wrong:
        roster = self.facts.roster(row.task, row.round)
        context = self.facts.domain.context
        node = roster.nodes.get(self.memory.node)
        if node is None:
            return f"the ledger knows no node {self.memory.node}"
        if node.tier.label == "edge":
            report = decode_stored(row.frame, EdgeReport)
            wrong, body = self.signed_by(report, roster), report.message.body_digest
            place = (report.message.leaf.task, report.message.leaf.round)
            leaf_hash = roots.edge_leaf_hash(context, report.message.leaf)
        else:
            update = decode_stored(row.frame, Update)
            wrong, body = self.signed_by(update, roster), update.message.body_digest
            place = (update.message.leaf.task, update.message.leaf.round)
            leaf_hash = roots.leaf_hash(context, update.message.leaf)
        if (*place, body) != (row.task, row.round, row.body):
            return "its columns are not what its frame says"
        if row.answer not in ("", "receipt") and row.answer not in FAULTS:
            return f"{row.answer!r} is no answer"
        if wrong or not row.reply:
            return wrong or ("it has the answer 'receipt' but no receipt" if row.answer == "receipt" else "")
        if row.answer != "receipt":
            return "it has a receipt but another answer"
        return self.receipt(row.reply, (row.task, row.round, node.parent, -1), leaf_hash, roster) or self.kept(
            decode_stored(row.reply, ReceiptReply).message.receipt, roster
        )

    def settled(self, row: SettledRow) -> str:
        header = canonical.decode(row.header, Header)
        if (header.task, header.round, header.manifest) != (row.task, row.round, row.manifest):
            return "its columns are not what its header says"
        anchored = self.facts.headers.get((row.task, row.round))
        if anchored is None:
            return "?it is not anchored yet"
        if header != anchored:
            return "it is not the header that was anchored"
        manifest = self.facts.manifests.get((row.task, row.round))
        return self.summary(row.summary, manifest) if manifest is not None else ""

    def summary(self, data: bytes, manifest: Manifest) -> str:
        """The summary says what the manifest says, where it says the same thing."""
        told = promised(data)
        rows = [row for edge in manifest.edges for row in edge.updates]
        messages = [decode_stored(row.frame, Update).message for row in rows]
        metrics, theirs = decode_metrics(manifest.metrics), [decode_metrics(message.metrics) for message in messages]
        wanted: dict[str, object] = {
            "round": manifest.round,
            "accuracy": metrics.get("accuracy"),
            "loss": metrics.get("loss"),
            "void": manifest.void,
            "updates": len(rows),
            "weights": {str(message.sender): row.weight for message, row in zip(messages, rows, strict=True)},
            "bytes_sent": sum(len(row.frame) for row in rows) + sum(message.body_bytes for message in messages),
            "training": [[told.get("started"), told.get("finished")] for told in theirs],
            "steps": {str(m.sender): told.get("steps") for m, told in zip(messages, theirs, strict=True)},
        }
        different = [name for name in PROMISED if name in told and told[name] != wanted[name]]
        return f"its summary has another {different[0]} than the manifest" if different else ""

    def wish(self, row: OutboxRow) -> str:
        """An intent is what its id says, and an anchored header is the one on the ledger."""
        call = decode_call(row.call)
        if (call_id(call), call.function) != (row.id, row.function):
            return "its call is not the one that its id names"
        sent = (attempt.hash for attempt in self.memory.attempts if attempt.number == row.number)
        for at in (self.facts.transactions[name] for name in sent if name in self.facts.transactions):
            if row.block >= 0 and (row.block, row.gas) != (at.block, at.gas_used):
                return f"it says block {row.block} and gas {row.gas}, the ledger {at.block} and {at.gas_used}"
        if not isinstance(call, AnchorRound):
            return ""
        anchored = self.facts.headers.get((call.header.task, call.header.round))
        return "" if anchored in (None, call.header) else "it anchors another header than the one on the ledger"

    def attempt(self, row: AttemptRow) -> str:
        if keccak(row.raw) != row.hash:
            return "its bytes do not have the hash beside them"
        return "" if row.number in {wish.number for wish in self.memory.outbox} else "it belongs to no outbox entry"

    def completeness(self) -> None:
        """Every row that an anchored round rests on is there."""
        mine = self.memory.node
        self._places()
        settled = {(row.task, row.round) for row in self.memory.settled}
        kept = {(row.task, row.round, row.frame) for row in self.memory.contributions}
        for place in sorted(self.facts.headers):
            task = self.facts.tasks.get(place[0])
            if task is None:
                continue
            manifest = self.facts.manifests.get(place)
            if task.cloud == mine and place not in settled:
                self.bench.invalid("record", f"{self.memory.place}: settled round {place[1]}", "it is missing", NOBODY)
            if manifest is not None:
                for what in self._missing(task, manifest, kept):
                    name = f"{self.memory.place}: {what} to round {place[1]}"
                    self.bench.invalid("record", name, "it is missing, but the round rests on it", NOBODY)

    def logged(self) -> None:
        """The log holds everything that this node signed and kept, and continues what it put on the ledger of it."""
        held, mine = set(self.memory.log), self.memory.node
        signed = [(f"receipt for node {row.node} in round {row.round}", row.reply) for row in self.memory.contributions]
        signed += [(f"own message of round {row.round}", row.frame) for row in self.memory.outgoing]
        if any(task.cloud == mine for task in self.facts.tasks.values()):
            signed += [(f"offer of round {row.round}", row.frame) for row in self.memory.offers if row.state == "open"]
        missing = [what for what, frame in signed if frame and roots.log_leaf(frame) not in held]
        name = f"{self.memory.place}: log"
        for what in missing:
            self.bench.invalid("record", name, f"it does not hold the {what}", NOBODY, fault="unlogged-promise")
        forked = next((point for point in self.facts.checkpoints.get(mine, ()) if not self._continues(point)), None)
        if forked is not None:
            what = (
                f"it has {len(self.memory.log)} entries, and its first {forked.size} do not have the root "
                f"{short(forked.root)} that this node put on the ledger in block {forked.position.block}"
            )
            by = f"the checkpoint transaction 0x{forked.position.transaction.hex()[:16]} of node {mine}"
            self.bench.invalid("record", name, what, by, fault="forked-log")
        elif not missing:
            self.bench.valid("record", name)

    def _continues(self, point: RecordedLog) -> bool:
        log = self.memory.log
        return point.size <= len(log) and merkle.root_over(log[: point.size]) == point.root

    def _places(self) -> None:
        """An edge's updates have the places that it promised and signed; those of a round that it did not report on are
        distinct."""
        places: dict[tuple[int, int, int], dict[int, int]] = {}
        for row in self.memory.contributions:
            if row.child == DIRECT:
                continue
            known = self.facts.tasks.get(row.task)
            if row.child != row.node or (known is not None and known.cloud != self.memory.node):
                edge = row.child if row.child != row.node else self.memory.node
                places.setdefault((row.task, row.round, edge), {})[row.node] = row.place
        for (task, round, edge), promised in sorted(places.items()):
            signed = self._signed_places(task, round, edge)
            found = sorted(promised.values())
            moved = [node for node, place in promised.items() if signed.get(node) != place] if signed else []
            if moved or len(set(found)) != len(found):
                name = f"{self.memory.place}: contributions to round {round}"
                left_out = bool(moved) and not set(moved) & set(signed)
                fault = "" if not moved else "omitted-update" if left_out else "reordered-update"
                by = f"the receipts and the root of node {edge}" if moved else NOBODY
                self.bench.invalid("record", name, f"their places are {found}", by, fault=fault)

    def _signed_places(self, task: int, round: int, edge: int) -> dict[int, int]:
        """Each device's place under this edge as the round's manifest lists it; empty where it is not listed."""
        manifest = self.facts.manifests.get((task, round))
        for listed in manifest.edges if manifest is not None else ():
            try:
                if decode_stored(listed.report, EdgeReport).message.sender == edge:
                    rows = reversed(listed.updates)  # of a node that stands twice the first place counts
                    return {decode_stored(row.frame, Update).message.sender: row.index for row in rows}
            except PeerFault:
                continue
        return {}

    def _missing(self, task: Task, manifest: Manifest, kept: set[tuple[int, int, bytes]]) -> list[str]:
        mine, missing = self.memory.node, []
        for edge in manifest.edges:
            sender = decode_stored(edge.report, EdgeReport).message.sender
            if task.cloud == mine and (manifest.task, manifest.round, edge.report) not in kept:
                missing.append(f"contribution of node {sender}")
            holds = sender == mine or (task.cloud == mine and task.policy.arrangement == "flat")
            for row in edge.updates if holds else ():
                if (manifest.task, manifest.round, row.frame) not in kept:
                    missing.append(f"contribution of node {decode_stored(row.frame, Update).message.sender}")
        return missing


def _leaves_under(domain: eip712.Domain, manifest: Manifest, parent: int, roster: Roster) -> list[bytes] | None:
    """Hashes of the leaves that stand below a node in a round: an edge's updates, or a cloud's edges. None where the edge
    did not report, or something is unreadable."""
    try:
        reports = [decode_stored(edge.report, EdgeReport).message.leaf for edge in manifest.edges]
        known = roster.nodes.get(parent)
        if known is None or known.tier.label == "cloud":
            return [roots.edge_leaf_hash(domain.context, leaf) for leaf in reports]
        listed = next((e for e, leaf in zip(manifest.edges, reports, strict=True) if leaf.edge == parent), None)
        if listed is None:
            return None
        leaves = (decode_stored(row.frame, Update).message.leaf for row in listed.updates)
        return [roots.leaf_hash(domain.context, leaf) for leaf in leaves]
    except PeerFault:
        return None


def promised(summary: bytes) -> dict[str, object]:
    """The part of a round's summary that its manifest says too; its clock times are nobody's promise. PeerFault."""
    told = refuse_malformed(lambda: msgspec.json.decode(summary, type=dict[str, Any]), "summary")
    return {name: told[name] for name in PROMISED if name in told}
