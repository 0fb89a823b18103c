"""Batches, forced updates, logs, the arbiters, the Arbiter and the Court: both ledgers, told the same, do the same.

Each step is made to the specification and to the contracts at once (`devnet.conformance.Pair`), which raises where they
differ; the tests state what both must have said. Random walks over everything follow at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from devnet.accusations import ACCUSATIONS, Scene, altered, play
from devnet.conformance import (
    COUNCIL_KEY,
    GENESIS,
    NODES,
    ODD,
    OWN,
    PAUSER_KEY,
    PUB,
    REG,
    STRANGER,
    Difference,
    Opened,
    Pair,
    Walk,
    batch_root,
    claim,
    direct,
    entries,
    header,
    membership,
    new_task,
    open_both,
    registration,
)
from devnet.evm import Evm
from devnet.market import WALKS
from ledger import calls
from ledger.calls import AnyCall
from ledger.court import commitment
from ledger.events import decode_event
from ledger.spec import COUNCIL, REGISTRAR
from middleware.trust import chunks, merkle
from middleware.trust.eip712 import edge_root_digest
from middleware.types import ZERO20, ZERO32, Header

CLOUD, EDGE, DEVICE = (NODES[place].address for place in (0, 1, 3))
JUDGE = NODES[13].address
FLAWS = 12  # spoiled versions tried of each proof


class Stage(Pair):
    """Both after `opening` and `gathering`."""

    def names(self, call: AnyCall, sender: bytes, wait: int = 1) -> list[str]:
        """The names of the events of a call that both accept."""
        step = self.act(call, sender, wait)
        assert step.error == "", f"{call} was refused: {step.error}{step.arguments}"
        return [type(decode_event(topics, data)).__name__ for _, topics, data in step.logs]

    def refusal(self, call: AnyCall, sender: bytes, wait: int = 1) -> tuple[object, ...]:
        """The name and the arguments of both's refusal."""
        step = self.act(call, sender, wait)
        assert step.error, f"{call} was accepted"
        return step.error, *step.arguments

    def judges(self, first: bytes | None = None, second: bytes | None = None) -> None:
        first, second = first or self.evm.contracts["Arbiter"], second or self.evm.contracts["Court"]
        self.names(calls.SetRegistryArbiters(first, second), self.evm.admin)
        self.names(calls.SetLedgerArbiters(first, second), self.evm.admin)

    def batch(self, count: int = 3, sender: bytes = REG, parent: int = 2) -> list[calls.Materialise]:
        members = membership(self.chain, self.chain.count + 1, count, sender, parent)
        assert self.names(calls.RegisterBatch(batch_root(members), count, GENESIS), sender) == ["BatchRegistered"]
        return members

    def anchor(self, task: int, **changes: Any) -> tuple[Header, int]:
        known = self.chain.task(task)
        made = header(task, known.head + 1, known.last_header, known.last_model, **changes)
        assert self.names(calls.AnchorRound(made), CLOUD) == ["RoundAnchored"]
        return made, self.evm.now

    def scene(self, task: int, fault: str, shape: tuple[int, ...], seed: int = 1, **changes: Any) -> Scene:
        edges = [(2, NODES[1]), (3, NODES[2])][: len(shape)]
        made = play(self.chain, task, edges, shape, fault, seed, entries(1), **changes)
        assert self.names(calls.AnchorRound(made.header), CLOUD) == ["RoundAnchored"]
        made.anchored_at = self.evm.now
        return made


@pytest.fixture(scope="module")
def opened(evm: Evm) -> Opened:
    return open_both(evm)


@pytest.fixture
def stage(opened: Opened) -> Iterator[Stage]:
    before = opened.evm.snapshot()
    made = Stage(opened.evm, opened.specification.copy())
    yield made
    made.compare()
    opened.evm.revert(before)


# -------------------------------------------------------------------------------------------------------------- batches


def test_a_batch_goes_through_its_life(stage: Stage) -> None:
    members = stage.batch(sender=OWN)
    first = members[0].first
    assert stage.names(calls.AdmitBatch(first), REG) == ["BatchStatusChanged"]
    assert stage.names(calls.SuspendBatch(first), OWN) == ["BatchStatusChanged"]
    assert stage.names(members[1], ODD) == ["Registered"]
    assert stage.chain.node(first + 1).status == 3
    assert stage.names(calls.ReinstateBatch(first), REG) == ["BatchStatusChanged"]
    assert stage.names(calls.RevokeBatch(first), OWN) == ["BatchStatusChanged"]
    assert stage.names(members[0], ODD) == ["Registered"]
    assert (stage.chain.node(first).status, stage.chain.node(first + 1).status) == (4, 3)


def test_a_node_that_follows_a_batch_has_the_next_number(stage: Stage) -> None:
    members = stage.batch(3)
    assert stage.batch(1)[0].first == members[0].first + 3


def test_batches_are_refused_in_the_order_that_the_interface_states(stage: Stage) -> None:
    assert stage.refusal(calls.RegisterBatch(GENESIS, 0, GENESIS), REG) == ("BadBatch", 0)
    assert stage.refusal(calls.RegisterBatch(GENESIS, (1 << 20) + 1, GENESIS), REG) == ("BadBatch", (1 << 20) + 1)
    assert stage.refusal(calls.RegisterBatch(GENESIS, (1 << 14) + 1, GENESIS), OWN) == ("BadBatch", (1 << 14) + 1)
    assert stage.names(calls.RegisterBatch(GENESIS, 1 << 20, GENESIS), REG) == ["BatchRegistered"]
    first = stage.batch(sender=OWN)[0].first
    assert stage.refusal(calls.AdmitBatch(first + 1), REG) == ("UnknownBatch", first + 1)
    assert stage.refusal(calls.AdmitBatch(first), OWN) == ("NotAuthorised", OWN, REGISTRAR)
    assert stage.refusal(calls.SuspendBatch(first), OWN) == ("BadStatus", first, 1)
    assert stage.refusal(calls.SuspendBatch(first), ODD) == ("NotAuthorised", ODD, REGISTRAR)
    assert stage.refusal(calls.ReinstateBatch(first), REG) == ("BadStatus", first, 1)
    stage.names(calls.RevokeBatch(first), OWN)
    assert stage.refusal(calls.RevokeBatch(first), OWN) == ("BadStatus", first, 4)
    stage.names(calls.PauseRegistry(), PAUSER_KEY.address)
    assert stage.refusal(calls.RegisterBatch(GENESIS, 0, GENESIS), OWN) == ("Paused",)


def test_members_are_refused_in_the_order_that_the_interface_states(stage: Stage) -> None:
    members = stage.batch(3)
    one, first = members[0], members[0].first
    other = msgspec.structs.replace

    def refused(**changes: Any) -> tuple[object, ...]:
        return stage.refusal(other(one, **changes), ODD)

    assert refused(first=1) == ("UnknownBatch", 1)
    assert refused(index=3) == ("NotMember", first, 3)
    assert refused(tier=2) == ("BadTier", 2)
    assert refused(owner=OWN) == ("NotOwner", OWN)
    assert refused(path=(ZERO32,) * 41) == ("PathTooLong", 41)
    assert refused(path=one.path[:1]) == ("BadProof",)
    assert refused(index=1) == ("NotMember", first, 1)
    assert refused(meta_hash=GENESIS) == ("NotMember", first, 0)
    assert refused(net_key_proof=bytes(63)) == ("BadKey",)
    assert refused(deadline=6) == ("BadSignature",)
    assert stage.names(one, ODD) == ["Registered"]
    assert refused() == ("AlreadyMaterialised", first)
    stage.names(calls.PauseRegistry(), PAUSER_KEY.address)
    assert stage.names(members[2], ODD) == ["Registered"], "materialise is never paused"


