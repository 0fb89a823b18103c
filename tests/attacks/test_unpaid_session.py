"""A user wants work that he does not pay for: he never vouches, vouches for less than was done, by another channel, or with
somebody else's key. He gets what the allowance leaves open, and no more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ledger.events import Position
from ledger.licences import Licences, PaymentChannel, PublishedModel
from middleware.errors import PeerFault
from middleware.trust.eip712 import Domain
from middleware.trust.keys import AccountKey
from middleware.trust.voucher import encode_voucher, sign_voucher
from middleware.types import ZERO32
from middleware.wire.model import root_of
from nodes.licences import REQUESTS_UNPAID, LedgerLicences
from nodes.line import Refused
from nodes.store import Store
from tests.unit.nodes.serving_world import CONTEXT, DEVICE, EDGE, World, built, world

MANIFEST, FILES, _ = built(held=2)
ROOT = root_of(MANIFEST)
PICTURE = np.zeros((16, 16, 3), np.uint8)
MODELS = bytes(range(40, 60))
DEPOSIT, PRICE = 10**6, 2
HERE = Domain(CONTEXT.chain_id, MODELS)


async def refresh() -> bool:
    return True


def published(here: World, folder: Path) -> AccountKey:
    """Let the edge ask a fold of the ledger in which the device has a licence and a channel; returns the device's key."""
    key, fold = here.keys[DEVICE][1], Licences()
    position = Position(1, ZERO32, 1, ZERO32, 0, 0, bytes(20))
    fold.models[ROOT] = PublishedModel(ROOT, bytes(20), 0, 0, ZERO32, ZERO32, PRICE, 5000, position)
    fold._licence(ROOT, key.address, expiry=1 << 40, quota=1 << 40)
    fold.channels[1] = PaymentChannel(1, ROOT, key.address, EDGE, PRICE, DEPOSIT)
    member: Any = here.members[EDGE]
    member.index.licences = fold
    member.store = Store(folder / "edge")
    member.view = SimpleNamespace(refresh=refresh)
    here.served[EDGE].licences = LedgerLicences(member, MODELS)
    return key


class Purse:
    """A wallet that vouches as it is told."""

    def __init__(
        self, key: AccountKey, channel: int = 1, share: float = 1.0, domain: Domain = Domain(CONTEXT.chain_id, MODELS)
    ) -> None:
        self.key, self.number, self.share, self.domain = key, channel, share, domain
        self.channel = channel.to_bytes(32, "big")

    def begin(self) -> None: ...

    def voucher(self, units: int, chain: bytes) -> bytes:
        return encode_voucher(sign_voucher(self.domain, self.key, self.number, int(units * self.share), chain))


async def served(here: World, wallet: Any, count: int) -> int:
    """How many of `count` requests the edge answered before it stopped."""
    answered = 0
    async with await here.session(ROOT, forced="f32@2", wallet=wallet) as session:
        for _ in range(count):
            try:
                answered += (await session(PICTURE)).tier == "edge"
            except Exception:
                break
    return answered


async def test_who_pays_is_served_to_the_end(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        assert await served(here, Purse(key), 200) == 200
        till = here.served[EDGE].licences.channel_units(ROOT, key.address)
        assert till == 200 * MANIFEST.units(2)


async def test_who_never_vouches_gets_the_allowance_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        most = REQUESTS_UNPAID * MANIFEST.units(0) // MANIFEST.units(2)
        assert await served(here, Purse(key, share=0.0), 2 * most) == most
        assert here.served[EDGE].licences.channel_units(ROOT, key.address) == 0


async def test_vouchers_for_less_than_was_done_buy_no_more_than_they_pay(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        most = REQUESTS_UNPAID * MANIFEST.units(0) // MANIFEST.units(2)
        assert await served(here, Purse(key, share=0.5), 6 * most) <= 2 * most + 1


async def test_a_voucher_by_another_key_or_for_another_contract_ends_the_session(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        for purse in (Purse(AccountKey(b"x" * 32)), Purse(key, domain=Domain(CONTEXT.chain_id, bytes(20)))):
            purse.key = AccountKey(b"x" * 32) if purse.domain.contract == MODELS else key
            most = REQUESTS_UNPAID * MANIFEST.units(0) // MANIFEST.units(2)
            assert await served(here, purse, 3 * most) <= most
            assert here.served[EDGE].licences.channel_units(ROOT, key.address) == 0


async def test_a_channel_of_somebody_else_opens_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        with pytest.raises((Refused, PeerFault), match="unpaid"):
            async with await here.session(ROOT, forced="f32@2", wallet=Purse(key, channel=7)) as session:
                line = session.line
                assert line is not None
                await line.ask(session_course(), bytes(2048))


def session_course() -> Any:
    from middleware.wire.session import Course

    return Course(2, len(MANIFEST.segments), "f32")


async def test_a_channel_that_was_opened_a_moment_ago_is_looked_for_on_the_ledger(tmp_path: Path) -> None:
    async with world(tmp_path, FILES) as here:
        key = published(here, tmp_path)
        member: Any = here.members[EDGE]
        fold = member.index.licences
        opened = fold.channels.pop(1)

        async def read() -> bool:
            fold.channels[1] = opened
            return True

        member.view = SimpleNamespace(refresh=read)
        assert await served(here, Purse(key), 5) == 5
