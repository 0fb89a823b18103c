"""One lie a test: the audit must call it INVALID, name the thing, and say whose signature proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from ledger import events
from ledger.audit.check import verify
from ledger.audit.report import Finding, Report
from middleware.protocol import sums
from middleware.protocol.settlement import Received, Reported, Settlement
from middleware.protocol.sums import Summed
from middleware.trust import keys, merkle, roots
from middleware.trust.keys import NetworkKey
from middleware.types import CodecSpec, Header, Leaf, Policy, Rule, Status, Verdict
from middleware.wire import tensors
from middleware.wire.manifest import Manifest, ManifestEdge, ManifestUpdate
from middleware.wire.message import EdgeReport, Update, decode_stored
from middleware.wire.policy import encode_policy, policy_hash
from tests.sim.history import CLOUD, DOMAIN, LEDGER, History, Sent, policy_of

TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)


def audited(history: History, **options: object) -> Report:
    return verify(history.record, history.store, **options)  # type: ignore[arg-type]


def first_invalid(history: History) -> Finding:
    report = audited(history)
    assert report.verdict is Verdict.INVALID
    assert report.exit_code == 3
    assert report.first is not None
    return report.first


def named(finding: Finding, subject: str, round: int, by: str) -> None:
    assert (finding.subject, finding.round) == (subject, round), finding.line()
    assert by in finding.proven_by, finding.line()


# -------------------------------------------------------------------------------------------------------- honest


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


# ------------------------------------------------------------------------------------------------------ altered at rest


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("pick", "subject"),
    [
        (lambda h: h.headers[1].manifest, "manifest"),
        (lambda h: h.headers[1].model_out, "model blob"),
        (lambda h: leaf(h, 2, 5).ciphertext, "sealed update of end-5 (node 5)"),
        (lambda h: report_of(h, 2, 3).body_digest, "report body of edge-3 (node 3)"),
    ],
    ids=["manifest", "model", "update", "report"],
)
def test_a_flipped_byte_in_a_blob_names_the_blob(pick: Callable[[History], bytes], subject: str) -> None:
    history = History().run()
    digest = pick(history)
    history.store.blobs[digest] = flip(history.store.blobs[digest], 30)
    found = first_invalid(history)
    named(found, subject, 2, "nobody")
    assert found.blob == digest.hex()


def test_a_flipped_genesis_model_is_named() -> None:
    history = History().run()
    history.store.blobs[history.genesis] = flip(history.store.blobs[history.genesis], 300)
    named(first_invalid(history), "genesis model", 1, "nobody")


def test_a_missing_blob_is_unverifiable_and_says_who_should_serve_it() -> None:
    history = History().run()
    del history.store.blobs[leaf(history, 2, 5).ciphertext]
    report = audited(history)
    assert (report.verdict, report.exit_code) == (Verdict.UNVERIFIABLE, 4)
    assert report.first is not None
    assert report.first.subject == "sealed update of end-5 (node 5)"
    assert "edge-2 (node 2) or cloud (node 1) should serve it" in report.first.what
    assert [(f.subject, f.round) for f in report.findings] == [(report.first.subject, 2), ("aggregate", 2)]


def test_a_missing_manifest_leaves_its_round_unverifiable_and_the_next_one_checked() -> None:
    history = History().run()
    del history.store.blobs[history.headers[0].manifest]
    report = audited(history)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert {finding.round for finding in report.findings} == {1, 2}  # the rewards of round 2 rest on round 1
    assert report.rounds[2].verdict is Verdict.VALID


def test_a_model_that_replay_gives_need_not_be_kept() -> None:
    history = History().run()
    del history.store.blobs[history.headers[1].model_out]
    assert audited(history).verdict is Verdict.VALID


# ------------------------------------------------------------------------------------------------------------- updates


def leaf(history: History, number: int, node: int) -> Leaf:
    return update_of(history, number, node).leaf


def update_of(history: History, number: int, node: int) -> Update:
    frames = [row.frame for edge in history.manifests[number - 1].edges for row in edge.updates]
    return next(m for m in (decode_stored(frame, Update).message for frame in frames) if m.sender == node)


def report_of(history: History, number: int, edge: int) -> EdgeReport:
    reports = [decode_stored(e.report, EdgeReport).message for e in history.manifests[number - 1].edges]
    return next(report for report in reports if report.sender == edge)


def test_an_update_signed_by_another_key_is_named() -> None:
    class Impostor(History):
        def signer(self, node: int, number: int) -> NetworkKey:
            return self.network[8] if (node, number) == (6, 2) else super().signer(node, number)

    found = first_invalid(Impostor().run())
    named(found, "update of end-6 (node 6)", 2, "nobody")
    assert "did not sign" in found.what


class LyingCloud(History):
    """Changes round 2's manifest after the settlement; `lie` gets and returns the list of edges."""

    def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
        return edges

    def manifest(self, number: int, manifest: Manifest) -> Manifest:
        if number != 2:
            return manifest
        return msgspec.structs.replace(manifest, edges=tuple(self.lie(list(manifest.edges))))


