"""`drystone account new` and `contracts deploy --key-file`, as typed, on a real chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from devnet.chain import operator_key
from ledger import keystore
from ledger.client import AddressBook
from ledger.deploy import transfer
from middleware.trust.keys import parse_address
from nodes.cli.main import app
from nodes.operator import Operator

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "SCRYPT_N", 2)


def drystone(*words: object) -> Result:
    return RUNNER.invoke(app, [str(word) for word in words])


def account(folder: Path, password: str = "a long password\n") -> tuple[Path, Path, bytes]:
    """(key file, password file, address) of a new account."""
    folder.mkdir(parents=True, exist_ok=True)
    key, secret = folder / "key.json", folder / "password"
    secret.write_text(password)
    made = drystone("account", "new", "--key-file", key, "--password-file", secret, "--json")
    assert made.exit_code == 0, made.output
    return key, secret, parse_address(json.loads(made.output)["account"])


def test_a_new_account_deploys_once_it_has_funds(tmp_path: Path, anvil_rpc: str) -> None:
    key, secret, address = account(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    deploy = (
        "contracts",
        "deploy",
        "--home",
        tmp_path,
        "--rpc",
        anvil_rpc,
        "--key-file",
        key,
        "--password-file",
        secret,
    )
    poor = drystone(*deploy)
    if poor.exit_code:  # this chain may take transactions for nothing
        assert "cannot pay for gas" in poor.output
        asyncio.run(transfer(anvil_rpc, operator_key().account, address, 10**18))
        poor = drystone(*deploy)
    assert poor.exit_code == 0, poor.output
    book = AddressBook.from_bytes((tmp_path / "ledger.json").read_bytes())
    assert book.rpc == anvil_rpc


def test_the_operators_own_key_may_be_encrypted(
    tmp_path: Path, anvil_rpc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret, address = account(tmp_path)
    asyncio.run(transfer(anvil_rpc, operator_key().account, address, 10**18))
    key.rename(tmp_path / "operator.json")
    deployed = drystone("contracts", "deploy", "--home", tmp_path, "--rpc", anvil_rpc, "--password-file", secret)
    assert deployed.exit_code == 0, deployed.output
    silent = drystone("node", "admit", "--all", "--home", tmp_path)
    assert (silent.exit_code, "give --password-file" in silent.output) == (1, True)
    monkeypatch.setenv("DRYSTONE_PASSWORD_FILE", str(secret))
    seen: list[bytes] = []

    async def pending(operator: Operator) -> list[object]:
        seen.append(operator.key.address)
        return []

    monkeypatch.setattr(Operator, "pending", pending)
    drystone("node", "admit", "--all", "--home", tmp_path)
    assert seen == [address]


def test_what_is_wrong_is_said_with_the_remedy(tmp_path: Path) -> None:
    key, secret, _ = account(tmp_path)
    assert "never overwritten" in drystone("account", "new", "--key-file", key, "--password-file", secret).output
    other = tmp_path / "other"
    other.write_text("something else\n")
    deploy = ("contracts", "deploy", "--home", tmp_path, "--rpc", "http://127.0.0.1:1")
    for words, said in [
        (("--key-file", key, "--password-file", other), "the password does not open"),
        (("--key-file", key, "--password-file", tmp_path / "none"), "no password file"),
        (("--key-file", key), "give --password-file"),
        (("--key-file", tmp_path / "none", "--password-file", secret), "drystone account new"),
        (("--key-file", secret, "--password-file", secret), "no encrypted keystore"),
        ((), "drystone account new"),
        (("--key-file", key, "--password-file", secret), "no chain answers at http://127.0.0.1:1"),
    ]:
        found = drystone(*deploy, *words)
        assert (found.exit_code, said in found.output) == (1, True), found.output
        assert found.output.count("\n") == 1


def test_a_password_is_typed_unseen_and_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two", "one", "one", "one"])
    monkeypatch.setattr("nodes.cli.account.getpass.getpass", lambda prompt: next(typed))
    monkeypatch.setattr("nodes.cli.account._at_a_terminal", lambda: True)
    key = tmp_path / "key.json"
    assert "the two passwords differ" in drystone("account", "new", "--key-file", key).output
    assert not key.exists()
    assert drystone("account", "new", "--key-file", key).exit_code == 0
    away = drystone("contracts", "deploy", "--home", tmp_path, "--rpc", "http://127.0.0.1:1", "--key-file", key)
    assert "no chain answers" in away.output


def test_no_verb_takes_a_key_or_a_password_on_the_command_line() -> None:
    from typer.main import get_command

    def options(command: object) -> list[str]:
        found = [option for parameter in getattr(command, "params", []) for option in parameter.opts]
        return found + [o for child in getattr(command, "commands", {}).values() for o in options(child)]

    assert not {"--key", "--private-key", "--secret", "--password", "--mnemonic"} & set(options(get_command(app)))
