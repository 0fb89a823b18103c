"""A finished run in the hands of insiders: whoever has everybody's keys can tell its history again with one thing changed.

An auditor is tried with faults that are consistent in everything but themselves: the liar signs anew what follows from
its lie, settles every later round from it, and makes its own database and the ledger's record say the same. `World` is
a run's folder (as `drystone demo` leaves it) opened for that; it only ever works on a copy, and needs the keys of a
devnet. What is not the liar's is left as it was: that is what gives it away.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ledger.audit.evidence import Addresses, Evidence, take
from ledger.audit.memory import PROMISED
from ledger.calls import AnchorRound, call_id, decode_call, encode_call
from ledger.events import Checkpointed, Claimed, Funded, RoundAnchored, entry_of
from ledger.record import export_record, import_record
from middleware.errors import ConfigurationError
from middleware.policy import Task
from middleware.ports import Batch, Entry, Event, Head, Position
from middleware.protocol import memory, peering
from middleware.protocol import settlement as settling
from middleware.protocol import update as updates
from middleware.protocol.settlement import Opening, Received, Reported, Settlement
from middleware.protocol.sums import Summed
from middleware.trust import eip712, keys, merkle, roots, seal
from middleware.trust.keys import KeyFile
from middleware.types import ZERO32, Header, Receipt, Seen
from middleware.wire import canonical, tensors
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestUpdate, decode_manifest
from middleware.wire.message import (
    EdgeBody,
    EdgeReport,
    Offer,
    ReceiptReply,
    Update,
    Wrapped,
    decode_edge_body,
    decode_metrics,
    decode_stored,
    encode_edge_body,
)
from middleware.wire.state import State
from nodes.config import Settings
from nodes.records import SEAL_SUFFIX, Copies, blob_folders, nodes_below, read_memory


class Draft:
    """One edge's part of a round while it is told again. Changing `rows` makes the edge sign anew."""

    def __init__(self, edge: ManifestEdge, rows: list[Received]) -> None:
        self.listed, self.rows, self.before = edge, rows, tuple(rows)
        self.report = decode_stored(edge.report, EdgeReport)

    @property
    def edge(self) -> int:
        return self.report.message.sender

    @property
    def changed(self) -> bool:
        return tuple(row.frame for row in self.rows) != tuple(row.frame for row in self.before)


Inputs = Callable[[list[Draft]], None]
Result = Callable[[Opening, list[Reported], Settlement], Settlement]


