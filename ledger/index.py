"""What the entries add up to: who takes part, which tasks there are, which rounds were anchored, what was paid.

The one fold over the ledger. Daemons, the command line and the auditor read the same `Index`, so they cannot disagree
on what the record means. Nodes are kept as histories, so the roster at an old block costs one search a node.

Entries carry the hashes of their blocks, and a block's hash fixes everything before it. So two records agree up to their
newest common block, and a reorganisation is undone there: what remains is folded again from the start, which is rare
enough, and what replaces it is folded on top. Whoever must not act on what may still be taken back (payments) reads
`final(depth)`: the same fold over the blocks that are at least that deep.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Container, Iterable
from hashlib import sha256
from typing import Final

import msgspec

from ledger.calls import CreateTask
from ledger.events import (
    AccountRotated,
    Answered,
    BatchRegistered,
    BatchStatusChanged,
    Challenged,
    Checkpointed,
    Claimed,
    Decided,
    Demanded,
    Entry,
    Event,
    Expired,
    Forced,
    Funded,
    KeyRotated,
    Lapsed,
    MetaChanged,
    Position,
    Proven,
    Reclaimed,
    Registered,
    RoundAnchored,
    RoundStruck,
    Slashed,
    StatusChanged,
    TaskCreated,
    TaskEnded,
)
from ledger.licences import Licences
from middleware.errors import OurFault, PeerFault
from middleware.policy import Task
from middleware.ports import Batch, Cursor, Head
from middleware.trust import merkle
from middleware.types import DeviceBatch, Header, Leaf, Node, Roster, Seen, Status, Tier
from middleware.wire.commitment import unpack_name
from middleware.wire.members import Member, decode_members, member_data
from middleware.wire.policy import decode_policy

OLD_ROSTERS: Final = 64  # kept, of those asked for


class Anchored(msgspec.Struct, frozen=True):
    """One round's header on the ledger. `position.time` is the contract's `anchoredAt`."""

    header: Header
    header_hash: bytes
    position: Position


class MalformedTask(msgspec.Struct, frozen=True):
    """A task whose policy no honest node can read: nobody takes part in it. `reason` is what the decoder said."""

    id: int
    cloud: int
    policy: bytes
    reason: str


class ForcedUpdate(msgspec.Struct, frozen=True):
    """Update number `k` of a task that came past its edge. `position.time` is the contract's `forcedAt`."""

    k: int
    chain: bytes  # by which a header acknowledges this one and all before it
    leaf_hash: bytes
    leaf: Leaf
    position: Position


class RecordedLog(msgspec.Struct, frozen=True):
    """How far a node's own log had grown."""

    size: int
    root: bytes
    position: Position


class Punished(msgspec.Struct, frozen=True):
    """A node that lost stake."""

    event: Slashed
    position: Position


