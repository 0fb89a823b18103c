"""The two keys of a node. The network key (ed25519) signs every message; the account key (secp256k1) signs what a
contract must be able to check: registrations, receipts, roots, transactions.

Only digests are signed. Verifying never raises for a stranger's bytes: it says no, or, where a fault is wanted,
`PeerFault("forged")`. Sources: RFC 8032 (through libsodium, which also refuses small-order keys and unreduced S),
SEC 1 and EIP-2 (low s only: the other s is a second signature of the same digest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from coincurve import PrivateKey, PublicKey
from eth_hash.auto import keccak
from nacl.exceptions import BadSignatureError
from nacl.public import PrivateKey as ExchangeKey
from nacl.signing import SigningKey, VerifyKey

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.eip712 import Domain, edge_root_digest, receipt_digest
from middleware.types import LIMITS, EdgeLeaf, Limits, Receipt
from middleware.wire.commitment import Context
from middleware.wire.message import ACCOUNT_SIGNATURE_BYTES, Message, Signed, encode_header, signing_digest

SECRET_BYTES: Final = 32
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0  # of secp256k1, SEC 2

M = TypeVar("M", bound=Message)
Random = Callable[[int], bytes]  # n -> n unpredictable bytes


class NetworkKey:
    """An ed25519 key. `public` (32 bytes) is what the ledger holds; the secret never shows in a repr."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ConfigurationError(f"a network key's secret has {SECRET_BYTES} bytes, got {len(secret)}")
        self._key = SigningKey(secret)
        self.public = bytes(self._key.verify_key)

    @classmethod
    def generate(cls, random: Random) -> NetworkKey:
        return cls(random(SECRET_BYTES))

    @property
    def secret(self) -> bytes:
        return bytes(self._key)

    def sign_digest(self, digest: bytes) -> bytes:
        """64 bytes over a 32-byte digest; deterministic."""
        return self._key.sign(_digest(digest)).signature

    def exchange_key(self) -> ExchangeKey:
        """The X25519 form of the key, for opening sealed boxes."""
        return self._key.to_curve25519_private_key()

    def __repr__(self) -> str:
        return f"NetworkKey({self.public.hex()})"


