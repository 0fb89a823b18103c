"""A chain on this machine: anvil, with its state on disk. The only place that speaks `anvil_*` and `evm_*`.

anvil dumps its state into one file every second, in place. A `kill -9` in the middle leaves half a file, which no anvil
loads; so a thread here keeps a copy of the last whole dump, and a start takes the copy where the file itself is broken.
A killed chain can therefore come back some blocks younger than it was: clients send again until FINAL.

The accounts come from the mnemonic that every Ethereum development tool publishes: worthless by design, never to
be used elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from devnet.processes import Process, Processes
from devnet.toolchain import anvil
from middleware.errors import ConfigurationError, Unavailable
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey

CHAIN_ID: Final = 31337
PORTS: Final = range(20_000, 32_000)
START_SECONDS: Final = 20.0
CALL_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.02  # between two looks whether the chain answers
KEPT_STATES: Final = 256  # blocks whose state can still be asked for; a full node of the public chain keeps 128
STATE_SECONDS: Final = 1  # between two dumps of the state
KEEPING_SHARE: Final = 20  # a copy that took t seconds is followed by a pause of at least 20 t
# Account 0 of "test test test test test test test test test test test junk", m/44'/60'/0'/0/0.
PUBLISHED_KEY: Final = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


def operator_key() -> KeyFile:
    """The devnet's operator: the chain's first, funded, publicly known account."""
    return KeyFile(NetworkKey(PUBLISHED_KEY), AccountKey(PUBLISHED_KEY))


def free_port() -> int:
    """A free port of 127.0.0.1 below the range from which the system takes the ports of outgoing connections: a port from that
    range can be taken by a neighbour's retry while its owner is being restarted."""
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Unavailable(f"no free port from {PORTS.start} to {PORTS.stop - 1}: close some programs")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(
                f"port {port} of 127.0.0.1 is taken: stop what listens there, or choose another"
            ) from error


# ---------------------------------------------------------------------------------------------------------------- state


class State:
    """The state's two files: anvil's own, and our copy of the last dump that was whole."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state.json"
        self.kept = folder / "state.kept.json"
        self._digest = b""

    def keep(self) -> bool:
        """Copy the file if it is new and whole; says whether it did. The copy is replaced at once or not at all."""
        data = self.file.read_bytes() if self.file.exists() else b""
        digest = hashlib.sha256(data).digest()
        if digest == self._digest or not _whole(data):
            return False
        draft = self.kept.with_suffix(".draft")
        draft.write_bytes(data)
        os.replace(draft, self.kept)
        self._digest = digest
        return True

    def repair(self) -> None:
        """Before a start: put the copy in the place of a broken file. ConfigurationError where there is no copy."""
        if not self.file.exists() or _whole(self.file.read_bytes()):
            return
        if not self.kept.exists():
            raise ConfigurationError(f"{self.file} is broken and no copy was kept: remove it to begin a new chain")
        shutil.copyfile(self.kept, self.file)


def _whole(data: bytes) -> bool:
    """Whether a dump is one whole JSON value: an object that breaks off is none."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _keep_while_running(process: Process, state: State) -> None:
    while process.running:
        began = time.monotonic()
        try:
            state.keep()
        except FileNotFoundError:
            return  # the folder was removed: there is no chain to come back to
        time.sleep(max(STATE_SECONDS / 2, KEEPING_SHARE * (time.monotonic() - began)))


# ---------------------------------------------------------------------------------------------------------------- chain


class Chain:
    """One anvil. `folder` keeps its state, so that it can be killed and started again on the same port."""

    def __init__(self, folder: Path, port: int = 0, block_time: float = 0.0) -> None:
        self.folder, self.port, self.block_time = folder, port or free_port(), block_time
        self.rpc = f"http://127.0.0.1:{self.port}"
        self.state = State(folder)

    def command(self) -> list[str]:
        command = anvil(
            "--silent", "--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(CHAIN_ID),
            "--prune-history", str(KEPT_STATES), "--state", str(self.state.file), "--state-interval", str(STATE_SECONDS),
        )  # fmt: skip
        return [*command, "--block-time", str(self.block_time)] if self.block_time else command

    def start(self, processes: Processes) -> None:
        """Start (again) below `processes` and wait until the RPC answers.

        Raises Unavailable when the port is taken or the chain does not answer in START_SECONDS.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _require_free(self.port)
        self.state.repair()
        process = processes.start("chain", self.command())
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(deadline):
            processes.require_running()
            time.sleep(LOOK_SECONDS)
        threading.Thread(target=_keep_while_running, args=(process, self.state), name="keep-state", daemon=True).start()

    def _answers(self, deadline: float) -> bool:
        try:
            return int(self.call("eth_chainId"), 16) == CHAIN_ID
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            return False

    def call(self, method: str, *parameters: Any) -> Any:
        """One JSON-RPC call, for tools; Unavailable when the chain does not answer or refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
                reply = json.load(answer)
        except (OSError, ValueError) as error:
            raise Unavailable(f"no chain answers at {self.rpc}: {error}") from error
        if "error" in reply:
            raise Unavailable(f"{method}: {reply['error'].get('message')}")
        return reply["result"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_foreground(folder: Path, port: int, block_time: float) -> None:
    """`drystone devnet up`: a chain until Ctrl-C, SIGTERM or the terminal's end; all three let it write its state.

    Ctrl-C is asked for as well: a shell starts what it puts into the background with that signal ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    chain = Chain(folder, port, block_time)
    with Processes(folder) as processes:
        try:
            chain.start(processes)
            print(f"chain {CHAIN_ID} at {chain.rpc}, state in {folder}; Ctrl-C stops it", flush=True)
            while True:
                processes.require_running()
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("stopping", flush=True)
