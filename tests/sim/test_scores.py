"""Pay by scores, audited: an honest history is VALID to the bit, and each lie is called by its name."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from ledger.audit.check import examine, verify
from ledger.audit.explain import payment
from ledger.audit.report import Report
from middleware.errors import ConfigurationError
from middleware.maths import reward
from middleware.policy import Grid, Policy, Rule
from middleware.protocol import scoring
from middleware.protocol.settlement import Forced, Opening, Settlement
from middleware.trust import merkle
from middleware.types import ZERO32, Header, Verdict
from middleware.wire import tensors
from middleware.wire.manifest import Manifest, ManifestScore, Scoring, decode_manifest, encode_manifest
from tests.sim.history import DEVICES, TASK, History
from tests.sim.scored import SCORED, Data, ScoredHistory


def audited(history: History, data: Data | None = None) -> Report:
    return verify(history.record, history.store, evaluation=data if data is not None else Data())


def assert_first(history: History, subject: str, round: int, data: Data | None = None) -> None:
    report = audited(history, data)
    assert report.verdict is Verdict.INVALID and report.first is not None
    assert (report.first.subject, report.first.round, report.first.check) == (subject, round, "scores"), (
        report.first.line()
    )
    assert "anchor transaction" in report.first.proven_by


def changed(made: Scoring, node: int, **changes: object) -> Scoring:
    lines = (msgspec.structs.replace(one, **changes) if one.node == node else one for one in made.scores)
    return msgspec.structs.replace(made, scores=tuple(lines))


# -------------------------------------------------------------------------------------------------------------- honest


def test_an_honest_history_is_valid_and_replayed_to_the_bit() -> None:
    history = ScoredHistory().run()
    report = audited(history)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    assert not any("measured" in words for words in report.not_checked)
    examined = examine(history.record, history.store, evaluation=Data())
    for (_, number), judged in examined.rounds.items():
        assert judged.settlement is not None
        header = history.headers[number - 1]
        assert judged.settlement.header.scores_root == header.scores_root != ZERO32
        assert judged.settlement.header.rewards_root == header.rewards_root


def test_without_evaluation_data_the_measurement_is_said_to_be_unchecked() -> None:
    for data in (None, Data(root=None)):
        history = ScoredHistory().run()
        report = verify(history.record, history.store, evaluation=data)
        assert report.verdict is Verdict.VALID
        assert any("what rounds were measured with" in words for words in report.not_checked)


def test_an_epoch_pays_at_its_end_and_the_last_round_ends_one() -> None:
    history = ScoredHistory().run()
    totals = [sum(amount for _, amount in manifest.rewards) for manifest in history.manifests]
    assert totals[0] == 0 and totals[1] == totals[2] and totals[3] < totals[4]
    assert 0 < totals[1] <= 2 * SCORED.reward_per_round
    assert totals[4] <= 5 * SCORED.reward_per_round
    pools = [manifest.scoring.pool // SCORED.reward_per_round for manifest in history.manifests if manifest.scoring]
    assert pools == [1, 2, 1, 2, 1]


class Absent(ScoredHistory):
    """Round 2 is void and ends an epoch; one device misses round 3."""

    def present(self, number: int) -> tuple[int, ...]:
        return {2: DEVICES[:2], 3: DEVICES[:3]}.get(number, DEVICES)


def test_void_rounds_and_absent_devices_keep_their_standing() -> None:
    history = Absent().run()
    report = audited(history)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    first, void, third = (manifest.scoring for manifest in history.manifests[:3])
    assert first and void and third
    assert history.manifests[1].void and void.importance == ZERO32 and void.pool == SCORED.reward_per_round
    before, behind = ({one.node: one for one in made.scores} for made in (first, void))
    assert all(behind[node].reputation == before[node].reputation for node in DEVICES)
    assert all(behind[node].epoch == before[node].epoch for node in DEVICES)
    assert sum(amount for _, amount in history.manifests[1].rewards) > 0
    assert third.scores[-1].node == DEVICES[3]
    missing = third.scores[-1]
    assert (missing.raw, missing.epoch) == (0, 0)
    assert missing.reputation == reward.reputation_after(behind[DEVICES[3]].reputation, False)


class Copying(ScoredHistory):
    """The last device sends what the first one sent, from round 2 on its neighbour returns the last move."""

    def update_of(self, node: int, number: int) -> np.ndarray:
        if node == DEVICES[0]:
            self.original = super().update_of(node, number)
        if node == DEVICES[1] and self.moves:
            return np.asarray(self.moves[0] * self.policy.grid.step, np.float32)
        return self.original if node in (DEVICES[0], DEVICES[3]) else super().update_of(node, number)


def test_copies_and_echoes_are_named_and_earn_nothing() -> None:
    history = Copying().run()
    assert audited(history).verdict is Verdict.VALID
    for number, manifest in enumerate(history.manifests, start=1):
        assert manifest.scoring is not None
        lines = {one.node: one for one in manifest.scoring.scores}
        copy, echo = lines[DEVICES[3]], lines[DEVICES[1]]
        assert copy.reason == "copy" and copy.raw != 0 and copy.counted == 0
        assert (echo.reason == "echo") == (number > 1)
    assert DEVICES[3] not in history.rewards


class Forcing(ScoredHistory):
    """In round 3 one device's update comes by the ledger, because no edge took it."""

    def present(self, number: int) -> tuple[int, ...]:
        return DEVICES[:3] if number == 3 else DEVICES

    def before_round(self, number: int) -> None:
        if number == 3:
            self.sent = self.send(DEVICES[3], number)
            self.force(self.sent)

    def forced(self, number: int) -> Forced:
        return Forced(self.chain, (self.sent.received,) if number == 3 else ())