@pytest.mark.parametrize(
    ("change", "error"),
    [("parent", "BadParent"), ("key", "KeyTaken"), ("account", "AccountTaken"), ("name", "BadName")],
)
def test_a_member_that_could_not_register_by_itself_is_nobody(stage: Stage, change: str, error: str) -> None:
    member = membership(stage.chain, stage.chain.count + 1, 1, REG, 2)[0]
    wrong: dict[str, dict[str, Any]] = {
        "parent": {"parent": 1}, "key": {"net_key": stage.chain.node(1).net_key}, "account": {"account": CLOUD},
        "name": {"name": ZERO32},
    }  # fmt: skip
    member = msgspec.structs.replace(member, **wrong[change])
    stage.names(calls.RegisterBatch(batch_root([member]), 1, GENESIS), REG)
    assert stage.refusal(member, ODD)[0] == error


# ------------------------------------------------------------------------------------------------- tasks, updates, logs


def test_a_task_names_a_rule_that_the_arbiter_knows(stage: Stage) -> None:
    assert stage.refusal(new_task(rule=5), PUB) == ("BadRule", 5, 0, 2)
    assert stage.refusal(new_task(rule=calls.MEDIAN, trim=1), PUB) == ("BadRule", 3, 1, 2)
    assert stage.refusal(new_task(width=3), PUB) == ("BadRule", 0, 0, 3)
    assert stage.refusal(new_task(size=0), PUB) == ("BadChunks",)
    assert stage.refusal(new_task(rule=5, policy=b""), PUB) == ("BadPolicy",)
    assert stage.names(new_task(rule=calls.TRIMMED_MEAN, trim=255, width=4), PUB) == ["TaskCreated"]


def test_forced_updates_are_refused_in_the_order_that_the_interface_states(stage: Stage) -> None:
    def refused(signer: Any = NODES[3], **changes: Any) -> tuple[object, ...]:
        return stage.refusal(direct(stage.chain, signer, **changes), ODD)

    assert refused(task=99) == ("UnknownTask", 99)
    stage.anchor(1)
    assert refused(round=1) == ("WrongRound", 2, 1)
    assert refused(round=2, node=2) == ("NotActive", 2)
    assert refused(round=2, edge=3) == ("BadSender", 4)
    assert refused(round=2, weight=0) == ("BadWeight",)
    assert refused(STRANGER, round=2) == ("BadSignature",)
    assert stage.names(direct(stage.chain, NODES[3], round=2), ODD) == ["Forced"]
    assert refused(STRANGER, round=2) == ("AlreadyForced", 1, 2, 4)
    assert stage.names(direct(stage.chain, NODES[3], round=3), ODD) == ["Forced"]
    stage.names(calls.CloseTask(1), PUB)
    assert refused(round=1) == ("TaskClosed", 1)


def test_a_forced_update_of_another_clouds_device_is_refused(stage: Stage) -> None:
    stage.names(new_task(10), PUB)
    assert stage.refusal(direct(stage.chain, NODES[3], task=6), ODD) == ("BadSender", 4)


def test_headers_acknowledge_forced_updates_and_never_go_back(stage: Stage) -> None:
    links = []
    for round in (1, 2, 3):
        stage.names(direct(stage.chain, NODES[3], round=round), ODD)
        links.append(stage.chain.forced_chain[1])

    def next_header(forced: bytes) -> calls.AnchorRound:
        known = stage.chain.task(1)
        return calls.AnchorRound(header(1, known.head + 1, known.last_header, known.last_model, forced=forced))

    assert stage.refusal(next_header(GENESIS), CLOUD) == ("WrongForced", 0, 0)
    stage.names(next_header(ZERO32), CLOUD)
    stage.names(next_header(links[1]), CLOUD)
    assert stage.refusal(next_header(ZERO32), CLOUD) == ("WrongForced", 2, 0)
    assert stage.refusal(next_header(links[0]), CLOUD) == ("WrongForced", 2, 1)
    stage.names(next_header(links[1]), CLOUD)
    stage.names(next_header(links[2]), CLOUD)
    assert stage.chain.task(1).forced_done == 3


def test_a_log_only_grows(stage: Stage) -> None:
    leaves = [sha256(bytes([place])).digest() for place in range(9)]

    def grown(held: int, size: int, **changes: Any) -> calls.Checkpoint:
        path = tuple(merkle.consistency(leaves[:size], held)) if 0 < held <= size else ()
        call = calls.Checkpoint(2, size, merkle.root_over(leaves[:size]), path)
        return msgspec.structs.replace(call, **changes)

    assert stage.refusal(grown(0, 3), ODD) == ("NotNode", ODD)
    assert stage.refusal(grown(0, 0), EDGE) == ("EmptyLog",)
    assert stage.refusal(grown(0, 3, path=(ZERO32,)), EDGE) == ("BadProof",)
    assert stage.names(grown(0, 3), EDGE) == ["Checkpointed"]
    assert stage.names(grown(0, 3), EDGE) == []
    assert stage.refusal(grown(3, 2), EDGE) == ("LogRewound", 3)
    assert stage.refusal(grown(3, 3, root=GENESIS), EDGE) == ("BadProof",)
    assert stage.refusal(grown(3, 9, path=(ZERO32,) * 41), EDGE) == ("PathTooLong", 41)
    assert stage.refusal(grown(3, 9, root=GENESIS), EDGE) == ("BadProof",)
    assert stage.names(grown(3, 9), EDGE) == ["Checkpointed"]
    stage.names(calls.Suspend(2), REG)
    assert stage.refusal(grown(9, 9), EDGE) == ("NotNode", EDGE)


# ---------------------------------------------------------------------------------------------------- arbiters' functions


def test_the_arbiters_are_named_once(stage: Stage) -> None:
    for kind in (calls.SetRegistryArbiters, calls.SetLedgerArbiters):
        assert stage.refusal(kind(JUDGE, JUDGE), ODD) == ("NotAuthorised", ODD, 0)
        assert stage.refusal(kind(ZERO20, JUDGE), stage.evm.admin) == ("NotArbiter", ZERO20)
        assert stage.refusal(kind(JUDGE, ZERO20), stage.evm.admin) == ("NotArbiter", ZERO20)
        assert stage.names(kind(JUDGE, ODD), stage.evm.admin) == ["ArbitersSet"]
        assert stage.refusal(kind(OWN, OWN), stage.evm.admin) == ("ArbiterAlreadySet", JUDGE)