class World:
    """A copy of a run. `save` writes what was changed in memory; everything else is written at once."""

    def __init__(self, run: Path) -> None:
        self.run, self.home = run, run / "world"
        file = run / "ledger.jsonl"
        if not file.is_file():
            raise ConfigurationError(f"no finished run in {run}: `drystone demo --out {run}` makes one")
        record = import_record(file.read_bytes())
        self.about = dict(record.about)
        self.addresses = Addresses.parse(record.about)
        self.entries, self.head = list(record.batch.entries), record.batch.head
        self.settings: dict[int, Settings] = {}
        self.keys: dict[int, KeyFile] = {}
        roster = self.evidence.index.roster()
        for settings in nodes_below(self.home):
            node, key_file = roster.by_name(settings.config.name), settings.path(settings.config.keys)
            if node is not None and key_file.is_file():
                self.settings[node.id] = settings
                self.keys[node.id] = KeyFile.from_bytes(key_file.read_bytes())
        started = [number for number, found in sorted(self.evidence.index.anchored.items()) if found]
        if not started or set(roster.nodes) != set(self.keys):
            raise ConfigurationError(
                f"{run} is no run of a devnet: it needs anchored rounds, and the keys of every node"
            )
        self.task: Task = self.evidence.index.tasks[started[0]]
        if record.blocks or self.task.policy.pay != "participation":
            raise ConfigurationError("the tamper lab tells runs again that are on a chain and pay participation")
        self.domain = self.evidence.ledger_domain
        self.copies = Copies(blob_folders(list(self.settings.values())))

    @property
    def evidence(self) -> Evidence:
        """The record as it stands."""
        return take(Batch(tuple(self.entries), self.head), self.addresses)

    def save(self) -> None:
        """Write the record."""
        (self.run / "ledger.jsonl").write_bytes(export_record(self.entries, self.head, self.about))

    def name(self, node: int) -> str:
        return self.settings[node].config.name

    # ------------------------------------------------------------------------------------------------------------ blobs

    def blob(self, digest: bytes) -> bytes:
        """A blob that some node of the run keeps."""
        data = self.copies.get(digest)
        if data is None or hashlib.sha256(data).digest() != digest:
            raise ConfigurationError(f"the run lacks blob {digest.hex()[:16]}: begin with a run that is VALID")
        return data

    def put(self, data: bytes) -> bytes:
        """Keep a blob at the cloud; its digest."""
        digest = hashlib.sha256(data).digest()
        path = self._state(self.task.cloud) / "blobs" / digest.hex()[:2] / digest.hex()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def files(self, digest: bytes) -> list[Path]:
        """Every copy of a blob."""
        name = digest.hex()
        return sorted(self.home.glob(f"nodes/*/*/blobs/{name[:2]}/{name}"))

    def _state(self, node: int) -> Path:
        return self.settings[node].path(self.settings[node].config.state)

    # -------------------------------------------------------------------------------------------------------- databases

    @contextmanager
    def database(self, node: int) -> Iterator[sqlite3.Connection]:
        """A node's database, changed by its owner: what it notes beside it when it stops is right again afterwards."""
        file = self._state(node) / "node.db"
        with closing(sqlite3.connect(file)) as connection, connection:
            yield connection
        seal_file = file.with_name(file.name + SEAL_SUFFIX)
        if seal_file.exists():
            seal_file.write_text(hashlib.sha256(file.read_bytes()).hexdigest() + "\n")

    def swap(self, changes: Mapping[bytes, bytes], nodes: Sequence[int] = ()) -> None:
        """Replace signed frames, receipts and digests wherever these nodes (none: all) keep them, their logs included."""
        columns = (
            ("contribution", ("frame", "body", "reply")),
            ("outgoing", ("frame", "body", "reply")),
            ("offer", ("frame",)),
        )
        for node in nodes or tuple(self.settings):
            with self.database(node) as connection:
                for old, new in changes.items():
                    for table, names in columns:
                        for name in names:
                            change = f"UPDATE {table} SET {name} = ? WHERE {name} = ?"  # noqa: S608  (names of ours)
                            connection.execute(change, (new, old))
                    connection.execute(
                        "UPDATE log SET leaf = ? WHERE leaf = ?", (roots.log_leaf(new), roots.log_leaf(old))
                    )

    def witness(self, node: int) -> Seen:
        """The block that a node noted as the ledger's past."""
        return read_memory(self._state(node) / "node.db", "", node).witness

    def forget(self, node: int, task: int, round: int, sender: int) -> None:
        """A node drops what it kept of another's update, and its receipt from its log."""
        with self.database(node) as connection:
            where = "FROM contribution WHERE task = ? AND round = ? AND node = ?"
            place = (task, round, sender)
            replies = [row[0] for row in connection.execute(f"SELECT reply {where}", place)]
            connection.execute(f"DELETE {where}", place)
            dropped = {roots.log_leaf(reply) for reply in replies if reply}
            kept = [
                row[0] for row in connection.execute("SELECT leaf FROM log ORDER BY number") if row[0] not in dropped
            ]
            connection.execute("DELETE FROM log")
            connection.executemany("INSERT INTO log VALUES (?, ?)", enumerate(kept))

    # ----------------------------------------------------------------------------------------------------------- record

    def rounds(self) -> int:
        return len(self.evidence.index.anchored[self.task.id])

    def header(self, round: int) -> Header:
        return self.evidence.index.anchored[self.task.id][round - 1].header

    def manifest(self, round: int) -> Manifest:
        return decode_manifest(self.blob(self.header(round).manifest))

    def place_of(self, round: int) -> int:
        """Where a round's anchoring stands in the record."""
        wanted = (self.task.id, round)
        found = (at for at, entry in enumerate(self.entries) if _anchors(entry.event) == wanted)
        return next(found)

    def replace(self, at: int, event: Event) -> None:
        """Another event in an entry's place, log and all."""
        entry = self.entries[at]
        self.entries[at] = entry_of(entry.position, event, entry.address)

    def append(self, event: Event, address: bytes, sender: bytes) -> Entry:
        """One more block with one entry."""
        number = self.head.number + 1
        tag = b"%d %s" % (number, type(event).__name__.encode())
        digests = [hashlib.sha256(prefix + tag).digest() for prefix in (b"block ", b"transaction ")]
        self.head = Head(number, digests[0], self.head.time + 1)
        position = Position(number, digests[0], self.head.time, digests[1], 0, 50_000, sender)
        self.entries.append(entry_of(position, event, address))
        return self.entries[-1]

    # ------------------------------------------------------------------------------------------------------ telling again

    def drafts(self, manifest: Manifest) -> list[Draft]:
        return [Draft(edge, [self._row(row) for row in edge.updates]) for edge in manifest.edges]

    def _carried(self, round: int) -> State:
        """What a round left to the next one."""
        digest = self.manifest(round).state if round else ZERO32
        return memory.EMPTY if digest == ZERO32 else memory.read(self.task.policy, self.blob(digest))

    def retell(self, round: int, inputs: Inputs | None = None, result: Result | None = None) -> None:
        """Settle `round` and all after it again: with other inputs, or another result, in that round."""
        index, policy = self.evidence.index, self.task.policy
        anchored = index.anchored[self.task.id]
        first = anchored[round - 1].header
        prev, model_in = first.prev, first.model_in
        model = tensors.decode_model(self.blob(model_in), policy.parameters)
        rewards = dict(self.manifest(round - 1).rewards) if round > 1 else {}
        state = self._carried(round - 1)
        told: dict[int, Header] = {}
        below = {round: peering.models_below(policy, model, state.peers)}
        for item in anchored[round - 1 :]:
            number, manifest = item.header.round, decode_manifest(self.blob(item.header.manifest))
            drafts = self.drafts(manifest)
            if number == round and inputs is not None:
                inputs(drafts)
            reports = [self._reported(number, place, draft) for place, draft in enumerate(drafts)]
            opening = Opening(
                task=self.task.id, round=number, prev=prev, policy_hash=item.header.policy, model_in=model_in, model=model,
                roster_root=item.header.roster, roster_block=manifest.roster_block, rewards=rewards,
                state=state,
            )  # fmt: skip
            settlement = settling.settle(self.domain.context, policy, opening, reports)
            if number == round and result is not None:
                settlement = result(opening, reports, settlement)
            header, blob = settling.finish(settlement, manifest.metrics)
            for data in (blob, settlement.model_blob, settlement.state_blob):
                if data:
                    self.put(data)
            state = settlement.state
            digest = eip712.header_hash(header)
            self.replace(
                self.place_of(number),
                RoundAnchored(task=self.task.id, round=number, header_hash=digest, header=header),
            )
            told[number] = header
            prev, model_in, model, rewards = (
                digest,
                header.model_out,
                settlement.model,
                dict(settlement.manifest.rewards),
            )
            below[number + 1] = peering.models_below(policy, model, state.peers)
            for peer in state.peers.values():
                self.put(tensors.encode_model(peering.model_of(model, peer, policy.grid.exponent)))
        self._cloud_tells(told)
        self._offers_tell(told, below)
        self._claims_tell(rewards)
        self._checkpoints_tell()

    def _row(self, row: ManifestUpdate) -> Received:
        """An update as the cloud read it."""
        message = decode_stored(row.frame, Update).message
        integers = None
        if not row.refused:
            key = updates.content_key(message.wrapped, self.keys[self.task.cloud].network)
            integers = updates.judge(message, self.blob(message.leaf.ciphertext), key, self.task.policy).integers
        return Received(row.frame, message.leaf, row.content_key, row.refused, integers)

    def _reported(self, round: int, place: int, draft: Draft) -> Reported:
        """An edge's part as the settlement takes it; signed anew, by the edge and in the cloud's receipt, if it changed."""
        policy, listed, message = self.task.policy, draft.listed, draft.report.message
        summed: Summed | None = None
        if policy.rule.name == "mean":
            summed = settling.edge_sums(draft.rows, settling.declared_weights(draft.rows), policy.parameters)
        if summed is not None and policy.arrangement == "two-level":
            total = sum(settling.declared_weights(draft.rows).values())
            summed = msgspec.structs.replace(
                summed, weight=total
            )  # a node that stands twice is weighed once in the report
        if not draft.changed:
            return Reported(listed.report, message.leaf, tuple(draft.rows), summed, listed.sums, listed.content_key)
        sealed, key, wrapped, aggregate, weights = b"", b"", message.wrapped, ZERO32, ZERO32
        if policy.arrangement == "two-level" and summed is not None and summed.vector is not None:
            sealed, key, wrapped = self._sealed(round, draft.edge, summed)
            aggregate = summed.node
        if policy.arrangement == "two-level":
            used = settling.declared_weights(draft.rows)
            weights = roots.edge_weights(settling.weights_entries(draft.rows, used))
        leaf = msgspec.structs.replace(
            message.leaf, root=roots.edge_tree(self.domain.context, [row.leaf for row in draft.rows]).root,
            count=len(draft.rows), aggregate=aggregate, weights=weights,
        )  # fmt: skip
        sums = self.put(sealed) if sealed else ZERO32
        marks = self._marks(message, draft.rows)
        children = summed.children if summed is not None and sealed else ()
        body = encode_edge_body(EdgeBody(tuple(row.frame for row in draft.rows), marks, sealed, sums, children))
        report = msgspec.structs.replace(
            message, leaf=leaf, root_signature=keys.sign_edge_root(self.domain, self.keys[draft.edge].account, leaf),
            weight_total=sum(settling.declared_weights(draft.rows).values()), wrapped=wrapped,
            body_digest=self.put(body), body_bytes=len(body),
        )  # fmt: skip
        signed = keys.sign_message(self.domain.context, self.keys[draft.edge].network, report).stored()
        self.swap({listed.report: signed, message.body_digest: report.body_digest})
        old, new = (roots.edge_leaf_hash(self.domain.context, one) for one in (message.leaf, leaf))
        if old != new:
            self._receipts_tell(round, place, old, new)
        return Reported(signed, leaf, tuple(draft.rows), summed, sums, key if policy.readers == "public" else b"")

    def _sealed(self, round: int, edge: int, summed: Summed) -> tuple[bytes, bytes, tuple[Wrapped, ...]]:
        random = np.random.default_rng(round).bytes
        key = seal.new_content_key(random)
        context = seal.leaf_context(self.task.id, round, edge)
        vector = summed.vector if summed.vector is not None else np.zeros(self.task.policy.parameters, np.int64)
        readers = [self.keys[self.task.cloud].network.public, *map(bytes.fromhex, self.task.policy.auditors)]
        sealed = seal.seal(key, tensors.encode_sums(vector), context)
        return sealed, key, tuple(Wrapped(reader, seal.wrap(key, reader)) for reader in readers)

    def _marks(self, report: EdgeReport, rows: Sequence[Received]) -> tuple[str, ...]:
        """The edge's own refusals, by leaf."""
        body = decode_edge_body(self.blob(report.body_digest))
        known = {decode_stored(f, Update).message.leaf: mark for f, mark in zip(body.frames, body.refused, strict=True)}
        return tuple(known.get(row.leaf, row.refused) for row in rows)

    def _receipts_tell(self, round: int, place: int, old: bytes, new: bytes) -> None:
        """The cloud's receipt for an edge's report, for another leaf."""
        with self.database(self.task.cloud) as connection:
            where = "SELECT reply FROM contribution WHERE task = ? AND round = ? AND child = node"
            replies = [row[0] for row in connection.execute(where, (self.task.id, round))]
        for reply in replies:
            message = decode_stored(reply, ReceiptReply).message
            if message.receipt.leaf == old:
                self.swap(
                    {reply: self.receipt(self.task.cloud, message, msgspec.structs.replace(message.receipt, leaf=new))}
                )
                return
        raise ConfigurationError(f"{self.name(self.task.cloud)} keeps no receipt for place {place} of round {round}")

    def receipt(self, signer: int, message: ReceiptReply, receipt: Receipt) -> bytes:
        """A receipt reply like `message`, for another receipt, with both signatures of `signer`."""
        signature = keys.sign_receipt(self.domain, self.keys[signer].account, receipt)
        reply = msgspec.structs.replace(message, receipt=receipt, signature=signature)
        return keys.sign_message(self.domain.context, self.keys[signer].network, reply).stored()

    def _cloud_tells(self, told: Mapping[int, Header]) -> None:
        """The cloud's database says what the new headers say."""
        with self.database(self.task.cloud) as connection:
            for round, header in told.items():
                place = (self.task.id, round)
                row = connection.execute("SELECT summary FROM settled WHERE task = ? AND round = ?", place).fetchone()
                if row is not None:
                    summary = _summary(row[0], decode_manifest(self.blob(header.manifest)))
                    connection.execute(
                        "UPDATE settled SET header = ?, manifest = ?, summary = ? WHERE task = ? AND round = ?",
                        (canonical.encode(header), header.manifest, summary, *place),
                    )
            has_outbox = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone()
            for number, data in connection.execute("SELECT number, call FROM outbox").fetchall() if has_outbox else ():
                call = decode_call(data)
                if isinstance(call, AnchorRound) and call.header.task == self.task.id and call.header.round in told:
                    new = AnchorRound(told[call.header.round])
                    change = "UPDATE outbox SET id = ?, call = ? WHERE number = ?"
                    connection.execute(change, (call_id(new), encode_call(new), number))

    def _offers_tell(self, told: Mapping[int, Header], below: Mapping[int, tuple[tuple[int, bytes], ...]]) -> None:
        """The cloud's offers open the rounds that were told again, in every database that keeps them. `below` has the models
        that edges have of their own, by round."""
        cloud, changes = self.keys[self.task.cloud], {}
        for node in self.settings:
            with self.database(node) as connection:
                rows = connection.execute("SELECT frame FROM offer WHERE task = ?", (self.task.id,)).fetchall()
            for (frame,) in rows:
                offer = decode_stored(frame, Offer).message
                last = told.get(offer.round - 1)
                if last is not None:
                    new = msgspec.structs.replace(
                        offer, prev=eip712.header_hash(last), model_in=last.model_out, models=below[offer.round]
                    )
                    changes[frame] = keys.sign_message(self.domain.context, cloud.network, new).stored()
        self.swap(changes)

    def offers(self) -> list[tuple[bytes, Offer]]:
        """The frames that opened the task's rounds, in order, each with what it says."""
        with self.database(self.task.cloud) as connection:
            query = "SELECT frame FROM offer WHERE task = ? AND state = 'open' ORDER BY round"
            frames = [row[0] for row in connection.execute(query, (self.task.id,))]
        return [(frame, decode_stored(frame, Offer).message) for frame in frames]

    def show(self, frame: bytes, other: Offer) -> None:
        """The cloud signed and showed another offer in a frame's place, and everybody who keeps it kept that one."""
        signed = keys.sign_message(self.domain.context, self.keys[self.task.cloud].network, other)
        self.swap({frame: signed.stored()})
        self._checkpoints_tell()

    def log(self, node: int) -> list[bytes]:
        """Leaf hashes of what a node signed."""
        with self.database(node) as connection:
            return [row[0] for row in connection.execute("SELECT leaf FROM log ORDER BY number")]

    def _checkpoints_tell(self) -> None:
        """What was put on the ledger of the nodes' logs says what those now say."""
        for at, entry in enumerate(self.entries):
            event = entry.event
            if isinstance(event, Checkpointed) and event.node in self.settings:
                root = merkle.root_over(self.log(event.node)[: event.size])
                self.replace(at, msgspec.structs.replace(event, root=root))

    def _claims_tell(self, rewards: Mapping[int, int]) -> None:
        """Claims take what the last round now owes, out of a pool that holds it."""
        before: dict[int, int] = {}
        for at, entry in enumerate(self.entries):
            event = entry.event
            if isinstance(event, Claimed) and event.task == self.task.id:
                owed = rewards.get(event.node, 0)
                self.replace(
                    at, msgspec.structs.replace(event, cumulative=owed, amount=owed - before.get(event.node, 0))
                )
                before[event.node] = owed
        self.entries = [e for e in self.entries if not (isinstance(e.event, Claimed) and e.event.amount <= 0)]
        funded = [
            (at, e.event)
            for at, e in enumerate(self.entries)
            if isinstance(e.event, Funded) and e.event.task == self.task.id
        ]
        lacking = sum(before.values()) - sum(event.amount for _, event in funded)
        if funded and lacking > 0:
            at, event = funded[0]
            self.replace(at, msgspec.structs.replace(event, amount=event.amount + lacking))


def _anchors(event: Event) -> tuple[int, int] | None:
    return (event.task, event.round) if isinstance(event, RoundAnchored) else None


def _summary(data: bytes, manifest: Manifest) -> bytes:
    """A settled round's summary, with what its manifest says too changed to that."""
    told: dict[str, Any] = msgspec.json.decode(data)
    rows = [row for edge in manifest.edges for row in edge.updates]
    messages = [decode_stored(row.frame, Update).message for row in rows]
    theirs = [decode_metrics(message.metrics) for message in messages]
    new: dict[str, Any] = {
        "void": manifest.void,
        "updates": len(rows),
        "weights": {str(m.sender): row.weight for m, row in zip(messages, rows, strict=True)},
        "bytes_sent": sum(len(row.frame) for row in rows) + sum(m.body_bytes for m in messages),
        "training": [[one.get("started"), one.get("finished")] for one in theirs],
        "steps": {str(m.sender): one.get("steps") for m, one in zip(messages, theirs, strict=True)},
    }
    kept = {name: value for name, value in new.items() if name in told and name in PROMISED}
    return msgspec.json.encode({**told, **kept})
