"""What a task carries from round to round, audited: recomputed to the bit, and a wrong state is called by its name."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from ledger.audit.check import examine, verify
from ledger.audit.report import Finding, Report
from middleware.errors import PeerFault
from middleware.policy import Policy, Rule, Server
from middleware.protocol import memory
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement
from middleware.types import ZERO32, Verdict
from middleware.wire.state import State, decode_state, encode_state
from tests.sim.history import DEVICES, PARAMETERS, TASK, History, policy_of

SERVERS = {
    "step": Server("step", alpha=128), "momentum": Server("momentum"), "adagrad": Server("adagrad", rate=0.1),
    "adam": Server("adam", rate=0.1), "yogi": Server("yogi", rate=0.1),
}  # fmt: skip


def stated(kind: str = "momentum", **changes: object) -> Policy:
    return policy_of(server=SERVERS[kind], **changes)


def audited(history: History) -> Report:
    return verify(history.record, history.store)


def first(history: History) -> Finding:
    report = audited(history)
    assert report.first is not None
    return report.first


@pytest.mark.parametrize("kind", SERVERS)
def test_an_honest_history_is_valid_and_its_states_are_replayed_to_the_bit(kind: str) -> None:
    history = History(stated(kind)).run()
    report = audited(history)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    examined = examine(history.record, history.store)
    for number, manifest in enumerate(history.manifests, start=1):
        settlement = examined.rounds[TASK, number].settlement
        assert settlement is not None and settlement.manifest.state == manifest.state
        assert (manifest.state == ZERO32) == (kind == "step")
        assert hashlib.sha256(settlement.state_blob).digest() == manifest.state or kind == "step"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_step_takes_over_what_the_last_one_left(kind: str) -> None:
    """The same updates in round 2 move the model differently where a state is carried, and only there."""
    history = History(stated(kind)).run()
    forgetful = History(stated(kind))
    forgetful_round = forgetful.round

    def forget(number: int) -> None:
        forgetful.state = memory.EMPTY
        forgetful_round(number)

    forgetful.round = forget  # type: ignore[method-assign]
    forgetful.run()
    models = [[one.model_out for one in each.manifests] for each in (history, forgetful)]
    assert models[0][0] == models[1][0]
    assert (models[0][1] == models[1][1]) == (kind == "step")


def test_a_states_blob_that_replay_gives_need_not_be_kept() -> None:
    history = History(stated()).run()
    for manifest in history.manifests:
        del history.store.blobs[manifest.state]
    assert audited(history).verdict is Verdict.VALID


class Void(History):
    def present(self, number: int) -> tuple[int, ...]:
        return DEVICES[:2] if number == 2 else DEVICES


def test_a_void_round_leaves_the_state_as_it_found_it() -> None:
    history = Void(stated("adam")).run()
    assert audited(history).verdict is Verdict.VALID
    states = [manifest.state for manifest in history.manifests]
    assert history.manifests[1].void and states[0] == states[1] != states[2]


class Tampers(History):
    """The cloud's manifest of round 2 names another state: all of it well formed."""

    def state_told(self, settlement: Settlement) -> State:
        return settlement.state

    def settled(self, number: int, settlement: Settlement) -> Settlement:
        if number != 2:
            return settlement
        told = self.state_told(settlement)
        blob = encode_state(told)
        manifest = msgspec.structs.replace(settlement.manifest, state=hashlib.sha256(blob).digest())
        return msgspec.structs.replace(settlement, manifest=manifest, state=told, state_blob=blob)


def named(history: History, subject: str, fault: str) -> None:
    found = first(history)
    assert (found.verdict, found.subject, found.round, found.fault) == (Verdict.INVALID, subject, 2, fault), (
        found.line()
    )
    assert "anchor transaction" in found.proven_by
    others = [one for one in audited(history).findings if one.round != 2]
    assert others == []  # the next round is judged from what this one left, and holds


class Impossible(Tampers):
    def state_told(self, settlement: Settlement) -> State:
        return msgspec.structs.replace(settlement.state, vectors=(np.full(PARAMETERS, np.nan, np.float32),))