def test_a_slash_takes_what_is_unbonding_first_and_burns_the_rest(stage: Stage) -> None:
    stage.judges(JUDGE)
    supply = stage.chain.token.supply
    stage.names(calls.Unstake(3, 51), NODES[2].address)
    assert stage.refusal(calls.Slash(3, 152, GENESIS), JUDGE) == ("InsufficientStake", 3, 151)
    assert stage.refusal(calls.Slash(99, 0, GENESIS), JUDGE) == ("UnknownNode", 99)
    assert stage.refusal(calls.Slash(3, 60, GENESIS), OWN) == ("NotArbiter", OWN)
    assert stage.names(calls.Slash(3, 60, GENESIS), JUDGE) == ["Slashed", "StatusChanged"]
    node = stage.chain.node(3)
    assert (node.stake, node.unbonding, node.status, stage.chain.seized) == (91, 0, 3, 60)
    assert stage.names(calls.Slash(3, 1, GENESIS), JUDGE) == ["Slashed"]
    assert stage.refusal(calls.Settle(ODD, 20, 40), OWN) == ("NotArbiter", OWN)
    assert stage.refusal(calls.Settle(ODD, 62, 0), JUDGE) == ("NotSeized", 61)
    assert stage.refusal(calls.Settle(ODD, 21, 41), JUDGE) == ("NotSeized", 61)
    assert stage.refusal(calls.Settle(ZERO20, 20, 40), JUDGE) == ("ERC20InvalidReceiver", ZERO20)
    assert stage.names(calls.Settle(ODD, 20, 40), JUDGE) == ["Settled", "Transfer", "Transfer"]
    assert stage.names(calls.Settle(ZERO20, 0, 1), JUDGE) == ["Settled", "Transfer"]
    assert (stage.chain.seized, stage.chain.token.supply) == (0, supply - 41)


def test_a_held_node_keeps_its_stake_in(stage: Stage) -> None:
    stage.judges(JUDGE)
    owner = NODES[2].address
    stage.names(calls.Unstake(3, 51), owner)
    assert stage.names(calls.HoldNode(3), JUDGE) == ["Held"]
    assert stage.refusal(calls.Withdraw(3), owner, 600) == ("OnHold", 3)
    assert stage.names(calls.ReleaseNode(3), JUDGE) == ["Released"]
    assert stage.refusal(calls.ReleaseNode(3), JUDGE) == ("NotHeld", 3)
    assert stage.refusal(calls.HoldNode(99), JUDGE) == ("UnknownNode", 99)
    assert stage.refusal(calls.HoldNode(3), ODD) == ("NotArbiter", ODD)
    assert stage.names(calls.Withdraw(3), owner) == ["Withdrawn", "Transfer"]


def test_a_strike_ends_the_task_and_all_rounds_from_there(stage: Stage) -> None:
    stage.judges(JUDGE)
    made = [stage.anchor(1) for _ in range(3)]
    assert stage.refusal(calls.Strike(1, 4), JUDGE) == ("WrongRound", 3, 4)
    assert stage.refusal(calls.Strike(1, 0), JUDGE) == ("WrongRound", 3, 0)
    assert stage.refusal(calls.Strike(9, 1), JUDGE) == ("UnknownTask", 9)
    assert stage.refusal(calls.Strike(1, 1), ODD) == ("NotArbiter", ODD)
    assert stage.names(calls.Strike(1, 2), JUDGE) == ["RoundStruck"]
    assert stage.names(calls.Strike(1, 3), JUDGE) == ["RoundStruck"]
    assert (stage.chain.task(1).struck, stage.chain.task(1).open) == (2, False)
    assert stage.names(calls.Burn(0), ODD, 100) == ["Transfer"]
    assert [stage.chain.is_final(*one, stage.evm.now) for one in made] == [True, False, False]
    stage.compare(made)


def test_a_held_task_has_no_final_round(stage: Stage) -> None:
    stage.judges(JUDGE)
    made, at = stage.anchor(1)
    assert stage.names(calls.HoldTask(1), JUDGE, 100) == []
    assert not stage.chain.is_final(made, at, stage.evm.now)
    assert stage.refusal(calls.HoldTask(9), JUDGE) == ("UnknownTask", 9)
    assert stage.refusal(calls.ReleaseTask(2), JUDGE) == ("NotHeld", 2)
    assert stage.refusal(calls.ReleaseTask(1), ODD) == ("NotArbiter", ODD)
    assert stage.names(calls.ReleaseTask(1), JUDGE) == []
    assert stage.chain.is_final(made, at, stage.evm.now)
    stage.compare([(made, at)])


# -------------------------------------------------------------------------------------------------------------- rewards


def test_a_publisher_takes_back_what_the_last_round_does_not_promise(stage: Stage) -> None:
    stage.names(calls.Fund(1, 100), OWN)
    made, at = stage.anchor(1)
    total, tree = merkle.sum_top(entries(1))
    wish = calls.Reclaim(made, at, total, tree)
    assert stage.refusal(wish, ODD) == ("NotPublisher", ODD)
    assert stage.refusal(wish, PUB) == ("TaskOpen", 1)
    stage.names(calls.CloseTask(1), PUB)
    assert stage.refusal(wish, PUB) == ("NotFinal", 1, 1)
    assert stage.refusal(calls.ReclaimUnused(1), PUB, 100) == ("NotLast", 1, 1)
    assert stage.refusal(calls.Reclaim(made, at, total - 1, tree), PUB) == ("BadProof",)
    assert stage.refusal(calls.Reclaim(made, at, 0, ZERO32), PUB) == ("BadProof",)
    assert stage.names(wish, PUB) == ["Reclaimed", "Transfer"]
    assert stage.chain.token.balance(PUB) == 100 - total
    assert stage.refusal(wish, PUB) == ("NothingToReclaim", 1)


def test_a_round_that_pays_nobody_lets_all_of_the_pool_go(stage: Stage) -> None:
    stage.names(calls.Fund(1, 100), OWN)
    stage.anchor(1)
    made, at = stage.anchor(1, rewards_root=ZERO32)
    stage.names(calls.CloseTask(1), PUB)
    assert stage.names(calls.Reclaim(made, at, 0, ZERO32), PUB, 100) == ["Reclaimed", "Transfer"]
    assert stage.chain.funded[1] == 0


def test_only_the_last_round_that_counts_decides_what_is_left(stage: Stage) -> None:
    stage.judges(JUDGE)
    stage.names(calls.Fund(1, 100), OWN)
    made = [stage.anchor(1) for _ in range(2)]
    stage.names(calls.Strike(1, 2), JUDGE)
    first, second = (calls.Reclaim(*one, *merkle.sum_top(entries(number))) for number, one in enumerate(made, 1))
    assert stage.refusal(second, PUB, 100) == ("NotFinal", 1, 2)
    assert stage.names(first, PUB) == ["Reclaimed", "Transfer"]


def test_what_was_paid_is_never_given_back_again(stage: Stage) -> None:
    """The last root promises less than was paid under the one before it."""
    stage.names(calls.Fund(1, 100), OWN)
    made, at = stage.anchor(1)
    assert stage.names(claim(made, at, 0), ODD, 100) == ["Claimed", "Transfer"]
    last, later = stage.anchor(1, rewards_root=merkle.sum_root([(1, 3)]))
    stage.names(calls.CloseTask(1), PUB)
    wish = calls.Reclaim(last, later, *merkle.sum_top([(1, 3)]))
    assert stage.names(wish, PUB, 100) == ["Reclaimed", "Transfer"]
    assert (stage.chain.funded[1], stage.chain.token.balance(PUB)) == (10, 90)


def test_a_task_without_a_round_gives_its_pool_back(stage: Stage) -> None:
    stage.judges(JUDGE)
    assert stage.refusal(calls.ReclaimUnused(2), ODD) == ("NotPublisher", ODD)
    assert stage.refusal(calls.ReclaimUnused(2), PUB) == ("TaskOpen", 2)
    stage.anchor(2)
    stage.names(calls.Strike(2, 1), JUDGE)
    assert stage.names(calls.ReclaimUnused(2), PUB) == ["Reclaimed", "Transfer"]
    assert stage.refusal(calls.ReclaimUnused(2), PUB) == ("NothingToReclaim", 2)


