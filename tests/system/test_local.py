"""A task without a chain: real processes on a signed log, audited like any other, anchored on a chain afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from devnet.chain import Chain, free_port, operator_key
from devnet.demo import run_demo
from devnet.fleet import Fleet, Shape
from devnet.processes import Processes
from ledger.calls import GrantRole
from ledger.client import AddressBook, EvmLedger
from ledger.connect import connect
from ledger.deploy import deploy
from ledger.journal import decode_line, sign_call
from ledger.local import LocalLedger
from ledger.logfile import LogFile
from middleware.errors import Unavailable
from middleware.trust.keys import AccountKey, KeyFile
from nodes.cli.home import Home
from nodes.create import write_keys
from nodes.keeper import KEY_FILE, LOG_FILE
from tests.system.test_demo import Told, check, children, small
from tests.unit.ledger.log_world import registration

pytestmark = [pytest.mark.system, pytest.mark.slow]
PATIENCE = 30.0  # seconds; far more than anything here takes


def drystone(*words: str | Path) -> tuple[int, str]:
    """(exit code, what it printed) of one command."""
    command = [sys.executable, "-m", "nodes.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})
    return done.returncode, done.stdout + done.stderr


def audited(*words: str | Path) -> dict[str, Any]:
    code, said = drystone("audit", "verify", "--json", *words)
    report: dict[str, Any] = json.loads(said[said.index("{") :])
    assert code == {"VALID": 0, "INVALID": 3, "UNVERIFIABLE": 4}[report["verdict"]]
    return report


def serving(processes: Processes, home: Path) -> LocalLedger:
    """`drystone ledger serve` below `home`, once it answers."""
    processes.start("log", [sys.executable, "-m", "nodes.cli.main", "ledger", "serve", "--home", str(home)])
    ledger = connect(Home(home).address_book())
    assert isinstance(ledger, LocalLedger)
    deadline = time.monotonic() + PATIENCE

    async def until_up() -> None:
        async with ledger:
            while True:
                try:
                    await ledger.head()
                    return
                except Unavailable:
                    processes.require_running()
                    assert time.monotonic() < deadline

    asyncio.run(until_up())
    return ledger


async def enrolled(rpc: str, key: AccountKey) -> AddressBook:
    """The contracts on a chain where `key`, the deployer's, speaks for node 1."""
    book = await deploy(rpc, key)
    async with EvmLedger(book) as chain:
        await chain.send(registration(book, key), key)
    return book


def test_a_task_runs_without_a_chain_and_its_log_is_anchored_later(tmp_path: Path) -> None:
    told, before = Told(), children()

    async def faults(fleet: Fleet) -> None:
        for name in ("log", "cloud", "log"):
            told.reached.clear()
            await told.reached.wait()
            fleet.kill(name)
            fleet.restart(name)

    run = run_demo(Shape(devices=5, edges=1, liars=1), small(rounds=4), tmp_path, told, faults, on="local")
    report = asyncio.run(run)
    check(report, 4)
    assert report["transactions_per_round"] == 1
    assert report["caught"] == ["device-1"] and len(report["rewards"]) == 4
    assert children() == before, "no process stays behind"
    world, record = tmp_path / "world", tmp_path / "ledger.jsonl"
    assert audited("--log", record, "--home", world)["verdict"] == "VALID"

    with Processes(tmp_path / "logs") as processes:
        serving(processes, world)
        assert audited("--home", world)["verdict"] == "VALID", "the log itself, not a file of it"
        chain = Chain(tmp_path / "chain")
        chain.start(processes)
        book = tmp_path / "chain.json"
        book.write_bytes(asyncio.run(enrolled(chain.rpc, operator_key().account)).to_bytes())
        keys = tmp_path / "notary.json"
        write_keys(keys, operator_key())
        anchoring = ("ledger", "anchor", "--home", world, "--ledger-book", book, "--key-file", keys)
        assert drystone(*anchoring)[0] == 0
        code, said = drystone(*anchoring)
        assert code == 0 and "were anchored before" in said
        exported = tmp_path / "exported.jsonl"
        assert drystone("audit", "log", "--home", world, "--export", exported)[0] == 0
        held = audited("--log", exported, "--home", world, "--anchors", book)
        assert held["verdict"] == "VALID" and held["valid"] == audited("--log", exported, "--home", world)["valid"] + 1

        processes.all["log"].terminate()
        processes.all["log"].wait_gone(time.monotonic() + PATIENCE)
        rewrite(world / "log")
        serving(processes, world)
        code, said = drystone("node", "list", "--home", world)
        assert code == 1 and "the log at" in said and "forked" in said, "this home saw the other branch"
        assert "forked" in audited("--home", world)["first"]["what"]
        code, said = drystone(*anchoring)
        assert code == 1 and "forked" in said
        (world / "ledger.head").unlink()
        forged = tmp_path / "forged.jsonl"
        assert drystone("audit", "log", "--home", world, "--export", forged)[0] == 0
        size = len(decode_lines(world / "log"))
        named = audited("--log", forged, "--home", world, "--anchors", book)
        assert named["verdict"] == "INVALID"
        assert named["first"]["what"].startswith(f"log forked at size {size}")
        code, said = drystone(*anchoring)
        assert code == 1 and f"log forked at size {size}" in said


def decode_lines(folder: Path) -> list[bytes]:
    return (folder / LOG_FILE).read_bytes().splitlines(keepends=True)


def rewrite(folder: Path) -> None:
    """What an operator with the log's key can do: another last block, of the same number, properly signed."""
    lines = decode_lines(folder)
    stranger = AccountKey(bytes(31) + b"\x09")
    (folder / LOG_FILE).write_bytes(b"".join(lines[:-1]))
    key = KeyFile.from_bytes((folder / KEY_FILE).read_bytes()).network
    with LogFile(folder / LOG_FILE) as file:
        call = sign_call(file.journal.identity, GrantRole(1, bytes(20)), stranger, 0)
        block = file.append(call.raw, decode_line(lines[-1]).time, key)
        assert block.number == len(lines) - 1


def test_a_log_is_begun_served_and_never_begun_again(tmp_path: Path) -> None:
    home, listen = tmp_path / "home", f"127.0.0.1:{free_port()}"
    code, said = drystone("ledger", "init", "--home", home, "--listen", listen)
    assert code == 0 and "ledger serve" in said
    assert (home / "log" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    code, said = drystone("ledger", "init", "--home", home)
    assert code == 1 and "names a ledger already" in said
    with Processes(tmp_path / "logs") as processes:
        book = serving(processes, home).book
        assert book.rpc == f"local+http://{listen}" and len(book.operator) == 32
        assert drystone("node", "list", "--home", home)[0] == 0
        code, said = drystone("ledger", "serve", "--home", home)
        assert code == 1 and "two would fork the log" in said
        code, said = drystone("audit", "log", "--home", home, "--json")
        assert code == 0 and [entry["event"] for entry in json.loads(said)].count("RoleGranted") == 4
        record = tmp_path / "record.jsonl"
        assert drystone("audit", "log", "--home", home, "--export", record)[0] == 0
    assert drystone("ledger", "compare", record, record)[0] == 0
    before = (home / "log" / LOG_FILE).read_bytes()
    (home / "log" / LOG_FILE).unlink()
    code, said = drystone("ledger", "restore", record, "--home", home)
    assert code == 0 and "blocks restored" in said
    assert (home / "log" / LOG_FILE).read_bytes() == before
