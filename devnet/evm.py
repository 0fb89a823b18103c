"""A bare chain and the contracts on it, reached by JSON-RPC and the committed ABI alone: the contracts' side of a comparison.

Deliberately not the product's client: what is written here is read from the ABI's JSON, so the two encoders check each
other. The chain lets any sender act without a key, for nothing, and its clock is set by the caller. One connection is
kept, and views are asked for many at a time, because a comparison makes tens of thousands of requests.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from devnet.toolchain import anvil
from ledger.artifacts import NAMES, load
from ledger.state import CourtTerms
from middleware.errors import LedgerRefused

CHAIN_ID: Final = 31337
GENESIS_TIME: Final = 1_800_000_000  # seconds; later than the machine's clock needs to be, and the same in every run
ADMIN: Final = bytes.fromhex("a0" * 20)
GAS: Final = 10_000_000
CREATION_GAS: Final = 16_000_000
START_SECONDS: Final = 30.0
REQUEST_SECONDS: Final = 60.0
MIN_STAKE: Final = (0, 100, 1_000)
UNBONDING_SECONDS: Final = 600
TERMS: Final = CourtTerms(bond=50, answer_seconds=200, commit_seconds=100, reveal_seconds=100, council_seconds=100)
PANIC: Final = keccak(b"Panic(uint256)")[:4]

Log = tuple[bytes, tuple[bytes, ...], bytes]  # address, topics, data
View = tuple[Any, ...]  # (contract, function, *arguments)


def canonical_type(entry: dict[str, Any]) -> str:
    """The type of an ABI parameter as eth-abi and signatures write it."""
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    inner = ",".join(canonical_type(part) for part in entry["components"])
    return f"({inner}){entry['type'][5:]}"


def selector(entry: dict[str, Any]) -> bytes:
    """The Keccak-256 of an entry's signature, 32 bytes."""
    return keccak(f"{entry['name']}({','.join(map(canonical_type, entry['inputs']))})".encode())


def plain(value: Any, entry: dict[str, Any]) -> object:
    """A decoded value as ints, bytes, and dictionaries for structs."""
    if entry["type"] == "tuple":
        return {part["name"]: plain(item, part) for item, part in zip(value, entry["components"], strict=True)}
    if entry["type"] == "address":
        return bytes.fromhex(value[2:])
    return list(value) if isinstance(value, tuple) else value


def decoded(entries: Sequence[dict[str, Any]], data: bytes) -> list[object]:
    values = decode([canonical_type(entry) for entry in entries], data)
    return [plain(value, entry) for value, entry in zip(values, entries, strict=True)]


@cache
def _function(contract: str, name: str) -> tuple[bytes, tuple[str, ...], tuple[dict[str, Any], ...]]:
    """(selector, types of the arguments, what it returns)."""
    entry = load(contract).entry("function", name)
    return selector(entry)[:4], tuple(map(canonical_type, entry["inputs"])), tuple(entry["outputs"])


def _calldata(contract: str, function: str, arguments: Sequence[object]) -> bytes:
    head, types, _ = _function(contract, function)
    return head + encode(types, arguments)


@lru_cache(maxsize=1 << 14)
def _view_data(view: View) -> str:
    contract, function, *arguments = view
    return _hex(_calldata(contract, function, arguments))


@lru_cache(maxsize=1 << 14)
def _view_answer(contract: str, function: str, answer: str) -> list[object]:
    """What a view returned: shared between equal answers, so not to be changed."""
    return decoded(_function(contract, function)[2], bytes.fromhex(answer[2:]))


