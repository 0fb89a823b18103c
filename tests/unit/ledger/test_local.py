"""The client of a local log: it follows nothing that was rewound, forked, invented or signed by somebody else."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from ledger import calls
from ledger.client import AddressBook, EvmLedger
from ledger.connect import connect
from ledger.index import Index
from ledger.journal import BadLog, LogForked, decode_line, encode_line
from ledger.local import LOG_PATH, LocalLedger, local_book
from ledger.logfile import PAGE_BLOCKS, LogFile
from ledger.outbox import Outbox
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Cursor
from middleware.trust.keys import AccountKey, NetworkKey
from nodes.keeper import CALL_BYTES, Keeper
from tests.unit.ledger.log_world import ADMIN, OPERATOR, START, begin, grant, grown, kept, raw, served

OTHER = AccountKey(sha256(b"other").digest())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blocks.jsonl"


@pytest_asyncio.fixture
async def ledger(path: Path) -> AsyncIterator[LocalLedger]:
    begin(path).close()
    async with kept(path) as (_, book), LocalLedger(book) as ledger:
        yield ledger


def rewritten(path: Path, keep: int, roles: tuple[int, ...]) -> None:
    """The log in `path` cut to `keep` blocks, with other calls behind them: what a cheating operator writes."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:keep]))
    with LogFile(path) as file:
        for role in roles:
            nonce = file.journal.nonce(ADMIN.address)
            file.append(raw(file.journal.identity, grant(role), nonce), START, OPERATOR)


async def test_a_rewound_log_is_refused_by_whoever_saw_more(path: Path) -> None:
    seen = grown(path, 3).head
    async with kept(path) as (keeper, book), LocalLedger(book) as ledger:
        cursor = (await ledger.entries(None)).cursor
        port = int(book.rpc.rpartition(":")[2])
        assert keeper.file.journal.head == seen
        again = await ledger.entries(cursor)
        assert again.entries == () and again.rewind_to is None
        rewind(path, 2)
        keeper.file._load()  # the operator restored an old copy
        for attempt in range(2):
            with pytest.raises(LogForked) as caught:
                await ledger.entries(cursor)
            assert (caught.value.ours, caught.value.theirs.block) == (cursor, 1), attempt
        for head in (caught.value.ours, caught.value.theirs):
            assert head.hash.hex() in str(caught.value)
        assert "was rewound" in str(caught.value)
        with pytest.raises(LogForked):
            await ledger.head()
        async with LocalLedger(msgspec.structs.replace(book, rpc=f"local+http://127.0.0.1:{port}")) as newcomer:
            with pytest.raises(LogForked, match="was rewound"):
                await newcomer.entries(cursor)


def rewind(path: Path, keep: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))


async def test_a_forked_log_is_refused_though_its_operator_signed_both_branches(path: Path) -> None:
    grown(path, 3)
    fork = path.with_name("fork.jsonl")
    shutil.copy(path, fork)
    rewritten(fork, 2, (7, 8, 9))
    async with kept(path) as (keeper, book), LocalLedger(book) as ledger:
        cursor = (await ledger.entries(None)).cursor
        with LogFile(fork) as other:
            keeper.file, mine = other, keeper.file
            with pytest.raises(LogForked, match="was forked: it was read up to block 3") as caught:
                await ledger.head()
            assert caught.value.theirs == Cursor(3, other.journal.heads[3].hash)
            async with LocalLedger(book) as newcomer:
                assert (await newcomer.head()).number == 4, "who saw nothing before cannot know"
                with pytest.raises(LogForked, match="was forked"):
                    await newcomer.entries(cursor)
            keeper.file = mine


async def test_what_was_seen_survives_the_reader(path: Path, tmp_path: Path) -> None:
    grown(path, 3)
    memory = tmp_path / "seen"
    async with kept(path) as (_, book), LocalLedger(book, memory) as ledger:
        await ledger.head()
    async with kept(path) as (_, book), LocalLedger(book, memory) as again:
        assert (await again.head()).number == 3
    rewritten(path, 3, ())
    async with kept(path) as (_, book), LocalLedger(book, memory) as later:
        with pytest.raises(LogForked, match="was rewound"):
            await later.head()
    memory.write_bytes(b"{")
    async with kept(path) as (_, book), LocalLedger(book, memory) as unsure:
        with pytest.raises(ConfigurationError, match="which block was seen last"):
            await unsure.head()