def test_a_pool_has_128_bits(stage: Stage) -> None:
    over = 1 << 128
    assert stage.refusal(calls.Fund(1, over), OWN) == ("SafeCastOverflowedUintDowncast", 128, over)
    assert stage.refusal(calls.Fund(2, over - 1), OWN) == ("Panic", 0x11)


def test_credit_is_burned_by_its_holder_alone(stage: Stage) -> None:
    held = stage.chain.token.balance(ODD)
    assert stage.names(calls.Burn(held), ODD) == ["Transfer"]
    assert stage.refusal(calls.Burn(1), ODD) == ("ERC20InsufficientBalance", ODD, 0, 1)


# -------------------------------------------------------------------------------------------------------------- arbiter

PROVEN = ["Proven", "Slashed", "StatusChanged"]
LINEAR, TWO_LEVELS, MEDIAN, TRIMMED = 5, 2, 3, 4  # tasks of these rules


def accusation(stage: Stage, scene: Scene, name: str, wanted: type[AnyCall], accepted: bool) -> AnyCall:
    """The first of this kind of call that the specification accepts, or refuses with NotProven."""
    for seed in range(200):
        call = ACCUSATIONS[name](stage.chain, scene, Random(seed), NODES[0])
        if isinstance(call, wanted):
            step = Stage(stage.evm, stage.chain.copy()).left.act(call, ODD, stage.evm.now + 1)
            if (step.error == "") is accepted and step.error in ("", "NotProven"):
                return call
    raise AssertionError(f"no {wanted.__name__} of {scene.fault} in 200 tries")


@pytest.mark.parametrize(
    ("task", "fault", "shape", "name", "wanted"),
    [
        (LINEAR, "group", (3,), "wrong_group", calls.WrongGroup),
        (LINEAR, "group", (35, 1), "wrong_group", calls.WrongGroup),
        (LINEAR, "inner", (18, 2), "wrong_inner_node", calls.WrongInnerNode),
        (LINEAR, "node", (2, 1), "wrong_node", calls.WrongNode),
        (TWO_LEVELS, "node", (2,), "wrong_node", calls.WrongNode),
        (TWO_LEVELS, "group", (16, 1), "wrong_group", calls.WrongEdgeGroup),
        (TWO_LEVELS, "inner", (17,), "wrong_inner_node", calls.WrongEdgeNode),
        (TWO_LEVELS, "member", (2, 2), "wrong_member", calls.WrongMember),
        (TWO_LEVELS, "weights", (2, 2), "wrong_weights", calls.WrongWeights),
        (MEDIAN, "coordinate", (3, 4), "wrong_coordinate", calls.WrongCoordinate),
        (TRIMMED, "coordinate", (5, 4), "wrong_coordinate", calls.WrongCoordinate),
        (LINEAR, "duplicate", (3,), "duplicate_sender", calls.DuplicateSender),
        (LINEAR, "stranger", (3,), "inactive_sender", calls.InactiveSender),
    ],
)
def test_a_fault_is_proven_once_and_no_spoiled_proof_of_it_is_accepted_by_one_ledger_alone(
    stage: Stage, task: int, fault: str, shape: tuple[int, ...], name: str, wanted: type[AnyCall]
) -> None:
    stage.judges()
    scene = stage.scene(task, fault, shape)
    call = accusation(stage, scene, name, wanted, accepted=True)
    for seed in range(FLAWS):
        spoiled = altered(call, Random(seed))
        before = stage.evm.snapshot()
        Stage(stage.evm, stage.chain.copy()).act(spoiled, ODD)
        stage.evm.revert(before)
    by_cloud = wanted not in (calls.WrongEdgeGroup, calls.WrongEdgeNode, calls.DuplicateSender, calls.InactiveSender)
    assert stage.names(call, ODD) == PROVEN + ["RoundStruck"] * by_cloud
    accused = 1 if by_cloud else 2
    kind = call.function.encode().ljust(32, b"\0")
    assert stage.refusal(call, OWN) == ("AlreadyProven", kind, task, 1, accused)
    assert stage.chain.node(accused).stake == 0
    collect = calls.Collect(kind, task, 1, accused)
    assert stage.names(collect, OWN) == ["Settled", "Transfer", "Transfer"]
    assert stage.refusal(collect, OWN) == ("NothingToCollect", kind, task, 1, accused)


@pytest.mark.parametrize(
    ("task", "shape", "name", "wanted"),
    [
        (LINEAR, (17,), "wrong_group", calls.WrongGroup),
        (LINEAR, (18, 2), "wrong_inner_node", calls.WrongInnerNode),
        (LINEAR, (2, 1), "wrong_node", calls.WrongNode),
        (TWO_LEVELS, (3,), "wrong_group", calls.WrongEdgeGroup),
        (TWO_LEVELS, (17,), "wrong_inner_node", calls.WrongEdgeNode),
        (TWO_LEVELS, (2, 2), "wrong_member", calls.WrongMember),
        (TWO_LEVELS, (2, 2), "wrong_weights", calls.WrongWeights),
        (MEDIAN, (3, 4), "wrong_coordinate", calls.WrongCoordinate),
        (TRIMMED, (5, 4), "wrong_coordinate", calls.WrongCoordinate),
        (LINEAR, (2,), "inactive_sender", calls.InactiveSender),
        (LINEAR, (2,), "omission", calls.Omission),
        (LINEAR, (2,), "edge_omission", calls.EdgeOmission),
        (LINEAR, (2,), "conflicting_receipts", calls.ConflictingReceipts),
        (LINEAR, (2,), "conflicting_roots", calls.ConflictingRoots),
    ],
)
def test_an_honest_round_proves_nothing(
    stage: Stage, task: int, shape: tuple[int, ...], name: str, wanted: type[AnyCall]
) -> None:
    stage.judges()
    scene = stage.scene(task, "", shape, roster_block=stage.evm.block)
    call = accusation(stage, scene, name, wanted, accepted=False)
    assert stage.refusal(call, ODD) == ("NotProven",)


@pytest.mark.parametrize(
    ("task", "name", "rule"),
    [
        (LINEAR, "wrong_coordinate", 1), (LINEAR, "wrong_member", 1), (LINEAR, "wrong_weights", 1),
        (MEDIAN, "wrong_weights", 3), (TWO_LEVELS, "wrong_coordinate", 2),
    ],
)  # fmt: skip
def test_a_proof_is_for_its_rule_alone(stage: Stage, task: int, name: str, rule: int) -> None:
    stage.judges()
    scene = stage.scene(task, "", (2, 2))
    call = ACCUSATIONS[name](stage.chain, scene, Random(1), NODES[0])
    assert stage.refusal(call, ODD) == ("WrongRule", rule)


def test_a_proof_of_another_rules_round_is_refused_whoever_is_accused(stage: Stage) -> None:
    stage.judges()
    scene, other = stage.scene(LINEAR, "", (18,)), stage.scene(TWO_LEVELS, "", (18,))
    group, inner = scene.group(0, 0, 0), scene.inner(scene.edges[0].levels, 1, 0, 0)
    report, signature = scene.edges[0].report, scene.edges[0].signature
    assert stage.refusal(calls.WrongEdgeGroup(report, signature, group), ODD) == ("WrongRule", 1)
    assert stage.refusal(calls.WrongEdgeNode(report, signature, inner), ODD) == ("WrongRule", 1)
    about = other.header, other.anchored_at
    wrong_group = calls.WrongGroup(*about, other.member(0), ZERO32, (), other.group(0, 0, 0))
    assert stage.refusal(wrong_group, ODD) == ("WrongRule", 2)
    assert stage.refusal(calls.WrongInnerNode(*about, other.member(0), inner), ODD) == ("WrongRule", 2)


