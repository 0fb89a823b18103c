from __future__ import annotations

import msgspec
import pytest

from ledger.keystore import decrypt, encrypt, is_keystore
from middleware.errors import ConfigurationError
from middleware.trust.keys import AccountKey

KEY = AccountKey(b"\x21" * 32)
LIGHT = 2  # the least that scrypt takes: tests guess nothing
# "Web3 Secret Storage Definition", the example for scrypt; password "testpassword".
PUBLISHED = (
    b'{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},'
    b'"ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt","kdfparams":'
    b'{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},'
    b'"mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},'
    b'"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}'
)


def test_a_key_comes_back_by_its_password_alone() -> None:
    data = encrypt(KEY, "a password", LIGHT)
    assert KEY.secret.hex() not in data.decode()
    assert decrypt(data, "a password").secret == KEY.secret
    with pytest.raises(ConfigurationError, match="the password does not open") as refused:
        decrypt(data, "a Password")
    assert "Password" not in str(refused.value)


def test_what_other_programs_write_is_read() -> None:
    key = decrypt(PUBLISHED, "testpassword")
    assert key.secret.hex() == "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="protects nothing"):
        encrypt(KEY, "", LIGHT)


def test_another_account_in_the_file_is_noticed() -> None:
    stored = msgspec.json.decode(encrypt(KEY, "p", LIGHT)) | {"address": "00" * 20}
    with pytest.raises(ConfigurationError, match="do not use it"):
        decrypt(msgspec.json.encode(stored), "p")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"account_secret": "00"}', b"\xff"])
def test_another_file_is_no_keystore(data: bytes) -> None:
    assert not is_keystore(data)
    with pytest.raises(ConfigurationError, match="no encrypted keystore"):
        decrypt(data, "p")


@pytest.mark.parametrize("crypto", [{}, 5, {"kdf": "scrypt"}, {"kdf": "other"}])
def test_a_damaged_keystore_is_said_to_be(crypto: object) -> None:
    with pytest.raises(ConfigurationError, match="damaged"):
        decrypt(msgspec.json.encode({"version": 3, "crypto": crypto}), "p")
