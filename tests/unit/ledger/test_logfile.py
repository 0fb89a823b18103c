"""The log on disk: a crash loses nothing that was acknowledged, and no byte can be altered without its block being named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ledger import logfile
from ledger.journal import BadLog, Journal, decode_line, encode_line
from ledger.logfile import PAGE_BLOCKS, LogFile
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Head
from middleware.trust.keys import NetworkKey
from tests.unit.ledger.log_world import OPERATOR, START, begin, grant, grown, raw

BLOCKS = 3  # behind block 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "blocks.jsonl"


def heads(path: Path) -> list[Head]:
    with LogFile(path) as file:
        return file.journal.heads


def test_a_log_opened_again_is_the_same(path: Path) -> None:
    journal = grown(path, BLOCKS)
    with LogFile(path) as file:
        assert file.journal.heads == journal.heads
        assert file.journal.entries == journal.entries
        assert file.cut == 0
        assert [head.number for head in file.journal.heads] == list(range(BLOCKS + 1))


def test_times_follow_the_clock_and_never_go_back(path: Path) -> None:
    with begin(path) as file:
        for nonce, now in enumerate((START + 50, START + 10, START + 60)):
            file.append(raw(file.journal.identity, grant(1), nonce), now, OPERATOR)
        assert [head.time - START for head in file.journal.heads] == [0, 50, 50, 60]


def test_a_crash_at_every_byte_of_a_write_loses_nothing_acknowledged_and_doubles_nothing(path: Path) -> None:
    acknowledged = grown(path, BLOCKS).heads
    before = path.read_bytes()
    with LogFile(path) as file:
        call = raw(file.journal.identity, grant(9), BLOCKS)
        last = file.append(call, START + 9, OPERATOR)
    line = path.read_bytes()[len(before) :]
    assert line == encode_line(last)
    for written in range(len(line) + 1):
        path.write_bytes(before + line[:written])
        with LogFile(path) as file:
            whole = written >= len(line) - 1
            assert file.journal.heads[: len(acknowledged)] == acknowledged
            assert file.journal.size == len(acknowledged) + whole
            assert file.cut == (0 if whole else written)
            if whole:  # the sender hands it in again, since it was told nothing
                with pytest.raises(LedgerRefused, match="NonceTooLow"):
                    file.append(call, START + 9, OPERATOR)
            else:
                assert file.append(call, START + 9, OPERATOR) == last
        assert path.read_bytes() == before + line


def test_what_was_cut_off_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grown(path, BLOCKS)
    with path.open("ab") as file:
        file.write(b'{"number":4,"par')
    with LogFile(path) as opened:
        assert opened.cut == 16
    assert "16 bytes of block 4, which nobody was told of, are cut off" in caplog.text


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_ends_the_writer_and_what_is_on_disk_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    acknowledged = grown(path, BLOCKS).heads
    written = os.write

    def until_full(file: int, data: memoryview) -> int:
        if len(data) <= 60:
            raise OSError(errno.ENOSPC, "no space left")
        return written(file, data[: max(room, len(data) - 60)])

    with LogFile(path) as file:
        call = raw(file.journal.identity, grant(9), BLOCKS)
        with monkeypatch.context() as patch:
            patch.setattr(logfile.os, "write", until_full)
            with pytest.raises(OSError, match="no space left"):
                file.append(call, START + 9, OPERATOR)
    with LogFile(path) as file:
        assert file.journal.heads == acknowledged and file.cut > 0
        assert file.append(call, START + 9, OPERATOR).number == BLOCKS + 1


def test_every_flipped_byte_is_named_with_its_block(path: Path) -> None:
    grown(path, 1)
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= 1 << (place % 8)
        path.write_bytes(altered)
        with pytest.raises(BadLog) as caught:
            LogFile(path)
        assert caught.value.number in ({0} if place < first else {1}), place
        assert f"block {caught.value.number} of the log does not hold" in str(caught.value)
        assert path.read_bytes() == altered, "nothing is repaired"


def test_a_line_that_was_taken_out_doubled_or_moved_is_named(path: Path) -> None:
    grown(path, BLOCKS)
    lines = path.read_bytes().splitlines(keepends=True)
    for altered, number in (
        ([lines[0], *lines[2:]], 2),
        ([*lines[:2], lines[1], *lines[2:]], 1),
        ([lines[0], lines[2], lines[1], lines[3]], 2),
        (lines[1:], 1),
        ([], 0),
    ):
        path.write_bytes(b"".join(altered))
        with pytest.raises(BadLog) as caught:
            LogFile(path)
        assert caught.value.number in (number, 0)


def test_only_the_operator_writes_blocks_and_only_senders_make_calls(path: Path) -> None:
    with begin(path) as file:
        identity = file.journal.identity
        good = file.append(raw(identity, grant(1), 0), START, OPERATOR)
        other = NetworkKey(bytes(31) + b"\x01")
    first = decode_line(path.read_bytes().splitlines(keepends=True)[0])
    for what, block in (
        ("the log's operator did not sign it", _signed(good, other)),
        ("the rules give other events", _signed(good, OPERATOR, ok=False)),
        ("the rules give other events", _signed(good, OPERATOR, events=())),
        ("it does not continue block 0", _signed(good, OPERATOR, number=2)),
        ("it is older than the block before", _signed(good, OPERATOR, time=START - 1)),
        ("its call", _signed(good, OPERATOR, call=good.call[:-1] + bytes([good.call[-1] ^ 1]))),
    ):
        journal = Journal(first)
        with pytest.raises(BadLog, match=what):
            journal.accept(block)
    Journal(first).accept(good)


def _signed(block, key, **changes):  # type: ignore[no-untyped-def]
    import msgspec

    changed = msgspec.structs.replace(block, **changes)
    return msgspec.structs.replace(changed, signature=key.sign_digest(changed.hash))


def test_a_call_for_another_log_is_nobodys(path: Path, tmp_path: Path) -> None:
    with begin(path) as here, begin(tmp_path / "other.jsonl", salt=b"\x01" * 16) as there:
        assert here.journal.identity.chain_id != there.journal.identity.chain_id
        foreign = raw(there.journal.identity, grant(1), 0)
        block = here.append(foreign, START, OPERATOR)  # it recovers to some account without any role
        assert not block.ok
        assert here.journal.specification.roles == there.journal.specification.roles


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\x93\x00\xc4\x00\xc4\x00", b"\xff" * 300])
def test_junk_is_malformed_or_forged_and_changes_nothing(path: Path, junk: bytes) -> None:
    with begin(path) as file:
        with pytest.raises(PeerFault):
            file.append(junk, START, OPERATOR)
        assert file.journal.size == 1
        assert file.append(raw(file.journal.identity, grant(1), 0), START, OPERATOR).ok


def test_a_gap_in_the_nonces_is_weather(path: Path) -> None:
    with begin(path) as file, pytest.raises(Unavailable, match="number 0 of 0x"):
        file.append(raw(file.journal.identity, grant(1), 1), START, OPERATOR)


def test_pages_are_bounded_and_a_reader_beyond_the_end_gets_the_newest_line(path: Path) -> None:
    with begin(path) as file:
        for nonce in range(PAGE_BLOCKS):
            file.append(raw(file.journal.identity, None, nonce), START, OPERATOR)
        lines = path.read_bytes().splitlines(keepends=True)
        assert file.lines(0) == b"".join(lines[:PAGE_BLOCKS])
        assert file.lines(PAGE_BLOCKS - 1) == b"".join(lines[-2:])
        assert file.lines(PAGE_BLOCKS + 5) == lines[-1]


def test_a_lost_file_comes_back_byte_for_byte_from_a_copy_that_holds(path: Path) -> None:
    grown(path, BLOCKS)
    data = path.read_bytes()
    blocks = [decode_line(line) for line in data.splitlines(keepends=True)]
    with pytest.raises(ConfigurationError, match="never begun anew"):
        LogFile.restore(path, blocks)
    path.unlink()
    with pytest.raises(BadLog, match="block 3 of the log does not hold"):
        LogFile.restore(path, [*blocks[:2], blocks[3]])
    assert not path.exists()
    with LogFile.restore(path, blocks) as file:
        assert file.append(raw(file.journal.identity, grant(9), BLOCKS), START + 9, OPERATOR).number == BLOCKS + 1
    assert path.read_bytes().startswith(data)


def test_two_processes_do_not_write_one_log(path: Path) -> None:
    with begin(path), pytest.raises(Unavailable, match="two would fork the log"):
        LogFile(path)


def test_a_log_is_never_begun_in_the_place_of_another(path: Path) -> None:
    begin(path).close()
    with pytest.raises(ConfigurationError, match="never begun anew"):
        begin(path)
    with pytest.raises(ConfigurationError, match="ledger init"):
        LogFile(path.with_name("none"))