def test_a_group_has_the_shape_that_its_number_and_the_count_require(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "group", (18, 1))
    call = accusation(stage, scene, "wrong_group", calls.WrongGroup, accepted=True)
    assert isinstance(call, calls.WrongGroup)
    group, short = call.group, call.group.updates[0][:119]
    weightless = group.updates[0][:112] + bytes(8) + group.updates[0][120:]
    end = 136 + 256 * scene.width
    used = next(update for update in group.updates if len(update) > 120)
    others = tuple(update for update in group.updates if update is not used)
    for changes in (
        {"number": 2}, {"updates": group.updates[:-1]}, {"updates": (*group.updates, group.updates[0])},
        {"updates": (*group.updates[:-1], short)}, {"updates": (weightless, *group.updates[1:])},
        {"updates": (used[: end - 1], *others)}, {"updates": (used + bytes(1), *others)},
        {"walk": group.walk[:-1]}, {"walk": (*group.walk, group.walk[-1])},
        {"updates": (group.updates[0][:-1] + bytes(1), *group.updates[1:-1], short)},
    ):  # fmt: skip
        spoiled = msgspec.structs.replace(call, group=msgspec.structs.replace(group, **changes))
        assert stage.refusal(spoiled, ODD) == ("BadShape",), changes
    for members in (scene.members - 1, scene.members + 1):
        spoiled = msgspec.structs.replace(call, member=msgspec.structs.replace(call.member, members=members))
        assert stage.refusal(spoiled, ODD) == ("BadShape",)
    assert stage.names(call, ODD) == [*PROVEN, "RoundStruck"]


def test_a_node_has_the_shape_that_its_level_and_number_require(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "node", (2, 1))
    call = accusation(stage, scene, "wrong_node", calls.WrongNode, accepted=True)
    assert isinstance(call, calls.WrongNode)
    inner, children = call.inner, call.inner.children
    for changes in (
        {"level": 0}, {"level": 2}, {"number": 1}, {"children": children[:1]}, {"children": (*children, b"")},
        {"children": (children[0][:2111], children[1])}, {"children": (children[0] + bytes(1), children[1])},
        {"walk": (calls.Step(ZERO32, ()),)},
    ):  # fmt: skip
        spoiled = msgspec.structs.replace(call, inner=msgspec.structs.replace(inner, **changes))
        assert stage.refusal(spoiled, ODD) == ("BadShape",), changes
    assert stage.names(call, ODD) == [*PROVEN, "RoundStruck"]


def test_a_coordinate_is_proven_with_the_whole_round_alone(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(MEDIAN, "coordinate", (3, 4))
    call = accusation(stage, scene, "wrong_coordinate", calls.WrongCoordinate, accepted=True)
    assert isinstance(call, calls.WrongCoordinate)
    first, second = call.taken
    fewer = msgspec.structs.replace(first, updates=first.updates[:-1])
    for changes in (
        {"taken": (first,)}, {"taken": (first, second, second)}, {"taken": (fewer, second)}, {"coordinate": 256},
        {"shown": call.shown[:-1]},
    ):  # fmt: skip
        assert stage.refusal(msgspec.structs.replace(call, **changes), ODD) == ("BadShape",), changes
    assert stage.refusal(msgspec.structs.replace(call, taken=(second, first)), ODD) == ("BadProof",)
    assert stage.refusal(msgspec.structs.replace(call, coordinate=1), ODD) == ("NotProven",)
    assert stage.names(call, ODD) == [*PROVEN, "RoundStruck"]


@pytest.mark.parametrize("task", [MEDIAN, TRIMMED])
@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("fault", ["", "coordinate"])
def test_a_coordinate_is_judged_with_an_even_and_an_odd_number_of_updates(
    stage: Stage, task: int, odd: int, fault: str
) -> None:
    stage.judges()
    edges = [(2, NODES[1]), (3, NODES[2])]

    def used(seed: int) -> int:
        return sum(sum(edge.used) for edge in play(stage.chain, task, edges, (5, 4), fault, seed).edges)

    seed = next(seed for seed in range(99) if used(seed) >= 4 and used(seed) % 2 == odd)
    scene = stage.scene(task, fault, (5, 4), seed)
    call = accusation(stage, scene, "wrong_coordinate", calls.WrongCoordinate, accepted=bool(fault))
    if fault:
        assert stage.names(call, ODD) == [*PROVEN, "RoundStruck"]
    else:
        assert stage.refusal(call, ODD) == ("NotProven",)


def test_a_single_group_has_no_node_above_it_within_its_edge(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (16,))
    edge = scene.edges[0]
    group = edge.levels[0][0]
    assert group is not None
    child = group.tree.root + ZERO32 + chunks.sums_chunk(group.vector, 0) + b"".join(group.tree.path(0))
    inner = calls.Inner(1, 0, (child,), calls.Chunk(0, ZERO32, ZERO32, (ZERO32,)), ())
    call = calls.WrongInnerNode(scene.header, scene.anchored_at, scene.member(0), inner)
    assert stage.refusal(call, ODD) == ("BadShape",)


def lone_sender(stage: Stage, node: int, roster_block: int) -> calls.InactiveSender:
    """Edge 2 takes in one leaf, of `node`, by the roster of that block."""
    edge = stage.scene(LINEAR, "", (1,)).edges[0]
    leaf = msgspec.structs.replace(edge.leaves[0], node=node)
    root = merkle.root_over([stage.chain.leaf_hash(leaf)])
    report = msgspec.structs.replace(edge.report, root=root, count=1, roster_block=roster_block)
    signature = edge.key.sign_digest(edge_root_digest(stage.chain.ledger_domain, report))
    return calls.InactiveSender(report, signature, calls.Placed(leaf, 0, ()))


@pytest.mark.parametrize(("distance", "proven"), [(32, False), (33, True)])
def test_a_sender_may_be_32_blocks_younger_than_the_roster(stage: Stage, distance: int, proven: bool) -> None:
    stage.judges()
    wish = registration(stage.chain, stage.evm.now + 99, 10, 10, tier=1, parent=2)
    assert stage.names(wish, REG) == ["Registered"]
    call = lone_sender(stage, 11, stage.chain.node(11).since - distance)
    if proven:
        assert stage.names(call, ODD) == PROVEN
    else:
        assert stage.refusal(call, ODD) == ("NotProven",)


@pytest.mark.parametrize("node", [0, 2, 6, 11, 99])
def test_no_node_an_edge_and_another_edges_device_must_not_be_in(stage: Stage, node: int) -> None:
    stage.judges()
    assert stage.names(lone_sender(stage, node, stage.evm.block), ODD) == PROVEN


def test_one_leaf_does_not_stand_twice_because_it_is_shown_twice(stage: Stage) -> None:
    stage.judges()
    edge = stage.scene(LINEAR, "", (2,)).edges[0]
    once = edge.placed(0)
    assert stage.refusal(calls.DuplicateSender(edge.report, edge.signature, once, once), ODD) == ("Unrelated",)


@pytest.mark.parametrize(
    ("name", "wanted", "strikes"),
    [
        ("omission", calls.Omission, False), ("edge_omission", calls.EdgeOmission, True),
        ("conflicting_receipts", calls.ConflictingReceipts, False), ("conflicting_roots", calls.ConflictingRoots, False),
    ],
)  # fmt: skip
def test_broken_promises_are_proven(stage: Stage, name: str, wanted: type[AnyCall], strikes: bool) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (2,))
    assert stage.names(accusation(stage, scene, name, wanted, True), ODD) == PROVEN + ["RoundStruck"] * strikes


