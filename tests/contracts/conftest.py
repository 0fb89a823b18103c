"""One chain for a module's tests, and the contracts on it, reached by JSON-RPC and the committed ABI alone.

Deliberately not the product's client: what is written here is read from the ABI's JSON, so the two encoders check each
other. The chain lets any sender act without a key, for nothing, and its clock is set by the caller.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from devnet.toolchain import anvil
from ledger.artifacts import NAMES, load
from middleware.errors import LedgerRefused

CHAIN_ID: Final = 31337
GENESIS_TIME: Final = 1_800_000_000  # seconds; later than the machine's clock needs to be, and the same in every run
ADMIN: Final = bytes.fromhex("a0" * 20)
GAS: Final = 5_000_000
START_SECONDS: Final = 30.0
RECEIPT_SECONDS: Final = 30.0
MIN_STAKE: Final = (0, 100, 1_000)
UNBONDING_SECONDS: Final = 600
PANIC: Final = keccak(b"Panic(uint256)")[:4]


def canonical_type(entry: dict[str, Any]) -> str:
    """The type of an ABI parameter as eth-abi and signatures write it."""
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    inner = ",".join(canonical_type(part) for part in entry["components"])
    return f"({inner}){entry['type'][5:]}"


def selector(entry: dict[str, Any]) -> bytes:
    """The Keccak-256 of an entry's signature, 32 bytes."""
    return keccak(f"{entry['name']}({','.join(map(canonical_type, entry['inputs']))})".encode())


def plain(value: object, entry: dict[str, Any]) -> object:
    """A decoded value as ints, bytes, and dictionaries for structs."""
    if entry["type"] == "tuple":
        assert isinstance(value, Sequence)
        return {part["name"]: plain(item, part) for item, part in zip(value, entry["components"], strict=True)}
    if entry["type"] == "address":
        assert isinstance(value, str)
        return bytes.fromhex(value[2:])
    return list(value) if isinstance(value, tuple) else value


def decoded(entries: Sequence[dict[str, Any]], data: bytes) -> list[object]:
    values = decode([canonical_type(entry) for entry in entries], data)
    return [plain(value, entry) for value, entry in zip(values, entries, strict=True)]


class Evm:
    """The deployed contracts. Bytes in and out are raw; `block` and `now` are the last block's."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.chain_id, self.admin = CHAIN_ID, ADMIN
        self.min_stake, self.unbonding_seconds = MIN_STAKE, UNBONDING_SECONDS
        self.block, self.now = 0, GENESIS_TIME
        self.contracts: dict[str, bytes] = {}
        self.errors = {selector(e)[:4]: e for name in NAMES for e in load(name).abi if e["type"] == "error"}
        self.errors[PANIC] = {"name": "Panic", "inputs": [{"type": "uint256"}]}

    def ask(self, method: str, *parameters: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            reply = json.load(answer)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def deploy(self) -> None:
        def create(name: str, *arguments: object) -> None:
            artifact = load(name)
            inputs = next(e["inputs"] for e in artifact.abi if e["type"] == "constructor")
            data = artifact.bytecode + encode([canonical_type(e) for e in inputs], arguments)
            receipt = self._mine({"from": _hex(ADMIN), "data": _hex(data), "gas": hex(16_000_000)}, self.now + 1)
            self.contracts[name] = bytes.fromhex(receipt["contractAddress"][2:])

        create("Authority", ADMIN)
        create("Credit", self.contracts["Authority"])
        create("Registry", self.contracts["Authority"], self.contracts["Credit"], MIN_STAKE, UNBONDING_SECONDS)
        create("Ledger", self.contracts["Authority"], self.contracts["Registry"])
        create("Rewards", *(self.contracts[name] for name in ("Authority", "Registry", "Ledger", "Credit")))

    def send(
        self, contract: str, function: str, arguments: Sequence[object], sender: bytes, now: int
    ) -> list[tuple[bytes, tuple[bytes, ...], bytes]]:
        """Mine one call at `now` and return its logs: address, topics, data. LedgerRefused as the contract refuses."""
        entry = load(contract).entry("function", function)
        data = selector(entry)[:4] + encode([canonical_type(e) for e in entry["inputs"]], arguments)
        to = self.contracts[contract]
        receipt = self._mine({"from": _hex(sender), "to": _hex(to), "data": _hex(data), "gas": hex(GAS)}, now)
        if int(receipt["status"], 16) == 0:
            trace = self.ask("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
            raise self._refusal(bytes.fromhex(trace["output"][2:]))
        return [_log(log) for log in receipt["logs"]]

    def view(self, contract: str, function: str, *arguments: object) -> list[object]:
        entry = load(contract).entry("function", function)
        data = selector(entry)[:4] + encode([canonical_type(e) for e in entry["inputs"]], arguments)
        answer = self.ask("eth_call", {"to": _hex(self.contracts[contract]), "data": _hex(data)}, "latest")
        return decoded(entry["outputs"], bytes.fromhex(answer[2:]))

    def snapshot(self) -> tuple[str, int, int]:
        return self.ask("evm_snapshot"), self.block, self.now

    def revert(self, snapshot: tuple[str, int, int]) -> None:
        if not self.ask("evm_revert", snapshot[0]):
            raise RuntimeError("the chain does not know this snapshot")
        self.block, self.now = snapshot[1:]

    def _mine(self, transaction: dict[str, str], now: int) -> dict[str, Any]:
        self.ask("evm_setNextBlockTimestamp", now)
        name = self.ask("eth_sendTransaction", {**transaction, "gasPrice": "0x0"})
        deadline = time.monotonic() + RECEIPT_SECONDS
        while (
            receipt := self.ask("eth_getTransactionReceipt", name)
        ) is None:  # mined by another thread of the chain's
            if time.monotonic() > deadline:
                raise RuntimeError(f"no receipt for {name}")
        self.block, self.now = int(receipt["blockNumber"], 16), now
        return dict(receipt)

    def _refusal(self, output: bytes) -> LedgerRefused:
        entry = self.errors.get(output[:4])
        if entry is None:
            return LedgerRefused("", output)
        return LedgerRefused(entry["name"], *decoded(entry["inputs"], output[4:]))


def _log(log: dict[str, Any]) -> tuple[bytes, tuple[bytes, ...], bytes]:
    return (
        bytes.fromhex(log["address"][2:]),
        tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
        bytes.fromhex(log["data"][2:]),
    )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


@pytest.fixture(scope="module")
def anvil_rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh chain; ended by its process id afterwards."""
    output: Path = tmp_path_factory.mktemp("anvil") / "output"
    command = [
        str(anvil()), "--port", "0", "--chain-id", str(CHAIN_ID), "--timestamp", str(GENESIS_TIME), "--accounts", "1",
        "--auto-impersonate", "--block-base-fee-per-gas", "0", "--disable-min-priority-fee", "--color", "never",
    ]  # fmt: skip
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"Listening on (127\.0\.0\.1:\d+)", output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"anvil did not start: {output.read_text()}")
            time.sleep(0.02)
        yield f"http://{found[1]}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def evm(anvil_rpc: str) -> Evm:
    """The contracts, deployed once for the module by ADMIN."""
    world = Evm(anvil_rpc)
    world.deploy()
    return world
