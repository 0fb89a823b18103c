"""Rounds with known faults, and what can be said about them: the evidence with which two ledgers are compared.

A `Scene` is one round with everything below its header: updates, their trees, the edges' reports and signatures, the sum
tree. Numbers are random and small; a fault can be put at one place of it, and then exactly one proof of the Arbiter holds.
`ACCUSATIONS` makes each proof from a scene, whether or not its fault is there; `altered` spoils one field of a call
somewhere, so that every check meets evidence that fails it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import Any, Final

import msgspec
import numpy as np

from ledger import calls
from ledger.arbiter import groups_of
from ledger.spec import Specification
from middleware.maths import aggregate
from middleware.trust import chunks, eip712, merkle, roots
from middleware.trust.keys import AccountKey
from middleware.types import SUM_FAN_IN, ZERO20, ZERO32, EdgeLeaf, Header, Leaf, Receipt
from middleware.wire.commitment import edge_leaf_data, leaf_data, weight_entry

FAULTS: Final = ("", "group", "inner", "node", "member", "weights", "coordinate", "duplicate", "stranger")

Integers = Any  # (d,) of a signed dtype


class SumNode:
    """A node of a sum tree with its vector; None stands for a member without weight."""

    def __init__(self, vector: Integers, children: Sequence[SumNode | None] = ()) -> None:
        self.vector, self.children = vector, tuple(children)
        self.tree = chunks.sums_tree(vector)
        self.node = roots.sum_node(self.tree.root, [commitment(child) for child in children])

    @property
    def children_root(self) -> bytes:
        return merkle.root([commitment(child) for child in self.children]) if self.children else ZERO32


Level = list[SumNode | None]


def commitment(node: SumNode | None) -> bytes:
    return ZERO32 if node is None else node.node


def grow(lowest: Level, once: bool, wrong: tuple[int, int] | None) -> list[Level]:
    """Every level of the tree over `lowest`; one more at least if `once`. `wrong` is the (level, number) of a node whose
    vector is spoiled."""
    levels = [lowest]
    while len(levels[-1]) > 1 or once:
        once = False
        below = levels[-1]
        above: Level = []
        for number in range(groups_of(len(below))):
            children = below[number * SUM_FAN_IN : (number + 1) * SUM_FAN_IN]
            vectors = [child.vector for child in children if child is not None]
            if not vectors:
                above.append(None)
                continue
            vector = np.sum(vectors, axis=0, dtype=np.int64)
            above.append(SumNode(spoiled(vector) if wrong == (len(levels), number) else vector, children))
        levels.append(above)
    return levels


def walk(levels: list[Level], level: int, number: int) -> tuple[calls.Step, ...]:
    """The steps from node `number` of `level` to the top."""
    steps = []
    for below, above in zip(levels[level:], levels[level + 1 :], strict=False):
        first = number // SUM_FAN_IN * SUM_FAN_IN
        siblings = merkle.Tree.of(commitment(node) for node in below[first : first + SUM_FAN_IN])
        parent = above[number // SUM_FAN_IN]
        sums = ZERO32 if parent is None else parent.tree.root
        steps.append(calls.Step(sums, tuple(siblings.path(number % SUM_FAN_IN))))
        number //= SUM_FAN_IN
    return tuple(steps)


def spoiled(vector: Integers) -> Integers:
    wrong = vector.copy()
    wrong[0] += 1
    return wrong


def chunk_of(node: SumNode | None, index: int) -> calls.Chunk:
    if node is None or index >= node.tree.size:
        return calls.Chunk(index, ZERO32, ZERO32, ())
    return calls.Chunk(index, node.tree.root, node.tree.levels[0][index], tuple(node.tree.path(index)))


class EdgeRound:
    """What one edge took in, and what it says of it."""

    def __init__(self, key: AccountKey, leaves: list[Leaf], used: list[int], integers: list[Integers]) -> None:
        self.key, self.leaves, self.used, self.integers = key, leaves, used, integers
        self.salts = [sha256(leaf.ciphertext).digest()[:16] for leaf in leaves]
        self.levels: list[Level] = []
        self.report = EdgeLeaf(0, 0, 0, ZERO32, 0)
        self.signature = b""
        self.tree = merkle.Tree.of([])
        self.entries = merkle.Tree.of(
            weight_entry(leaf.node, weight) for leaf, weight in zip(leaves, used, strict=True)
        )  # fmt: skip

    @property
    def top(self) -> SumNode | None:
        return self.levels[-1][0] if self.levels and self.levels[-1] else None

    def group_paths(self, number: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """From the group's root to the roots over the leaves and over the weights."""
        return tuple(_subtree_path(self.tree, number)), tuple(_subtree_path(self.entries, number))

    def packed(self, index: int, chunk: int, width: int) -> bytes:
        """An update as the Arbiter reads it."""
        leaf, used = self.leaves[index], self.used[index]
        data = leaf.node.to_bytes(4, "big") + leaf.sequence.to_bytes(8, "big") + leaf.weight.to_bytes(4, "big")
        data += leaf.ciphertext + leaf.update_root + leaf.metrics + used.to_bytes(8, "big")
        if not used:
            return data
        tree = chunks.update_tree(self.integers[index], self.salts[index], width)
        shown = chunks.update_chunk(self.integers[index], chunk, width)
        return data + self.salts[index] + shown + b"".join(tree.path(chunk))

    def placed(self, index: int) -> calls.Placed:
        return calls.Placed(self.leaves[index], index, tuple(self.tree.path(index)))