def test_an_omitted_device_is_paid_whoever_brings_the_proof(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (2,))
    before = stage.chain.token.balance(DEVICE) + stage.chain.token.balance(NODES[4].address)
    stage.names(accusation(stage, scene, "omission", calls.Omission, True), ODD)
    stage.names(calls.Collect(b"omission".ljust(32, b"\0"), LINEAR, 1, 2), ODD)
    assert stage.chain.token.balance(DEVICE) + stage.chain.token.balance(NODES[4].address) == before + 50


@pytest.mark.parametrize(("late", "proven"), [(0, False), (1, True)])
def test_a_cloud_has_an_hour_to_read_a_forced_update(stage: Stage, late: int, proven: bool) -> None:
    stage.judges()
    stage.names(direct(stage.chain, NODES[3]), ODD)
    stage.names(calls.Burn(0), ODD, 3_600 + late - 1)
    made, at = stage.anchor(1)
    call = calls.ForcedIgnored(1, made, at)
    if proven:
        assert stage.names(call, ODD) == [*PROVEN, "RoundStruck"]
    else:
        assert stage.refusal(call, ODD) == ("NotProven",)


def test_an_acknowledged_update_and_an_old_head_prove_no_neglect(stage: Stage) -> None:
    stage.judges()
    stage.names(direct(stage.chain, NODES[3]), ODD)
    stage.names(calls.Burn(0), ODD, 4_000)
    first, at = stage.anchor(1)
    second, later = stage.anchor(1, forced=stage.chain.forced_chain[1])
    assert stage.refusal(calls.ForcedIgnored(1, first, at), ODD) == ("Unrelated",)
    assert stage.refusal(calls.ForcedIgnored(1, second, later), ODD) == ("NotProven",)
    assert stage.refusal(calls.ForcedIgnored(1, second, at), ODD) == ("NotAnchored", 1, 2)


def test_a_fault_of_the_cloud_that_is_found_too_late_costs_its_stake_and_strikes_nothing(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "node", (2,))
    call = accusation(stage, scene, "wrong_node", calls.WrongNode, True)
    assert stage.names(call, ODD, 1_000) == PROVEN
    assert stage.chain.task(LINEAR).struck == 0


@pytest.mark.parametrize(("wait", "bound"), [(24 * 3_600, True), (24 * 3_600 + 1, False)])
def test_a_rotated_account_binds_its_node_for_a_day(stage: Stage, wait: int, bound: bool) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (2,))
    call = accusation(stage, scene, "conflicting_roots", calls.ConflictingRoots, True)
    stage.names(calls.ProposeAccount(2, JUDGE), EDGE)
    stage.names(calls.AcceptAccount(2), JUDGE)
    if bound:
        assert stage.names(call, ODD, wait) == PROVEN
    else:
        assert stage.refusal(call, ODD, wait) == ("BadSignature", 2)


def test_a_senders_status_counts_from_32_blocks_on(stage: Stage) -> None:
    """Suspended well before the roster that the edge admits by; and just before it."""
    stage.judges()
    stage.names(calls.Suspend(4), REG)
    suspended = stage.evm.block
    for distance, proven in ((31, False), (32, True)):
        scene = stage.scene(LINEAR, "", (1,), seed=distance, roster_block=suspended + distance)
        call = calls.InactiveSender(scene.edges[0].report, scene.edges[0].signature, scene.edges[0].placed(0))
        if proven:
            assert stage.names(call, ODD) == PROVEN
        else:
            assert stage.refusal(call, ODD) == ("NotProven",)


def test_a_member_that_is_no_node_yet_convicts_nobody(stage: Stage) -> None:
    stage.judges()
    member = stage.batch(1, parent=3)[0]
    call = lone_sender(stage, member.first, stage.evm.block)
    assert stage.refusal(call, ODD) == ("NotProven",)
    assert stage.names(member, ODD) == ["Registered"]
    assert stage.names(call, ODD) == PROVEN


def test_nothing_remains_of_a_proof_that_the_registry_refuses(stage: Stage) -> None:
    """The Arbiter is no arbiter: it finds the fault, and may not punish it."""
    scene = stage.scene(LINEAR, "", (2,))
    edge = scene.edges[0]
    other = msgspec.structs.replace(edge.report, count=9)
    signature = edge.key.sign_digest(edge_root_digest(stage.chain.ledger_domain, other))
    call = calls.ConflictingRoots(edge.report, edge.signature, other, signature)
    assert stage.refusal(call, ODD) == ("NotArbiter", stage.evm.contracts["Arbiter"])
    assert stage.chain.verdicts == {}
    stage.judges()
    assert stage.names(call, ODD) == PROVEN


# ---------------------------------------------------------------------------------------------------------------- court


def demanded(stage: Stage, kind: int, task: int = LINEAR, index: int = 1, chunk: int = 1) -> tuple[Scene, calls.Demand]:
    stage.judges()
    scene = stage.scene(task, "", (3, 2))
    wish = calls.Demand(scene.header, scene.anchored_at, scene.member(0), kind, index, chunk)
    assert stage.names(wish, ODD) == ["Demanded", "Held", "Transfer"]
    return scene, wish


def answers(scene: Scene) -> dict[int, AnyCall]:
    edge = scene.edges[0]
    tree = chunks.update_tree(edge.integers[1], edge.salts[1], scene.width)
    data = edge.salts[1] + chunks.update_chunk(edge.integers[1], 1, scene.width)
    return {
        1: calls.AnswerLeaf(1, edge.report, edge.placed(1)),
        2: calls.AnswerChunk(1, edge.report, edge.placed(1), 1, data, tuple(tree.path(1))),
        3: calls.AnswerRoot(1, edge.report, edge.signature),
    }


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_demand_that_is_met_in_time_pays_who_meets_it(stage: Stage, kind: int) -> None:
    scene, _ = demanded(stage, kind)
    for other, answer in answers(scene).items():
        if other != kind:
            assert stage.refusal(answer, OWN) == ("BadKind", other)
    before = stage.chain.token.balance(OWN)
    assert stage.refusal(calls.Expire(1), ODD) == ("TooEarly", stage.chain.demands[1].deadline)
    assert stage.names(answers(scene)[kind], OWN) == ["Answered", "Released", "Transfer"]
    assert stage.chain.token.balance(OWN) == before + 50
    assert stage.refusal(answers(scene)[kind], OWN) == ("UnknownDispute", 1)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_no_spoiled_answer_is_accepted_by_one_ledger_alone(stage: Stage, kind: int) -> None:
    scene, _ = demanded(stage, kind)
    for seed in range(FLAWS):
        before = stage.evm.snapshot()
        Stage(stage.evm, stage.chain.copy()).act(altered(answers(scene)[kind], Random(seed)), OWN)
        stage.evm.revert(before)


