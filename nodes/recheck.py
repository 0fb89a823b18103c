"""Drawn answers of a session that is over, run again on this machine and held against what the edge put on the ledger.

What is drawn follows from a block behind the edge's checkpoint (`protocol.spotcheck`): the edge did not know it when it answered.
Whoever looks must hold the whole model: files come from nodes below the same home, or from the device's edge, which gives no more
than the licence allows.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import numpy as np
import numpy.typing as npt

from ledger.audit.report import Finding, Report, summarise
from ledger.audit.sessions import KeptAnswer, KeptSession, judge_answers, judge_record
from ledger.connect import connect
from middleware.errors import PeerFault, Unavailable
from middleware.infer import coding
from middleware.protocol.spotcheck import caught, sampled
from middleware.types import Verdict
from middleware.wire import canonical
from middleware.wire.model import MODEL_BYTES, decode_model_manifest
from middleware.wire.session import Course, SessionProof
from nodes.config import Settings
from nodes.link import Link
from nodes.models import LoadedModel, load
from nodes.session import standing
from nodes.workers import read

Singles = npt.NDArray[np.float32]


async def recheck(
    settings: Settings, kept: KeptSession, share: float, local: Callable[[bytes], bytes | None]
) -> Report:
    """The verdict over a kept session of the device that `settings` describe, each answer drawn with probability `share`.
    `local` finds blobs on this machine. Raises Unavailable where the model's manifest cannot be had."""
    stands, config = await standing(settings), settings.config
    async with aiohttp.ClientSession(auto_decompress=False) as http, connect(stands.book) as ledger:
        fetched = stands.fetch(http)

        async def fetch(digest: bytes, most_bytes: int) -> bytes:
            found = local(digest)
            return await fetched(digest, most_bytes) if found is None else found

        model = decode_model_manifest(await fetch(kept.root, MODEL_BYTES))
        checkpoints, head = stands.index.checkpoints.get(kept.edge, []), await ledger.head()
        proof: SessionProof | None = None
        if checkpoints:
            try:
                answer = await Link(config.parent, http, config.limits).session_proof(kept.session)
                proof = canonical.decode(answer, SessionProof)
            except (Unavailable, PeerFault) as error:
                return _said(f"the edge proves nothing of this session: {error}")
        findings = judge_record(kept, model, proof, checkpoints)
        if proof is None or any(finding.verdict is not Verdict.VALID for finding in findings):
            return summarise(findings, "session")
        point = next(one for one in checkpoints if one.size == proof.size)
        if share < 1 and head.number <= point.position.block:
            return _said("no block was mined behind the checkpoint yet: look again, or look at all answers (--share 1)")
        drawn = sampled(head.hash, proof.record.receipts, len(kept.answers), share)
        again: dict[int, Singles | str]
        try:
            loaded = await load(kept.root, fetch, None, config.threads)
            again = {number: run_again(loaded, kept.answers[number]) for number in drawn}
        except (Unavailable, PeerFault) as error:
            again = dict.fromkeys(drawn, f"who looks must hold the whole model: {error}")
        by = f"the checkpoint transaction 0x{point.position.transaction.hex()[:16]} of node {kept.edge}"
        left = len(kept.answers) - len(drawn)
        tenth = caught(share, 0.1, len(kept.answers))
        note = (
            f"{left} of {len(kept.answers)} answers were not drawn by block {head.number}; an edge that answers a tenth wrongly "
            f"is caught with probability {tenth:.3f}"
        )
        return summarise([*findings, *judge_answers(kept, again, by)], "session", [note] if left else [])


def run_again(loaded: LoadedModel, kept: KeptAnswer) -> Singles:
    """The logits that the edge, and the tier above it where the course went on there, should have given."""
    course, last = kept.course, len(loaded.manifest.segments)
    given = loaded.runner.run(course.front, course.middle, read(loaded, course, kept.asked))
    if course.middle < last:
        further = Course(course.middle, last, course.beyond or course.form)
        data = kept.asked if course.middle == course.front else coding.encode(further.form, given)
        given = loaded.runner.run(course.middle, last, read(loaded, further, data))
    return np.asarray(given, np.float32).ravel()


def _said(why: str) -> Report:
    return summarise([Finding(Verdict.UNVERIFIABLE, "session", "session", why)], "session")