def test_a_forced_update_is_scored_like_any_other() -> None:
    history = Forcing().run()
    judged = {finding.check: finding for finding in audited(history).findings}
    assert not judged.keys() & {"content", "aggregate", "model", "scores", "rewards"}
    assert history.manifests[2].scoring is not None and history.manifests[2].scoring.scores[-1].raw != 0
    found = payment(history.record, history.store, TASK, 3, DEVICES[3])
    assert all(step.holds for step in found.steps) and found.worth is not None and found.worth.score.weight > 0


# ----------------------------------------------------------------------------------------------------------------- lies


@pytest.mark.parametrize("field", ["raw", "epoch", "reputation", "counted"])
def test_a_padded_line_is_named(field: str) -> None:
    class Padded(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            if number != 3:
                return made
            line = next(one for one in made.scores if one.node == DEVICES[1])
            return changed(made, line.node, **{field: getattr(line, field) + 1})

    assert_first(Padded().run(), f"score of end-{DEVICES[1]} (node {DEVICES[1]})", 3)


def test_a_padded_pool_is_named() -> None:
    class Padded(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            return msgspec.structs.replace(made, pool=made.pool + 1) if number == 4 else made

    assert_first(Padded().run(), "pool", 4)


def test_a_node_that_is_left_out_or_made_up_is_named() -> None:
    class LeftOut(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            return msgspec.structs.replace(made, scores=made.scores[1:]) if number == 3 else made

    class MadeUp(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            new = ManifestScore(8, 0, 0, 10**15, 1500)
            return msgspec.structs.replace(made, scores=(*made.scores, new)) if number == 4 else made

    first = LeftOut().run()
    assert_first(first, f"score of end-{DEVICES[0]} (node {DEVICES[0]})", 3)
    assert_first(MadeUp().run(), "score of node 8", 4)


def test_scores_in_another_order_are_named() -> None:
    class Shuffled(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            return msgspec.structs.replace(made, scores=made.scores[::-1]) if number == 2 else made

    assert_first(Shuffled().run(), "scores", 2)


def test_an_epoch_that_was_not_paid_by_its_scores_is_named() -> None:
    class Mispaid(ScoredHistory):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            (node, amount), *others = manifest.rewards or ((0, 0),)
            padded = ((node, amount + 1), *others)
            return msgspec.structs.replace(manifest, rewards=padded) if number == 2 else manifest

        def header(self, number: int, header: Header) -> Header:
            root = merkle.sum_root(decode_manifest(self.store.blobs[header.manifest]).rewards)
            return msgspec.structs.replace(header, rewards_root=root)

    report = audited(Mispaid().run())
    assert report.first is not None and (report.first.check, report.first.round) == ("rewards", 2)
    assert report.first.subject.startswith("reward of end-")


def test_a_measurement_on_other_data_is_named() -> None:
    """Everything behind v is right; only who measures again can tell."""

    class Bent(ScoredHistory):
        def vector(self, number: int, settlement: Settlement, opening: Opening, slice: int) -> np.ndarray:
            honest = super().vector(number, settlement, opening, slice)
            return honest + (0.03 * np.linalg.norm(honest) / np.sqrt(len(honest)) if number == 3 else 0.0)

    history = Bent().run()
    assert_first(history, "measurement", 3)
    assert verify(history.record, history.store).verdict is Verdict.VALID


def test_a_measurement_on_another_slice_is_named() -> None:
    class Chosen(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            return msgspec.structs.replace(made, slice=(made.slice + 1) % 3) if number == 2 else made

    assert_first(Chosen().run(), "slice", 2)


def test_evaluation_data_that_the_policy_does_not_name_is_named() -> None:
    assert_first(ScoredHistory().run(), "evaluation set", 1, Data(root=bytes(32)))


def test_a_header_without_its_scores_is_named() -> None:
    class Bare(ScoredHistory):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, scores_root=ZERO32) if number == 2 else header

    assert_first(Bare().run(), "scoresRoot", 2)


def test_a_manifest_without_scores_is_named() -> None:
    class Silent(ScoredHistory):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            return msgspec.structs.replace(manifest, scoring=None) if number == 5 else manifest

    assert_first(Silent().run(), "scores", 5)


def test_scores_where_participation_is_paid_are_named() -> None:
    class Scored(History):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            return msgspec.structs.replace(manifest, scoring=Scoring(ZERO32, 0, 0, 0, ())) if number == 2 else manifest

    history = Scored().run()
    report = verify(history.record, history.store)
    assert report.first is not None and (report.first.subject, report.first.round) == ("scores", 2)


def test_an_importance_that_is_missing_or_malformed_is_named() -> None:
    class Short(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            return msgspec.structs.replace(made, importance=self.store.put(b"\0\0")) if number == 3 else made

    assert_first(Short().run(), "importance", 3)
    history = ScoredHistory().run()
    made = history.manifests[2].scoring
    assert made is not None
    del history.store.blobs[made.importance]
    report = audited(history)
    assert report.verdict is Verdict.UNVERIFIABLE and report.first is not None
    assert (report.first.subject, report.first.round) == ("importance", 3)
    assert [finding.subject for finding in report.findings] == ["importance", "scores"]


# -------------------------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("kind", [ScoredHistory, Absent, Copying])
def test_explain_derives_every_factor(kind: type[ScoredHistory]) -> None:
    history = kind().run()
    for number in range(1, 6):
        for node in DEVICES:
            found = payment(history.record, history.store, TASK, number, node)
            assert all(step.holds for step in found.steps), [step for step in found.steps if not step.holds]
            worth = found.worth
            assert worth is not None and worth.not_derived == ""
            assert worth.settles == (number in (2, 4, 5)) and worth.epoch_first == (number - 1) // 2 * 2 + 1
            assert found.earned == (worth.share if worth.settles else 0)
            assert worth.epoch[-1].epoch == sum(row.points for row in worth.epoch)
            assert [number for number, _ in worth.reputation] == list(range(1, number + 1))
            assert msgspec.json.encode(found)
    shares = [payment(history.record, history.store, TASK, 4, node) for node in DEVICES]
    assert sum(found.earned for found in shares) + shares[0].remainder == shares[0].pool


def test_explain_names_the_factor_that_does_not_follow() -> None:
    class Padded(ScoredHistory):
        def told(self, number: int, made: Scoring) -> Scoring:
            line = next(one for one in made.scores if one.node == DEVICES[1])
            return changed(made, line.node, reputation=1499) if number == 4 else made

    history = Padded().run()
    failing = [
        step.what for step in payment(history.record, history.store, TASK, 4, DEVICES[1]).steps if not step.holds
    ]
    assert failing == ["its reputation before, and whether it counted, give its reputation"]


def test_explain_says_what_it_could_not_derive() -> None:
    history = ScoredHistory().run()
    made = history.manifests[3].scoring
    assert made is not None
    del history.store.blobs[made.importance]
    found = payment(history.record, history.store, TASK, 4, DEVICES[0])
    assert found.worth is not None and made.importance.hex()[:16] in found.worth.not_derived
    assert all(step.holds for step in found.steps)


# ---------------------------------------------------------------------------------------------------------------- state


def test_known_moves_from_models_are_those_that_were_remembered() -> None:
    """A cloud that was killed, and an auditor who begins in the middle, find what the others remember."""
    history = Absent().run()

    def model(digest: bytes) -> np.ndarray:
        return tensors.decode_model(history.store.blobs[digest], SCORED.parameters)

    found = scoring.known_moves(reversed(history.headers), model, SCORED.grid.exponent)
    assert len(found) == len(history.moves) == 3
    assert all(np.array_equal(one, other) for one, other in zip(found, history.moves, strict=True))


def test_participation_keeps_its_manifest_and_lists_no_scores() -> None:
    history = History().run()
    assert all(header.scores_root == ZERO32 for header in history.headers)
    data = encode_manifest(history.manifests[0])
    assert data[0] == 0x9E  # an array of 14: no field for scores
    assert encode_manifest(ScoredHistory().run().manifests[0])[0] == 0x9F


def test_policies_that_cannot_be_scored_are_refused() -> None:
    fields = msgspec.structs.asdict(SCORED)
    for changes, words in (
        ({"rule": Rule("median", 0)}, "cannot be scored"),
        ({"arrangement": "two-level"}, "every update in one place"),
        ({"grid": Grid(16, 1)}, "grid"),
        ({"epoch_rounds": 0}, "epoch_rounds"),
        ({"epoch_rounds": 6}, "epoch_rounds"),
        ({"evaluation": "AB" * 32}, "64 hex digits"),
        ({"evaluation_slices": 0}, "evaluation_slices"),
        ({"pay": "much"}, "choose one of"),
        ({"pay": "participation"}, "belong to pay = scores"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Policy(**{**fields, **changes})
