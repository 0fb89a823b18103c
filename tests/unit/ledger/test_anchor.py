"""Anchors: what a chain's checkpoints make of a local log that was rewritten, rewound or mistaken for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger import calls
from ledger.anchor import Anchored, anchor
from ledger.artifacts import NAMES
from ledger.audit.anchors import judge_anchors
from ledger.audit.report import Finding
from ledger.client import AddressBook
from ledger.events import Checkpointed
from ledger.index import Index, RecordedLog
from ledger.journal import Block, Journal, decode_line
from ledger.logfile import LogFile
from ledger.memory import MemoryLedger
from ledger.spec import REGISTRAR, Specification
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from middleware.trust.keys import AccountKey
from middleware.types import Verdict
from tests.unit.ledger.log_world import ADMIN, OPERATOR, START, begin, grant, raw, registration

NOTARY = AccountKey(bytes(31) + b"\x07")
CHAIN_ID = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    begin(tmp_path / "blocks.jsonl").close()
    return tmp_path / "blocks.jsonl"


async def a_chain() -> MemoryLedger:
    """A chain on which the notary is node 1."""
    addresses = {name: bytes([n]) * 20 for n, name in enumerate(NAMES, start=1)}
    chain = MemoryLedger(lambda: Specification(CHAIN_ID, addresses, ADMIN.address))
    await chain.send(calls.GrantRole(REGISTRAR, ADMIN.address), ADMIN)
    await chain.send(registration(AddressBook("", CHAIN_ID, *addresses.values(), deploy_block=0), NOTARY), NOTARY)
    await chain.send(calls.Admit(1), ADMIN)
    return chain


def grow(path: Path, roles: range) -> Journal:
    with LogFile(path) as file:
        for role in roles:
            nonce = file.journal.nonce(ADMIN.address)
            file.append(raw(file.journal.identity, grant(role), nonce), START, OPERATOR)
        return file.journal


def cut(path: Path, keep: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))


def blocks(path: Path) -> list[Block]:
    return [decode_line(line) for line in path.read_bytes().splitlines(keepends=True)]


async def checkpoints(chain: MemoryLedger) -> list[RecordedLog]:
    index = Index()
    index.extend(await chain.entries(None))
    return index.checkpoints.get(1, [])


async def findings(path: Path, chain: MemoryLedger, whole: bool = True) -> tuple[Finding, ...]:
    return judge_anchors(blocks(path), await checkpoints(chain), CHAIN_ID, whole)


async def test_a_log_is_anchored_as_it_grows_and_once_more_is_no_harm(path: Path) -> None:
    chain = await a_chain()
    sizes = []
    for roles in (range(1, 1), range(1, 4), range(4, 4), range(4, 9), range(9, 30)):
        journal = grow(path, roles)
        done = await anchor(journal, chain, NOTARY)
        assert done == Anchored(1, journal.size, journal.root(journal.size), sent=journal.size not in sizes)
        sizes.append(journal.size)
    assert [item.size for item in await checkpoints(chain)] == [1, 4, 9, 30]
    assert [finding.verdict for finding in await findings(path, chain)] == [Verdict.VALID] * 4
    grow(path, range(30, 33))
    assert [finding.verdict for finding in await findings(path, chain)] == [Verdict.VALID] * 4


async def test_a_crash_after_the_checkpoint_was_sent_does_not_double_it(path: Path) -> None:
    chain = await a_chain()
    chain.automine = False
    journal = grow(path, range(1, 4))
    with pytest.raises(Unavailable, match="waits for a block"):
        await anchor(journal, chain, NOTARY)
    assert chain.mine()
    chain.automine = True
    assert not (await anchor(journal, chain, NOTARY)).sent
    batch = await chain.entries(None)
    assert len([entry for entry in batch.entries if isinstance(entry.event, Checkpointed)]) == 1


async def test_a_log_that_was_rewritten_after_its_anchor_is_named(path: Path) -> None:
    chain = await a_chain()
    for roles in (range(1, 4), range(4, 6)):
        await anchor(grow(path, roles), chain, NOTARY)
    cut(path, 5)
    forked = grow(path, range(50, 60))
    with pytest.raises(ConfigurationError, match="log forked at size 6"):
        await anchor(forked, chain, NOTARY)
    first, second = await findings(path, chain)
    assert (first.verdict, second.verdict) == (Verdict.VALID, Verdict.INVALID)
    assert second.what.startswith("log forked at size 6: ")
    assert second.subject == f"checkpoint of 6 blocks in block {second.subject.split()[-4]} of chain {CHAIN_ID}"
    assert "checkpoint's transaction" in second.proven_by


async def test_a_log_that_was_rewound_after_its_anchor_is_named(path: Path) -> None:
    chain = await a_chain()
    await anchor(grow(path, range(1, 6)), chain, NOTARY)
    cut(path, 3)
    with pytest.raises(ConfigurationError, match="the log was rewound: 6 blocks of it are anchored"):
        await anchor(grow(path, range(1, 1)), chain, NOTARY)
    (shown,) = await findings(path, chain)
    assert (shown.verdict, shown.what) == (Verdict.INVALID, "log rewound: the chain knows 6 blocks of it, it has 3")
    (copy,) = await findings(path, chain, whole=False)
    assert copy.verdict is Verdict.UNVERIFIABLE


async def test_the_chain_itself_refuses_another_log_in_the_place_of_the_first(path: Path, tmp_path: Path) -> None:
    chain = await a_chain()
    await anchor(grow(path, range(1, 6)), chain, NOTARY)
    begin(tmp_path / "other.jsonl", salt=b"\x01" * 16).close()
    other = grow(tmp_path / "other.jsonl", range(1, 9))
    with pytest.raises(ConfigurationError, match="a node of its own for each log"):
        await anchor(other, chain, NOTARY)
    proof = tuple(other.consistency(6))
    with pytest.raises(LedgerRefused, match="BadProof"):
        await chain.send(calls.Checkpoint(1, other.size, other.root(other.size), proof), NOTARY)


async def test_an_account_without_an_active_node_cannot_anchor(path: Path) -> None:
    chain = await a_chain()
    journal = grow(path, range(1, 2))
    with pytest.raises(ConfigurationError, match="no active node of the chain has the account"):
        await anchor(journal, chain, AccountKey(bytes(31) + b"\x08"))
    await chain.send(calls.Suspend(1), ADMIN)
    with pytest.raises(ConfigurationError, match="no active node"):
        await anchor(journal, chain, NOTARY)
    (nothing,) = await findings(path, chain)
    assert (nothing.verdict, nothing.subject) == (Verdict.UNVERIFIABLE, "anchor")
