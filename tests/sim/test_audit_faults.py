"""Each way in which a history can be wrong is named; an honest one is VALID."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from ledger import events
from middleware.policy import CodecSpec, Policy, Rule
from middleware.protocol import sums
from middleware.protocol.settlement import Received, Reported, Settlement
from middleware.protocol.sums import Summed
from middleware.trust import roots
from middleware.trust.keys import NetworkKey
from middleware.types import Header, Status, Verdict
from middleware.wire import tensors
from middleware.wire.manifest import Manifest, ManifestEdge
from middleware.wire.policy import encode_policy, policy_hash
from tests.sim.history import History, Sent, policy_of
from tests.sim.judged import (
    TWO_LEVEL,
    Garbage,
    LyingCloud,
    audited,
    changed,
    first_invalid,
    for_auditors,
    header_lie,
    named,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": Rule("mean", 0), "min_updates": 1},
        {"rule": Rule("mean", 0), "min_updates": 1, "arrangement": "two-level"},
        {"rule": Rule("median", 1)},
        {"rule": Rule("trimmed-mean", 1)},
        {"codec": CodecSpec("topk+int8", 0.1)},
    ],
    ids=["multi-krum", "mean", "two-level", "median", "trimmed-mean", "sparse"],
)
def test_an_honest_history_is_valid(changes: dict[str, object]) -> None:
    report = audited(History(policy_of(**changes)).run())
    assert (report.verdict, report.exit_code, report.findings) == (Verdict.VALID, 0, ())
    assert report.valid > 100
    assert [marks.round for marks in report.rounds] == [1, 2, 3]


def test_a_void_round_is_valid_and_changes_nothing() -> None:
    class Quiet(History):
        def present(self, number: int) -> tuple[int, ...]:
            return (4, 6) if number == 2 else super().present(number)

    history = Quiet().run()
    assert history.manifests[1].void
    assert history.headers[1].model_in == history.headers[1].model_out
    assert audited(history).verdict is Verdict.VALID


def test_a_suspended_node_that_stays_away_leaves_the_history_valid() -> None:
    class Suspended(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(7)

        def present(self, number: int) -> tuple[int, ...]:
            return (4, 5, 6) if number >= 2 else super().present(number)

    assert audited(Suspended().run()).verdict is Verdict.VALID


def test_a_model_that_replay_gives_need_not_be_kept() -> None:
    history = History().run()
    del history.store.blobs[history.headers[1].model_out]
    assert audited(history).verdict is Verdict.VALID


def test_an_update_signed_by_another_key_is_named() -> None:
    class Impostor(History):
        def signer(self, node: int, number: int) -> NetworkKey:
            return self.network[8] if (node, number) == (6, 2) else super().signer(node, number)

    found = first_invalid(Impostor().run())
    named(found, "update of end-6 (node 6)", 2, "nobody")
    assert "did not sign" in found.what


def test_an_update_counted_twice_by_its_edge_is_named() -> None:
    class Doubles(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            return [*sent, sent[0]] if (edge, number) == (2, 2) else sent

    found = first_invalid(Doubles().run())
    named(found, "update of end-4 (node 4)", 2, "the root signature of edge-2 (node 2)")
    assert "twice" in found.what


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.REVOKED])
def test_an_update_of_a_node_that_may_no_longer_take_part_is_named(status: Status) -> None:
    class Keeps(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(7, status)

    found = first_invalid(Keeps().run())
    named(found, "update of end-7 (node 7)", 2, "of cloud (node 1)")
    assert status.name.lower() in found.what


def test_a_roster_block_after_the_anchor_is_named() -> None:
    class Later(History):
        def manifest(self, number: int, manifest: Manifest) -> Manifest:
            return msgspec.structs.replace(manifest, roster_block=999) if number == 2 else manifest

    named(first_invalid(Later().run()), "roster block", 2, "the anchor transaction")


def test_an_update_refused_without_a_reason_is_named() -> None:
    class Refuses(History):
        def received(self, number: int) -> list[Reported]:
            reports = self.reports(number)
            if number == 2:
                rows = list(reports[0].updates)
                rows[0] = msgspec.structs.replace(rows[0], refused="off-grid", integers=None)
                reports[0] = msgspec.structs.replace(reports[0], updates=tuple(rows))
            return reports

    found = first_invalid(Refuses().run())
    named(found, "content of the update of end-4 (node 4)", 2, "the anchor transaction")
    assert "'off-grid'" in found.what


def test_an_update_that_does_not_have_the_root_it_commits_is_named_when_it_was_used() -> None:
    found = first_invalid(Garbage().run())
    named(found, "content of the update of end-4 (node 4)", 2, "the update signature of end-4 (node 4)")


def test_an_update_that_does_not_have_the_root_it_commits_is_rightly_refused() -> None:
    class Marked(Garbage):
        marks = "mismatch"

    report = audited(Marked().run())
    assert (report.verdict, report.findings) == (Verdict.VALID, ())


def test_a_model_that_is_one_bit_off_is_named() -> None:
    class Nudged(History):
        def settled(self, number: int, settlement: Settlement) -> Settlement:
            if number != 2:
                return settlement
            model = settlement.model.copy()
            model[17] = np.nextafter(model[17], np.float32(np.inf))
            blob = tensors.encode_model(model)
            digest = hashlib.sha256(blob).digest()
            return msgspec.structs.replace(
                settlement, model=model, model_blob=blob,
                header=msgspec.structs.replace(settlement.header, model_out=digest),
                manifest=msgspec.structs.replace(settlement.manifest, model_out=digest),
            )  # fmt: skip

    report = audited(Nudged().run())
    assert report.verdict is Verdict.INVALID
    assert [(f.subject, f.round) for f in report.findings] == [
        ("model", 2)
    ]  # round 3 follows rightly from what is anchored
    assert report.first is not None
    named(report.first, "model", 2, "the anchor transaction")


@pytest.mark.parametrize(
    ("field", "subject"),
    [
        ("roster", "roster"), ("inputs_root", "inputsRoot"), ("weights_root", "weightsRoot"), ("chunks_root", "chunksRoot"),
        ("rewards_root", "rewardsRoot"), ("forced", "forced"), ("scores_root", "scoresRoot"), ("budget", "budget"),
        ("policy", "header"), ("prev", "header"), ("model_in", "header"), ("model_out", "manifest"),
    ],
)  # fmt: skip
def test_a_header_with_one_false_field_is_named_by_it(field: str, subject: str) -> None:
    report = audited(header_lie(**{field: b"\x05" * 32})().run())
    assert report.verdict is Verdict.INVALID
    found = [finding for finding in report.findings if finding.round == 2 and finding.verdict is Verdict.INVALID]
    assert subject in {finding.subject for finding in found}
    assert all("the anchor transaction" in finding.proven_by for finding in found)
    if field not in ("model_out", "model_in"):
        assert report.first is not None
        named(report.first, subject, 2, "the anchor transaction")


def test_a_false_count_of_inputs_is_named() -> None:
    named(first_invalid(header_lie(inputs_count=3)().run()), "inputsCount", 2, "the anchor transaction")


def test_a_rule_that_was_not_followed_is_named_by_the_weights_it_gave() -> None:
    class Averages(History):
        """Round 2 is settled by the plain mean, under a header that names the policy's median."""

        def round(self, number: int) -> None:
            self.promised: Policy = self.promised if number > 1 else self.policy
            mean = msgspec.structs.replace(self.promised, rule=Rule("mean", 0))
            self.policy = mean if number == 2 else self.promised
            super().round(number)
            self.policy = self.promised

        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, policy=policy_hash(encode_policy(self.promised)))

    found = first_invalid(Averages(policy_of(rule=Rule("median", 1))).run())
    named(found, "weight of end-4 (node 4)", 2, "the anchor transaction")
    assert "median gives it 1, the manifest 14" in found.what