@pytest.mark.parametrize(
    ("kind", "task", "accused"), [(1, LINEAR, 2), (2, LINEAR, 1), (2, TWO_LEVELS, 2), (3, TWO_LEVELS, 1)]
)
def test_a_demand_that_nobody_meets_costs_the_accused_its_stake(
    stage: Stage, kind: int, task: int, accused: int
) -> None:
    scene, _ = demanded(stage, kind, task)
    assert stage.chain.demands[1].accused == accused
    deadline = stage.chain.demands[1].deadline
    late = stage.refusal(answers(scene)[kind], OWN, 200)
    assert late == ("TooLate", deadline)
    struck = ["RoundStruck"] if accused == 1 else []
    expected = ["Expired", *TAKEN, *struck, "Transfer"]
    assert stage.names(calls.Expire(1), OWN) == expected
    assert stage.refusal(calls.Expire(1), OWN) == ("UnknownDispute", 1)


def test_demands_are_refused_in_the_order_that_the_interface_states(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (3, 2))
    wish = calls.Demand(scene.header, scene.anchored_at, scene.member(0), 2, 1, 1)
    other = msgspec.structs.replace
    assert stage.refusal(other(wish, kind=0), ODD) == ("BadKind", 0)
    assert stage.refusal(other(wish, kind=4), ODD) == ("BadKind", 4)
    assert stage.refusal(other(wish, anchored_at=5), ODD) == ("NotAnchored", LINEAR, 1)
    moved = other(wish.member, edge=other(wish.member.edge, round=2))
    assert stage.refusal(other(wish, member=moved), ODD) == ("Unrelated",)
    assert stage.refusal(other(wish, member=other(wish.member, index=1)), ODD) == ("BadProof",)
    assert stage.refusal(other(wish, index=3), ODD) == ("OutOfRange",)
    assert stage.refusal(other(wish, chunk=2), ODD) == ("OutOfRange",)
    court = stage.evm.contracts["Court"]
    assert stage.refusal(wish, JUDGE) == ("ERC20InsufficientAllowance", court, 0, 50)
    assert stage.refusal(wish, ODD, 1_000) == ("TooLate", scene.anchored_at + 1_000)
    assert stage.chain.disputes == 0


def challenged(stage: Stage, subject: int = 5) -> tuple[Header, int]:
    stage.judges()
    made, at = stage.anchor(1)
    assert stage.names(calls.Challenge(made, at, subject, GENESIS), ODD) == ["Challenged", "Held", "Transfer"]
    return made, at


def heard(stage: Stage, *digests: bytes) -> None:
    """Edges 2, 7, 8 and 9 commit to digests and reveal them."""
    nodes = [(2, EDGE), (7, NODES[6].address), (8, NODES[7].address), (9, NODES[8].address)]
    for (node, account), digest in zip(nodes, digests, strict=False):
        assert stage.names(calls.Commit(1, node, commitment(1, node, digest, GENESIS)), account) == ["Committed"]
    stage.names(calls.Burn(0), ODD, 100)
    for (node, account), digest in zip(nodes, digests, strict=False):
        assert stage.names(calls.Reveal(1, node, digest, GENESIS), account) == ["Revealed"]
    stage.names(calls.Burn(0), ODD, 100)


TAKEN = ["Released", "Slashed", "StatusChanged", "Settled", "Transfer", "Transfer"]
GUILTY = ["Decided", *TAKEN, "RoundStruck", "Transfer"]


def test_three_that_agree_with_the_challenger_convict(stage: Stage) -> None:
    challenged(stage)
    heard(stage, ZERO32, ZERO32, ZERO32)
    assert stage.names(calls.Conclude(1), OWN) == GUILTY
    assert stage.refusal(calls.Conclude(1), OWN) == ("UnknownDispute", 1)


def test_three_that_agree_with_the_header_share_the_bond(stage: Stage) -> None:
    made, _ = challenged(stage)
    heard(stage, made.rewards_root, made.rewards_root, made.rewards_root)
    assert stage.names(calls.Conclude(1), OWN) == ["Decided", "Released"]
    shares = [stage.chain.withdrawable[account] for account in (EDGE, NODES[6].address, NODES[7].address)]
    assert shares == [16, 16, 18]
    assert stage.names(calls.WithdrawShares(), EDGE) == ["Transfer"]
    assert stage.refusal(calls.WithdrawShares(), EDGE) == ("NothingToWithdraw", EDGE)


@pytest.mark.parametrize("digests", [(), (ZERO32, ZERO32), (ZERO32, ZERO32, GENESIS)])
def test_the_council_decides_where_witnesses_are_few_or_differ(stage: Stage, digests: tuple[bytes, ...]) -> None:
    challenged(stage)
    heard(stage, *digests)
    end = stage.chain.challenges[1].reveal_end
    council = COUNCIL_KEY.address
    assert stage.refusal(calls.Decide(1, True), OWN) == ("NotAuthorised", OWN, COUNCIL)
    assert stage.refusal(calls.Decide(1, True), council) == ("TooEarly", end)
    assert stage.refusal(calls.Lapse(1), ODD) == ("TooEarly", end)
    assert stage.names(calls.Conclude(1), OWN) == ["Referred"]
    assert stage.refusal(calls.Conclude(1), OWN) == ("TooLate", end)
    assert stage.names(calls.Decide(1, True), council) == GUILTY


def test_a_council_that_acquits_gives_the_bond_to_the_accused(stage: Stage) -> None:
    challenged(stage)
    heard(stage)
    stage.names(calls.Conclude(1), OWN)
    assert stage.names(calls.Decide(1, False), COUNCIL_KEY.address) == ["Decided", "Released"]
    assert stage.names(calls.WithdrawShares(), CLOUD) == ["Transfer"]


def test_a_challenge_that_the_council_leaves_lapses(stage: Stage) -> None:
    challenged(stage)
    heard(stage)
    stage.names(calls.Conclude(1), OWN)
    until = stage.chain.challenges[1].council_end
    assert stage.refusal(calls.Lapse(1), OWN) == ("TooEarly", until)
    assert stage.refusal(calls.Decide(1, True), COUNCIL_KEY.address, 100) == ("TooLate", until)
    assert stage.names(calls.Lapse(1), OWN) == ["Lapsed", "Released", "Transfer"]


@pytest.mark.parametrize("subject", [1, 2, 3, 4, 5, 6])
def test_a_challenge_names_what_the_header_says(stage: Stage, subject: int) -> None:
    made, _ = challenged(stage, subject)
    said = (made.weights_root, made.chunks_root, made.model_out, made.scores_root, made.rewards_root, made.manifest)
    assert stage.chain.challenges[1].committed == said[subject - 1]


def test_challenges_are_refused_in_the_order_that_the_interface_states(stage: Stage) -> None:
    stage.judges()
    made, at = stage.anchor(1)
    assert stage.refusal(calls.Challenge(made, 5, 0, GENESIS), ODD) == ("BadSubject", 0)
    assert stage.refusal(calls.Challenge(made, 5, 7, GENESIS), ODD) == ("BadSubject", 7)
    assert stage.refusal(calls.Challenge(made, 5, 1, GENESIS), ODD) == ("NotAnchored", 1, 1)
    assert stage.refusal(calls.Challenge(made, at, 4, ZERO32), ODD) == ("SameClaim",)
    assert stage.refusal(calls.Challenge(made, at, 4, ZERO32), ODD, 100) == ("TooLate", at + 100)


