"""An account key in a file that only its password opens: web3 secret storage, version 3, as geth, Besu and wallets write it.

The key is encrypted with AES-128-CTR under scrypt(password) and guarded by a MAC, so a wrong password is told from a right
one. The account in the file is not trusted: it must be the one of the key inside.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from middleware.errors import ConfigurationError
from middleware.trust.keys import AccountKey, checksum_address

SCRYPT_N: Final = 1 << 18  # what geth takes: about a second and 256 MiB for each guess


def encrypt(key: AccountKey, password: str, scrypt_n: int) -> bytes:
    """The file's bytes; `scrypt_n` is the work of one guess. Raises ConfigurationError for an empty password."""
    from eth_account import Account  # 0.6 s, which verbs without a keystore need not pay

    if not password:
        raise ConfigurationError("an empty password protects nothing: choose another")
    stored: dict[str, Any] = Account.encrypt(key.secret, password, kdf="scrypt", iterations=scrypt_n)
    return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


def is_keystore(data: bytes) -> bool:
    """Whether these bytes mean to be such a file."""
    try:
        found = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return False
    return isinstance(found, dict) and "crypto" in {str(name).lower() for name in found}


def decrypt(data: bytes, password: str) -> AccountKey:
    """The key inside. Raises ConfigurationError, which quotes neither key nor password."""
    from eth_account import Account

    if not is_keystore(data):
        raise ConfigurationError("the key file is no encrypted keystore (version 3): `drystone account new` writes one")
    stored = msgspec.json.decode(data)
    try:
        key = AccountKey(bytes(Account.decrypt(stored, password)))
    except ValueError as error:
        if "MAC" in str(error):
            raise ConfigurationError("the password does not open the key file: give the one it was made with") from None
        raise ConfigurationError("the key file is damaged: take it from your backup") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise ConfigurationError("the key file is damaged, or not of version 3: take it from your backup") from None
    named = str(stored.get("address", "")).lower().removeprefix("0x")
    if named and named != key.address.hex():
        raise ConfigurationError(
            f"the key file names account 0x{named}, its key is of {checksum_address(key.address)}: do not use it"
        )
    return key
