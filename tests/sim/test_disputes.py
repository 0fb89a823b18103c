"""One lie a test: `find` names the offence and the accused, and the Arbiter takes the evidence. An honest run yields none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ledger.audit.memory import ContributionRow, Memory, OutgoingRow
from ledger.dispute import Offence, find
from ledger.disputed_sums import Right, node, over, preimages, within
from middleware.maths import aggregate
from middleware.protocol.settlement import Received, Reported
from middleware.protocol.sums import Summed
from middleware.trust import keys, merkle, roots
from middleware.types import Header, Policy, Receipt, Rule
from middleware.wire.commitment import weight_entry
from middleware.wire.manifest import Manifest
from middleware.wire.message import EdgeReport, ReceiptReply, Update, decode_stored
from nodes.records import read_memories
from tests.sim.history import CLOUD, DOMAIN, EDGES, PARENT, TASK, History, Sent, policy_of, stream
from tests.sim.run_folder import write_run
from tests.sim.trial import tried

MEAN = policy_of(rule=Rule("mean", 0), min_updates=1)
TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)
MEDIAN = policy_of(rule=Rule("median", 1))
TRIMMED = policy_of(rule=Rule("trimmed-mean", 1))
WIDE = tuple(range(20, 37))  # seventeen more devices below edge 2: two groups, and a node above them
PARENT.update(dict.fromkeys(WIDE, 2))


def only(history: History, memories: Sequence[Memory] = ()) -> Offence:
    """The one offence of the run, whose evidence the specification of the Arbiter accepts, and only once."""
    found = find(history.record, history.store, memories)
    assert len(found) == 1, [(offence.kind, offence.round, offence.accused) for offence in found]
    tried(history, found[0])
    return found[0]


def named(offence: Offence, kind: str, round: int, accused: int) -> None:
    assert (offence.kind, offence.task, offence.round, offence.accused) == (kind, TASK, round, accused)


def receipt_row(history: History, promiser: int, number: int, index: int, leaf: bytes, frame: bytes) -> OutgoingRow:
    promise = Receipt(TASK, number, promiser, index, leaf)
    reply = ReceiptReply(promiser, 1, promise, keys.sign_receipt(DOMAIN, history.account[promiser], promise))
    signed = keys.sign_message(DOMAIN.context, history.network[promiser], reply)
    return OutgoingRow(TASK, number, frame, b"", signed.stored(), "receipt")


def device_memory(history: History, sent: Sent, index: int, number: int) -> Memory:
    """A device's own store: its update, and the receipt that its edge gave for this place."""
    leaf = sent.received.leaf
    row = receipt_row(history, leaf.edge, number, index, roots.leaf_hash(DOMAIN.context, leaf), sent.received.frame)
    return Memory("device", leaf.node, outgoing=(row,))


# ----------------------------------------------------------------------------------------------------------------- honest


@pytest.mark.parametrize(
    "policy", [None, MEAN, TWO_LEVEL, MEDIAN, TRIMMED], ids=["krum", "mean", "two", "median", "trim"]
)
def test_an_honest_run_yields_nothing(policy: Policy | None, tmp_path: Path) -> None:
    history = History(policy).run()
    home = write_run(history, tmp_path)
    assert find(history.record, history.store, read_memories(home, history.record.index.roster())) == []


def test_an_honest_wide_run_yields_nothing() -> None:
    for policy in (MEAN, TWO_LEVEL):
        history = Wide(policy, rounds=1).run()
        assert len(history.manifests[0].edges[0].updates) == 19
        assert find(history.record, history.store) == []


class Wide(History):
    """Nineteen devices below edge 2, so that its sums have two groups."""

    def create(self) -> None:
        for device in WIDE:
            self.network[device] = keys.NetworkKey.generate(stream(f"network {device}"))
            self.account[device] = keys.AccountKey.generate(stream(f"account {device}"))
        super().create()
        for device in WIDE:
            self.mine(self.registration(device))

    def present(self, number: int) -> tuple[int, ...]:
        return (*super().present(number), *WIDE)


# ------------------------------------------------------------------------------------------------------- who was left out


class Dropped(History):
    """Edge 2 takes the update of device 5 in round 2, gives a receipt, and leaves it out."""

    place = 1

    def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
        if (edge, number) != (2, 2):
            return sent
        self.dropped = sent[1]
        return self.without(sent)

    def without(self, sent: list[Sent]) -> list[Sent]:
        return sent[:1]


class Replaced(Dropped):
    """The place of device 4 went to device 5."""

    place = 0

    def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
        if (edge, number) != (2, 2):
            return sent
        self.dropped = sent[0]
        return sent[1:]


@pytest.mark.parametrize("kind", [Dropped, Replaced])
@pytest.mark.parametrize("policy", [None, TWO_LEVEL], ids=["flat", "two-level"])
def test_an_edge_that_drops_what_it_promised(kind: type[Dropped], policy: Policy | None) -> None:
    history = kind(policy).run()
    assert find(history.record, history.store) == []  # nobody shows the receipt
    offence = only(history, [device_memory(history, history.dropped, history.place, 2)])
    named(offence, "omission", 2, 2)
    assert offence.beneficiary == "the account of the device that was left out"


