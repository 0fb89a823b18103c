from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import events
from ledger.index import Index
from middleware.errors import OurFault, PeerFault
from middleware.policy import Policy
from middleware.ports import Batch, Cursor, Entry, Head, Position
from middleware.types import ZERO32, EdgeLeaf, Header, Leaf, Status, Tier
from middleware.wire.commitment import pack_name
from middleware.wire.policy import encode_policy, policy_hash

POLICY = encode_policy(Policy(workload="digits", model="mlp:64-256-10", parameters=10))


def block_hash(block: int, fork: int = 0) -> bytes:
    return bytes([fork]) + block.to_bytes(31, "big")


def head(block: int, fork: int = 0) -> Head:
    return Head(block, block_hash(block, fork), 1_000 + block)


def entry(block: int, event: events.Event, log_index: int = 0, fork: int = 0) -> Entry:
    at = Position(block, block_hash(block, fork), 1_000 + block, ZERO32, log_index, 21_000, b"\x0c" * 20)
    return events.entry_of(at, event, b"\x07" * 20)


def registered(id: int, name: bytes = b"", status: int = 1) -> events.Registered:
    return events.Registered(
        id, bytes([id]) * 32, bytes([id]) * 20, bytes([id]) * 20, Tier.CLOUD, status, 0,
        name or pack_name(f"node-{id}"), ZERO32, 5, b"", b"",
    )  # fmt: skip


def created(task: int, policy: bytes = POLICY) -> events.TaskCreated:
    """The task as `CreateTask.of` words it: a flat linear rule over one chunk of 2-byte integers."""
    return events.TaskCreated(task, 1, b"\x01" * 20, 60, policy_hash(policy), b"\x11" * 32, 1, 0, 2, 1, policy)


def anchored(task: int, round: int) -> events.RoundAnchored:
    fields: dict[str, Any] = dict.fromkeys(Header.__struct_fields__, ZERO32)
    fields |= {"task": task, "round": round, "inputs_count": 1}
    return events.RoundAnchored(task, round, bytes([round]) * 32, Header(**fields))


def folded(entries: Sequence[Entry], to: int = 0) -> Index:
    index = Index()
    index.extend(Batch(tuple(entries), head(to or (entries[-1].position.block if entries else 1))))
    return index


def test_a_fresh_index_reads_from_the_beginning() -> None:
    index = Index()
    assert (index.cursor, index.head_block, index.roster().nodes) == (None, 0, {})


def test_a_batch_moves_the_cursor_to_its_head() -> None:
    index = folded([entry(3, registered(1))], to=5)
    assert (index.cursor, index.head_block) == (Cursor(5, block_hash(5)), 5)


def test_only_entries_and_rewinds_count_as_a_change() -> None:
    index = Index()
    assert index.extend(Batch((entry(3, registered(1)),), head(3)))
    assert not index.extend(Batch((), head(4)))
    assert index.extend(Batch((), head(4, fork=1), rewind_to=2))
    assert not index.extend(Batch((), head(5, fork=1), rewind_to=4))


def test_a_node_is_as_its_events_left_it() -> None:
    index = folded(
        [
            entry(1, registered(1)), entry(2, events.StatusChanged(1, Status.ACTIVE)),
            entry(3, events.KeyRotated(1, b"\x21" * 32, 5, b"")), entry(4, events.AccountProposed(1, b"\x22" * 20)),
            entry(5, events.AccountRotated(1, b"\x22" * 20)), entry(6, events.MetaChanged(1, b"\x23" * 32)),
        ]
    )  # fmt: skip
    node = index.roster().nodes[1]
    assert (node.name, node.tier, node.status, node.since) == ("node-1", Tier.CLOUD, Status.ACTIVE, 1)
    assert (node.net_key, node.account, node.meta_hash) == (b"\x21" * 32, b"\x22" * 20, b"\x23" * 32)
    assert index.registrations[1].net_key == b"\x01" * 32


def test_an_old_roster_holds_what_was_known_then() -> None:
    index = folded(
        [
            entry(2, registered(1)), entry(4, registered(2)), entry(4, events.StatusChanged(1, Status.ACTIVE), 1),
            entry(6, events.KeyRotated(1, b"\x21" * 32, 5, b"")),
        ],
        to=9,
    )  # fmt: skip
    statuses = {block: {n.id: n.status for n in index.roster(block).nodes.values()} for block in range(1, 5)}
    pending, active = Status.PENDING, Status.ACTIVE
    assert statuses == {1: {}, 2: {1: pending}, 3: {1: pending}, 4: {1: active, 2: pending}}
    assert [index.roster(block).nodes[1].net_key[0] for block in (5, 6, 9)] == [1, 0x21, 0x21]
    assert (index.roster(5).block, index.roster().block, index.roster(100).block) == (5, 9, 9)
    before, after = index.node_at(1, 5), index.node_at(1, 6)
    assert before is not None
    assert after is not None
    assert (before.net_key[0], after.net_key[0], index.node_at(1, 1), index.node_at(8, 9)) == (1, 0x21, None, None)