def _subtree_path(tree: merkle.Tree, group: int) -> list[bytes]:
    """Groups of 16 leaves are subtrees, so their roots are the leaves of a smaller tree with the same root."""
    leaves = tree.levels[0]
    starts = range(0, len(leaves), SUM_FAN_IN)
    return merkle.Tree.over([merkle.root_over(leaves[start : start + SUM_FAN_IN]) for start in starts]).path(group)


class Scene:
    """One round: its header, and everything that the header commits to."""

    def __init__(self, rule: int, width: int, size: int, fault: str) -> None:
        self.rule, self.width, self.chunks, self.fault = rule, width, size, fault
        self.edges: list[EdgeRound] = []
        self.levels: list[Level] = []  # above the edges: level 0 are the edges' nodes
        self.inputs = merkle.Tree.of([])
        self.weights = merkle.Tree.of([])
        self.weight_roots: list[bytes] = []
        self.result: SumNode | None = None  # of a coordinatewise rule
        self.header: Header
        self.anchored_at = 0

    @property
    def members(self) -> int:
        return len(self.weight_roots)

    def member(self, place: int) -> calls.Member:
        return calls.Member(self.edges[place].report, place, tuple(self.inputs.path(place)), self.members)

    def group(self, place: int, number: int, chunk: int) -> calls.Group:
        edge = self.edges[place]
        indices = range(len(edge.leaves))[number * SUM_FAN_IN : (number + 1) * SUM_FAN_IN]
        leaves, weights = edge.group_paths(number)
        node = edge.levels[0][number]
        steps = walk(edge.levels, 0, number)
        if self.rule == calls.LINEAR:
            steps += walk(self.levels, 0, place)
        updates = tuple(edge.packed(index, chunk, self.width) for index in indices)
        return calls.Group(number, updates, leaves, weights, chunk_of(node, chunk), steps)

    def inner(self, levels: list[Level], level: int, number: int, chunk: int) -> calls.Inner:
        """A node above the lowest, with its children; the walk ends where `levels` do."""
        node = levels[level][number]
        children = []
        for child in () if node is None else node.children:
            if child is None:
                children.append(b"")
                continue
            shown = chunks.sums_chunk(child.vector, chunk) + b"".join(child.tree.path(chunk))
            children.append(child.tree.root + child.children_root + shown)
        return calls.Inner(level, number, tuple(children), chunk_of(node, chunk), walk(levels, level, number))


