from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import keys
from middleware.trust.eip712 import Domain
from middleware.types import EdgeLeaf, Receipt
from middleware.wire import message
from middleware.wire.commitment import Context

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NETWORK = keys.NetworkKey(bytes(range(32)))
ACCOUNT = keys.AccountKey(bytes(range(1, 33)))
DIGEST = bytes(range(100, 132))
PLACE = Context(31337, bytes(20))

digests = st.binary(min_size=32, max_size=32)


@FIXED
@given(digests)
def test_a_network_signature_verifies_with_libsodium_and_bends_never(digest: bytes) -> None:
    signature = NETWORK.sign_digest(digest)
    assert VerifyKey(NETWORK.public).verify(digest, signature) == digest
    assert keys.verify_network(NETWORK.public, digest, signature)
    for bit in range(0, 512, 37):
        bent = bytearray(signature)
        bent[bit // 8] ^= 1 << bit % 8
        assert not keys.verify_network(NETWORK.public, digest, bytes(bent))


@FIXED
@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=70))
def test_verifying_any_bytes_says_no(public: bytes, digest: bytes, signature: bytes) -> None:
    for key in (public, public.ljust(32, b"\0")[:32]):
        assert keys.verify_network(key, digest, signature) is False
        assert keys.verify_network(key, digest.ljust(32, b"\0")[:32], signature.ljust(64, b"\0")[:64]) is False


@FIXED
@given(digests)
def test_an_account_signature_is_recovered_by_us_and_by_eth_account(digest: bytes) -> None:
    signature = ACCOUNT.sign_digest(digest)
    assert len(signature) == 65 and signature[64] in (27, 28)
    assert keys.recover_account(digest, signature) == ACCOUNT.address
    assert Account._recover_hash(digest, signature=signature) == keys.checksum_address(ACCOUNT.address)
    assert bytes(Account.from_key(ACCOUNT.secret).unsafe_sign_hash(digest).signature) == signature


@FIXED
@given(digests, st.binary(max_size=70))
def test_recovering_from_any_bytes_gives_another_account_or_is_forged(digest: bytes, noise: bytes) -> None:
    for signature in (noise, noise.ljust(64, b"\1")[:64] + b"\x1b", bytes(64) + b"\x1c", b"\xff" * 64 + b"\x1b"):
        try:
            assert keys.recover_account(digest, signature) != ACCOUNT.address
        except PeerFault as fault:
            assert fault.code == "forged"


def test_the_other_s_of_the_same_signature_is_forged() -> None:
    signature = ACCOUNT.sign_digest(DIGEST)
    high = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    twin = signature[:32] + high + bytes([55 - signature[64]])
    with pytest.raises(PeerFault, match="low s"):
        keys.recover_account(DIGEST, twin)
    assert keys._HALF_ORDER == ORDER // 2


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_only_the_two_values_of_v_are_taken(v: int) -> None:
    signature = ACCOUNT.sign_digest(DIGEST)[:64] + bytes([v])
    with pytest.raises(PeerFault) as caught:
        keys.recover_account(DIGEST, signature)
    assert caught.value.code == "forged"


def test_only_digests_are_signed() -> None:
    for key in (NETWORK, ACCOUNT):
        with pytest.raises(ConfigurationError):
            key.sign_digest(b"a whole body")


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_an_impossible_account_secret_is_our_fault(secret: bytes) -> None:
    with pytest.raises(ConfigurationError):
        keys.AccountKey(secret)


def test_an_impossible_network_secret_is_our_fault() -> None:
    with pytest.raises(ConfigurationError):
        keys.NetworkKey(bytes(31))


