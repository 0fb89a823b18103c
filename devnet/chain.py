"""A chain on this machine: anvil, with its state on disk. The only place that speaks `anvil_*` and `evm_*`.

Its accounts come from the mnemonic that every Ethereum development tool publishes: worthless by design, never to be used
elsewhere.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from devnet.processes import Processes
from devnet.toolchain import anvil
from middleware.errors import Unavailable
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey

CHAIN_ID: Final = 31337
START_SECONDS: Final = 20.0
STATE_SECONDS: Final = 1  # between two dumps of the state; a kill -9 can lose this much, which clients send again
# Account 0 of "test test test test test test test test test test test junk", m/44'/60'/0'/0/0.
PUBLISHED_KEY: Final = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


def operator_key() -> KeyFile:
    """The devnet's operator: the chain's first, funded, publicly known account."""
    return KeyFile(NetworkKey(PUBLISHED_KEY), AccountKey(PUBLISHED_KEY))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Chain:
    """One anvil. `folder` keeps its state, so that it can be killed and started again."""

    def __init__(self, folder: Path, port: int = 0, block_time: float = 0.0) -> None:
        self.folder, self.port, self.block_time = folder, port or free_port(), block_time
        self.rpc = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(anvil()), "--silent", "--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(CHAIN_ID),
            "--state", str(self.folder / "state.json"), "--state-interval", str(STATE_SECONDS),
            "--preserve-historical-states",
        ]  # fmt: skip
        return [*command, "--block-time", str(self.block_time)] if self.block_time else command

    def start(self, processes: Processes) -> None:
        """Start (again) below `processes` and wait until the RPC answers."""
        processes.start("chain", self.command())
        deadline = time.monotonic() + START_SECONDS
        while True:
            processes.require_running()
            try:
                self.call("eth_chainId")
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def call(self, method: str, *parameters: Any) -> Any:
        """One JSON-RPC call, for tools; Unavailable when the chain does not answer or refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                reply = json.load(answer)
        except (OSError, ValueError) as error:
            raise Unavailable(f"no chain answers at {self.rpc}: {error}") from error
        if "error" in reply:
            raise Unavailable(f"{method}: {reply['error'].get('message')}")
        return reply["result"]


def run_foreground(folder: Path, port: int, block_time: float) -> None:
    """`drystone devnet up`: a chain until Ctrl-C."""
    chain = Chain(folder, port, block_time)
    with Processes(folder) as processes:
        chain.start(processes)
        print(f"chain {CHAIN_ID} at {chain.rpc}, state in {folder}; Ctrl-C stops it", flush=True)
        try:
            while True:
                processes.require_running()
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopping", flush=True)