@pytest.mark.parametrize("index", [1, 2])
def test_a_cloud_that_drops_an_edges_report(index: int) -> None:
    history = History().run()
    frame = history.manifests[0].edges[0].report
    leaf = decode_stored(frame, EdgeReport).message.leaf
    row = receipt_row(history, CLOUD, 1, index, roots.edge_leaf_hash(DOMAIN.context, leaf), frame)
    named(only(history, [Memory("edge", 2, outgoing=(row,))]), "edgeOmission", 1, CLOUD)


# ------------------------------------------------------------------------------------------------------ who said two things


def test_one_place_promised_twice() -> None:
    history = History().run()
    frames = [row.frame for row in history.manifests[0].edges[0].updates]
    rows = []
    for frame in frames:
        leaf = decode_stored(frame, Update).message.leaf
        rows.append(receipt_row(history, 2, 1, 9, roots.leaf_hash(DOMAIN.context, leaf), frame))
    memories = [Memory("a", 4, outgoing=(rows[0],)), Memory("b", 5, outgoing=(rows[1],))]
    found = find(history.record, history.store, memories)
    assert [offence.kind for offence in found] == ["conflictingReceipts", "omission"]  # place 9 is beyond the count too
    for offence in found:
        named(offence, offence.kind, 1, 2)
        tried(history, offence)


def test_one_round_reported_twice() -> None:
    history = History().run()
    signed = decode_stored(history.manifests[0].edges[0].report, EdgeReport)
    other = msgspec.structs.replace(signed.message.leaf, count=7)
    message = msgspec.structs.replace(
        signed.message, leaf=other, root_signature=keys.sign_edge_root(DOMAIN, history.account[2], other)
    )
    frame = keys.sign_message(DOMAIN.context, history.network[2], message).stored()
    row = ContributionRow(TASK, 1, 2, 2, 0, frame, b"", b"", "")
    named(only(history, [Memory("cloud", CLOUD, contributions=(row,))]), "conflictingRoots", 1, 2)


# ------------------------------------------------------------------------------------------------------------ who was let in


def test_an_edge_that_takes_a_suspended_device() -> None:
    class Lenient(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(5)
                self.block += 32

    history = Lenient(rounds=2).run()
    named(only(history), "inactiveSender", 2, 2)


def test_a_device_that_was_suspended_a_moment_ago_proves_nothing() -> None:
    class Late(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(5)
                self.block += 31

    assert find((history := Late(rounds=2).run()).record, history.store) == []


def test_an_edge_that_takes_the_device_of_another() -> None:
    class Greedy(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            if number == 1 and edge == 2:
                self.kept = sent
            return [*sent, self.kept[0]] if number == 1 and edge == 3 else sent

    named(only(Greedy(rounds=1).run()), "inactiveSender", 1, 3)


def test_a_device_that_stands_twice_under_one_edge() -> None:
    class Twice(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            return [*sent, sent[0]] if (edge, number) == (3, 1) else sent

    found = find((history := Twice(rounds=1).run()).record, history.store)
    assert [offence.kind for offence in found][:1] == ["duplicateSender"]
    named(found[0], "duplicateSender", 1, 3)
    tried(history, found[0])


# -------------------------------------------------------------------------------------------------------------- who cannot add


class Adder(History):
    """A cloud that commits another sum tree than its updates have, and shows it to whoever asks."""

    def members(self, number: int) -> list[Right]:
        """The edges' nodes, right, as the round's manifest has them."""
        raise NotImplementedError

    def publish(self, *nodes: Right) -> None:
        for one in nodes:
            for data in preimages(one):
                self.store.put(data)

    def show(self, members: Sequence[Right], lie: Right | None = None) -> bytes:
        """Publish a tree over these members, with another top if given; returns its commitment."""
        levels = over(members)
        self.publish(*members, *(one for level in levels.nodes for one in level))
        if lie is None:
            return levels.top.hash
        self.publish(lie)
        return lie.hash

    def rights(self, number: int) -> list[Right]:
        """The nodes of the edges' own trees, from what was received."""
        found = []
        for edge in self.got:
            weights = [(row.integers, row.leaf.weight) for row in edge]
            found.append(within(weights, self.policy.parameters))
        self.trees = found
        return [tree.top for tree in found]

    def report(self, edge: int, number: int, rows: list[Received]) -> Reported:
        if edge == EDGES[0]:
            self.got: list[list[Received]] = []
        self.got.append(rows)
        return super().report(edge, number, rows)

    def header(self, number: int, header: Header) -> Header:
        return msgspec.structs.replace(header, chunks_root=self.lie(number)) if number == 1 else header

    def lie(self, number: int) -> bytes:
        raise NotImplementedError


def off_by_one(vector: np.ndarray, coordinate: int) -> np.ndarray:
    changed = vector.copy()
    changed[coordinate] += 1
    return changed


@pytest.mark.parametrize("coordinate", [0, 300, 599])
def test_a_cloud_whose_group_is_off_by_one(coordinate: int) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, coordinate)), second])

    offence = only(Liar(MEAN, rounds=1).run())
    named(offence, "wrongGroup", 1, CLOUD)
    assert offence.proof.group.chunk.index == coordinate // 256  # type: ignore[union-attr]


