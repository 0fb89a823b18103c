"""Bytes at rest are altered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.history import History
from tests.sim.judged import TWO_LEVEL, first_invalid, flip, leaf, named, report_of


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


def test_a_flipped_byte_in_an_edges_sealed_sums_names_the_blob() -> None:
    history = History(TWO_LEVEL).run()
    digest = history.manifests[1].edges[0].sums
    history.store.blobs[digest] = flip(history.store.blobs[digest], 5)
    found = first_invalid(history)
    named(found, "sealed sums of edge-2 (node 2)", 2, "nobody")
