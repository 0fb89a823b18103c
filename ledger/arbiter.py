"""The Arbiter's rules (contracts/src/Arbiter.sol): faults that anybody can show with committed data alone.

IArbiter.sol states what each proof shows, how its parts are packed, and in which order they are checked; this is the same in
Python, over the trees of `middleware.trust`. Sums are exact modulo 2^64, as they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from ledger import calls, events
from ledger.evidence import Evidence, require_under, root_from_path
from ledger.state import Message, TaskState, Verdict
from middleware.errors import LedgerRefused
from middleware.ports import Event
from middleware.trust import chunks, eip712, merkle, roots
from middleware.types import SUM_FAN_IN, ZERO20, ZERO32, EdgeLeaf, Header, Leaf, Receipt, Status, Tier
from middleware.wire.commitment import LEAF_PURPOSE, weight_entry

REORGANISED_BLOCKS: Final = 32  # by which an honest edge's view of the roster may be off
FORCED_SECONDS: Final = 3600  # for which a cloud may leave a forced update unread

INTEGERS: Final = chunks.CHUNK
SUMS_BYTES: Final = 8 * INTEGERS
USED, SALT, DATA = 112, 120, 136  # where a packed update's used weight, salt and integers begin
UPDATE_ROOT: Final = slice(48, 80)
CHILD_CHUNK: Final = 64  # where a packed child's chunk begins
CHILD_PATH: Final = CHILD_CHUNK + SUMS_BYTES
EMPTY: Final = bytes(0)

Lanes = npt.NDArray[np.uint64]


class Unpacked(msgspec.Struct, frozen=True):
    """A packed update: its leaf hash, its weight's leaf hash, the weight that the rule used."""

    leaf: bytes
    entry: bytes
    used: int


def groups_of(count: int) -> int:
    """How many groups `count` things make."""
    return (count + SUM_FAN_IN - 1) // SUM_FAN_IN