def test_a_roster_asked_for_early_does_not_hide_later_changes_of_its_block() -> None:
    index = folded([entry(2, registered(1))])
    assert list(index.roster().nodes) == [1]
    index.extend(Batch((entry(3, registered(2)),), head(3)))
    assert list(index.roster().nodes) == [1, 2]
    assert list(index.roster(2).nodes) == [1]


def test_more_old_rosters_than_are_kept_are_still_right() -> None:
    index = folded([entry(block, registered(block)) for block in range(1, 101)])
    assert [len(index.roster(block).nodes) for block in range(1, 101)] == list(range(1, 101))
    assert len(index.roster(7).nodes) == 7


def test_a_name_that_is_no_text_does_not_stop_the_fold() -> None:
    index = folded([entry(1, registered(1, b"\xff" * 32)), entry(2, registered(2))])
    assert index.roster().nodes[1].name == "\ufffd" * 32
    assert index.roster().nodes[2].name == "node-2"


def test_a_task_follows_its_rounds_to_its_end() -> None:
    index = folded([entry(1, created(1)), entry(2, anchored(1, 1)), entry(3, anchored(1, 2))])
    task = index.tasks[1]
    assert (task.head, task.open, task.window, task.block, task.policy_hash) == (2, True, 60, 1, policy_hash(POLICY))
    assert [(a.header.round, a.header_hash[0], a.position.block) for a in index.anchored[1]] == [(1, 1, 2), (2, 2, 3)]
    index.extend(Batch((entry(4, events.TaskEnded(1, 2)),), head(4)))
    assert not index.tasks[1].open


def test_a_task_whose_policy_cannot_be_read_is_kept_apart() -> None:
    index = folded([entry(1, created(1, b'{"rounds":0}')), entry(2, anchored(1, 1)), entry(3, created(2))])
    assert list(index.tasks) == [2]
    assert index.malformed_tasks[1].policy == b'{"rounds":0}'
    assert len(index.anchored[1]) == 1


def test_pools_add_up_and_claims_are_cumulative() -> None:
    index = folded(
        [
            entry(1, events.Funded(1, b"\x01" * 20, 5)), entry(2, events.Funded(1, b"\x02" * 20, 6)),
            entry(3, events.Claimed(1, 4, b"\x01" * 20, 3, 3)), entry(4, events.Claimed(1, 4, b"\x01" * 20, 2, 5)),
        ]
    )  # fmt: skip
    assert (index.funded, index.claimed) == ({1: 11}, {(1, 4): 5})


def test_a_batch_that_was_folded_before_is_our_fault() -> None:
    index = folded([entry(1, registered(1))])
    with pytest.raises(OurFault, match="does not follow"):
        index.extend(Batch((entry(1, registered(1)),), head(1)))


def test_a_change_of_a_node_that_never_registered_is_malformed() -> None:
    with pytest.raises(PeerFault, match="node 5"):
        folded([entry(1, events.StatusChanged(5, 2))])


def test_a_rewind_forgets_what_was_taken_back() -> None:
    last = [entry(3, anchored(1, 1)), entry(3, registered(2), 1)]
    index = folded([entry(1, registered(1)), entry(2, created(1)), *last])
    index.rewind(2)
    assert (index.cursor, index.head_block) == (Cursor(2, block_hash(2)), 2)
    assert (index.tasks[1].head, index.anchored, list(index.roster().nodes)) == (0, {}, [1])
    index.rewind(0)
    assert (index.cursor, index.entries, index.tasks, index.roster().nodes) == (None, [], {}, {})