def play(
    chain: Specification, task: int, edges: Sequence[tuple[int, AccountKey]], counts: Sequence[int], fault: str,
    seed: int, rewards: Sequence[tuple[int, int]] = (), roster_block: int = 0,
) -> Scene:  # fmt: skip
    """A round of `task` that follows its head. Edge number i takes in counts[i] updates. The header is not anchored yet."""
    random, numbers = Random(seed), np.random.default_rng(seed)
    known, context = chain.task(task), chain.ledger_domain.context
    scene = Scene(known.rule, known.width, known.chunks, fault)
    place = {"task": task, "round": known.head + 1}
    for (edge, key), count in zip(edges, counts, strict=True):
        scene.edges.append(_updates(chain, scene, random, numbers, place, edge, key, count))
    for (edge, _), one in zip(edges, scene.edges, strict=True):
        one.tree = merkle.Tree.of(leaf_data(context, leaf) for leaf in one.leaves)
        faulty = fault if one is scene.edges[0] else ""
        one.levels = _edge_levels(one, scene.chunks, faulty) if known.rule in (calls.LINEAR, calls.TWO_LEVELS) else []
        two = known.rule == calls.TWO_LEVELS
        one.report = EdgeLeaf(
            task, known.head + 1, edge, one.tree.root, len(one.leaves), commitment(one.top) if two else ZERO32,
            one.entries.root if two else ZERO32, roster_block,
        )  # fmt: skip
        one.signature = one.key.sign_digest(eip712.edge_root_digest(chain.ledger_domain, one.report))
    forced = chain.forced_chain.get(task, ZERO32) if known.forced_done or random.random() < 0.5 else ZERO32
    _commit(scene, known.trim, forced != ZERO32 and random.random() < 0.7)
    scene.inputs = merkle.Tree.of(edge_leaf_data(context, one.report) for one in scene.edges)
    top = scene.result if scene.result is not None else scene.levels[-1][0] if scene.levels else None
    word = sha256(str(seed).encode()).digest()
    scene.header = Header(
        task=task, round=known.head + 1, prev=known.last_header, roster=word, policy=known.policy_hash,
        model_in=known.last_model, inputs_root=scene.inputs.root, inputs_count=len(scene.edges), forced=forced,
        weights_root=scene.weights.root, model_out=sha256(word).digest(), chunks_root=commitment(top), scores_root=ZERO32,
        rewards_root=merkle.sum_root(rewards), budget=ZERO32, manifest=word,
    )  # fmt: skip
    return scene


def _updates(
    chain: Specification, scene: Scene, random: Random, numbers: np.random.Generator, place: dict[str, int], edge: int,
    key: AccountKey, count: int,
) -> EdgeRound:  # fmt: skip
    devices = [id for id, node in chain.nodes.items() if node.parent == edge and node.tier == 1]
    nodes = [devices[index] if index < len(devices) else 1_000 + index for index in range(count)]
    if scene.fault == "duplicate" and count > 1:
        nodes[1] = nodes[0]
    if scene.fault == "stranger" and count:
        nodes[-1] = random.choice([0, edge, chain.count, chain.count + 7, *chain.nodes])
    limit = 1 << 8 * scene.width - 1
    used, integers, leaves = [], [], []
    for index, node in enumerate(nodes):
        vector = numbers.integers(-limit, limit, scene.chunks * chunks.CHUNK - 100).astype(f"i{scene.width}")
        integers.append(vector)
        weight = random.choice([1, 2, 7, 4096])
        if scene.rule in (calls.MEDIAN, calls.TRIMMED_MEAN):
            used.append(random.choice([0, 1, 1, 1]))
        else:
            used.append(random.choice([0, weight, weight]))
        ciphertext = sha256(numbers.bytes(8)).digest()
        salt = sha256(ciphertext).digest()[:16]
        root = chunks.update_root(vector, salt, scene.width)
        leaves.append(Leaf(**place, node=node, edge=edge, sequence=index, weight=weight, ciphertext=ciphertext,
                           update_root=root, metrics=ZERO32))  # fmt: skip
    return EdgeRound(key, leaves, used, integers)


