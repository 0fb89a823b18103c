"""Somebody who should keep a blob does not serve it: what it holds is not VALID."""

from __future__ import annotations

from middleware.types import Verdict
from tests.sim.history import History
from tests.sim.judged import audited, leaf


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