@settings(max_examples=60)
@given(data=st.data())
def test_a_reorganised_record_folds_to_the_same_as_the_final_one(data: st.DataObject) -> None:
    def branch(first: int, count: int, fork: int, known: int) -> list[Entry]:
        return [entry(first + i, registered(known + i + 1), fork=fork) for i in range(count)]

    old = branch(1, data.draw(st.integers(1, 8)), 0, 0)
    common = data.draw(st.integers(0, len(old)))
    new = branch(common + 1, data.draw(st.integers(0, 8)), 1, common)
    index = folded(old)
    top = head(common + len(new) + 1, fork=1)
    index.extend(Batch(tuple(new), top, rewind_to=common))
    clean = folded([*old[:common], *new], to=top.number)
    assert index.entries == clean.entries
    assert index.roster(top.number).nodes == clean.roster(top.number).nodes
    assert index.cursor == Cursor(top.number, top.hash)


def test_what_is_deep_enough_is_final_and_stays_so() -> None:
    index = folded([entry(block, registered(block)) for block in (1, 2, 3)], to=4)
    assert list(index.final(2).roster().nodes) == [1, 2]
    assert index.final(2).cursor == Cursor(2, block_hash(2))
    assert index.final(0) is index
    assert list(index.final(9).roster().nodes) == []
    index.extend(Batch((entry(5, registered(5)),), head(6)))
    assert list(index.final(2).roster().nodes) == [1, 2, 3]
    index.extend(Batch((), head(4), rewind_to=4))
    assert list(index.final(2).roster().nodes) == [1, 2, 3]


def test_what_was_final_and_was_taken_back_is_not_final_any_more() -> None:
    index = folded([entry(block, registered(block)) for block in (1, 2, 3)], to=5)
    assert list(index.final(2).roster().nodes) == [1, 2, 3]
    other = [entry(2, registered(7), fork=1), entry(3, registered(8), fork=1)]
    index.extend(Batch(tuple(other), head(4, fork=1), rewind_to=1))
    assert list(index.final(2).roster().nodes) == [1, 7]


def test_two_blocks_of_one_number_are_our_fault() -> None:
    with pytest.raises(OurFault, match="mixes branches"):
        folded([entry(1, registered(1)), entry(1, registered(2), 1, fork=1)])


@settings(max_examples=100)
@given(old=st.integers(0, 12), common=st.integers(0, 12), new=st.integers(0, 12))
def test_halving_finds_where_two_records_part(old: int, common: int, new: int) -> None:
    first = folded([entry(1 + i, registered(1 + i), fork=int(i >= common)) for i in range(old)], to=30)
    second = folded([entry(1 + i, registered(1 + i), fork=2 * int(i >= common)) for i in range(new)], to=30)
    assert first.common(second) == second.common(first) == min(old, common, new)


# ------------------------------------------------------------------------------------------- batches, force, logs, faults


def batch_of(first: int, count: int, status: int = 2) -> events.BatchRegistered:
    return events.BatchRegistered(first, count, b"\x05" * 20, status, b"\x06" * 32, b"\x07" * 32)


def test_a_batch_has_the_status_that_it_had_at_each_block() -> None:
    index = folded(
        [entry(3, batch_of(1, 5, 1)), entry(4, events.BatchStatusChanged(1, 2)), entry(6, batch_of(6, 2))], 9
    )
    states = [index.batch_at(1, block) for block in (2, 3, 4)]
    assert [state and state.status for state in states] == [None, Status.PENDING, Status.ACTIVE]
    assert [(batch.first, batch.count, batch.since) for batch in index.batches()] == [(1, 5, 3), (6, 2, 6)]
    assert [batch.first for batch in index.batches(5)] == [1]
    assert index.roster().nodes == {}


@pytest.mark.parametrize(("number", "first"), [(0, None), (1, 1), (5, 1), (6, None), (7, 7), (8, 7), (9, None)])
def test_a_number_belongs_to_the_batch_that_it_came_with(number: int, first: int | None) -> None:
    found = folded([entry(3, batch_of(1, 5)), entry(4, batch_of(7, 2))]).batch_of(number)
    assert (None if found is None else found.first) == first


def test_a_materialised_member_is_as_old_as_its_batch() -> None:
    index = folded([entry(3, batch_of(1, 5)), entry(8, registered(2)), entry(9, registered(6))])
    assert (index.roster().nodes[2].since, index.roster().nodes[6].since) == (3, 9)
    assert index.node_at(2, 7) is None


def test_a_batch_that_was_never_registered_cannot_change() -> None:
    with pytest.raises(PeerFault, match="batch 4"):
        folded([entry(3, events.BatchStatusChanged(4, 2))])
    with pytest.raises(PeerFault, match="status of batch 1"):
        folded([entry(3, batch_of(1, 5, 9))])