async def test_a_promise_that_the_log_then_does_not_show_is_a_fork(path: Path) -> None:
    """The operator answers a call with a signed block and leaves it out afterwards."""
    begin(path).close()
    async with kept(path) as (keeper, book):

        async def forgetful(request: web.Request) -> web.Response:
            answer = await keeper.take(request)
            rewind(path, 1)
            keeper.file._load()
            return answer

        app = web.Application()
        app.add_routes([web.get(LOG_PATH, keeper.lines), web.post(LOG_PATH, forgetful)])
        async with served(app) as port:
            there = msgspec.structs.replace(book, rpc=f"local+http://127.0.0.1:{port}")
            async with LocalLedger(there) as ledger:
                with pytest.raises(LogForked) as caught:
                    await ledger.send(grant(1), ADMIN)
                assert (caught.value.ours.block, caught.value.theirs.block) == (1, 0)


async def test_a_block_that_bends_the_rules_is_refused_though_its_operator_signed_it(path: Path) -> None:
    grown(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    last = decode_line(lines[-1])
    bent = msgspec.structs.replace(last, events=last.events * 2, signature=b"")
    bent = msgspec.structs.replace(bent, signature=OPERATOR.sign_digest(bent.hash))

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=b"".join([*lines[:-1], encode_line(bent)]))

    app = web.Application()
    app.add_routes([web.get(LOG_PATH, show)])
    with LogFile(path) as file:
        identity = file.journal.identity
    async with (
        served(app) as port,
        LocalLedger(local_book(identity, OPERATOR.public, f"http://127.0.0.1:{port}")) as ledger,
    ):
        for _ in range(2):
            with pytest.raises(BadLog, match="block 2 of the log does not hold: the rules give other events"):
                await ledger.entries(None)


async def test_another_log_than_the_address_books_is_refused(path: Path, tmp_path: Path) -> None:
    begin(path).close()
    begin(tmp_path / "other.jsonl", salt=b"\x01" * 16).close()
    async with kept(path) as (_, book), kept(tmp_path / "other.jsonl") as (_, other):
        mixed = msgspec.structs.replace(book, rpc=other.rpc)
        async with LocalLedger(mixed) as ledger:
            with pytest.raises(ConfigurationError, match="is not the address book's"):
                await ledger.head()


async def test_an_answer_that_was_lost_doubles_nothing(path: Path) -> None:
    """The block is on disk, but the connection breaks before the sender hears of it; an outbox hands it in again."""
    grown(path, 0)
    async with kept(path) as (keeper, book):
        lost = [True, True, False, True]

        async def breaking(request: web.Request) -> web.Response:
            answer = await keeper.take(request)
            if lost and lost.pop(0) and request.transport is not None:
                request.transport.abort()
            return answer

        app = web.Application()
        app.add_routes([web.get(LOG_PATH, keeper.lines), web.post(LOG_PATH, breaking)])
        async with served(app) as port:
            there = msgspec.structs.replace(book, rpc=f"local+http://127.0.0.1:{port}")
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                async with LocalLedger(there) as ledger:
                    outbox = Outbox(connection, ledger, ADMIN, 0)
                    for role in range(1, 7):
                        outbox.plan(grant(role))
                    broke = 0
                    while outbox.pending():
                        try:
                            await outbox.drain()
                        except Unavailable:
                            broke += 1
                    assert broke == 3 and not lost
                    entries = (await ledger.entries(None)).entries
                    assert [entry.event.role_id for entry in entries] == [1, 2, 3, 4, 5, 6]  # type: ignore[attr-defined]
                    assert (await ledger.head()).number == 6


async def test_a_call_beyond_the_limit_is_refused(ledger: LocalLedger) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        await ledger.send_raw(bytes(CALL_BYTES + 1))


async def test_a_long_log_is_read_page_by_page(path: Path) -> None:
    with begin(path) as file:
        for nonce in range(PAGE_BLOCKS + 3):
            file.append(raw(file.journal.identity, None, nonce), START, OPERATOR)
        file.append(raw(file.journal.identity, grant(1), PAGE_BLOCKS + 3), START, OPERATOR)
    async with kept(path) as (keeper, book), LocalLedger(book) as ledger:
        batch = await ledger.entries(None)
        assert (batch.head.number, len(batch.entries)) == (PAGE_BLOCKS + 4, 1)
        blocks = await ledger.blocks()
        assert b"".join(map(encode_line, blocks)) == path.read_bytes()
        assert keeper.file.journal.heads[-1] == batch.head