def test_a_device_weighed_in_that_the_rule_leaves_out_is_named() -> None:
    class Weighs(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            rows = [
                msgspec.structs.replace(row, weight=7) if at == 0 else row for at, row in enumerate(edges[0].updates)
            ]
            edges[0] = msgspec.structs.replace(edges[0], updates=tuple(rows))
            return edges

    report = audited(Weighs().run())
    found = {f.subject for f in report.findings if f.verdict is Verdict.INVALID and f.round == 2}
    assert {"total weight", "weightsRoot", "weight of end-4 (node 4)"} <= found


def test_edge_sums_that_are_not_the_sum_of_its_updates_are_named() -> None:
    class Shifts(History):
        def edge_sums(self, edge: int, number: int, rows: list[Received]) -> Summed:
            summed = super().edge_sums(edge, number, rows)
            if (edge, number) != (3, 2):
                return summed
            vector = summed.vector.copy()
            vector[0] += 1
            return sums.alone(vector, summed.weight)

    report = audited(Shifts(TWO_LEVEL).run())
    assert report.first is not None
    named(report.first, "sums of edge-3 (node 3)", 2, "the root signature of edge-3 (node 3)")
    assert len(report.findings) == 1  # the cloud settled rightly what the edge had signed


def test_a_stranger_with_a_false_proof_who_was_never_admitted_is_no_fault_of_the_history() -> None:
    history = History().run()
    event = msgspec.structs.replace(history.registration(8), status=int(Status.PENDING), net_key_proof=b"\x00" * 64)
    history.mine(event)
    assert audited(history).verdict is Verdict.VALID
    history.mine(events.StatusChanged(8, int(Status.ACTIVE)))
    named(first_invalid(history), "status of node 8", 0, "the registrar")


def test_a_rotated_key_signs_from_its_block_on() -> None:
    class Rotates(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.rotate(5, self.network[8])

    history = Rotates().run()
    assert audited(history).verdict is Verdict.VALID
    found = first_invalid(changed(history, events.KeyRotated, net_key_proof=b"\x00" * 64))
    named(found, "key rotation of node 5", 0, "nobody")


def test_the_old_key_of_a_node_signs_no_more() -> None:
    class Rotates(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                old = self.network[5]
                self.rotate(5, self.network[8])
                self.network[5] = old

    named(first_invalid(Rotates().run()), "update of end-5 (node 5)", 2, "nobody")


def test_contents_for_auditors_are_unverifiable_to_the_public_and_the_report_says_which() -> None:
    report = audited(for_auditors())
    assert (report.verdict, report.invalid) == (Verdict.UNVERIFIABLE, 0)
    assert all("not in scope public" in f.what or "cannot be repeated" in f.what for f in report.findings)
    assert len(report.findings) == 3 * (4 + 1)
    assert any("only auditors may open" in words for words in report.not_checked)


def test_contents_for_auditors_are_valid_to_an_auditor() -> None:
    history = for_auditors()
    assert audited(history, scope="auditor", reader=history.auditor).verdict is Verdict.VALID


def test_another_key_than_an_auditors_opens_nothing() -> None:
    history = for_auditors()
    assert audited(history, scope="auditor", reader=history.network[4]).verdict is Verdict.UNVERIFIABLE


def test_an_auditor_finds_a_lie_about_the_model_that_the_public_cannot() -> None:
    class Nudged(History):
        def settled(self, number: int, settlement: Settlement) -> Settlement:
            header = msgspec.structs.replace(settlement.header, chunks_root=b"\x01" * 32)
            return msgspec.structs.replace(settlement, header=header)

    history = Nudged(policy_of(readers="auditors", auditors=(History().auditor.public.hex(),)), rounds=1).run()
    assert audited(history).verdict is Verdict.UNVERIFIABLE
    report = audited(history, scope="auditor", reader=history.auditor)
    assert report.first is not None
    named(report.first, "chunksRoot", 1, "the anchor transaction")


def test_a_task_that_the_record_does_not_hold_is_not_valid() -> None:
    assert audited(History().run(), task=9).verdict is Verdict.UNVERIFIABLE


def test_the_roster_root_is_the_ledgers() -> None:
    history = History().run()
    assert history.headers[0].roster == roots.roster_root(
        history.record.index.roster(history.manifests[0].roster_block)
    )
