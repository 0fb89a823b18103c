"""A task on a local log leaves a record that is audited like a chain's, and whose entries nobody has to believe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from devnet.simulation import Simulation
from ledger.audit.check import verify
from ledger.audit.evidence import Addresses, Evidence, read
from ledger.audit.report import Report
from ledger.journal import Block
from ledger.local import LocalLedger
from ledger.record import export_record
from middleware.errors import PeerFault
from middleware.policy import Policy, Rule
from middleware.ports import Batch
from middleware.protocol.update import Floats
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey
from middleware.types import Verdict
from middleware.wire.commitment import Context
from nodes.keeper import KEY_FILE, LOG_FILE, begin
from tests.unit.ledger.log_world import START, kept

ADMIN = AccountKey(bytes(range(1, 33)))
POLICY = Policy(workload="digits", model="mlp:1", parameters=600, rounds=2, rule=Rule("multi-krum", 1), min_updates=5)


class Blobs:
    def __init__(self, blobs: dict[bytes, bytes]) -> None:
        self.blobs = blobs

    def get(self, digest: bytes) -> bytes | None:
        return self.blobs.get(digest)


class Run:
    """What is left of a task: its log's blocks, its entries and its blobs."""

    def __init__(self, folder: Path) -> None:
        self.operator = KeyFile.from_bytes((folder / KEY_FILE).read_bytes()).network
        self.blobs = Blobs({})
        self.blocks: tuple[Block, ...] = ()

    async def play(self, path: Path) -> None:
        def learned(device: int, round: int, model: Floats) -> Floats:
            noise = np.random.default_rng([device, round]).standard_normal(len(model)).astype(np.float32)
            return np.float32(0.1) - model + noise * np.float32(0.01)

        async with kept(path, self.operator, lambda: START + 5.0) as (_, book), LocalLedger(book) as ledger:
            context = Context(book.chain_id, book.ledger)
            world = Simulation(ledger, context, book.registry, ADMIN, POLICY, learned, devices=6)
            await world.join()
            for _ in range(2):
                await world.play()
            self.batch: Batch = await ledger.entries(None)
            self.blocks = await ledger.blocks()
            self.about = Addresses(book.chain_id, book.registry, book.ledger, book.rewards, book.operator).about()
            self.blobs = Blobs(world.blobs)

    def record(self, **changes: Any) -> bytes:
        """The exported record, with other parts in it: whoever forges one writes every digest anew."""
        parts = {"entries": self.batch.entries, "head": self.batch.head, "about": self.about, "blocks": self.blocks}
        return export_record(**(parts | changes))

    def audited(self, data: bytes) -> Report:
        return verify(read(data), self.blobs)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("log")
    begin(folder, ADMIN, "http://127.0.0.1:1", START)
    made = Run(folder)
    asyncio.run(made.play(folder / LOG_FILE))
    return made


def test_a_record_of_a_local_log_is_valid(run: Run) -> None:
    evidence: Evidence = read(run.record())
    assert (evidence.faults, evidence.blocks) == ((), run.blocks)
    report = run.audited(run.record())
    assert (report.verdict, report.invalid, report.unverifiable) == (Verdict.VALID, 0, 0)
    assert [row.verdict for row in report.rounds] == [Verdict.VALID] * 2


def test_a_record_taken_while_the_log_grew_leaves_out_what_came_later(run: Run) -> None:
    before = run.batch.entries[-1].position.block
    older = [entry for entry in run.batch.entries if entry.position.block < before]
    last = run.blocks[before - 1]
    head = msgspec.structs.replace(run.batch.head, number=last.number, hash=last.hash, time=last.time)
    assert read(run.record(entries=older, head=head)).faults == ()


def test_a_flipped_byte_of_the_file_is_named_with_its_line(run: Run) -> None:
    data = run.record()
    places = np.random.default_rng(5).integers(0, len(data), 200)
    for place in map(int, places):
        altered = bytearray(data)
        altered[place] ^= 1 << (place % 8)
        with pytest.raises(PeerFault, match=r"line \d+ of the record|which ledger it is of"):
            read(bytes(altered))


def later(run: Run) -> Any:
    """The last entry, dated a second later: what a forger of the entries alone writes."""
    last = run.batch.entries[-1]
    position = msgspec.structs.replace(last.position, time=last.position.time + 1)
    return [*run.batch.entries[:-1], msgspec.structs.replace(last, position=position)]


def resigned(block: Block, key: NetworkKey, **changes: Any) -> Block:
    changed = msgspec.structs.replace(block, **changes)
    return msgspec.structs.replace(changed, signature=key.sign_digest(changed.hash))


STRANGER = NetworkKey(bytes(31) + b"\x05")
FORGERIES: dict[str, tuple[Callable[[Run], dict[str, Any]], str]] = {
    "an entry": (lambda run: {"entries": later(run)}, "entries are not what its blocks give"),
    "a dropped entry": (lambda run: {"entries": run.batch.entries[:-1]}, "entries are not what its blocks give"),
    "no blocks": (lambda run: {"blocks": ()}, "block 0: it is missing"),
    "a cut log": (lambda run: {"blocks": run.blocks[:-1]}, "it ends in block"),
    "a dropped block": (lambda run: {"blocks": run.blocks[:9] + run.blocks[10:]}, "block 10: it does not continue block 8"),
    "a stranger's signature": (
        lambda run: {"blocks": (*run.blocks[:-1], resigned(run.blocks[-1], STRANGER))},
        "the log's operator did not sign it",
    ),
    "the operator's own lie": (
        lambda run: {"blocks": (*run.blocks[:-1], resigned(run.blocks[-1], run.operator, ok=False, events=()))},
        "the rules give other events for its call",
    ),
    "an invented call": (
        lambda run: {"blocks": (*run.blocks[:-1], resigned(run.blocks[-1], run.operator, call=invented(run)))},
        "its call",
    ),
    "another operator": (lambda run: {"about": run.about | {"operator": "05" * 32}}, "of another log than its block 0"),
    "another registry": (lambda run: {"about": run.about | {"registry": "0x" + "05" * 20}}, "of another log than its block 0"),
    "a chain's name": (
        lambda run: {"about": {name: value for name, value in run.about.items() if name != "operator"}},
        "of another log than its block 0",
    ),
}  # fmt: skip


def invented(run: Run) -> bytes:
    """The last call, but for a byte of what its sender signed."""
    call = bytearray(run.blocks[-1].call)
    call[call.index(b"[") + 40] ^= 1
    return bytes(call)


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_record_is_named(run: Run, what: str) -> None:
    forged, said = FORGERIES[what]
    report = run.audited(run.record(**forged(run)))
    assert report.verdict is Verdict.INVALID
    assert report.first is not None
    named = [finding for finding in report.findings if finding.subject == "local log"]
    assert len(named) == 1 and said in named[0].what


def test_a_chains_record_has_no_blocks(run: Run) -> None:
    lines = [json.loads(line)["line"] for line in run.record(blocks=()).splitlines()]
    assert "block" not in lines
    assert [json.loads(line)["line"] for line in run.record().splitlines()].count("block") == len(run.blocks)
