"""Attack: whoever keeps a local log invents a call, bends what one did, dates blocks ahead, or answers for another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.journal import BadLog, Block, Journal, decode_line, encode_line
from ledger.local import FUTURE_SECONDS, LocalLedger
from ledger.logfile import LogFile
from middleware.errors import Unavailable
from tests.unit.ledger.log_world import OPERATOR, START, begin, grant, grown, kept, raw


def forged(block: Block, **changes: Any) -> Block:
    """The block with other parts, under the operator's own signature."""
    changed = msgspec.structs.replace(block, **changes)
    return msgspec.structs.replace(changed, signature=OPERATOR.sign_digest(changed.hash))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def replay(path: Path, last: Block) -> None:
    blocks = [decode_line(line) for line in lines(path)]
    Journal.of([*blocks[:-1], last])


@pytest.mark.parametrize("place", range(4, 140, 5))
def test_no_byte_of_a_call_can_be_changed_by_the_operator(tmp_path: Path, place: int) -> None:
    """Whatever is changed, the signature recovers another account, which has no right and other nonces, or nothing."""
    path = tmp_path / "blocks.jsonl"
    grown(path, 2)
    last = decode_line(lines(path)[-1])
    call = bytearray(last.call)
    call[place % len(call)] ^= 1
    with pytest.raises(BadLog, match="block 2 of the log does not hold: (its call|the rules give other events)"):
        replay(path, forged(last, call=bytes(call)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ok": False, "events": ()}, "the rules give other events"),
        ({"events": ()}, "the rules give other events"),
        ({"time": START - 1}, "older than the block before"),
        ({"number": 3}, "does not continue block 1"),
    ],
)
def test_what_a_call_did_cannot_be_bent(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "blocks.jsonl"
    grown(path, 2)
    with pytest.raises(BadLog, match=said):
        replay(path, forged(decode_line(lines(path)[-1]), **changes))


def test_a_call_cannot_be_taken_in_twice(tmp_path: Path) -> None:
    path = tmp_path / "blocks.jsonl"
    journal = grown(path, 2)
    last = decode_line(lines(path)[-1])
    again = forged(last, number=3, parent=journal.head.hash)
    path.write_bytes(path.read_bytes() + encode_line(again))
    with pytest.raises(BadLog, match="block 3 .* does not come next for its sender"):
        LogFile(path)


async def test_a_block_dated_ahead_is_not_read_before_its_time(tmp_path: Path) -> None:
    path = tmp_path / "blocks.jsonl"
    begin(path).close()
    async with (
        kept(path, clock=lambda: time.time() + 2 * FUTURE_SECONDS) as (keeper, book),
        LocalLedger(book) as ledger,
    ):
        keeper.file.append(raw(keeper.file.journal.identity, grant(1), 0), int(keeper.clock()), OPERATOR)
        with pytest.raises(Unavailable, match="ahead of this machine's clock"):
            await ledger.entries(None)