class Arbiter(Evidence):
    """What IArbiter.sol says, one method a function."""

    # ------------------------------------------------------------------------------------------------ who was left out

    def _omission(self, call: calls.Omission, message: Message) -> list[Event]:
        receipt, root = call.receipt, call.root
        if (receipt.task, receipt.round, receipt.edge) != (root.task, root.round, root.edge):
            raise LedgerRefused("Unrelated")
        if self.leaf_hash(call.leaf) != receipt.leaf:
            raise LedgerRefused("Unrelated")
        account = self.node(call.leaf.node).account
        if account == ZERO20:
            raise LedgerRefused("Unrelated")
        self._require_receipt(receipt, call.receipt_signature, message)
        self._require_root(root, call.root_signature, message)
        _require_absent(receipt, call.found, call.path, root.count, root.root)
        return self._prove("omission", root.task, root.round, root.edge, account, message)

    def _edge_omission(self, call: calls.EdgeOmission, message: Message) -> list[Event]:
        header, receipt = call.header, call.receipt
        self._require_anchored(header, call.anchored_at)
        cloud = self.task(header.task).cloud
        if (receipt.task, receipt.round, receipt.edge) != (header.task, header.round, cloud):
            raise LedgerRefused("Unrelated")
        self._require_receipt(receipt, call.signature, message)
        _require_absent(receipt, call.found, call.path, header.inputs_count, header.inputs_root)
        return self._prove_cloud("edgeOmission", header, call.anchored_at, message)

    def _forced_ignored(self, call: calls.ForcedIgnored, message: Message) -> list[Event]:
        header = call.header
        self._require_anchored(header, call.anchored_at)
        task = self.task(header.task)
        if header.round != task.head:
            raise LedgerRefused("Unrelated")
        came = self.forced_at.get((header.task, call.k), 0)
        if came == 0 or call.k <= task.forced_done or call.anchored_at <= came + FORCED_SECONDS:
            raise LedgerRefused("NotProven")
        return self._prove_cloud("forcedIgnored", header, call.anchored_at, message)

    # -------------------------------------------------------------------------------------------- who said two things

    def _conflicting_receipts(self, call: calls.ConflictingReceipts, message: Message) -> list[Event]:
        a, b = call.a, call.b
        if (a.task, a.round, a.edge, a.index) != (b.task, b.round, b.edge, b.index):
            raise LedgerRefused("Unrelated")
        if a.leaf == b.leaf:
            raise LedgerRefused("NotProven")
        self._require_receipt(a, call.signature_a, message)
        self._require_receipt(b, call.signature_b, message)
        return self._prove("conflictingReceipts", a.task, a.round, a.edge, message.sender, message)

    def _conflicting_roots(self, call: calls.ConflictingRoots, message: Message) -> list[Event]:
        a, b = call.a, call.b
        if (a.task, a.round, a.edge) != (b.task, b.round, b.edge):
            raise LedgerRefused("Unrelated")
        if a == b:
            raise LedgerRefused("NotProven")
        self._require_root(a, call.signature_a, message)
        self._require_root(b, call.signature_b, message)
        return self._prove("conflictingRoots", a.task, a.round, a.edge, message.sender, message)

    # ---------------------------------------------------------------------------------------------------- who was let in

    def _inactive_sender(self, call: calls.InactiveSender, message: Message) -> list[Event]:
        root = call.root
        self._require_root(root, call.signature, message)
        self._require_placed(root, call.placed)
        if not self._must_not_be_in(root, call.placed.leaf):
            raise LedgerRefused("NotProven")
        return self._prove("inactiveSender", root.task, root.round, root.edge, message.sender, message)

    def _duplicate_sender(self, call: calls.DuplicateSender, message: Message) -> list[Event]:
        root = call.root
        self._require_root(root, call.signature, message)
        if call.a.leaf.node != call.b.leaf.node or call.a.index == call.b.index:
            raise LedgerRefused("Unrelated")
        self._require_placed(root, call.a)
        self._require_placed(root, call.b)
        return self._prove("duplicateSender", root.task, root.round, root.edge, message.sender, message)

    # ---------------------------------------------------------------------------------------------------- who cannot add

    def _wrong_group(self, call: calls.WrongGroup, message: Message) -> list[Event]:
        header, member, group = call.header, call.member, call.group
        task = self._judged_round(header, call.anchored_at, calls.LINEAR)
        self._require_member(header, member)
        _require_members(header, member.members)
        weights = merkle.leaf_hash(call.edge_weights)
        require_under(call.weights_path, member.index, member.members, weights, header.weights_root)
        node = self._wrong_group_node(task, member.edge, call.edge_weights, group)
        node, steps = _climb(node, group.number, groups_of(member.edge.count), group.walk)
        _require_top(header, node, member, group.walk, steps)
        return self._prove_cloud("wrongGroup", header, call.anchored_at, message)

    def _wrong_edge_group(self, call: calls.WrongEdgeGroup, message: Message) -> list[Event]:
        root, group = call.root, call.group
        task = self._judged_report(root, call.signature, message)
        node = self._wrong_group_node(task, root, root.weights, group)
        top, steps = _climb(node, group.number, groups_of(root.count), group.walk)
        _require_end(top, root.aggregate, group.walk, steps)
        return self._prove("wrongEdgeGroup", root.task, root.round, root.edge, message.sender, message)

    def _wrong_node(self, call: calls.WrongNode, message: Message) -> list[Event]:
        header, inner = call.header, call.inner
        task = self._judged_round(header, call.anchored_at, calls.LINEAR, calls.TWO_LEVELS)
        _require_members(header, call.members)
        node, size = _wrong_inner(task, call.members, inner, once=True)
        top, steps = _climb(node, inner.number, size, inner.walk)
        _require_end(top, header.chunks_root, inner.walk, steps)
        return self._prove_cloud("wrongNode", header, call.anchored_at, message)

    def _wrong_inner_node(self, call: calls.WrongInnerNode, message: Message) -> list[Event]:
        header, member, inner = call.header, call.member, call.inner
        task = self._judged_round(header, call.anchored_at, calls.LINEAR)
        self._require_member(header, member)
        _require_members(header, member.members)
        node, size = _wrong_inner(task, groups_of(member.edge.count), inner, once=False)
        node, steps = _climb(node, inner.number, size, inner.walk)
        _require_top(header, node, member, inner.walk, steps)
        return self._prove_cloud("wrongInnerNode", header, call.anchored_at, message)

    def _wrong_edge_node(self, call: calls.WrongEdgeNode, message: Message) -> list[Event]:
        root, inner = call.root, call.inner
        task = self._judged_report(root, call.signature, message)
        node, size = _wrong_inner(task, groups_of(root.count), inner, once=False)
        top, steps = _climb(node, inner.number, size, inner.walk)
        _require_end(top, root.aggregate, inner.walk, steps)
        return self._prove("wrongEdgeNode", root.task, root.round, root.edge, message.sender, message)

    def _wrong_member(self, call: calls.WrongMember, message: Message) -> list[Event]:
        header, member = call.header, call.member
        self._judged_round(header, call.anchored_at, calls.TWO_LEVELS)
        self._require_member(header, member)
        _require_members(header, member.members)
        _require_top(header, call.found, member, call.walk, 0)
        if call.found == member.edge.aggregate:
            raise LedgerRefused("NotProven")
        return self._prove_cloud("wrongMember", header, call.anchored_at, message)

    def _wrong_weights(self, call: calls.WrongWeights, message: Message) -> list[Event]:
        header, member = call.header, call.member
        self._judged_round(header, call.anchored_at, calls.TWO_LEVELS)
        self._require_member(header, member)
        _require_members(header, member.members)
        leaf = merkle.leaf_hash(call.found)
        require_under(call.path, member.index, member.members, leaf, header.weights_root)
        if call.found == member.edge.weights:
            raise LedgerRefused("NotProven")
        return self._prove_cloud("wrongWeights", header, call.anchored_at, message)

    def _wrong_coordinate(self, call: calls.WrongCoordinate, message: Message) -> list[Event]:
        header, chunk = call.header, call.chunk
        task = self._judged_round(header, call.anchored_at, calls.MEDIAN, calls.TRIMMED_MEAN)
        if len(call.taken) != header.inputs_count or len(call.taken) > SUM_FAN_IN:
            raise LedgerRefused("BadShape")
        if call.coordinate >= INTEGERS or len(call.shown) != SUMS_BYTES:
            raise LedgerRefused("BadShape")
        values = self._read_round(task, header, call.taken, chunk.index, call.coordinate)
        require_under(chunk.path, chunk.index, task.chunks, chunk.found, chunk.sums)
        if chunks.chunk_leaf(call.shown) != chunk.found:
            raise LedgerRefused("BadProof")
        if roots.sum_node(chunk.sums) != header.chunks_root:
            raise LedgerRefused("BadProof")
        if _result(task, values) == int(np.frombuffer(call.shown, ">i8")[call.coordinate]):
            raise LedgerRefused("NotProven")
        return self._prove_cloud("wrongCoordinate", header, call.anchored_at, message)

    # --------------------------------------------------------------------------------------------------------- verdicts

    def _prove(
        self, kind: str, task: int, round: int, accused: int, beneficiary: bytes, message: Message
    ) -> list[Event]:
        name = kind.encode().ljust(32, b"\0")
        if (name, task, round, accused) in self.verdicts:
            raise LedgerRefused("AlreadyProven", name, task, round, accused)
        amount = self.slashable(accused)
        self.verdicts[name, task, round, accused] = Verdict(beneficiary, amount)
        proven = events.Proven(name, task, round, accused, beneficiary, amount)
        return [proven, *self.slash(accused, amount, name, self._as("Arbiter", message))]

    def _prove_cloud(self, kind: str, header: Header, anchored_at: int, message: Message) -> list[Event]:
        task = self.task(header.task)
        happened = self._prove(kind, header.task, header.round, task.cloud, message.sender, message)
        if self._disputable(anchored_at, task.window, message):
            happened += self.strike(header.task, header.round, self._as("Arbiter", message))
        return happened

    def _collect(self, call: calls.Collect, message: Message) -> list[Event]:
        key = (call.kind, call.task, call.round, call.accused)
        verdict = self.verdicts.get(key, Verdict())
        if verdict.amount == 0:
            raise LedgerRefused("NothingToCollect", *key)
        self.verdicts[key] = Verdict(verdict.beneficiary)
        return self._settle_half(verdict.amount, verdict.beneficiary, self._as("Arbiter", message))

    # ----------------------------------------------------------------------------------------------------------- leaves

    def _require_receipt(self, receipt: Receipt, signature: bytes, message: Message) -> None:
        self._require_signed(
            receipt.edge, eip712.receipt_digest(self.ledger_domain, receipt), signature, message
        )  # fmt: skip

    def _require_root(self, root: EdgeLeaf, signature: bytes, message: Message) -> None:
        self._require_signed(root.edge, eip712.edge_root_digest(self.ledger_domain, root), signature, message)

    def _judged_round(self, header: Header, anchored_at: int, *rules: int) -> TaskState:
        self._require_anchored(header, anchored_at)
        task = self.task(header.task)
        if task.rule not in rules:
            raise LedgerRefused("WrongRule", task.rule)
        return task

    def _judged_report(self, root: EdgeLeaf, signature: bytes, message: Message) -> TaskState:
        task = self.task(root.task)
        if task.rule != calls.TWO_LEVELS:
            raise LedgerRefused("WrongRule", task.rule)
        self._require_root(root, signature, message)
        return task

    def _must_not_be_in(self, root: EdgeLeaf, leaf: Leaf) -> bool:
        """Whether an edge that read the roster of `roster_block`, give or take a reorganisation, had to refuse the leaf."""
        if (leaf.task, leaf.round, leaf.edge) != (root.task, root.round, root.edge):
            return True
        if not 0 < leaf.node <= self.count:
            return True
        node = self.node(leaf.node)
        if node.status == 0:  # a member that is not materialised: what it is cannot be seen here
            return False
        if node.tier != Tier.END or node.parent != root.edge:
            return True
        if node.since > root.roster_block + REORGANISED_BLOCKS:
            return True
        return node.status != Status.ACTIVE and node.status_block + REORGANISED_BLOCKS <= root.roster_block

    # ---------------------------------------------------------------------------------------------------------- updates

    def _wrong_group_node(self, task: TaskState, edge: EdgeLeaf, edge_weights: bytes, group: calls.Group) -> bytes:
        """The node of a group of updates, whose sums are shown to be wrong."""
        if len(group.updates) != _width(group.number, edge.count):
            raise LedgerRefused("BadShape")
        if any(len(update) < SALT for update in group.updates):
            raise LedgerRefused("BadShape")
        sums: Lanes = np.zeros(INTEGERS, np.uint64)
        read: list[Unpacked] = []
        for update in group.updates:
            unpacked = self._unpack(edge, update)
            read.append(unpacked)
            if unpacked.used:
                sums += _integers_of(task, update, group.chunk.index) * np.uint64(unpacked.used)
        size = groups_of(edge.count)
        require_under(group.leaves, group.number, size, merkle.root_over([one.leaf for one in read]), edge.root)
        require_under(group.weights, group.number, size, merkle.root_over([one.entry for one in read]), edge_weights)
        _require_wrong(task, group.chunk, sums)
        return roots.sum_node(group.chunk.sums)

    def _unpack(self, edge: EdgeLeaf, update: bytes) -> Unpacked:
        if len(update) < SALT:
            raise LedgerRefused("BadShape")
        used = int.from_bytes(update[USED:SALT], "big")
        if used == 0 and len(update) != SALT:
            raise LedgerRefused("BadShape")
        context = self.ledger_domain.context
        place = LEAF_PURPOSE + context.chain_id.to_bytes(8, "big") + context.ledger
        place += (
            edge.task.to_bytes(8, "big") + edge.round.to_bytes(8, "big") + update[:4] + edge.edge.to_bytes(4, "big")
        )
        entry = weight_entry(int.from_bytes(update[:4], "big"), used)
        return Unpacked(merkle.leaf_hash(place + update[4:USED]), merkle.leaf_hash(entry), used)

    def _read_round(
        self, task: TaskState, header: Header, taken: Sequence[calls.Taken], chunk: int, coordinate: int
    ) -> list[int]:
        """What every update of weight above zero in the whole round says at one coordinate of one chunk."""
        if not taken:
            raise LedgerRefused("BadShape")
        values: list[int] = []
        edges, weights = [], []
        for one in taken:
            edges.append(self.edge_hash(one.edge))
            weights.append(merkle.leaf_hash(self._read_edge(task, one, chunk, coordinate, values)))
        if merkle.root_over(edges) != header.inputs_root or merkle.root_over(weights) != header.weights_root:
            raise LedgerRefused("BadProof")
        return values

    def _read_edge(
        self, task: TaskState, taken: calls.Taken, chunk: int, coordinate: int, values: list[int]
    ) -> bytes:  # fmt: skip
        """The root over one edge's weights; its updates' values go to the end of `values`."""
        if len(taken.updates) != taken.edge.count or len(taken.updates) > SUM_FAN_IN:
            raise LedgerRefused("BadShape")
        if not taken.updates:
            return sha256(EMPTY).digest()
        read: list[Unpacked] = []
        for update in taken.updates:
            unpacked = self._unpack(taken.edge, update)
            read.append(unpacked)
            if unpacked.used:
                if len(values) == SUM_FAN_IN:
                    raise LedgerRefused("BadShape")
                values.append(int(_integers_of(task, update, chunk).view(np.int64)[coordinate]))
        if merkle.root_over([one.leaf for one in read]) != taken.edge.root:
            raise LedgerRefused("BadProof")
        return merkle.root_over([one.entry for one in read])