def test_witnesses_are_active_edges_and_clouds_of_other_owners_one_each(stage: Stage) -> None:
    challenged(stage)
    for node, account in ((2, ODD), (4, DEVICE), (99, ODD), (1, CLOUD)):
        assert stage.refusal(calls.Commit(1, node, GENESIS), account) == ("NotWitness", node)
    assert stage.refusal(calls.Commit(2, 2, GENESIS), EDGE) == ("UnknownDispute", 2)
    assert stage.names(calls.Commit(1, 2, GENESIS), EDGE) == ["Committed"]
    assert stage.refusal(calls.Commit(1, 2, GENESIS), EDGE) == ("NotWitness", 2)
    stage.names(calls.Suspend(3), REG)
    assert stage.refusal(calls.Commit(1, 3, GENESIS), NODES[2].address) == ("NotWitness", 3)
    assert stage.refusal(calls.Reveal(1, 2, GENESIS, GENESIS), EDGE) == (
        "TooEarly",
        stage.chain.challenges[1].commit_end,
    )
    end = stage.chain.challenges[1].commit_end
    assert stage.refusal(calls.Commit(1, 7, GENESIS), NODES[6].address, 100) == ("TooLate", end)
    assert stage.refusal(calls.Reveal(1, 2, GENESIS, GENESIS), EDGE) == ("BadReveal", 2)
    end = stage.chain.challenges[1].reveal_end
    assert stage.refusal(calls.Reveal(1, 2, GENESIS, GENESIS), EDGE, 100) == ("TooLate", end)


def test_seven_witnesses_are_enough(stage: Stage) -> None:
    """Edges 2, 3, 7, 8, 9, cloud 10 and a new edge are seven; one more comes too late."""
    for node in (10, 11):
        wish = registration(stage.chain, stage.evm.now + 99, node, node, tier=2, parent=1)
        assert stage.names(wish, REG) == ["Registered"]
    challenged(stage)
    for id in (2, 3, 7, 8, 9, 10, 11):
        assert stage.names(calls.Commit(1, id, GENESIS), stage.chain.node(id).account) == ["Committed"]
    assert stage.refusal(calls.Commit(1, 12, GENESIS), stage.chain.node(12).account) == ("TooMany", 1)


def test_two_nodes_of_one_owner_have_one_voice(stage: Stage) -> None:
    twin = registration(stage.chain, stage.evm.now + 99, 10, 10, tier=2, parent=1, owner=NODES[6].address)
    assert stage.names(twin, NODES[6].address) == ["Registered"]
    stage.names(calls.Admit(11), REG)
    challenged(stage)
    assert stage.names(calls.Commit(1, 7, GENESIS), NODES[6].address) == ["Committed"]
    assert stage.refusal(calls.Commit(1, 11, GENESIS), NODES[10].address) == ("NotWitness", 11)


def test_a_node_does_not_judge_what_its_owner_challenged(stage: Stage) -> None:
    """The challenger is the account of another node of the same owner, here the owner of edge 2."""
    stage.judges()
    twin = registration(stage.chain, stage.evm.now + 99, 10, 10, tier=2, parent=1, owner=OWN)
    stage.names(twin, OWN)
    stage.names(calls.Mint(NODES[10].address, 50), stage.evm.admin)
    stage.names(calls.Approve(stage.evm.contracts["Court"], 50), NODES[10].address)
    made, at = stage.anchor(1)
    stage.names(calls.Challenge(made, at, 1, GENESIS), NODES[10].address)
    assert stage.refusal(calls.Commit(1, 2, GENESIS), EDGE) == ("NotWitness", 2)


def test_a_challenger_does_not_judge_its_own_challenge(stage: Stage) -> None:
    stage.judges()
    made, at = stage.anchor(1)
    witness = NODES[6].address
    stage.names(calls.Mint(witness, 50), stage.evm.admin)
    stage.names(calls.Approve(stage.evm.contracts["Court"], 50), witness)
    stage.names(calls.Challenge(made, at, 1, GENESIS), witness)
    assert stage.refusal(calls.Commit(1, 7, GENESIS), witness) == ("NotWitness", 7)


WITNESS = NODES[6].address
COMMIT = calls.Commit(1, 7, commitment(1, 7, GENESIS, GENESIS))
REVEAL = calls.Reveal(1, 7, GENESIS, GENESIS)


def at_the_edge(stage: Stage, call: AnyCall, sender: bytes, time: int, opens: bool, *refusal: object) -> None:
    """`call` changes at `time` from refused to accepted (`opens`), or from accepted to refused."""
    before = stage.evm.snapshot()
    for now, accepted in ((time - 1, not opens), (time, opens)):
        one = Stage(stage.evm, stage.chain.copy())
        step = one.act(call, sender, now - stage.evm.now)
        assert ((step.error, *step.arguments) == refusal, step.error == "") == (not accepted, accepted)
        stage.evm.revert(before)
        before = stage.evm.snapshot()


def test_the_phases_of_a_challenge_end_when_the_next_begins(stage: Stage) -> None:
    challenged(stage)
    ends = stage.chain.challenges[1]
    commit_end, reveal_end = ends.commit_end, ends.reveal_end
    at_the_edge(stage, COMMIT, WITNESS, commit_end, False, "TooLate", commit_end)
    stage.names(COMMIT, WITNESS)
    at_the_edge(stage, REVEAL, WITNESS, commit_end, True, "TooEarly", commit_end)
    at_the_edge(stage, REVEAL, WITNESS, reveal_end, False, "TooLate", reveal_end)
    at_the_edge(stage, calls.Conclude(1), ODD, reveal_end, True, "TooEarly", reveal_end)
    stage.names(calls.Conclude(1), ODD, 300)
    council_end = stage.chain.challenges[1].council_end
    at_the_edge(stage, calls.Decide(1, True), COUNCIL_KEY.address, council_end, False, "TooLate", council_end)
    at_the_edge(stage, calls.Lapse(1), ODD, council_end, True, "TooEarly", council_end)


def test_a_demand_is_met_before_its_deadline_and_expires_from_it_on(stage: Stage) -> None:
    scene, _ = demanded(stage, 1)
    deadline = stage.chain.demands[1].deadline
    at_the_edge(stage, answers(scene)[1], OWN, deadline, False, "TooLate", deadline)
    at_the_edge(stage, calls.Expire(1), OWN, deadline, True, "TooEarly", deadline)


def test_a_round_is_disputed_before_its_window_is_over(stage: Stage) -> None:
    stage.judges()
    scene = stage.scene(LINEAR, "", (3, 2))
    until = scene.anchored_at + 1_000
    demand = calls.Demand(scene.header, scene.anchored_at, scene.member(0), 1, 1, 0)
    challenge = calls.Challenge(scene.header, scene.anchored_at, 1, GENESIS)
    at_the_edge(stage, demand, ODD, until, False, "TooLate", until)
    at_the_edge(stage, challenge, ODD, until, False, "TooLate", until)


# ----------------------------------------------------------------------------------------------------------------- walks

BOUNDS = settings(
    max_examples=25, stateful_step_count=12, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.parametrize("kind", WALKS, ids=lambda kind: kind.__name__.lower())
def test_both_ledgers_agree_on_random_walks(opened: Opened, kind: type[Walk]) -> None:
    run_state_machine_as_test(type(kind.__name__, (kind,), {"opened": opened}), settings=BOUNDS)


def test_a_comparison_sees_a_call_that_was_made_to_one_ledger_alone(stage: Stage) -> None:
    elsewhere = Stage(stage.evm, stage.chain.copy())
    elsewhere.chain.apply(calls.Suspend(4), REG, stage.evm.now, stage.evm.block)
    with pytest.raises(Difference, match="node"):
        elsewhere.compare()
    with pytest.raises(Difference, match="BadStatus"):
        elsewhere.act(calls.Suspend(4), REG)
    stage.left.act(calls.Suspend(4), REG, stage.evm.now)