@pytest.mark.parametrize("policy", [MEAN, TWO_LEVEL], ids=["flat", "two-level"])
def test_a_cloud_whose_top_is_not_the_sum_of_its_edges(policy: Policy) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            members = self.rights(number)
            top = over(members).top
            assert top.vector is not None
            return self.show(members, node(off_by_one(top.vector, 511), top.children))

    offence = only(Liar(policy, rounds=1).run())
    named(offence, "wrongNode", 1, CLOUD)
    assert "chunk 1 of node 0, level 1" in offence.what


def test_a_cloud_that_shows_nothing_is_for_the_court() -> None:
    class Silent(Adder):
        def lie(self, number: int) -> bytes:
            return b"\x07" * 32

    history = Silent(MEAN, rounds=1).run()
    assert find(history.record, history.store) == []


@pytest.mark.parametrize("group", [0, 1])
def test_a_cloud_with_a_wrong_group_of_a_wide_edge(group: int) -> None:
    class Liar(Wide, Adder):
        def lie(self, number: int) -> bytes:
            members = self.rights(number)
            low = list(self.trees[0].nodes[0])
            assert low[group].vector is not None
            low[group] = node(off_by_one(low[group].vector, 7))
            self.publish(*low)
            return self.show([over(low).top, members[1]])

    offence = only(Liar(MEAN, rounds=1).run())
    named(offence, "wrongGroup", 1, CLOUD)
    assert offence.proof.group.number == group  # type: ignore[union-attr]


def test_a_cloud_with_a_wrong_node_within_a_wide_edge() -> None:
    class Liar(Wide, Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, 7), first.children), second])

    named(only(Liar(MEAN, rounds=1).run()), "wrongInnerNode", 1, CLOUD)


def lying(vector: np.ndarray, children: Sequence[bytes], weight: int) -> Summed:
    one = node(vector, children)
    return Summed(one.hash, one.sums, one.children, vector, weight)


class EdgeAdder(History):
    """Edge 2 signs another sum than its updates have, and sends that."""

    def edge_sums(self, edge: int, number: int, rows: list[Received]) -> Summed:
        right = super().edge_sums(edge, number, rows)
        if edge != 2 or right.vector is None:
            return right
        return lying(off_by_one(right.vector, 300), right.children, right.weight)


def test_an_edge_whose_group_is_off_by_one() -> None:
    named(only(EdgeAdder(TWO_LEVEL, rounds=1).run()), "wrongEdgeGroup", 1, 2)


def test_an_edge_with_a_wrong_node_above_its_groups() -> None:
    class WideAdder(Wide, EdgeAdder):
        pass

    named(only(WideAdder(TWO_LEVEL, rounds=1).run()), "wrongEdgeNode", 1, 2)


def test_a_cloud_that_counts_another_node_than_the_edge_signed() -> None:
    class Swapper(Adder):
        def lie(self, number: int) -> bytes:
            first, second = self.rights(number)
            assert first.vector is not None
            return self.show([node(off_by_one(first.vector, 3)), second])

    named(only(Swapper(TWO_LEVEL, rounds=1).run()), "wrongMember", 1, CLOUD)


def test_a_cloud_that_names_other_weights_than_the_edge_signed() -> None:
    class Weigher(History):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            first, *rest = manifest.edges
            update = msgspec.structs.replace(first.updates[0], weight=1)
            changed = msgspec.structs.replace(first, updates=(update, *first.updates[1:]))
            self.listed_edges = (changed, *rest)
            return msgspec.structs.replace(manifest, edges=self.listed_edges)

        def header(self, number: int, header: Header) -> Header:
            weights = [
                merkle.root(weight_entry(decode_stored(u.frame, Update).message.sender, u.weight) for u in edge.updates)
                for edge in self.listed_edges
            ]
            return msgspec.structs.replace(header, weights_root=roots.weights_root(weights))

    named(only(Weigher(TWO_LEVEL, rounds=1).run()), "wrongWeights", 1, CLOUD)


@pytest.mark.parametrize("policy", [MEDIAN, TRIMMED], ids=["median", "trimmed-mean"])
def test_a_cloud_with_a_wrong_coordinate(policy: Policy) -> None:
    class Liar(Adder):
        def lie(self, number: int) -> bytes:
            rows = [row.integers for edge in self.got for row in edge if row.integers is not None]
            result = aggregate.aggregate(self.policy.rule.name, rows, [1] * len(rows), self.policy.rule.f)
            wrong = node(off_by_one(result.sums, 400))
            self.publish(wrong)
            return wrong.hash

    offence = only(Liar(policy, rounds=1).run())
    named(offence, "wrongCoordinate", 1, CLOUD)
    assert offence.proof.coordinate == 400 - 256  # type: ignore[union-attr]