def test_a_signed_message_holds_on_its_chain_and_contract_only() -> None:
    signed = keys.sign_message(PLACE, NETWORK, message.Poll(5, 1, 2, 3))
    keys.require_message_signature(PLACE, NETWORK.public, signed)
    for place in (Context(1, bytes(20)), Context(31337, b"\1" * 20)):
        with pytest.raises(PeerFault) as caught:
            keys.require_message_signature(place, NETWORK.public, signed)
        assert caught.value.code == "forged"
    assert not keys.message_is_signed_by(PLACE, keys.NetworkKey(bytes(32)).public, signed)


def test_a_signature_for_one_message_type_is_none_for_another() -> None:
    header = message.encode_header(message.Poll(5, 1, 2, 3))
    digests = {message.signing_digest(PLACE, code, header) for code in message.KINDS}
    assert len(digests) == len(message.KINDS)


def test_receipts_and_roots_are_bound_to_account_chain_and_contract() -> None:
    domain, other = Domain(31337, bytes(20)), Domain(31337, b"\1" * 20)
    receipt, leaf = Receipt(1, 1, 2, 0, bytes(32)), EdgeLeaf(1, 1, 2, bytes(32), 1, bytes(32))
    promise, root = keys.sign_receipt(domain, ACCOUNT, receipt), keys.sign_edge_root(domain, ACCOUNT, leaf)
    keys.require_receipt_signature(domain, ACCOUNT.address, receipt, promise)
    keys.require_edge_root_signature(domain, ACCOUNT.address, leaf, root)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: keys.require_receipt_signature(other, ACCOUNT.address, receipt, promise),
        lambda: keys.require_receipt_signature(domain, bytes(20), receipt, promise),
        lambda: keys.require_receipt_signature(domain, ACCOUNT.address, receipt, root),
        lambda: keys.require_edge_root_signature(other, ACCOUNT.address, leaf, root),
        lambda: keys.require_edge_root_signature(domain, ACCOUNT.address, leaf, promise),
    )
    for call in attempts:
        with pytest.raises(PeerFault) as caught:
            call()
        assert caught.value.code == "forged"


@FIXED
@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_written_and_read_with_their_checksum(address: bytes) -> None:
    text = keys.checksum_address(address)
    assert text == to_checksum_address(address)
    for spelling in (text, text.lower(), text.removeprefix("0x"), "0x" + text[2:].upper()):
        assert keys.parse_address(spelling) == address
    swapped = "0x" + text[2:].swapcase()
    if re.search("[a-f]", text[2:]) and re.search("[A-F]", text[2:]):
        with pytest.raises(ConfigurationError):
            keys.parse_address(swapped)


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", "zz" * 20, "0x" + "1" * 41, "0x" + "11 " * 13 + "1", "0x" + "\uff11" * 40]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        keys.parse_address(text)


def counting(n: int) -> bytes:
    return bytes(range(1, n + 1))


def test_a_key_file_brings_both_keys_back() -> None:
    pair = keys.KeyFile.generate(counting)
    again = keys.KeyFile.from_bytes(pair.to_bytes())
    assert (again.network.secret, again.account.secret) == (counting(32), counting(32))
    assert (again.network.public, again.account.address) == (pair.network.public, pair.account.address)


def test_secrets_show_in_no_repr() -> None:
    pair = keys.KeyFile.generate(counting)
    assert counting(32).hex() not in repr(pair)
    assert pair.network.public.hex() in repr(pair)


def test_a_damaged_key_file_is_refused_without_quoting_a_secret() -> None:
    data = keys.KeyFile.generate(counting).to_bytes()
    stored = json.loads(data)
    mixed = {**stored, "account_secret": "22" * 32}
    secret = stored["network_secret"]
    for bad in (
        b"",
        b"[]",
        data[:-9],
        json.dumps(mixed).encode(),
        data.replace(secret.encode(), secret[:-2].encode() + b"zz"),
        json.dumps({**stored, "network_secret": "11"}).encode(),
    ):
        with pytest.raises(ConfigurationError) as caught:
            keys.KeyFile.from_bytes(bad)
        assert secret[:20] not in str(caught.value)
        assert caught.value.__cause__ is None