class Index:
    """The fold. `entries` is everything that was folded, in order. Tasks and nodes are by id; `funded` is by task,
    `claimed` by (task, node), both in token units. `forced` and `struck` (the first round that does not count) are by
    task, `checkpoints` by node; `demands` and `challenges` are the open ones, by id.
    `licences` is what concerns published models."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self._cursor: Cursor | None = None
        self._finals: dict[int, Index] = {}  # by depth, each read from this one
        self._lists: dict[bytes, tuple[Member, ...]] = {}  # by digest: true whatever the chain takes back
        self._unproven: dict[bytes, Container[int]] = {}  # places in them
        self._clear()

    def _clear(self) -> None:
        self.entries: list[Entry] = []
        self.tasks: dict[int, Task] = {}
        self.malformed_tasks: dict[int, MalformedTask] = {}
        self.anchored: dict[int, list[Anchored]] = {}
        self.registrations: dict[int, Registered] = {}
        self.funded: dict[int, int] = {}
        self.claimed: dict[tuple[int, int], int] = {}
        self.forced: dict[int, list[ForcedUpdate]] = {}
        self.struck: dict[int, int] = {}
        self.checkpoints: dict[int, list[RecordedLog]] = {}
        self.slashes: list[Punished] = []
        self.proven: list[Proven] = []
        self.licences = Licences()
        self.demands: dict[int, Demanded] = {}
        self.challenges: dict[int, Challenged] = {}
        self._batches: dict[int, list[tuple[int, DeviceBatch]]] = {}
        self._firsts: list[int] = []  # of the batches, ascending
        self._histories: dict[int, list[tuple[int, Node]]] = {}
        self._changes: list[int] = []  # blocks in which any node changed, ascending
        self._rosters: dict[int, dict[int, Node]] = {}  # by the last of those blocks that counts

    # ---------------------------------------------------------------------------------------------------------- reading

    @property
    def cursor(self) -> Cursor | None:
        """Up to where this was read; None before the first batch."""
        return self._cursor

    @property
    def head_block(self) -> int:
        """The newest block that this knows of; 0 before the first batch."""
        return self.head.number if self.head is not None else 0

    def roster(self, block: int | None = None) -> Roster:
        """Every node as it was at the end of `block`, now if None. Past the head it is what is known now."""
        at = self.head_block if block is None else min(block, self.head_block)
        place = bisect_right(self._changes, at)
        change = self._changes[place - 1] if place else 0
        nodes = self._rosters.get(change)
        if nodes is None:
            nodes = self._nodes(change)
            while len(self._rosters) >= OLD_ROSTERS:
                del self._rosters[next(iter(self._rosters))]
            self._rosters[change] = nodes
        return Roster(at, nodes, tuple(self.batches(change)))

    def _nodes(self, block: int) -> dict[int, Node]:
        found = ((number, self._own(number, block)) for number in self._histories)
        nodes = {number: node for number, node in found if node is not None}
        for batch in self.batches(block):
            for place, member in enumerate(self._lists.get(batch.list, ())):
                if place not in self._unproven[batch.list] and batch.first + place not in nodes:
                    nodes[batch.first + place] = _member(batch, place, member)
        return dict(sorted(nodes.items()))

    def _own(self, number: int, block: int) -> Node | None:
        history = self._histories.get(number, [])
        place = bisect_right(history, block, key=lambda change: change[0])
        return history[place - 1][1] if place else None

    def node_at(self, number: int, block: int) -> Node | None:
        """A node with the keys, status and account that it had at the end of `block`; None if it was not there yet, or is a
        member of a batch whose list is not known."""
        own = self._own(number, block)
        if own is not None:
            return own
        now = self.batch_of(number)
        then = self.batch_at(now.first, block) if now is not None else None
        if then is None or then.list not in self._lists:
            return None
        place = number - then.first
        return None if place in self._unproven[then.list] else _member(then, place, self._lists[then.list][place])

    def list_of(self, first: int) -> tuple[Member, ...] | None:
        """Everybody in the batch that begins at `first`, in order; None while its list is not known."""
        batch = self.batch_of(first)
        return self._lists.get(batch.list) if batch is not None else None

    def unlisted(self) -> list[DeviceBatch]:
        """The batches whose lists were not learned yet."""
        return [batch for batch in self.batches() if batch.list not in self._lists]

    def learn(self, data: bytes, unproven: Container[int] = ()) -> None:
        """Take the list of a batch: its members count as nodes from the batch's block on, but for those at the places
        `unproven`, whose keys did not sign (`trust.access.unproven`): else a batch could name somebody else's keys.
        PeerFault("malformed") for bytes that are no list, "mismatch" for a list that no batch on the ledger names, or that
        does not have its root and count."""
        digest, members = sha256(data).digest(), decode_members(data)
        named = [batch for batch in self.batches() if batch.list == digest]
        if not named:
            raise PeerFault("mismatch", f"no batch on the ledger names the list {digest.hex()[:16]}")
        root = merkle.root(map(member_data, members))
        if any((batch.count, batch.root) != (len(members), root) for batch in named):
            raise PeerFault("mismatch", f"the list {digest.hex()[:16]} does not have its batch's root and count")
        self._lists[digest], self._unproven[digest] = members, unproven
        self._rosters.clear()

    def keys_of(self, number: int) -> list[tuple[int, bytes]]:
        """(block, network key) of every key that a node ever had, in order; the block is the one that made it so."""
        found: list[tuple[int, bytes]] = []
        for block, node in self._histories.get(number, []):
            if not found or found[-1][1] != node.net_key:
                found.append((block, node.net_key))
        member = None if found else self.node_at(number, self.head_block)
        return found if member is None else [(member.since, member.net_key)]  # a member of a batch has one key

    def roster_block(self, lag: int) -> int:
        """A block whose roster is the present one: `lag` blocks below the head, or the last in which a node changed if that is
        newer. Readers that are a few blocks behind know it too."""
        return max(self._changes[-1] if self._changes else 0, self.head_block - lag)

    def batch_at(self, first: int, block: int) -> DeviceBatch | None:
        """The batch that begins at `first` with the status that it had at the end of `block`; None if it was not there."""
        history = self._batches.get(first, [])
        place = bisect_right(history, block, key=lambda change: change[0])
        return history[place - 1][1] if place else None

    def batches(self, block: int | None = None) -> list[DeviceBatch]:
        """Every batch as it was at the end of `block`, now if None, in order of ids."""
        at = self.head_block if block is None else block
        found = (self.batch_at(first, at) for first in self._firsts)
        return [batch for batch in found if batch is not None]

    def batch_of(self, number: int) -> DeviceBatch | None:
        """The batch, as it is now, that node `number` came with; None if it came alone, or never."""
        place = bisect_right(self._firsts, number)
        batch = self._batches[self._firsts[place - 1]][-1][1] if place else None
        return batch if batch is not None and number < batch.first + batch.count else None

    def witness(self, block: int) -> Seen:
        """The newest block at or before `block` that holds an entry; zeros if there is none."""
        place = bisect_right(self.entries, block, key=lambda entry: entry.position.block)
        if place == 0:
            return Seen()
        last = self.entries[place - 1].position
        return Seen(last.block, last.block_hash)

    def holds(self, seen: Seen) -> bool:
        """Whether the record has an entry in this very block."""
        return self.witness(seen.block) == seen

    def final(self, depth: int) -> Index:
        """What the blocks say that have `depth` others above them: this index itself at depth 0.

        It only grows, unless the chain took back more than `depth` blocks: what was final and is still there stays so
        while the chain is shorter than it was. Its head is the newest block that has an entry
        and is deep enough, since others change nothing. Not to be extended by anybody else.
        """
        if depth <= 0:
            return self
        deep = bisect_right(self.entries, self.head_block - depth, key=lambda entry: entry.position.block)
        known = self._finals.setdefault(depth, Index())
        known._lists, known._unproven = self._lists, self._unproven
        common = known.common(self)
        if common < len(known.entries):
            known._keep(common)
        known._fold(self.entries[len(known.entries) : deep])
        known._end_at_last_entry()
        return known

    def common(self, other: Index) -> int:
        """How many of the entries here are also there, from the first one on. Both are in order and name their blocks by
        hash, so halving finds it."""
        low, high = 0, min(len(self.entries), len(other.entries))
        while low < high:
            middle = (low + high + 1) // 2
            if self.entries[middle - 1].position == other.entries[middle - 1].position:
                low = middle
            else:
                high = middle - 1
        return low

    # ---------------------------------------------------------------------------------------------------------- folding

    def extend(self, batch: Batch) -> bool:
        """Take what is new; says whether anything but the head changed. OurFault if it does not continue this."""
        rewound = batch.rewind_to is not None and self.rewind(batch.rewind_to)
        self._fold(batch.entries)
        self.head, self._cursor = batch.head, batch.cursor
        return rewound or len(batch.entries) > 0

    def rewind(self, block: int) -> bool:
        """Forget everything after `block`; says whether that was anything but the head."""
        if self.head is None or block >= self.head.number:
            return False
        before = len(self.entries)
        self._keep(bisect_right(self.entries, block, key=lambda entry: entry.position.block))
        self._end_at_last_entry()
        return len(self.entries) < before

    def _keep(self, count: int) -> None:
        """Undo all but the first `count` entries."""
        if count < len(self.entries):
            kept = self.entries[:count]
            self._clear()
            self._fold(kept)

    def _end_at_last_entry(self) -> None:
        last = self.entries[-1].position if self.entries else None
        self.head = Head(last.block, last.block_hash, last.time) if last else None
        self._cursor = Cursor(last.block, last.block_hash) if last else None

    def _fold(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            last, at = (self.entries[-1].position if self.entries else None), entry.position
            if last is not None and (at.block, at.log_index) <= (last.block, last.log_index):
                raise OurFault(f"entry {at.log_index} of block {at.block} does not follow what was folded: read again")
            if last is not None and at.block == last.block and at.block_hash != last.block_hash:
                raise OurFault(f"two blocks have number {at.block}: the record mixes branches, read again")
            self._take(entry.event, at)
            self.entries.append(entry)

    def _take(self, event: Event, at: Position) -> None:
        match event:
            case Registered():
                self.registrations[event.id] = event
                batch = self.batch_of(event.id)
                self._put(at.block, _node(event, at.block if batch is None else batch.since))
            case StatusChanged():
                self._change(event.id, at.block, status=_status(event.status, "node", event.id))
            case KeyRotated():
                self._change(event.id, at.block, net_key=event.new_key)
            case AccountRotated():
                self._change(event.id, at.block, account=event.account)
            case MetaChanged():
                self._change(event.id, at.block, meta_hash=event.meta_hash)
            case BatchRegistered():
                insort(self._firsts, event.first)
                self._batches[event.first] = [(at.block, _batch(event, at.block))]
                self._changed(at.block)
            case BatchStatusChanged():
                self._change_batch(event, at.block)
            case TaskCreated():
                self._create(event, at.block)
            case RoundAnchored():
                self.anchored.setdefault(event.task, []).append(Anchored(event.header, event.header_hash, at))
                self._update_task(event.task, head=event.round)
            case TaskEnded():
                self._update_task(event.task, open=False)
            case RoundStruck():
                self.struck[event.task] = min(self.struck.get(event.task, event.round), event.round)
                self._update_task(event.task, open=False)
            case Forced():
                forced = ForcedUpdate(event.k, event.chain, event.leaf_hash, event.leaf, at)
                self.forced.setdefault(event.task, []).append(forced)
            case Checkpointed():
                recorded = RecordedLog(event.size, event.root, at)
                self.checkpoints.setdefault(event.node, []).append(recorded)
            case Slashed():
                self.slashes.append(Punished(event, at))
            case Proven():
                self.proven.append(event)
            case Demanded():
                self.demands[event.id] = event
            case Challenged():
                self.challenges[event.id] = event
            case Answered() | Expired():
                self.demands.pop(event.id, None)
            case Decided() | Lapsed():
                self.challenges.pop(event.id, None)
            case Funded():
                self.funded[event.task] = self.funded.get(event.task, 0) + event.amount
            case Reclaimed():
                self.funded[event.task] = self.funded.get(event.task, 0) - event.amount
            case Claimed():
                self.claimed[event.task, event.node] = event.cumulative
            case _:
                self.licences.take(event, at)

    def _create(self, event: TaskCreated, block: int) -> None:
        try:
            policy = decode_policy(event.policy)
        except PeerFault as fault:
            self.malformed_tasks[event.task] = MalformedTask(event.task, event.cloud, event.policy, fault.detail)
            return
        terms = CreateTask.of(event.cloud, event.window, event.genesis_model, policy)
        told = (event.rule, event.trim, event.width, event.chunks)
        if told != (terms.rule, terms.trim, terms.width, terms.chunks):
            wrong = f"the Arbiter was told {told} for rule, trim, width and chunks, which is not what the policy says"
            self.malformed_tasks[event.task] = MalformedTask(event.task, event.cloud, event.policy, wrong)
            return
        self.tasks[event.task] = Task(
            event.task, event.cloud, policy, event.policy_hash, event.genesis_model, event.window, block
        )

    def _change_batch(self, event: BatchStatusChanged, block: int) -> None:
        history = self._batches.get(event.first)
        if history is None:
            raise PeerFault("malformed", f"the record changes batch {event.first}, which it never registered")
        history.append(
            (block, msgspec.structs.replace(history[-1][1], status=_status(event.status, "batch", event.first)))
        )
        self._changed(block)

    def _update_task(self, number: int, **changes: object) -> None:
        if number in self.tasks:
            self.tasks[number] = msgspec.structs.replace(self.tasks[number], **changes)

    def _change(self, number: int, block: int, **changes: object) -> None:
        history = self._histories.get(number)
        if history is None:
            raise PeerFault("malformed", f"the record changes node {number}, which it never registered")
        self._put(block, msgspec.structs.replace(history[-1][1], **changes))

    def _put(self, block: int, node: Node) -> None:
        self._histories.setdefault(node.id, []).append((block, node))
        self._changed(block)

    def _changed(self, block: int) -> None:
        if not self._changes or self._changes[-1] != block:
            self._changes.append(block)
        self._rosters.pop(block, None)


def _status(number: int, what: str, id: int) -> Status:
    try:
        return Status(number)
    except ValueError as error:
        raise PeerFault("malformed", f"status of {what} {id}: {error}") from error


def _member(batch: DeviceBatch, place: int, member: Member) -> Node:
    return Node(
        batch.first + place, member.net_key, member.account, batch.owner, Tier.END, batch.status, member.parent,
        unpack_name(member.name), member.meta_hash, batch.since, batch.first,
    )  # fmt: skip


def _batch(event: BatchRegistered, block: int) -> DeviceBatch:
    status = _status(event.status, "batch", event.first)
    return DeviceBatch(event.first, event.count, event.root, event.list, event.owner, status, block)


def _node(event: Registered, since: int) -> Node:
    try:
        tier, status = Tier(event.tier), Status(event.status)
    except ValueError as error:
        raise PeerFault("malformed", f"registration of node {event.id}: {error}") from error
    return Node(
        event.id, event.net_key, event.account, event.owner, tier, status, event.parent, unpack_name(event.name),
        event.meta_hash, since,
    )  # fmt: skip