def renumbered(updates: list[ManifestUpdate]) -> tuple[ManifestUpdate, ...]:
    return tuple(msgspec.structs.replace(update, index=index) for index, update in enumerate(updates))


def test_an_update_left_out_by_the_cloud_is_proven_by_the_edges_root() -> None:
    class Omits(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            edges[0] = msgspec.structs.replace(edges[0], updates=edges[0].updates[:1])
            return edges

    found = first_invalid(Omits().run())
    named(found, "tree of edge-2 (node 2)", 2, "the root signature of edge-2 (node 2)")
    assert "signed 2 updates, the manifest lists 1" in found.what


def test_updates_in_another_order_than_the_edge_signed_are_named() -> None:
    class Reorders(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            edges[1] = msgspec.structs.replace(edges[1], updates=renumbered(list(edges[1].updates[::-1])))
            return edges

    named(first_invalid(Reorders().run()), "tree of edge-3 (node 3)", 2, "the root signature of edge-3 (node 3)")


def test_an_update_counted_twice_by_its_edge_is_named() -> None:
    class Doubles(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            return [*sent, sent[0]] if (edge, number) == (2, 2) else sent

    found = first_invalid(Doubles().run())
    named(found, "update of end-4 (node 4)", 2, "the root signature of edge-2 (node 2)")
    assert "twice" in found.what


def test_a_whole_edge_listed_twice_is_named() -> None:
    class Doubles(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            return [*edges, edges[0]]

    named(first_invalid(Doubles().run()), "report of edge-2 (node 2)", 2, "the anchor transaction")


def test_an_edge_left_out_after_the_header_was_made_is_named() -> None:
    class Drops(LyingCloud):
        def lie(self, edges: list[ManifestEdge]) -> list[ManifestEdge]:
            return edges[:1]

    named(first_invalid(Drops().run()), "inputsRoot", 2, "the anchor transaction")


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


class Garbage(History):
    """Device 4 commits to numbers that are not in its body, in round 2."""

    marks = ""

    def send(self, node: int, number: int) -> Sent:
        sent = super().send(node, number)
        if (node, number) != (4, 2):
            return sent
        message = decode_stored(sent.received.frame, Update).message
        wrong = msgspec.structs.replace(message.leaf, update_root=b"\x07" * 32)
        signed = keys.sign_message(DOMAIN.context, self.network[4], msgspec.structs.replace(message, leaf=wrong))
        integers = None if self.marks else sent.received.integers
        row = Received(signed.stored(), wrong, sent.received.content_key, self.marks, integers)
        return msgspec.structs.replace(sent, received=row)


def test_an_update_that_does_not_have_the_root_it_commits_is_named_when_it_was_used() -> None:
    found = first_invalid(Garbage().run())
    named(found, "content of the update of end-4 (node 4)", 2, "the update signature of end-4 (node 4)")


def test_an_update_that_does_not_have_the_root_it_commits_is_rightly_refused() -> None:
    class Marked(Garbage):
        marks = "mismatch"

    report = audited(Marked().run())
    assert (report.verdict, report.findings) == (Verdict.VALID, ())


# ----------------------------------------------------------------------------------------------------------- the result


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


def header_lie(**changes: object) -> type[History]:
    class Lies(History):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, **changes) if number == 2 else header

    return Lies


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


def test_a_skipped_round_is_named() -> None:
    class Skips(History):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, round=number + 1) if number >= 2 else header

    found = first_invalid(Skips().run())
    named(found, "header", 3, "nobody")
    assert "round 2 comes next" in found.what


def test_a_header_sent_by_another_account_is_named() -> None:
    class Impostor(History):
        def anchor(self, number: int, header: Header) -> None:
            super().anchor(number, header)
            if number == 2:
                at = msgspec.structs.replace(self.entries[-1].position, sender=b"\x42" * 20)
                self.entries[-1] = msgspec.structs.replace(self.entries[-1], position=at)

    found = first_invalid(Impostor().run())
    named(found, "header", 2, "the anchor transaction")
    assert "not the account of the task's cloud" in found.what


def test_a_header_of_a_suspended_cloud_is_named() -> None:
    class Suspended(History):
        def anchor(self, number: int, header: Header) -> None:
            if number == 3:
                self.suspend(CLOUD)
            super().anchor(number, header)

    found = first_invalid(Suspended().run())
    named(found, "header", 3, "the anchor transaction")
    assert "not active" in found.what


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


# ------------------------------------------------------------------------------------------------------------- rewards


def padded(number: int, node: int) -> type[History]:
    class Pads(History):
        def settled(self, at: int, settlement: Settlement) -> Settlement:
            if at != number:
                return settlement
            rewards = {**settlement.rewards, node: settlement.rewards.get(node, 0) + 1}
            entries = tuple(sorted(rewards.items()))
            return msgspec.structs.replace(
                settlement, rewards=rewards,
                header=msgspec.structs.replace(settlement.header, rewards_root=merkle.sum_root(entries)),
                manifest=msgspec.structs.replace(settlement.manifest, rewards=entries),
            )  # fmt: skip

    return Pads


@pytest.mark.parametrize("node", [5, 8])
def test_a_padded_reward_names_who_got_it(node: int) -> None:
    report = audited(padded(2, node)().run())
    assert report.verdict is Verdict.INVALID
    assert report.first is not None
    named(
        report.first,
        f"reward of end-{node} (node {node})" if node < 8 else "reward of node 8",
        2,
        "the anchor transaction",
    )
    assert len(report.findings) == 1  # round 3 pays rightly on top of what is anchored


def test_a_claim_beyond_what_the_rounds_promised_is_named() -> None:
    history = History().run()
    history.mine(events.Funded(1, b"\x01" * 20, 10_000))
    history.mine(events.Claimed(1, 4, b"\x02" * 20, 900, 900))
    found = first_invalid(history)
    assert found.subject.startswith("claim of node 4")
    assert "no round promised node 4 900" in found.what


def test_a_claim_of_what_a_round_promised_is_valid() -> None:
    history = History().run()
    history.mine(events.Funded(1, b"\x01" * 20, 10_000))
    history.mine(events.Claimed(1, 4, b"\x02" * 20, history.rewards[4], history.rewards[4]))
    assert audited(history).verdict is Verdict.VALID


def test_more_paid_out_than_was_put_in_is_named() -> None:
    history = History().run()
    history.mine(events.Claimed(1, 4, b"\x02" * 20, history.rewards[4], history.rewards[4]))
    assert first_invalid(history).subject == "pool"


# ----------------------------------------------------------------------------------------------------------- two levels


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


def test_a_flipped_byte_in_an_edges_sealed_sums_names_the_blob() -> None:
    history = History(TWO_LEVEL).run()
    digest = history.manifests[1].edges[0].sums
    history.store.blobs[digest] = flip(history.store.blobs[digest], 5)
    found = first_invalid(history)
    named(found, "sealed sums of edge-2 (node 2)", 2, "nobody")


# ------------------------------------------------------------------------------------------------------------ the record


def changed(history: History, kind: type[events.Event], number: int = 0, **changes: object) -> History:
    """The record with one event rewritten, log and all, as an RPC server that lies would."""
    at = [i for i, entry in enumerate(history.entries) if isinstance(entry.event, kind)][number]
    event = msgspec.structs.replace(history.entries[at].event, **changes)
    entry = history.entries[at]
    history.entries[at] = events.entry_of(entry.position, event, entry.address)
    return history


def test_a_registration_with_a_forged_account_signature_is_named() -> None:
    found = first_invalid(changed(History().run(), events.Registered, 4, account_signature=b"\x01" * 64 + b"\x1b"))
    named(found, "registration of node 5", 0, "nobody")


def test_a_registration_with_another_network_key_is_named() -> None:
    found = first_invalid(changed(History().run(), events.Registered, 4, net_key=b"\x09" * 32))
    named(found, "registration of node 5", 0, "nobody")


def test_a_stranger_with_a_false_proof_who_was_never_admitted_is_no_fault_of_the_history() -> None:
    history = History().run()
    event = msgspec.structs.replace(history.registration(8), status=int(Status.PENDING), net_key_proof=b"\x00" * 64)
    history.mine(event)
    assert audited(history).verdict is Verdict.VALID
    history.mine(events.StatusChanged(8, int(Status.ACTIVE)))
    named(first_invalid(history), "status of node 8", 0, "the registrar")


def test_a_changed_policy_is_named() -> None:
    history = History().run()
    event = history.entries[7].event
    assert isinstance(event, events.TaskCreated)
    found = first_invalid(changed(history, events.TaskCreated, policy=event.policy.replace(b"1000", b"2000")))
    assert (found.subject, found.task, found.round) == ("policy", 1, 0)


def test_a_header_that_is_not_the_one_that_was_hashed_is_named() -> None:
    history = History().run()
    header = msgspec.structs.replace(history.headers[1], rewards_root=b"\x08" * 32)
    named(first_invalid(changed(history, events.RoundAnchored, 1, header=header)), "header", 2, "nobody")


def test_a_missing_round_in_the_record_is_named() -> None:
    history = History().run()
    del history.entries[-2]
    found = first_invalid(history)
    named(found, "header", 3, "nobody")
    assert "round 2 comes next" in found.what


def test_an_event_of_another_contract_is_named() -> None:
    history = History().run()
    history.entries[0] = msgspec.structs.replace(history.entries[0], address=LEDGER)
    found = first_invalid(history)
    assert found.subject.startswith("entry 1 (Registered")


def test_entries_out_of_order_are_named() -> None:
    history = History().run()
    history.entries[1], history.entries[2] = history.entries[2], history.entries[1]
    assert first_invalid(history).subject.startswith("entry 3 (Registered")


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


# --------------------------------------------------------------------------------------------------------------- scopes


def for_auditors() -> History:
    return History(policy_of(readers="auditors", auditors=(History().auditor.public.hex(),))).run()


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