def _require_absent(receipt: Receipt, found: bytes, path: Sequence[bytes], count: int, root: bytes) -> None:
    """LedgerRefused("NotProven") if the receipt's leaf is where it was promised to be."""
    if receipt.index >= count:
        return
    require_under(path, receipt.index, count, found, root)
    if found == receipt.leaf:
        raise LedgerRefused("NotProven")


# ------------------------------------------------------------------------------------------------------------- sum trees


def _width(number: int, below: int) -> int:
    """How many children node `number` has, of a level above `below` nodes. LedgerRefused if there is no such node."""
    if number >= groups_of(below):
        raise LedgerRefused("BadShape")
    return min(below - SUM_FAN_IN * number, SUM_FAN_IN)


def _require_members(header: Header, members: int) -> None:
    forced = header.forced != ZERO32 and members == header.inputs_count + 1
    if members != header.inputs_count and not forced:
        raise LedgerRefused("BadShape")


def _climb(
    node: bytes, number: int, size: int, walk: Sequence[calls.Step], begin: int = 0, once: bool = False
) -> tuple[bytes, int]:
    """From node `number` of a level of `size` nodes to the only node of the last level, `walk` from step `begin` on; one step
    at least if `once`. That node and the next step."""
    while size > 1 or once:
        once = False
        if begin >= len(walk):
            raise LedgerRefused("BadShape")
        step = walk[begin]
        width = _width(number // SUM_FAN_IN, size)
        children = root_from_path(step.path, number % SUM_FAN_IN, width, merkle.leaf_hash(node))
        node = sum_node_over(step.sums, children)
        number, size, begin = number // SUM_FAN_IN, groups_of(size), begin + 1
    return node, begin


def sum_node_over(sums: bytes, children: bytes) -> bytes:
    """`roots.sum_node` where only the root over the children is known."""
    return sha256(b"\x03" + sums + children).digest()


def _require_top(
    header: Header, node: bytes, member: calls.Member, walk: Sequence[calls.Step], begin: int
) -> None:  # fmt: skip
    """Unless an edge's node leads to the header's `chunks_root` by the rest of `walk`: LedgerRefused."""
    top, steps = _climb(node, member.index, member.members, walk, begin, once=True)
    _require_end(top, header.chunks_root, walk, steps)


def _require_end(top: bytes, root: bytes, walk: Sequence[calls.Step], steps: int) -> None:
    if steps != len(walk):
        raise LedgerRefused("BadShape")
    if top != root:
        raise LedgerRefused("BadProof")


def _require_wrong(task: TaskState, chunk: calls.Chunk, right: Lanes) -> None:
    """Unless the committed chunk is there and is not the right one: LedgerRefused."""
    require_under(chunk.path, chunk.index, task.chunks, chunk.found, chunk.sums)
    if chunks.chunk_leaf(right.astype(">u8").tobytes()) == chunk.found:
        raise LedgerRefused("NotProven")


def _wrong_inner(task: TaskState, lowest: int, inner: calls.Inner, once: bool) -> tuple[bytes, int]:
    """An inner node above `lowest` nodes of level 0, whose sums are shown to be wrong; and the number of nodes of its
    level. `once`: level 1 exists also above a single node."""
    size, below = lowest, 0
    for level in range(inner.level):
        if size <= 1 and not (once and level == 0):
            raise LedgerRefused("BadShape")
        below, size = size, groups_of(size)
    if inner.level == 0 or len(inner.children) != _width(inner.number, below):
        raise LedgerRefused("BadShape")
    sums: Lanes = np.zeros(INTEGERS, np.uint64)
    nodes = [_read_child(task, child, inner.chunk.index, sums) for child in inner.children]
    _require_wrong(task, inner.chunk, sums)
    return roots.sum_node(inner.chunk.sums, nodes), size


def _read_child(task: TaskState, child: bytes, index: int, sums: Lanes) -> bytes:
    """A packed child's commitment; its chunk, shown to be number `index` of its sums, is added to `sums`."""
    if not child:
        return ZERO32
    if len(child) < CHILD_PATH:
        raise LedgerRefused("BadShape")
    root, chunk = child[:32], child[CHILD_CHUNK:CHILD_PATH]
    require_under(_hashes(child[CHILD_PATH:]), index, task.chunks, chunks.chunk_leaf(chunk), root)
    sums += np.frombuffer(chunk, ">u8").astype(np.uint64)
    return sum_node_over(root, child[32:CHILD_CHUNK])


def _integers_of(task: TaskState, update: bytes, index: int) -> Lanes:
    """Chunk number `index` of a packed update, shown to be under its update root: (256,), modulo 2^64."""
    end = DATA + INTEGERS * task.width
    if len(update) < end:
        raise LedgerRefused("BadShape")
    leaf = chunks.chunk_leaf(update[DATA:end], update[SALT:DATA])
    require_under(_hashes(update[end:]), index, task.chunks, leaf, update[UPDATE_ROOT])
    return np.frombuffer(update[DATA:end], f">i{task.width}").astype(np.int64).view(np.uint64)


def _hashes(packed: bytes) -> list[bytes]:
    if len(packed) % 32:
        raise LedgerRefused("BadShape")
    return [packed[start : start + 32] for start in range(0, len(packed), 32)]


def _result(task: TaskState, values: list[int]) -> int:
    """What the rule makes of the values, undivided."""
    trim = (len(values) - 1) // 2 if task.rule == calls.MEDIAN else task.trim
    if not values or len(values) <= 2 * trim:
        raise LedgerRefused("NotProven")
    return sum(sorted(values)[trim : len(values) - trim])


RULES: Final[dict[type[calls.AnyCall], Callable[[Any, Any, Message], list[Event]]]] = {
    calls.Omission: Arbiter._omission,
    calls.EdgeOmission: Arbiter._edge_omission,
    calls.ForcedIgnored: Arbiter._forced_ignored,
    calls.ConflictingReceipts: Arbiter._conflicting_receipts,
    calls.ConflictingRoots: Arbiter._conflicting_roots,
    calls.InactiveSender: Arbiter._inactive_sender,
    calls.DuplicateSender: Arbiter._duplicate_sender,
    calls.WrongGroup: Arbiter._wrong_group,
    calls.WrongEdgeGroup: Arbiter._wrong_edge_group,
    calls.WrongNode: Arbiter._wrong_node,
    calls.WrongInnerNode: Arbiter._wrong_inner_node,
    calls.WrongEdgeNode: Arbiter._wrong_edge_node,
    calls.WrongMember: Arbiter._wrong_member,
    calls.WrongWeights: Arbiter._wrong_weights,
    calls.WrongCoordinate: Arbiter._wrong_coordinate,
    calls.Collect: Arbiter._collect,
}
