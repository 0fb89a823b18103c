"""Vouchers: the digest of the standard, and every way in which one does not hold."""

from __future__ import annotations

import msgspec
import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.eip712 import Domain, voucher_digest
from middleware.trust.keys import AccountKey
from middleware.trust.voucher import Voucher, encode_voucher, judge_voucher, sign_voucher

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
DOMAIN = Domain(31337, bytes(range(20)))
USER, OTHER = AccountKey(b"u" * 32), AccountKey(b"o" * 32)
CHAIN = bytes(range(32))
GOOD = sign_voucher(DOMAIN, USER, 7, 50, CHAIN)


def judged(data: bytes, before: int = 0, covered: int = 100, channel: int = 7, domain: Domain = DOMAIN) -> Voucher:
    return judge_voucher(domain, USER.address, channel, before, covered, data)


@FIXED
@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.binary(min_size=32, max_size=32))
def test_the_digest_is_the_standards(channel: int, units: int, chain: bytes) -> None:
    typed = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
                ],
                "Voucher": [
                    {"name": "channel", "type": "uint64"}, {"name": "units", "type": "uint64"},
                    {"name": "chain", "type": "bytes32"},
                ],
            },
            "primaryType": "Voucher",
            "domain": {
                "name": "Drystone", "version": "1", "chainId": 31337, "verifyingContract": "0x" + DOMAIN.contract.hex(),
            },
            "message": {"channel": channel, "units": units, "chain": chain},
        }
    )  # fmt: skip
    from eth_hash.auto import keccak

    assert keccak(b"\x19" + typed.version + typed.header + typed.body) == voucher_digest(DOMAIN, channel, units, chain)


def test_a_good_voucher_holds_and_the_same_one_again_does_too() -> None:
    assert judged(encode_voucher(GOOD)) == GOOD
    assert judged(encode_voucher(GOOD), before=50) == GOOD


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"channel": 8}, "mismatch"), ({"before": 51}, "replayed"), ({"covered": 49}, "unpaid"),
        ({"domain": Domain(31338, DOMAIN.contract)}, "forged"), ({"domain": Domain(31337, bytes(20))}, "forged"),
    ],
)  # fmt: skip
def test_foreign_shrunk_and_uncovered_vouchers_are_refused(wrong: dict[str, object], code: str) -> None:
    with pytest.raises(PeerFault) as fault:
        judged(encode_voucher(GOOD), **wrong)  # type: ignore[arg-type]
    assert fault.value.code == code


def test_another_users_and_a_changed_voucher_are_forged() -> None:
    for bad in (
        sign_voucher(DOMAIN, OTHER, 7, 50, CHAIN), msgspec.structs.replace(GOOD, units=60),
        msgspec.structs.replace(GOOD, chain=bytes(32)),
    ):  # fmt: skip
        with pytest.raises(PeerFault, match="did not sign"):
            judged(encode_voucher(bad))


@FIXED
@given(st.data())
def test_mutated_bytes_are_refused(data: st.DataObject) -> None:
    raw = bytearray(encode_voucher(GOOD))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerFault):
        judged(bytes(raw))


def test_an_impossible_voucher_cannot_be_built() -> None:
    with pytest.raises(ConfigurationError):
        Voucher(1 << 64, 0, CHAIN, bytes(65))