def test_forced_updates_stand_in_order_by_task() -> None:
    leaf = Leaf(1, 2, 3, 4, 5, 6, ZERO32, ZERO32, ZERO32)
    said = [events.Forced(1, 2, 3, k, bytes([k]) * 32, b"\x09" * 32, leaf) for k in (1, 2)]
    index = folded([entry(3, said[0]), entry(5, said[1])])
    assert [(one.k, one.chain, one.leaf, one.position.block) for one in index.forced[1]] == [
        (1, b"\x01" * 32, leaf, 3), (2, b"\x02" * 32, leaf, 5),
    ]  # fmt: skip


def test_the_first_struck_round_counts_and_ends_the_task() -> None:
    index = folded([entry(2, created(1)), entry(3, events.RoundStruck(1, 4)), entry(4, events.RoundStruck(1, 9))])
    assert (index.struck, index.tasks[1].open) == ({1: 4}, False)


def test_logs_slashes_and_proofs_are_kept_in_order() -> None:
    slashed = events.Slashed(1, 100, b"omission".ljust(32, b"\0"))
    proven = events.Proven(slashed.reason, 1, 2, 1, b"\x01" * 20, 100)
    index = folded(
        [
            entry(2, events.Checkpointed(1, 3, b"\x01" * 32)), entry(4, events.Checkpointed(1, 9, b"\x02" * 32)),
            entry(5, slashed), entry(5, proven, 1),
        ]
    )  # fmt: skip
    assert [(log.size, log.root, log.position.block) for log in index.checkpoints[1]] == [
        (3, b"\x01" * 32, 2), (9, b"\x02" * 32, 4),
    ]  # fmt: skip
    assert ([one.event for one in index.slashes], index.proven) == ([slashed], [proven])


@pytest.mark.parametrize("end", [events.Answered(1, b"\x01" * 20, b""), events.Expired(1, 2, 5)])
def test_a_demand_is_open_until_it_is_met_or_expires(end: events.Event) -> None:
    edge = EdgeLeaf(1, 2, 3, ZERO32, 1)
    demanded = events.Demanded(1, 1, 3, 2, b"\x01" * 20, 1, edge, 0, 0, 99)
    index = folded([entry(2, demanded)])
    assert index.demands == {1: demanded}
    index.extend(Batch((entry(3, end),), head(3)))
    assert index.demands == {}


@pytest.mark.parametrize("end", [events.Decided(1, 2, True, 5), events.Lapsed(1)])
def test_a_challenge_is_open_until_it_is_decided_or_lapses(end: events.Event) -> None:
    challenged = events.Challenged(1, 1, 3, 2, b"\x01" * 20, 4, ZERO32, b"\x01" * 32)
    index = folded([entry(2, challenged)])
    assert index.challenges == {1: challenged}
    index.extend(Batch((entry(3, end),), head(3)))
    assert index.challenges == {}


def test_what_was_reclaimed_is_no_longer_in_the_pool() -> None:
    index = folded([entry(2, events.Funded(1, b"\x01" * 20, 50)), entry(3, events.Reclaimed(1, b"\x01" * 20, 20))])
    assert index.funded == {1: 30}


def test_a_rewind_forgets_batches_and_disputes_too() -> None:
    challenged = events.Challenged(1, 1, 3, 2, b"\x01" * 20, 4, ZERO32, b"\x01" * 32)
    index = folded([entry(2, batch_of(1, 5)), entry(4, events.BatchStatusChanged(1, 3)), entry(5, challenged)], to=6)
    index.rewind(3)
    assert ([batch.status for batch in index.batches()], index.challenges) == ([Status.ACTIVE], {})


def test_the_block_that_a_round_is_judged_by_has_the_present_roster() -> None:
    index = folded([entry(3, registered(1)), entry(5, registered(2)), entry(9, created(1))], 20)
    assert index.roster_block(8) == 12
    assert index.roster_block(17) == 5
    assert index.roster_block(30) == 5
    assert index.roster(index.roster_block(8)).nodes == index.roster().nodes
    assert Index().roster_block(8) <= 0


@pytest.mark.parametrize("field", ["rule", "trim", "width", "chunks"])
def test_a_task_whose_terms_are_not_its_policys_is_kept_apart(field: str) -> None:
    """The Arbiter judges by the terms, everybody else by the policy: where they differ, nobody takes part."""
    event = created(1)
    wrong = msgspec.structs.replace(event, **{field: getattr(event, field) + 1})
    index = folded([entry(3, registered(1)), entry(5, wrong)])
    assert 1 not in index.tasks
    assert "not what the policy says" in index.malformed_tasks[1].reason