def _edge_levels(edge: EdgeRound, size: int, fault: str) -> list[Level]:
    if not sum(edge.used):
        return [[None]]
    groups: Level = []
    for number in range(groups_of(len(edge.leaves))):
        part = slice(number * SUM_FAN_IN, (number + 1) * SUM_FAN_IN)
        if any(edge.used[part]):
            sums = aggregate.weighted_sums(edge.integers[part], edge.used[part])
        else:
            sums = np.zeros(size * chunks.CHUNK - 100, np.int64)
        groups.append(SumNode(spoiled(sums) if fault == "group" and number == 0 else sums))
    return grow(groups, False, (1, 0) if fault == "inner" else None)


def _commit(scene: Scene, trim: int, with_forced: bool) -> None:
    """What the cloud makes of the edges."""
    scene.weight_roots = [edge.entries.root for edge in scene.edges]
    if with_forced:
        scene.weight_roots.append(merkle.root([weight_entry(4, 3)]))
    if scene.fault == "weights" and scene.weight_roots:
        scene.weight_roots[0] = merkle.root([weight_entry(5, 5)])
    scene.weights = merkle.Tree.of(scene.weight_roots)
    length = scene.chunks * chunks.CHUNK - 100
    if scene.rule in (calls.MEDIAN, calls.TRIMMED_MEAN):
        rows = [vector for edge in scene.edges for vector, used in zip(edge.integers, edge.used, strict=True) if used]
        result = np.zeros(length, np.int64)
        if rows:
            keep = (len(rows) - 1) // 2 if scene.rule == calls.MEDIAN else trim
            result = np.sort(np.array(rows, np.int64), axis=0)[keep : len(rows) - keep].sum(axis=0)
        scene.result = SumNode(spoiled(result) if scene.fault == "coordinate" else result)
        return
    lowest: Level = [edge.top for edge in scene.edges]
    if with_forced:
        lowest.append(SumNode(np.full(length, 5, np.int64)))
    if scene.fault == "member" and lowest:
        lowest[0] = SumNode(np.full(length, 9, np.int64))
    if lowest:
        scene.levels = grow(lowest, True, (1, 0) if scene.fault == "node" else None)


# ------------------------------------------------------------------------------------------------------------ accusations


def _edge(scene: Scene, random: Random) -> int:
    """The first edge most of the time: faults are there."""
    return random.choice([0, 0, random.randrange(len(scene.edges))])


def _receipt(scene: Scene, edge: EdgeRound, index: int, leaf: bytes) -> Receipt:
    return Receipt(edge.report.task, edge.report.round, edge.report.edge, index, leaf)