def test_a_state_that_no_step_leaves_is_named() -> None:
    class Last(Impossible):
        rounds = 2

    found = first(Last(stated(), rounds=2).run())
    assert (found.subject, found.fault, found.round) == ("state", "wrong-state", 2)


class Unused(Tampers):
    """The task carries nothing, and its manifest names something."""


def test_a_state_where_the_task_carries_none_is_named() -> None:
    named(Unused(policy_of()).run(), "state", "wrong-state")


class OtherStep(History):
    """The cloud takes another step than its policy says."""

    def round(self, number: int) -> None:
        honest = self.policy
        if number == 2:
            self.policy = msgspec.structs.replace(honest, server=Server("momentum", beta1=0.5))
        super().round(number)
        self.policy = honest

    def header(self, number, header):  # type: ignore[no-untyped-def]
        return msgspec.structs.replace(header, policy=self.headers[0].policy) if number == 2 else header


def test_another_step_than_the_policys_is_named() -> None:
    found = first(OtherStep(stated()).run())
    assert (found.subject, found.fault, found.round) == ("model", "wrong-aggregate", 2)


def test_without_the_last_rounds_manifest_the_round_cannot_be_told() -> None:
    history = History(stated()).run()
    del history.store.blobs[history.headers[0].manifest]
    report = audited(history)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert any("the model and the state it starts from" in one.what for one in report.findings if one.round == 2)


@pytest.mark.parametrize(
    "state",
    [
        State({4: (1, 1)}, None, ()),
        State({}, np.zeros(PARAMETERS, np.int32), ()),
        State({}, None, (np.zeros(PARAMETERS, np.float32),) * 2),
        State({}, None, (np.full(PARAMETERS, np.inf, np.float32),)),
    ],
)
def test_a_state_that_the_task_cannot_have_is_malformed(state: State) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        memory.read(stated(), encode_state(state))


def test_what_a_round_leaves_can_be_read_again() -> None:
    history = History(stated("yogi")).run()
    blob = history.store.blobs[history.manifests[-1].state]
    read = memory.read(history.policy, blob)
    assert [one.tobytes() for one in read.vectors] == [one.tobytes() for one in history.state.vectors]
    assert decode_state(blob, PARAMETERS).centre is None


def test_a_rule_without_memory_says_so() -> None:
    assert not Rule("multi-krum", 1).remembers


def test_behind_closed_updates_the_state_is_the_auditors_to_check() -> None:
    """The public cannot repeat a round whose updates only auditors open; it still sees that a state was promised."""
    history = History(stated())
    history.policy = msgspec.structs.replace(
        history.policy, readers="auditors", auditors=(history.auditor.public.hex(),)
    )
    history.run()
    report = verify(history.record, history.store)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert {one.subject for one in report.findings if one.check == "state"} == {"state"}
    whole = verify(history.record, history.store, scope="auditor", reader=history.auditor)
    assert whole.verdict is Verdict.VALID, whole.first and whole.first.line()


def test_two_levels_and_a_server_step_go_together() -> None:
    history = History(stated("adam", rule=Rule("mean", 0), arrangement="two-level")).run()
    assert audited(history).verdict is Verdict.VALID


class AllBlocked(History):
    """The first round starts from a state in which every device is blocked."""

    def settle(self, opening: Opening, received: list[Reported], forced: Forced) -> Settlement:
        blocked = State(dict.fromkeys(DEVICES, (3, 60)))
        self.seen = super().settle(msgspec.structs.replace(opening, state=blocked), received, forced)
        return self.seen


def test_a_round_in_which_the_rule_believes_nobody_moves_nothing_and_pays_nobody() -> None:
    history = AllBlocked(policy_of(rule=Rule("afa", 1)), rounds=1).run()
    settlement = history.seen
    assert not settlement.void and settlement.applied is None
    assert settlement.weights == dict.fromkeys(DEVICES, 0) and settlement.rewards == {}
    assert settlement.header.model_out == settlement.header.model_in and settlement.header.chunks_root == ZERO32
    assert first(history).fault == "wrong-weight"  # for nobody had earned that
