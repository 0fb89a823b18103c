"""What owners and users of models do with them: publish, license, pay, redeem. The command line's verbs call it.

A model's files go to a cloud after the ledger knows their root, which is why the cloud takes them from whoever brings them: a
stranger can bring nothing but the very bytes that were published.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from ledger.calls import (
    Approve,
    CloseChannel,
    GrantLicence,
    Mint,
    OpenChannel,
    PublishForeign,
    PublishModel,
    Redeem,
    RevokeLicence,
    WithdrawChannel,
)  # fmt: skip
from ledger.connect import AnyLedger
from ledger.index import Index
from ledger.licences import PaymentChannel
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.ports import Call
from middleware.trust.keys import AccountKey
from middleware.trust.voucher import Voucher
from middleware.types import LIMITS, ZERO32
from middleware.wire import canonical
from middleware.wire.model import ModelManifest, encode_model_manifest, root_of
from nodes.link import Link

SEE_SECONDS: Final = 30.0  # that a cloud may take to read the block of a publication
LOOK_SECONDS: Final = 0.2


class Market:
    """A key, and the ledger it acts on."""

    def __init__(self, ledger: AnyLedger, key: AccountKey) -> None:
        self.ledger, self.key = ledger, key
        self.index = Index()

    async def refresh(self) -> Index:
        self.index.extend(await self.ledger.entries(self.index.cursor))
        return self.index

    async def send(self, *calls: Call) -> None:
        for call in calls:
            await self.ledger.send(call, self.key)
        await self.refresh()

    async def publish(self, model: ModelManifest, price: int, share: int, licence: bytes = ZERO32) -> bytes:
        """Put the model's root on the ledger, with its lineage where it has one; returns the root."""
        root, index = root_of(model), await self.refresh()
        if root in index.licences.models:
            raise ConfigurationError(f"this very model is published already: root {root.hex()}")
        if not model.task:
            await self.send(PublishForeign(root, licence, price, share))
            return root
        rounds = index.anchored.get(model.task, [])
        found = next((one for one in rounds if one.header.round == model.round), None)
        if found is None:
            raise ConfigurationError(f"round {model.round} of task {model.task} is not anchored")
        await self.send(PublishModel(root, found.header, found.position.time, licence, price, share))
        return root

    async def bring(self, cloud: str, model: ModelManifest, files: dict[bytes, bytes]) -> None:
        """Hand the manifest and its files to a cloud. Raises Unavailable where it does not take them in time."""
        async with aiohttp.ClientSession() as http:
            link = Link(cloud, http, LIMITS)
            await _until_taken(link, root_of(model), encode_model_manifest(model))
            for digest in {one.digest for one in model.files()}:
                await _until_taken(link, digest, files[digest])

    async def grant(self, root: bytes, user: bytes, expiry: int, quota: int) -> None:
        await self.send(GrantLicence(root, user, expiry, quota))

    async def revoke(self, root: bytes, user: bytes) -> None:
        await self.send(RevokeLicence(root, user))

    async def mint(self, to: bytes, amount: int) -> None:
        await self.send(Mint(to, amount))

    async def open_channel(self, root: bytes, edge: int, deposit: int) -> PaymentChannel:
        """A channel of this key's account to an edge, its deposit approved and paid in."""
        await self.send(Approve(self.ledger.book.models, deposit), OpenChannel(root, edge, deposit))
        return self.index.licences.channels_of(root, self.key.address, edge)[0]

    async def close_channel(self, channel: int) -> int:
        """Start to close a channel, or, once its time has come, take back what is left; returns when (seconds since 1970) the
        rest can be had, 0 where it was taken."""
        found = (await self.refresh()).licences.channels.get(channel)
        if found is None:
            raise ConfigurationError(f"the ledger knows no open channel {channel}")
        if found.closing and (await self.ledger.head()).time >= found.closing:
            await self.send(WithdrawChannel(channel))
            return 0
        if not found.closing:
            await self.send(CloseChannel(channel))
        return self.index.licences.channels[channel].closing

    async def redeem(self, vouchers: list[Voucher]) -> list[tuple[Voucher, int]]:
        """Redeem each voucher that promises more than was redeemed; (voucher, token units that it paid) of those."""
        paid = []
        await self.refresh()
        for voucher in vouchers:
            before = self.index.licences.channels.get(voucher.channel)
            if before is None or voucher.units <= before.redeemed:
                continue
            await self.send(Redeem(voucher.channel, voucher.units, voucher.chain, voucher.signature))
            after = self.index.licences.channels[voucher.channel]
            paid.append((voucher, before.deposit - after.deposit))
        return paid


async def _until_taken(link: Link, digest: bytes, data: bytes) -> None:
    """Bring a blob; a cloud that does not wait for it yet has not read the block, or has it already."""
    deadline = time.monotonic() + SEE_SECONDS
    while True:
        try:
            await link.put_blob(digest, data)
            return
        except PeerFault as fault:
            if await link.has_blob(digest):
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"the cloud at {link.base} does not take the model's files: {fault}") from fault
        await asyncio.sleep(LOOK_SECONDS)


def kept_vouchers(database: Path) -> list[Voucher]:
    """The last voucher of each channel, from an edge's database."""
    if not database.exists():
        raise ConfigurationError(f"no database at {database}: the edge has not run there")
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT value FROM voucher ORDER BY channel").fetchall()
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(f"{database} cannot be read: {error}") from error
    finally:
        connection.close()
    return [canonical.decode(bytes(row[0]), Voucher) for row in rows]


class Listed(msgspec.Struct, frozen=True):
    """One published model as `drystone model list` shows it."""

    root: str
    name: str
    owner: str
    task: int
    round: int
    price: int
    share: int
    licences: int
    channels: int


def listed(index: Index, names: dict[bytes, str]) -> list[Listed]:
    """Every published model, the newest last; `names` are those whose manifest is at hand."""
    fold, now = index.licences, time.time()
    return [
        Listed(
            root.hex(), names.get(root, ""), "0x" + model.owner.hex(), model.task, model.round, model.price, model.share,
            sum(fold.may_infer(root, user, now) for of, user in fold.granted if of == root),
            sum(channel.root == root for channel in fold.channels.values()),
        )
        for root, model in fold.models.items()
    ]  # fmt: skip
