"""A session of inference held against what its edge put on the ledger, and drawn answers against the model itself.

    the edge's checkpoint --path--> the session's record --tree of receipts--> digests of what was asked and answered

Whoever asked has both, so he can open any leaf: if the model answers the committed question otherwise than the edge committed,
that is proven by the edge's own checkpoint. What is drawn follows from a block behind it (`protocol.spotcheck`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from ledger.audit.report import Bench, Finding
from ledger.audit.scene import short
from ledger.index import RecordedLog
from middleware.protocol.session import Ledger
from middleware.trust import merkle, roots
from middleware.wire import canonical
from middleware.wire.model import ModelManifest
from middleware.wire.session import Course, ReceiptLeaf, SessionProof

TOLERANCE: Final = 1e-3  # of the largest logit: what another machine's float32 may differ by

Singles = npt.NDArray[np.float32]


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One answer as its device keeps it: the bytes that were sent, and the logits' bytes that came back."""

    receipt: int
    request: int
    course: Course
    asked: bytes
    answered: bytes


class KeptSession(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a device knows of a session that is over; the answers in the order of their receipts."""

    session: bytes
    root: bytes
    user: bytes
    edge: int
    answers: tuple[KeptAnswer, ...] = ()


def ledger_of(kept: KeptSession, model: ModelManifest) -> Ledger:
    """The receipts again, from what was kept."""
    ledger = Ledger()
    for one in kept.answers:
        asked, answered = (hashlib.sha256(data).digest() for data in (one.asked, one.answered))
        leaf = ReceiptLeaf(kept.session, one.request, one.course, asked, answered, model.units(one.course.front))
        ledger = ledger.add(leaf)
    return ledger


def judge_record(
    kept: KeptSession, model: ModelManifest, proof: SessionProof | None, checkpoints: Sequence[RecordedLog]
) -> tuple[Finding, ...]:
    """Whether the edge's record of the session is on the ledger, and is the session that its device had."""
    bench, name = Bench(), f"session {short(kept.session)} at edge {kept.edge}"
    if proof is None or not checkpoints:
        bench.unverifiable("session", name, "no checkpoint of the edge covers it yet: look again later")
        return tuple(bench.findings)
    record = proof.record
    if record.session != kept.session:
        bench.unverifiable("session", name, "the proof that the edge gave is of another session")
        return tuple(bench.findings)
    found = next((point for point in checkpoints if point.size == proof.size), None)
    leaf = roots.log_leaf(canonical.encode(record))
    if found is None or not merkle.verify_inclusion(found.root, leaf, proof.index, proof.size, proof.path):
        what = "the proof that the edge gave leads to no checkpoint of it"
        bench.unverifiable("session", name, what)
        return tuple(bench.findings)
    ours = ledger_of(kept, model)
    if len(kept.answers) < record.count:
        bench.unverifiable("session", name, f"{len(kept.answers)} of {record.count} answers are kept here")
        return tuple(bench.findings)
    theirs = (record.root, record.user, record.count, record.units, record.receipts)
    same = theirs == (kept.root, kept.user, ours.count, ours.units, ours.root)
    what = (
        f"the edge recorded {record.count} answers for {record.units} units, root {short(record.receipts)}; "
        f"its device has {ours.count} for {ours.units}, root {short(ours.root)}"
    )
    by = "nobody: the word of its device against the edge's"
    bench.holds(same, "session", name, what, by, fault="" if same else "other-receipts")
    return tuple(bench.findings)


def judge_answers(kept: KeptSession, again: Mapping[int, Singles | str], by: str) -> tuple[Finding, ...]:
    """Drawn answers (by their place among the receipts) against what the model gives, or why it could not be run."""
    bench = Bench()
    for number, logits in sorted(again.items()):
        name = f"answer {number} of session {short(kept.session)}"
        if isinstance(logits, str):
            bench.unverifiable("answer", name, logits)
            continue
        told = np.frombuffer(kept.answers[number].answered, "<f4")
        wrong = off(told, logits)
        same = wrong <= TOLERANCE
        what = f"it is off by {wrong:.2g} of the largest logit; {TOLERANCE:g} is rounding"
        bench.holds(same, "answer", name, what, by, fault="" if same else "false-answer")
    return tuple(bench.findings)


def off(told: Singles, right: Singles) -> float:
    """By how much an answer is wrong, as a part of the largest logit; infinite where it is no answer at all."""
    if told.shape != right.shape or not np.isfinite(told).all():
        return float("inf")
    return float(np.abs(told - right).max() / max(float(np.abs(right).max()), 1e-12))
