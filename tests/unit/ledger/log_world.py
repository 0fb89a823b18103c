"""A local log on loopback for tests: its file, its keeper and what members sign."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from ledger import calls
from ledger.client import AddressBook
from ledger.journal import FORMAT, Genesis, Identity, Journal, sign_call
from ledger.local import local_book
from ledger.logfile import LogFile
from middleware.trust import eip712
from middleware.trust.keys import AccountKey, NetworkKey
from middleware.types import ZERO32, Tier
from middleware.wire.commitment import pack_name
from nodes.keeper import Keeper

OPERATOR = NetworkKey(sha256(b"operator of the log").digest())
ADMIN = AccountKey(sha256(b"admin").digest())
START = 1_700_000_000  # seconds
FAR = 1 << 40


def begin(path: Path, salt: bytes = bytes(16), key: NetworkKey = OPERATOR) -> LogFile:
    genesis = Genesis(FORMAT, key.public, ADMIN.address, (0, 0, 0), 600, (0, 0, 0, 0, 0), salt)
    return LogFile.create(path, genesis, START, key)


def grant(role: int) -> calls.GrantRole:
    return calls.GrantRole(role, b"\x09" * 20)


def raw(identity: Identity, call: calls.AnyCall | None, nonce: int, key: AccountKey = ADMIN) -> bytes:
    return sign_call(identity, call, key, nonce).raw


def registration(book: AddressBook, account: AccountKey, seed: int = 1) -> calls.Register:
    network = NetworkKey(bytes([seed]) * 32)
    fields = (
        network.public,
        account.address,
        account.address,
        int(Tier.CLOUD),
        0,
        pack_name(f"cloud-{seed}"),
        ZERO32,
        FAR,
    )
    digest = eip712.registration_digest(eip712.Domain(book.chain_id, book.registry), *fields)
    return calls.Register(*fields, account.sign_digest(digest), network.sign_digest(digest))


def grown(path: Path, blocks: int) -> Journal:
    """A log of this many blocks behind block 0, closed again."""
    with begin(path) as file:
        for nonce in range(blocks):
            file.append(raw(file.journal.identity, grant(nonce + 1), nonce), START + nonce, OPERATOR)
        return file.journal


@asynccontextmanager
async def served(application: web.Application, port: int = 0) -> AsyncIterator[int]:
    """The port on loopback where it is served."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def kept(
    path: Path, key: NetworkKey = OPERATOR, clock: Callable[[], float] = lambda: START + 1, port: int = 0
) -> AsyncIterator[tuple[Keeper, AddressBook]]:
    """The log in `path`, served; and the address book that names it."""
    with LogFile(path) as file:
        keeper = Keeper(file, key, clock)
        async with served(keeper.application(), port) as at:
            yield keeper, local_book(file.journal.identity, key.public, f"http://127.0.0.1:{at}")
