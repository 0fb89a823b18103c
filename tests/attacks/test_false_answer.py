"""An edge makes answers up: it is paid for inference and saves the work, or wants another label. The receipts that it puts on the
ledger commit to what it said, and a drawn one that is run again gives it away; so does a record of other receipts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from ledger.audit.report import Finding
from ledger.audit.sessions import KeptSession, judge_answers, judge_record
from ledger.events import Position
from ledger.index import RecordedLog
from middleware.trust.merkle import root_over
from middleware.types import ZERO32, Verdict
from middleware.wire import canonical
from middleware.wire.model import root_of
from middleware.wire.session import SessionProof, SessionRecord
from nodes.checkpoints import checkpoint, session_proof
from nodes.kept import Keeper, read_session, sessions_below
from nodes.models import load
from nodes.recheck import run_again
from nodes.store import Store
from tests.unit.nodes.serving_world import EDGE, World, built, world

MANIFEST, FILES, _ = built()
ROOT = root_of(MANIFEST)
REQUESTS = 20
PICTURES = np.random.default_rng(0).integers(0, 256, (REQUESTS, 16, 16, 3)).astype(np.uint8)


class Ledgered:
    """The edge's books, kept in a real store, and the ledger's view of its checkpoints."""

    def __init__(self, here: World, folder: Path) -> None:
        self.member: Any = here.members[EDGE]
        self.member.store = Store(folder / "edge")
        self.member.index.checkpoints = {}
        self.member.store.append_log(b"something that the edge promised before")
        here.books.record = self.record  # type: ignore[method-assign]

    def record(self, root: bytes, user: bytes, session: bytes, ledger: Any, paid: int) -> None:
        row = canonical.encode(SessionRecord(session, root, user, ledger.count, ledger.units, ledger.root, paid))
        self.member.store.put_session(session, row)
        self.member.store.append_log(row)

    def put(self) -> None:
        """The edge's checkpoint is taken by the ledger."""
        call = checkpoint(self.member)
        position = Position(7, ZERO32, 1, bytes(32), 0, 0, bytes(20))
        self.member.index.checkpoints.setdefault(EDGE, []).append(RecordedLog(call.size, call.root, position))

    @property
    def checkpoints(self) -> list[RecordedLog]:
        return list(self.member.index.checkpoints.get(EDGE, []))

    def proof(self, kept: KeptSession) -> SessionProof | None:
        data = session_proof(self.member, kept.session)
        return None if data is None else canonical.decode(data, SessionProof)


async def held(here: World, folder: Path, way: str) -> KeptSession:
    """A session of `REQUESTS` requests, as the device kept it."""
    async with await here.session(ROOT, forced=way, keeper=Keeper(folder)) as session:
        for picture in PICTURES:
            assert (await session(picture)).degraded == ""
    (file,) = sessions_below(folder)
    return read_session(file)


async def judged(kept: KeptSession, ledger: Ledgered) -> tuple[Finding, ...]:
    async def fetch(digest: bytes, most_bytes: int) -> bytes:
        return FILES[digest]

    loaded = await load(ROOT, fetch)
    again = {one.receipt: run_again(loaded, one) for one in kept.answers}
    return (
        *judge_record(kept, MANIFEST, ledger.proof(kept), ledger.checkpoints),
        *judge_answers(kept, again, "its checkpoint"),
    )


@pytest.mark.parametrize("way", ["raw", "u8@2", "f32@1/f32@3", "png/png@0"])
async def test_an_honest_edge_holds_and_one_that_makes_answers_up_is_named(tmp_path: Path, way: str) -> None:
    for attack, wrong in (("", 0), ("false-answers", REQUESTS // 5)):
        folder = tmp_path / (attack or "honest")
        folder.mkdir()
        async with world(folder, FILES, cloud="/" in way) as here:
            here.members[EDGE].config = SimpleNamespace(**{**vars(here.members[EDGE].config), "attack": attack})
            here.served[EDGE].agent = here.members[EDGE]
            ledger = Ledgered(here, folder)
            kept = await held(here, folder, way)
            ledger.put()
            findings = await judged(kept, ledger)
        assert len(findings) == 1 + REQUESTS and findings[0].verdict is Verdict.VALID
        bad = [finding for finding in findings if finding.verdict is not Verdict.VALID]
        assert [finding.fault for finding in bad] == ["false-answer"] * wrong
        assert all(finding.proven_by == "its checkpoint" for finding in bad)


async def test_a_session_that_no_checkpoint_covers_is_not_judged(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        ledger = Ledgered(here, tmp_path)
        ledger.put()
        kept = await held(here, tmp_path, "raw")
        assert ledger.proof(kept) is None
        (finding,) = judge_record(kept, MANIFEST, None, ledger.checkpoints)
        assert finding.verdict is Verdict.UNVERIFIABLE
        ledger.put()
        (finding,) = judge_record(kept, MANIFEST, ledger.proof(kept), ledger.checkpoints)
        assert finding.verdict is Verdict.VALID


async def test_other_receipts_and_proofs_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        ledger = Ledgered(here, tmp_path)
        kept = await held(here, tmp_path, "raw")
        ledger.put()
        proof = ledger.proof(kept)
        assert proof is not None
        other = msgspec.structs.replace(kept.answers[3], answered=bytes(40))
        changed = msgspec.structs.replace(kept, answers=(*kept.answers[:3], other, *kept.answers[4:]))
        (finding,) = judge_record(changed, MANIFEST, proof, ledger.checkpoints)
        assert (finding.verdict, finding.fault) == (Verdict.INVALID, "other-receipts")
        short = msgspec.structs.replace(kept, answers=kept.answers[:-1])
        (finding,) = judge_record(short, MANIFEST, proof, ledger.checkpoints)
        assert finding.verdict is Verdict.UNVERIFIABLE and "19 of 20" in finding.what
        forged = msgspec.structs.replace(proof, record=msgspec.structs.replace(proof.record, units=1))
        for lie in (forged, msgspec.structs.replace(proof, index=0), msgspec.structs.replace(proof, size=1)):
            (finding,) = judge_record(kept, MANIFEST, lie, ledger.checkpoints)
            assert finding.verdict is Verdict.UNVERIFIABLE and "no checkpoint" in finding.what
        assert root_over(ledger.member.store.log()) == ledger.checkpoints[0].root


def test_what_is_no_answer_at_all_is_wrong_and_rounding_is_not() -> None:
    from ledger.audit.sessions import TOLERANCE, off

    right = np.array([1.0, -4.0, 2.0], np.float32)
    assert off(right * np.float32(1 + 1e-6), right) < TOLERANCE < off(right + np.float32(0.1), right)
    assert off(right[:2], right) == off(np.full(3, np.nan, np.float32), right) == float("inf")