async def test_sends_of_one_key_at_once_take_their_nonces_in_turn(ledger: LocalLedger) -> None:
    async with LocalLedger(ledger.book) as second:
        outcomes = await asyncio.gather(
            *(each.send(grant(role), ADMIN) for role in (1, 2, 3) for each in (ledger, second))
        )
    assert sorted(outcome.block for outcome in outcomes) == [1, 2, 3, 4, 5, 6]
    assert await ledger.nonce(ADMIN.address) == 6


async def test_a_refused_call_is_not_sent(ledger: LocalLedger) -> None:
    with pytest.raises(LedgerRefused, match="AccessManagerUnauthorizedAccount"):
        await ledger.send(grant(1), OTHER)
    assert (await ledger.head()).number == 0


async def test_junk_is_answered_as_malformed(ledger: LocalLedger) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        await ledger.send_raw(b"junk")
    with pytest.raises(Unavailable, match="comes first"):
        await ledger.send_raw((await ledger.cancel(ADMIN, 7, await ledger.fees())).raw)


async def test_a_log_that_is_down_is_the_weather(path: Path) -> None:
    begin(path).close()
    async with kept(path) as (_, book):
        port = int(book.rpc.rpartition(":")[2])
    async with LocalLedger(book) as ledger:
        with pytest.raises(Unavailable, match="no log answers"):
            await ledger.entries(None)
        async with kept(path, port=port):
            assert (await ledger.entries(None)).head.number == 0
            index = Index()
            index.extend(await ledger.entries(index.cursor))
        with pytest.raises(Unavailable):
            await ledger.send(grant(1), ADMIN)


async def test_a_disk_that_fails_ends_the_keeper(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(path).close()
    async with kept(path) as (keeper, book), LocalLedger(book) as ledger:

        def broken(raw: bytes, now: int, key: NetworkKey) -> None:
            raise OSError("input/output error")

        monkeypatch.setattr(keeper.file, "append", broken)
        for _ in range(2):
            with pytest.raises(Unavailable, match="takes nothing now"):
                await ledger.send(grant(1), ADMIN)
        assert isinstance(keeper.failed.exception(), OSError)


def test_a_keeper_needs_the_logs_own_key(path: Path) -> None:
    with begin(path) as file:
        loop = asyncio.new_event_loop()
        try:
            with pytest.raises(ConfigurationError, match="is the log of operator"):
                loop.run_until_complete(_keep(file))
        finally:
            loop.close()


async def _keep(file: LogFile) -> Keeper:
    return Keeper(file, NetworkKey(bytes(31) + b"\x05"))


def test_the_address_book_names_the_operator(path: Path) -> None:
    with begin(path) as file:
        book = local_book(file.journal.identity, OPERATOR.public, "http://127.0.0.1:1")
    assert AddressBook.from_bytes(book.to_bytes()) == book
    assert isinstance(connect(book), LocalLedger)
    assert not isinstance(connect(msgspec.structs.replace(book, rpc="http://127.0.0.1:1", operator=b"")), LocalLedger)
    with pytest.raises(ConfigurationError, match="this needs a chain's contracts"):
        EvmLedger(book)
    for changes in ({"operator": b""}, {"rpc": "http://127.0.0.1:1"}, {"operator": b"\x01"}):
        with pytest.raises(ConfigurationError, match="comes with the operator's key"):
            msgspec.structs.replace(book, **changes)
    with pytest.raises(ConfigurationError, match="no key in hex"):
        AddressBook.from_bytes(book.to_bytes().replace(OPERATOR.public.hex().encode(), b"zz"))


async def test_a_call_of_no_contract_is_our_own_fault(ledger: LocalLedger) -> None:
    class Unknown(calls._Call, frozen=True):
        contract = "Registry"
        function = "unknown"

    with pytest.raises(ConfigurationError, match="no rule for Registry.unknown"):
        await ledger.send(Unknown(), ADMIN)