class AccountKey:
    """A secp256k1 key. `address` (20 bytes) is the account; the secret never shows in a repr."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ConfigurationError(f"an account key's secret has {SECRET_BYTES} bytes, got {len(secret)}")
        try:
            self._key = PrivateKey(secret)
        except ValueError as error:
            raise ConfigurationError("an account key's secret is neither zero nor past the group order") from error
        self.address = _address_of(self._key.public_key)

    @classmethod
    def generate(cls, random: Random) -> AccountKey:
        """A fresh key. A draw outside the group (chance 2**-128) is a ConfigurationError, not a second try."""
        return cls(random(SECRET_BYTES))

    @property
    def secret(self) -> bytes:
        return bytes(self._key.secret)

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r | s | v over a 32-byte digest, s low, v 27 or 28; deterministic (RFC 6979)."""
        signature = self._key.sign_recoverable(_digest(digest), hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def __repr__(self) -> str:
        return f"AccountKey({checksum_address(self.address)})"


def verify_network(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public`'s over `digest`. Total: False for bytes of any other shape."""
    if len(public) != 32 or len(digest) != 32 or len(signature) != 64:
        return False
    try:
        VerifyKey(public).verify(digest, signature)
    except BadSignatureError:
        return False
    return True


def recover_account(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte account that signed `digest`. PeerFault("forged") for high s, another v, or no point."""
    if len(signature) != ACCOUNT_SIGNATURE_BYTES or signature[64] not in (27, 28):
        raise PeerFault("forged", "an account signature is r | s | v, 65 bytes, v 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise PeerFault("forged", "an account signature has a low s (EIP-2)")
    try:
        public = PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), _digest(digest), hasher=None
        )
    except ValueError as error:
        raise PeerFault("forged", "the account signature recovers no key") from error
    return _address_of(public)


def sign_message(context: Context, key: NetworkKey, message: M, limits: Limits = LIMITS) -> Signed[M]:
    """`message` with its canonical header signed for this chain and contract."""
    header = encode_header(message, limits)
    return Signed(message, header, key.sign_digest(signing_digest(context, message.code, header)))


def message_is_signed_by(context: Context, public: bytes, signed: Signed[M]) -> bool:
    """Whether network key `public` signed this message for this chain and contract. Total."""
    return verify_network(public, signing_digest(context, signed.message.code, signed.header), signed.signature)


def require_message_signature(context: Context, public: bytes, signed: Signed[M]) -> None:
    """PeerFault("forged") unless network key `public` signed this message for this chain and contract."""
    if not message_is_signed_by(context, public, signed):
        raise PeerFault("forged", f"{type(signed.message).__name__} of node {signed.message.sender}: bad signature")


def sign_receipt(domain: Domain, key: AccountKey, receipt: Receipt) -> bytes:
    """The slashable 65 bytes. Persist them before they are sent: a second, different one is evidence."""
    return key.sign_digest(receipt_digest(domain, receipt))


def require_receipt_signature(domain: Domain, account: bytes, receipt: Receipt, signature: bytes) -> None:
    """PeerFault("forged") unless `account` signed the receipt for this chain and contract."""
    if recover_account(receipt_digest(domain, receipt), signature) != account:
        raise PeerFault("forged", f"receipt {receipt.index} of node {receipt.edge}: not its account's signature")


def sign_edge_root(domain: Domain, key: AccountKey, leaf: EdgeLeaf) -> bytes:
    """The slashable 65 bytes over an edge's root. Persist them before they are sent."""
    return key.sign_digest(edge_root_digest(domain, leaf))


def require_edge_root_signature(domain: Domain, account: bytes, leaf: EdgeLeaf, signature: bytes) -> None:
    """PeerFault("forged") unless `account` signed the edge's root for this chain and contract."""
    if recover_account(edge_root_digest(domain, leaf), signature) != account:
        raise PeerFault("forged", f"root of edge {leaf.edge}: not its account's signature")


def checksum_address(address: bytes) -> str:
    """An account as people read it: mixed-case hex (EIP-55)."""
    if len(address) != 20:
        raise ConfigurationError(f"an address has 20 bytes, got {len(address)}")
    digits = address.hex()
    case = keccak(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(c, 16) >= 8 else d for d, c in zip(digits, case, strict=False))


def parse_address(text: str) -> bytes:
    """The 20 bytes of an address in hex; mixed case must be the right checksum. Raises ConfigurationError."""
    digits = text.removeprefix("0x")
    if len(digits) != 40 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise ConfigurationError(f"{text!r} is not an address: 40 hex digits, with or without 0x")
    address = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address) != "0x" + digits:
        raise ConfigurationError(f"{text!r} has the wrong checksum (EIP-55): a digit was mistyped")
    return address


class KeyFile(msgspec.Struct, frozen=True):
    """Both keys of a node as one small JSON file. Whoever writes it gives it mode 0600."""

    network: NetworkKey
    account: AccountKey

    @classmethod
    def generate(cls, random: Random) -> KeyFile:
        return cls(NetworkKey.generate(random), AccountKey.generate(random))

    @classmethod
    def from_bytes(cls, data: bytes) -> KeyFile:
        """The keys in a file's bytes. Raises ConfigurationError, which never quotes a secret."""
        try:
            stored = msgspec.json.decode(data, type=_StoredKeys)
            network = NetworkKey(bytes.fromhex(stored.network_secret))
            keys = cls(network, AccountKey(bytes.fromhex(stored.account_secret)))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise ConfigurationError("the key file is not what `drystone node init` writes") from None
        if (stored.network_key, stored.account) != (keys.network.public.hex(), checksum_address(keys.account.address)):
            raise ConfigurationError("the key file's public halves do not belong to its secrets")
        return keys

    def to_bytes(self) -> bytes:
        stored = _StoredKeys(
            self.network.public.hex(),
            self.network.secret.hex(),
            checksum_address(self.account.address),
            self.account.secret.hex(),
        )
        return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


class _StoredKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    network_key: str
    network_secret: str
    account: str
    account_secret: str


def _address_of(public: PublicKey) -> bytes:
    return keccak(public.format(compressed=False)[1:])[12:]


def _digest(digest: bytes) -> bytes:
    if len(digest) != 32:
        raise ConfigurationError(f"only 32-byte digests are signed, got {len(digest)} bytes")
    return digest
