"""`drystone account`, and how every verb gets at an encrypted key: the password is typed unseen or read from a file."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Optional

from ledger import keystore
from middleware.errors import ConfigurationError
from middleware.trust.keys import AccountKey, KeyFile, checksum_address
from nodes.cli.output import print_json
from nodes.create import write_secret


def new(key_file: Path, password_file: Optional[Path], as_json: bool) -> None:
    """A fresh account key in a new encrypted file."""
    if key_file.exists():
        raise ConfigurationError(f"{key_file} exists: a key is never overwritten; choose another name")
    key = AccountKey.generate(os.urandom)
    typed = password(f"new password for {key_file}", password_file, twice=True)
    write_secret(key_file, keystore.encrypt(key, typed, keystore.SCRYPT_N))
    account = checksum_address(key.address)
    if as_json:
        print_json({"account": account, "key_file": str(key_file)})
    else:
        print(
            f"account {account}, encrypted in {key_file}; without the password it is lost, so keep both in two places"
        )


def unlock(key_file: Path, password_file: Optional[Path]) -> AccountKey:
    """The key in an encrypted file."""
    try:
        data = key_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"no key file {key_file}: `drystone account new --key-file {key_file}` writes one"
        ) from error
    return keystore.decrypt(data, password(f"password of {key_file}", password_file))


def account_key(key_file: Path, password_file: Optional[Path]) -> AccountKey:
    """The account in a file: a node's two keys, or an encrypted keystore."""
    if key_file.is_file() and not keystore.is_keystore(data := key_file.read_bytes()):
        return KeyFile.from_bytes(data).account
    return unlock(key_file, password_file)


def password(prompt: str, file: Optional[Path], twice: bool = False) -> str:
    """From the first line of `file`, else typed without being shown."""
    if file is not None:
        try:
            return file.read_text().partition("\n")[0].rstrip("\r")
        except OSError as error:
            raise ConfigurationError(f"no password file {file}: {error.strerror}") from error
    if not _at_a_terminal():
        raise ConfigurationError("there is no terminal to type the password on: give --password-file FILE")
    typed = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass("once more: ") != typed:
        raise ConfigurationError("the two passwords differ: nothing was written, try again")
    return typed


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()