class Evm:
    """The deployed contracts. Bytes in and out are raw; `block` and `now` are the last block's."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self._connection = http.client.HTTPConnection(rpc.removeprefix("http://"), timeout=REQUEST_SECONDS)
        self.chain_id, self.admin = CHAIN_ID, ADMIN
        self.min_stake, self.unbonding_seconds, self.terms = MIN_STAKE, UNBONDING_SECONDS, TERMS
        self.block, self.now = 0, GENESIS_TIME
        self.contracts: dict[str, bytes] = {}
        self.errors = {selector(e)[:4]: e for name in NAMES for e in load(name).abi if e["type"] == "error"}
        self.errors[PANIC] = {"name": "Panic", "inputs": [{"type": "uint256"}]}

    def ask(self, method: str, *parameters: object) -> Any:
        return self._result(method, self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))

    def ask_all(self, queries: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """The answers in order, by one request."""
        body = [
            {"jsonrpc": "2.0", "id": place, "method": method, "params": parameters}
            for place, (method, parameters) in enumerate(queries)
        ]
        replies = sorted(self._post(body), key=lambda reply: int(reply["id"]))
        return [self._result(method, reply) for (method, _), reply in zip(queries, replies, strict=True)]

    def _post(self, body: object) -> Any:
        self._connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    @staticmethod
    def _result(method: str, reply: dict[str, Any]) -> Any:
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def close(self) -> None:
        self._connection.close()

    def deploy(self) -> None:
        """The contracts, without roles or arbiters, by ADMIN. From here on the chain mines when `send` says so."""
        self.ask("evm_setAutomine", False)

        def create(name: str, *arguments: object) -> None:
            artifact = load(name)
            inputs = next(e["inputs"] for e in artifact.abi if e["type"] == "constructor")
            data = artifact.bytecode + encode([canonical_type(e) for e in inputs], arguments)
            wish = {"from": _hex(ADMIN), "data": _hex(data), "gas": hex(CREATION_GAS)}
            receipt = self._mine(wish, self.now + 1)
            if int(receipt["status"], 16) != 1:
                raise RuntimeError(f"{name} could not be created")
            self.contracts[name] = bytes.fromhex(receipt["contractAddress"][2:])

        def at(*names: str) -> list[bytes]:
            return [self.contracts[name] for name in names]

        terms = self.terms
        times = (terms.answer_seconds, terms.commit_seconds, terms.reveal_seconds, terms.council_seconds)
        create("Authority", ADMIN)
        create("Credit", *at("Authority"))
        create("Registry", *at("Authority", "Credit"), MIN_STAKE, UNBONDING_SECONDS)
        create("Ledger", *at("Authority", "Registry"))
        create("Rewards", *at("Authority", "Registry", "Ledger", "Credit"))
        create("Arbiter", *at("Registry", "Ledger"))
        create("Court", *at("Authority", "Registry", "Ledger", "Credit"), terms.bond, times)
        create("Models", *at("Registry", "Ledger", "Credit"))

    def send(self, contract: str, function: str, arguments: Sequence[object], sender: bytes, now: int) -> list[Log]:
        """Mine one call at `now` and return its logs. LedgerRefused as the contract refuses."""
        data, to = _calldata(contract, function, arguments), self.contracts[contract]
        receipt = self._mine({"from": _hex(sender), "to": _hex(to), "data": _hex(data), "gas": hex(GAS)}, now)
        if int(receipt["status"], 16) == 0:
            options = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
            trace = self.ask("debug_traceTransaction", receipt["transactionHash"], options)
            raise self._refusal(bytes.fromhex(trace.get("output", "0x")[2:]))
        return [_log(log) for log in receipt["logs"]]

    def view(self, contract: str, function: str, *arguments: object) -> list[object]:
        return self.views([(contract, function, *arguments)])[0]

    def views(self, wanted: Sequence[View]) -> list[list[object]]:
        """What each (contract, function, *arguments) returns now."""
        queries = []
        for view in wanted:
            request = {"to": _hex(self.contracts[view[0]]), "data": _view_data(view)}
            queries.append(("eth_call", (request, "latest")))
        answers = self.ask_all(queries)
        return [_view_answer(view[0], view[1], answer) for view, answer in zip(wanted, answers, strict=True)]

    def snapshot(self) -> tuple[str, int, int]:
        return self.ask("evm_snapshot"), self.block, self.now

    def revert(self, snapshot: tuple[str, int, int]) -> None:
        """Back to a snapshot, which is used up by it."""
        if not self.ask("evm_revert", snapshot[0]):
            raise RuntimeError("the chain does not know this snapshot")
        self.block, self.now = snapshot[1:]

    def _mine(self, transaction: dict[str, str], now: int) -> dict[str, Any]:
        self.ask("evm_setNextBlockTimestamp", now)
        name = self.ask("eth_sendTransaction", {**transaction, "gasPrice": "0x0"})
        # Mined here and not by the chain's own thread: that one tells the pool late what it mined, and after a revert in
        # between the pool then drops the transaction of the same nonce that was sent next (4 of 17,000 on a loaded machine).
        self.ask("evm_mine")
        receipt = self.ask("eth_getTransactionReceipt", name)
        if receipt is None:
            raise RuntimeError(f"no receipt for {name}")
        self.block, self.now = int(receipt["blockNumber"], 16), now
        return dict(receipt)

    def _refusal(self, output: bytes) -> LedgerRefused:
        entry = self.errors.get(output[:4])
        if entry is None:
            return LedgerRefused("", output)
        return LedgerRefused(entry["name"], *decoded(entry["inputs"], output[4:]))


def _log(log: dict[str, Any]) -> Log:
    return (
        bytes.fromhex(log["address"][2:]),
        tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
        bytes.fromhex(log["data"][2:]),
    )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


@contextmanager
def bare_chain(output: Path) -> Iterator[str]:
    """The address of a fresh chain that writes to `output`; ended by its process id afterwards. It keeps every block's state
    meanwhile, so that it can be taken back to any snapshot."""
    with TemporaryDirectory(dir=output.parent) as states, output.open("wb") as stream:
        command = anvil(
            "--port", "0", "--chain-id", str(CHAIN_ID), "--timestamp", str(GENESIS_TIME), "--accounts", "1",
            "--auto-impersonate", "--block-base-fee-per-gas", "0", "--disable-min-priority-fee", "--color", "never",
            "--cache-path", states,
        )  # fmt: skip
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
