"""The committed contracts are what the sources compile to, whoever drives the compiler; and forge's tests pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from devnet import toolchain
from devnet.chain import Chain
from devnet.evm import bare_chain
from devnet.processes import Processes

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(toolchain.ROOT)}


def build(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(toolchain.CONTRACTS / "build.py"), *words]
    return subprocess.run(command, cwd=toolchain.ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def in_contracts(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), cwd=toolchain.CONTRACTS, env=toolchain.environment(), capture_output=True, text=True, check=False
    )


def test_the_committed_contracts_are_what_both_compilers_make_of_the_sources() -> None:
    done = build("--check")
    assert (done.returncode, done.stdout) == (0, "8 contracts: ledger/abi, forge and py-solc-x agree\n"), done.stderr


def test_a_wrong_word_is_refused_with_the_usage() -> None:
    done = build("--chekc")
    assert done.returncode == 2
    assert "--check" in done.stderr


def test_the_shim_speaks_the_two_ways_that_its_callers_use() -> None:
    version = in_contracts(toolchain.solc(), "--version").stdout.splitlines()[-1]
    assert version.startswith("Version: 0.8.37+commit.")
    asked = {"language": "Solidity", "sources": {"a.sol": {"content": "contract {"}}, "settings": {}}
    answer = subprocess.run(
        [toolchain.solc(), "--standard-json"], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["errors"][0]["type"] == "ParserError"
    assert in_contracts(toolchain.solc(), "--help").returncode == 1


def test_every_forge_test_passes() -> None:
    done = in_contracts(toolchain.forge(), "test", "--json")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    suites = json.loads(done.stdout)
    results = [result["status"] for suite in suites.values() for result in suite["test_results"].values()]
    assert len(results) > 100
    assert set(results) == {"Success"}


def test_the_lock_names_no_registry_and_pins_by_digest() -> None:
    """Packages of some other platforms are pinned by version only: no digest of theirs was to be had."""
    lock = json.loads((toolchain.ROOT / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages["node_modules/solc"]["version"] == "0.8.37"
    assert packages["node_modules/@openzeppelin/contracts"]["version"] == "5.7.0"
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert package["version"], name
        if package.get("os", ["linux"]) == ["linux"] and package.get("cpu", ["x64"]) == ["x64"]:
            assert package["integrity"].startswith("sha512-"), name


@pytest.mark.parametrize("find", [toolchain.forge, toolchain.cast, toolchain.solc, toolchain.node])
def test_every_program_is_found_and_runs(find: object) -> None:
    assert callable(find)
    done = in_contracts(find(), "--version")
    assert done.returncode == 0
    assert any(letter.isdigit() for letter in done.stdout)


def asked(rpc: str, method: str, *parameters: object) -> object:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    request = urllib.request.Request(rpc, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["result"]


def test_killed_chains_leave_no_old_states_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with bare_chain(tmp_path / "output") as rpc:
        asked(rpc, "anvil_mine", "0x7d0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "output"]
    with Processes(tmp_path / "devnet") as processes:
        chain = Chain(tmp_path / "devnet")
        chain.start(processes)
        asked(chain.rpc, "anvil_mine", "0x7d0")
        processes.kill("chain")
    assert [path for path in home.rglob("*") if path.is_file() and path.stat().st_size] == []


def test_a_bare_chain_goes_back_to_a_snapshot_however_many_blocks_came_since(tmp_path: Path) -> None:
    account = "0x" + "11" * 20
    with bare_chain(tmp_path / "output") as rpc:
        asked(rpc, "anvil_setBalance", account, "0x5")
        asked(rpc, "anvil_mine", "0x1")
        before = asked(rpc, "evm_snapshot")
        for _ in range(3):
            asked(rpc, "anvil_setBalance", account, "0x9")
            asked(rpc, "anvil_mine", "0x2bc")
        assert asked(rpc, "evm_revert", before)
        assert asked(rpc, "eth_getBalance", account, "latest") == "0x5"
