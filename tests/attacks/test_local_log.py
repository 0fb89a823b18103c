"""Attack: whoever keeps a local log rewinds it, or signs two branches and shows each member one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.audit.evidence import Addresses, read
from ledger.audit.fork import compare
from ledger.journal import LogForked, decode_line
from ledger.local import LocalLedger
from ledger.logfile import LogFile
from ledger.record import export_record
from nodes.chain import ChainView
from tests.unit.ledger.log_world import ADMIN, OPERATOR, START, grant, grown, kept, raw


def branch(path: Path, keep: int, roles: tuple[int, ...]) -> None:
    """The log cut to `keep` blocks, with other calls of ADMIN behind them."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    with LogFile(path) as file:
        for role in roles:
            nonce = file.journal.nonce(ADMIN.address)
            file.append(raw(file.journal.identity, grant(role), nonce), START, OPERATOR)


@pytest.mark.parametrize(("keep", "roles"), [(3, ()), (3, (50, 51, 52, 53))])
async def test_a_daemon_stops_at_a_log_that_it_saw_otherwise(tmp_path: Path, keep: int, roles: tuple[int, ...]) -> None:
    path, memory = tmp_path / "blocks.jsonl", tmp_path / "seen"
    grown(path, 5)
    async with kept(path) as (_, book), LocalLedger(book, memory) as ledger:
        view = ChainView(ledger, 1.0)
        assert await view.refresh()
        seen = view.index.cursor
    branch(path, keep, roles)
    async with kept(path) as (_, book), LocalLedger(book, memory) as restarted:
        with pytest.raises(LogForked) as caught:
            await ChainView(restarted, 1.0).refresh()
        assert caught.value.ours == seen
    async with kept(path) as (_, book), LocalLedger(book) as forgetful:
        with pytest.raises(LogForked):
            await forgetful.entries(seen)


async def exported(path: Path) -> bytes:
    async with kept(path) as (_, book), LocalLedger(book) as ledger:
        batch = await ledger.entries(None)
        about = Addresses(book.chain_id, book.registry, book.ledger, book.rewards, book.operator).about()
        return export_record(batch.entries, batch.head, about, await ledger.blocks())


async def test_two_members_who_compare_records_hold_the_operators_two_signatures(tmp_path: Path) -> None:
    path = tmp_path / "blocks.jsonl"
    grown(path, 5)
    first = read(await exported(path))
    branch(path, 4, (50,))
    second = read(await exported(path))
    assert first.faults == second.faults == ()
    found = compare(first.blocks, second.blocks)
    assert found.forked and found.common == 4 and found.operator == OPERATOR.public
    assert "log forked at block 4" in found.line()
    assert [block.number for block in found.branches] == [4, 4]
    honest = compare(first.blocks, first.blocks[:3])
    assert not honest.forked and honest.line() == "one log: 6 and 3 blocks, the first 3 are the same"
    assert decode_line(path.read_bytes().splitlines(keepends=True)[-1]) == found.branches[1]