def omission(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    edge = scene.edges[_edge(scene, random)]
    count = len(edge.leaves)
    leaf = msgspec.structs.replace(random.choice(edge.leaves), sequence=random.choice([0, 77]))
    index = random.choice([0, count - 1, count, count + 3])
    receipt = _receipt(scene, edge, index, chain.leaf_hash(leaf))
    found: bytes = ZERO32
    path: tuple[bytes, ...] = ()
    if index < count:
        found, path = edge.tree.levels[0][index], tuple(edge.tree.path(index))
    signed = edge.key.sign_digest(eip712.receipt_digest(chain.ledger_domain, receipt))
    return calls.Omission(receipt, signed, leaf, edge.report, edge.signature, found, path)


def edge_omission(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    header, count = scene.header, len(scene.edges)
    index = random.choice([0, count - 1, count])
    leaf = random.choice([scene.inputs.levels[0][0], sha256(b"another").digest()])
    receipt = Receipt(header.task, header.round, chain.task(header.task).cloud, index, leaf)
    found: bytes = ZERO32
    path: tuple[bytes, ...] = ()
    if index < count:
        found, path = scene.inputs.levels[0][index], tuple(scene.inputs.path(index))
    signed = cloud.sign_digest(eip712.receipt_digest(chain.ledger_domain, receipt))
    return calls.EdgeOmission(receipt, signed, header, scene.anchored_at, found, path)


def forced_ignored(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    known = chain.task(scene.header.task)
    k = random.choice([0, 1, known.forced_done, known.forced_done + 1, known.forced_count])
    return calls.ForcedIgnored(k, scene.header, scene.anchored_at)


def conflicting_receipts(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    edge = scene.edges[_edge(scene, random)]
    leaves = [random.choice([ZERO32, edge.report.root]) for _ in range(2)]
    a, b = (_receipt(scene, edge, 3, leaf) for leaf in leaves)
    signed = [edge.key.sign_digest(eip712.receipt_digest(chain.ledger_domain, one)) for one in (a, b)]
    return calls.ConflictingReceipts(a, signed[0], b, signed[1])


def conflicting_roots(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    edge = scene.edges[_edge(scene, random)]
    change: dict[str, Any] = random.choice([{}, {"count": 99}, {"roster_block": 99}, {"weights": b"\x01" * 32}])
    other = msgspec.structs.replace(edge.report, **change)
    signed = edge.key.sign_digest(eip712.edge_root_digest(chain.ledger_domain, other))
    return calls.ConflictingRoots(edge.report, edge.signature, other, signed)


def inactive_sender(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    edge = scene.edges[_edge(scene, random)]
    index = random.choice([0, len(edge.leaves) - 1, random.randrange(len(edge.leaves))])
    report, signature = edge.report, edge.signature
    if random.random() < 0.3:
        report = msgspec.structs.replace(report, round=report.round + 1)
        signature = edge.key.sign_digest(eip712.edge_root_digest(chain.ledger_domain, report))
    return calls.InactiveSender(report, signature, edge.placed(index))


def duplicate_sender(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    edge = scene.edges[0]
    a, b = random.choice([(0, len(edge.leaves) - 1), (0, min(1, len(edge.leaves) - 1))])
    return calls.DuplicateSender(edge.report, edge.signature, edge.placed(a), edge.placed(b))


def wrong_group(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    place = _edge(scene, random)
    edge = scene.edges[place]
    group = scene.group(place, random.choice([0, len(edge.levels[0]) - 1]), random.choice([0, 0, scene.chunks - 1]))
    if random.random() < 0.5 or scene.rule == calls.TWO_LEVELS:
        return calls.WrongEdgeGroup(edge.report, edge.signature, group)
    path = tuple(scene.weights.path(place))
    member = scene.member(place)
    return calls.WrongGroup(scene.header, scene.anchored_at, member, scene.weight_roots[place], path, group)


def wrong_node(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    level = random.randrange(1, len(scene.levels))
    number = random.randrange(len(scene.levels[level]))
    inner = scene.inner(scene.levels, level, number, random.choice([0, 0, scene.chunks - 1]))
    return calls.WrongNode(scene.header, scene.anchored_at, scene.members, inner)


def wrong_inner_node(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    place = _edge(scene, random)
    edge = scene.edges[place]
    level = min(1, len(edge.levels) - 1)
    inner = scene.inner(edge.levels, level, 0, random.choice([0, 0, scene.chunks - 1]))
    if random.random() < 0.3 or scene.rule == calls.TWO_LEVELS:
        return calls.WrongEdgeNode(edge.report, edge.signature, inner)
    inner = msgspec.structs.replace(inner, walk=inner.walk + walk(scene.levels, 0, place))
    return calls.WrongInnerNode(scene.header, scene.anchored_at, scene.member(place), inner)


def wrong_member(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    place = _edge(scene, random)
    found = commitment(scene.levels[0][place])
    return calls.WrongMember(
        scene.header, scene.anchored_at, scene.member(place), found, walk(scene.levels, 0, place)
    )  # fmt: skip


def wrong_weights(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    place = _edge(scene, random)
    path = tuple(scene.weights.path(place))
    found = scene.weight_roots[place]
    return calls.WrongWeights(scene.header, scene.anchored_at, scene.member(place), found, path)


def wrong_coordinate(chain: Specification, scene: Scene, random: Random, cloud: AccountKey) -> calls.AnyCall:
    index = random.choice([0, 0, scene.chunks - 1])
    taken = tuple(
        calls.Taken(edge.report, tuple(edge.packed(i, index, scene.width) for i in range(len(edge.leaves))))
        for edge in scene.edges
    )
    shown = bytes(2048) if scene.result is None else chunks.sums_chunk(scene.result.vector, index)
    coordinate = random.choice([0, 0, 255, 256])
    return calls.WrongCoordinate(
        scene.header, scene.anchored_at, taken, chunk_of(scene.result, index), shown, coordinate
    )  # fmt: skip


Accuse = Callable[[Specification, Scene, Random, AccountKey], calls.AnyCall]
ACCUSATIONS: Final[dict[str, Accuse]] = {
    made.__name__: made
    for made in (
        omission, edge_omission, forced_ignored, conflicting_receipts, conflicting_roots, inactive_sender,
        duplicate_sender, wrong_group, wrong_node, wrong_inner_node, wrong_member, wrong_weights, wrong_coordinate,
    )
}  # fmt: skip
_OF_SUMS: Final = ("wrong_group", "wrong_node", "wrong_inner_node", "wrong_member")
_WANTED: Final = {
    "group": "wrong_group", "inner": "wrong_inner_node", "node": "wrong_node", "member": "wrong_member",
    "weights": "wrong_weights", "coordinate": "wrong_coordinate", "duplicate": "duplicate_sender",
    "stranger": "inactive_sender",
}  # fmt: skip


def possible(scene: Scene, random: Random) -> list[str]:
    """The accusations that this scene has the parts for, the one for its fault first."""
    if not scene.edges or not all(edge.leaves for edge in scene.edges):
        return ["forced_ignored", "conflicting_receipts", "conflicting_roots", "edge_omission"][
            : 4 if scene.edges else 1
        ]
    names = [name for name in ACCUSATIONS if scene.levels or name not in _OF_SUMS]
    random.shuffle(names)
    return sorted(names, key=lambda name: name != _WANTED.get(scene.fault))


# ---------------------------------------------------------------------------------------------------------------- flaws

_PATHS: Final = ("path", "leaves", "weights", "weights_path", "hashes")
_ADDED: Final[dict[str, object]] = {"walk": calls.Step(ZERO32, ()), "updates": b"", "children": b""}


def altered(value: Any, random: Random, name: str = "") -> Any:
    """`value` with one field changed somewhere inside it."""
    if isinstance(value, msgspec.Struct):
        fields = [field for field in value.__struct_fields__ if getattr(value, field) != ()] or ["round"]
        field = random.choice(fields)
        return msgspec.structs.replace(value, **{field: altered(getattr(value, field), random, field)})
    if isinstance(value, tuple):
        return _altered_list(value, random, name)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        least = 1 if name == "round" else 0
        return random.choice([value + 1, max(value - 1, least)])
    place = random.randrange(len(value)) if value else 0
    flipped = value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :] if value else b""
    if len(value) in (len(ZERO20), len(ZERO32)):
        return flipped
    return random.choice([flipped, value[:-1], value + bytes(1)])


def _altered_list(value: tuple[Any, ...], random: Random, name: str) -> tuple[Any, ...]:
    more = _ADDED.get(name, ZERO32 if name in _PATHS else value[-1] if value else None)
    choices = [value[:-1], (*value, more)] if more is not None else [value[:-1]]
    if value:
        place = random.randrange(len(value))
        choices.append((*value[:place], altered(value[place], random), *value[place + 1 :]))
    return random.choice(choices)
