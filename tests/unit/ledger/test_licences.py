"""The fold over the events of models says what the specification holds, whatever is done in whatever order."""

from __future__ import annotations

import random

import pytest

from devnet.simulation import in_memory
from ledger import calls
from ledger.events import PriceChanged, VoucherRedeemed
from ledger.index import Index
from ledger.models import CLOSING_SECONDS
from middleware.errors import LedgerRefused, PeerFault
from middleware.ports import Position
from middleware.trust.eip712 import Domain, registration_digest, voucher_digest
from middleware.trust.keys import AccountKey, NetworkKey
from middleware.types import ZERO32, Tier
from middleware.wire.commitment import pack_name

OWNER, USER, OTHER = AccountKey(b"o" * 32), AccountKey(b"u" * 32), AccountKey(b"x" * 32)
ROOTS = [bytes([number]) * 32 for number in (1, 2)]
FOREVER = (1 << 64) - 1


def registration(registry: bytes, chain_id: int, number: int, tier: Tier, parent: int) -> calls.Register:
    key, network = AccountKey(bytes([number + 100]) * 32), NetworkKey(bytes([number]) * 32)
    fields = (
        network.public,
        key.address,
        OWNER.address,
        int(tier),
        parent,
        pack_name(f"node-{number}"),
        ZERO32,
        1 << 40,
    )
    digest = registration_digest(Domain(chain_id, registry), *fields)
    return calls.Register(*fields, key.sign_digest(digest), network.sign_digest(digest))


@pytest.mark.parametrize("seed", range(2))
async def test_a_random_market_folds_to_what_the_specification_holds(seed: int) -> None:
    ledger, context, registry = in_memory(OWNER)
    await ledger.send(registration(registry, context.chain_id, 1, Tier.CLOUD, 0), OWNER)
    await ledger.send(registration(registry, context.chain_id, 2, Tier.EDGE, 1), OWNER)
    draw, spec = random.Random(seed), ledger.specification
    here = spec.addresses["Models"]
    for user in (USER, OTHER):
        await ledger.send(calls.Mint(user.address, 10**6), OWNER)
        await ledger.send(calls.Approve(here, 10**6), user)
    done: dict[str, int] = {}
    for _ in range(120):
        root, user = draw.choice(ROOTS), draw.choice([USER, OTHER])
        channel, units = draw.randint(1, 6), draw.randint(0, 60)
        digest = voucher_digest(Domain(context.chain_id, here), channel, units, ZERO32)
        call, sender = draw.choice([
            (calls.PublishForeign(root, ZERO32, 3, 2_500), OWNER), (calls.SetPrice(root, draw.randint(0, 5)), OWNER),
            (calls.GrantLicence(root, user.address, FOREVER, draw.randint(1, 80)), OWNER),
            (calls.RevokeLicence(root, user.address), OWNER), (calls.OpenChannel(root, 2, draw.randint(0, 300)), user),
            (calls.FundChannel(channel, draw.randint(0, 50)), user),
            (calls.Redeem(channel, units, ZERO32, user.sign_digest(digest)), OTHER),
            (calls.CloseChannel(channel), user), (calls.WithdrawChannel(channel), user),
        ])  # fmt: skip
        try:
            await ledger.send(call, sender)
        except LedgerRefused:
            continue
        done[call.function] = done.get(call.function, 0) + 1
        if draw.random() < 0.1:
            ledger._append(None, ledger.blocks[-1].head.time + CLOSING_SECONDS)
    index = Index()
    index.extend(await ledger.entries(None))
    fold = index.licences
    assert {"publishForeign", "openChannel", "redeem", "grant"} <= done.keys()
    assert {root: (one.owner, one.price, one.share) for root, one in fold.models.items()} == {
        root: (one.owner, one.price, one.share) for root, one in spec.models.items()
    }
    assert {key: (one.expiry, one.quota, one.used) for key, one in fold.granted.items()} == {
        key: (one.expiry, one.quota, one.used) for key, one in spec.grants.items()
    }
    told = {
        id: (one.root, one.user, one.edge, one.price, one.deposit, one.redeemed, one.closing)
        for id, one in fold.channels.items()
    }
    assert told == {
        id: (one.root, one.user, one.edge, one.price, one.deposit, one.redeemed, one.closing)
        for id, one in spec.channels.items()
    }
    now = 10**9
    for root, user in spec.grants:
        assert fold.may_infer(root, user, now) == spec.may_infer(root, user, now)


@pytest.mark.parametrize("event", [PriceChanged(ROOTS[0], 1), VoucherRedeemed(1, 1, ZERO32, 0, 0)])
def test_a_record_that_changes_what_nobody_made_is_malformed(event: object) -> None:
    from ledger.licences import Licences

    with pytest.raises(PeerFault, match="malformed: the record changes"):
        Licences().take(event, Position(1, ZERO32, 1, ZERO32, 0, 0, bytes(20)))  # type: ignore[arg-type]
