"""The cloud hides what a private task has spent, counts a round twice as one, or leaves the noise out."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from ledger.audit.check import verify
from ledger.audit.report import Report
from middleware.errors import ConfigurationError, PeerFault
from middleware.maths import grid
from middleware.policy import MICRO, NOISE_ONE, RATE_ONE, Grid, LocalPrivacy, Policy, RecordPrivacy
from middleware.protocol import budget
from middleware.protocol import update as updates
from middleware.protocol.settlement import Settlement
from middleware.protocol.sums import NOTHING, alone
from middleware.types import ZERO32, Header, Verdict
from middleware.wire.message import Update, decode_stored
from tests.sim.history import History, Sent, policy_of
from tests.sim.private import AUDITOR, BOUND, PRIVATE, SECRET, PrivateHistory, private_policy


def audited(history: History, secret: bytes = SECRET) -> Report:
    return verify(history.record, history.store, scope="auditor", reader=AUDITOR, secret=secret)


def invalid(report: Report) -> list[tuple[str, int]]:
    return [(one.fault, one.round) for one in report.findings if one.verdict is Verdict.INVALID]


def test_an_honest_private_history_is_valid_to_the_bit_for_whoever_has_the_secret() -> None:
    report = audited(PrivateHistory(PRIVATE).run())
    assert report.verdict is Verdict.VALID, report.first and report.first.line()


@pytest.mark.parametrize("secret", [b"", b"\x01" * 32])
def test_without_the_secret_a_private_history_is_never_valid(secret: bytes) -> None:
    history = PrivateHistory(PRIVATE).run()
    assert audited(history, secret).verdict is Verdict.UNVERIFIABLE
    assert verify(history.record, history.store).verdict is Verdict.UNVERIFIABLE


class Hides(PrivateHistory):
    def header(self, number: int, header: Header) -> Header:
        return msgspec.structs.replace(header, budget=ZERO32) if number == 2 else header


class CountsLess(PrivateHistory):
    """Round 2 says what round 1 had spent."""

    def header(self, number: int, header: Header) -> Header:
        spent = budget.committed(self.policy, header.policy, 1)
        return msgspec.structs.replace(header, budget=spent) if number == 2 else header


@pytest.mark.parametrize("liar", [Hides, CountsLess])
def test_a_hidden_or_skipped_budget_is_named_in_public_scope(liar: type[PrivateHistory]) -> None:
    history = liar(PRIVATE).run()
    assert ("wrong-budget", 2) in invalid(verify(history.record, history.store))
    assert invalid(audited(history)) == [("wrong-budget", 2)]


class LeavesOutTheNoise(PrivateHistory):
    """Round 2 moves by the plain mean of the clipped updates."""

    def settled(self, number: int, settlement: Settlement) -> Settlement:
        if number != 2:
            return settlement
        quiet = np.zeros(self.policy.parameters, np.int64)
        model = grid.apply(self.model, quiet, self.policy.grid.exponent)
        blob = settlement.model_blob[: -4 * model.size] + model.tobytes()
        digest = self.store.put(blob)
        header = msgspec.structs.replace(settlement.header, model_out=digest)
        manifest = msgspec.structs.replace(settlement.manifest, model_out=digest)
        return msgspec.structs.replace(settlement, header=header, manifest=manifest, model=model, model_blob=blob)


def test_a_round_without_its_noise_is_named_by_whoever_has_the_secret() -> None:
    assert ("wrong-aggregate", 2) in invalid(audited(LeavesOutTheNoise(PRIVATE).run()))


def test_a_settlement_beyond_the_budget_does_not_happen() -> None:
    privacy = PRIVATE.privacy
    assert privacy is not None
    allowed = budget.spent_by(privacy, 2)
    short = private_policy(privacy=msgspec.structs.replace(privacy, epsilon=allowed))
    with pytest.raises(ConfigurationError, match=r"round 3 would bring .* the task ends here"):
        PrivateHistory(short).run()


def test_an_update_longer_than_the_bound_is_refused_before_it_is_added() -> None:
    """A device that does not clip: composed under a policy with twice the bound, judged under the true one."""
    privacy = PRIVATE.privacy
    assert privacy is not None
    wide = private_policy(privacy=msgspec.structs.replace(privacy, bound=2 * BOUND))

    class Long(PrivateHistory):
        def send(self, node: int, number: int) -> Sent:
            mine, self.policy = self.policy, wide
            try:
                sent = super().send(node, number)
            finally:
                self.policy = mine
            message = decode_stored(sent.received.frame, Update).message
            key = updates.content_key(message.wrapped, self.network[1])
            updates.judge(message, sent.body, key, self.policy)
            return sent

    with pytest.raises(PeerFault, match="longer than the policy's bound"):
        Long(PRIVATE).run()


def test_one_client_moves_the_noised_model_by_no_more_than_its_bound() -> None:
    """Two runs that differ in one client, under the same noise: at most bound / clients apart, and the rounding."""
    privacy = PRIVATE.privacy
    assert privacy is not None
    rows = [np.full(600, 16, np.int16), np.full(600, -16, np.int16)]
    for row in rows:
        assert np.linalg.norm(row.astype(float)) <= BOUND
    key = budget.noise_key(privacy, SECRET, ZERO32, 1, 1)
    without = budget.released(privacy, key, NOTHING, 600)
    for row in rows:
        moved = budget.released(privacy, key, alone(row.astype(np.int64), 1), 600) - without
        assert np.abs(moved).max() <= 16 / privacy.clients + 1


# ------------------------------------------------------------------------------------------------- noise on the device

LOCAL = policy_of(local=LocalPrivacy(8 * MICRO, 300, 3000), samples_cap=1, grid=Grid(24, -10))
RECORDS = policy_of(records=RecordPrivacy(8 * MICRO, NOISE_ONE, 1.0, RATE_ONE // 10, 20))


class HidesItAsWell(History):
    def header(self, number: int, header: Header) -> Header:
        return msgspec.structs.replace(header, budget=ZERO32) if number == 2 else header


@pytest.mark.parametrize("policy", [LOCAL, RECORDS], ids=["local", "records"])
def test_where_devices_add_the_noise_anyone_can_check_the_round_and_the_budget(policy: Policy) -> None:
    history = History(policy).run()
    report = verify(history.record, history.store)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    liar = HidesItAsWell(policy).run()
    assert invalid(verify(liar.record, liar.store)) == [("wrong-budget", 2)]
