"""Vouchers: what a user's account signs to pay an edge for work, and what the Models contract pays.

A voucher promises `units` of work in all since its channel was opened, so the last one is worth all before it, and an edge keeps
one a channel. It names the chain of receipts of the session that it closes the account of (`protocol.session`).
"""

from __future__ import annotations

import msgspec

from middleware.errors import PeerFault
from middleware.trust.eip712 import Domain, voucher_digest
from middleware.trust.keys import AccountKey, recover_account
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned
from middleware.wire.message import ACCOUNT_SIGNATURE_BYTES


class Voucher(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`domain` of its signature is the Models contract's."""

    channel: int
    units: int
    chain: bytes
    signature: bytes

    def __post_init__(self) -> None:
        require_unsigned("channel", self.channel, 64)
        require_unsigned("units", self.units, 64)
        require_bytes("chain of receipts", self.chain, 32)
        require_bytes("signature", self.signature, ACCOUNT_SIGNATURE_BYTES)


def sign_voucher(domain: Domain, key: AccountKey, channel: int, units: int, chain: bytes) -> Voucher:
    return Voucher(channel, units, chain, key.sign_digest(voucher_digest(domain, channel, units, chain)))


def encode_voucher(voucher: Voucher) -> bytes:
    return canonical.encode(voucher)


def judge_voucher(domain: Domain, user: bytes, channel: int, before: int, covered: int, data: bytes) -> Voucher:
    """The voucher in a stranger's bytes, if `user` signed it for this channel and it promises no less than `before` and no more
    than the `covered` units that the deposit pays for. PeerFault otherwise."""
    voucher = canonical.decode(data, Voucher)
    if voucher.channel != channel:
        raise PeerFault("mismatch", f"a voucher of channel {voucher.channel}, in a session that channel {channel} pays")
    if voucher.units < before:
        raise PeerFault("replayed", f"a voucher for {voucher.units} units, after one for {before}")
    if voucher.units > covered:
        raise PeerFault("unpaid", f"a voucher for {voucher.units} units, the deposit covers {covered}: add to it")
    digest = voucher_digest(domain, channel, voucher.units, voucher.chain)
    if recover_account(digest, voucher.signature) != user:
        raise PeerFault("forged", f"a voucher of channel {channel} that its user did not sign")
    return voucher
