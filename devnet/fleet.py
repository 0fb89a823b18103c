"""A whole consortium on one machine: a chain or a local log, a cloud, edges and devices, each an operating-system process.

The fleet does with the product's own parts what people do by hand: write configs and keys, deploy, start daemons, admit
the nodes that were started (and no others), and wait until the ledger shows them all active.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from devnet.chain import Chain, free_port, operator_key
from devnet.processes import Processes
from ledger.client import AddressBook
from ledger.connect import AnyLedger, connect
from ledger.deploy import deploy, transfer
from middleware.errors import ConfigurationError, Unavailable
from middleware.trust.keys import AccountKey, KeyFile
from middleware.types import Status
from nodes.config import NodeConfig, Share, WorkloadSettings
from nodes.create import create_node
from nodes.keeper import begin
from nodes.operator import Operator

GAS_WEI = 10**19
JOIN_SECONDS = 180.0
STEP_SECONDS = 0.1
START_SECONDS = 20.0  # that a local log has to answer
LEDGERS = ("evm", "local")

Tell = Callable[[str], None]


class Shape(msgspec.Struct, frozen=True):
    """How large, and who lies: the first `liars` devices do. Devices are dealt to edges in blocks."""

    devices: int = 8
    edges: int = 2
    liars: int = 0
    attack: str = "negate"
    slow: int = 0  # the last so many devices take `slowdown` times as long to train
    slowdown: float = 10.0
    slow_links: int = 0  # the last so many devices upload at most `link_bytes` a second
    link_bytes: float = 1e5
    widths: tuple[
        float, ...
    ] = ()  # the parts of the model that devices can train, dealt in turn; none: all the whole one
    edge_attack: str = ""  # of the first edge: "omit" drops what it promised, "silent" takes nothing
    workload: str = "digits"
    client_key: str = "client"
    split: str = "dirichlet:0.5"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.devices < 1 or not 1 <= self.edges <= self.devices:
            raise ConfigurationError(f"{self.devices} devices below {self.edges} edges: at least one device an edge")
        if not 0 <= self.liars <= self.devices:
            raise ConfigurationError(f"{self.liars} liars among {self.devices} devices")
        if not 0 <= self.slow <= self.devices:
            raise ConfigurationError(f"{self.slow} slow devices among {self.devices}: at most all of them")
        if not 0 <= self.slow_links <= self.devices or self.link_bytes <= 0:
            raise ConfigurationError(
                f"{self.slow_links} slow links of {self.link_bytes:g} bytes a second among {self.devices} devices: "
                "at most all of them, at a rate above 0"
            )

    def edge_of(self, device: int) -> int:
        return device * self.edges // self.devices


def device_name(number: int) -> str:
    return f"device-{number + 1}"


class Fleet:
    """The running world below `home`. A context: leaving it stops every process. `on` is one of LEDGERS; the process that
    keeps the ledger is called "chain" or "log"."""

    def __init__(self, home: Path, shape: Shape, block_time: float = 0.0, on: str = "evm") -> None:
        if on not in LEDGERS:
            raise ConfigurationError(f"ledger {on!r}: choose one of {', '.join(LEDGERS)}")
        self.home, self.shape, self.on = home, shape, on
        self.processes = Processes(home / "logs")
        self.chain = Chain(home / "chain", block_time=block_time)
        self.cloud_port = free_port()
        self.edge_ports: list[int] = []
        self.operator: AccountKey = operator_key().account
        self.book: AddressBook | None = None

    @property
    def cloud(self) -> str:
        return f"http://127.0.0.1:{self.cloud_port}"

    @property
    def ledger_file(self) -> Path:
        return self.home / "ledger.json"

    def ledger(self) -> AnyLedger:
        if self.book is None:
            raise ConfigurationError("the fleet has not been started")
        return connect(self.book)

    def names(self) -> list[str]:
        edges = [f"edge-{number + 1}" for number in range(self.shape.edges)]
        return ["cloud", *edges, *(device_name(number) for number in range(self.shape.devices))]

    # ------------------------------------------------------------------------------------------------------------ start

    async def start(self, tell: Tell) -> None:
        """Bring everything up; returns when the ledger shows every node active."""
        self.book = await (self._chain(tell) if self.on == "evm" else self._log(tell))
        self.ledger_file.write_bytes(self.book.to_bytes())
        self._write_nodes()
        for name in self.names():
            self.run(name)
        if self.on == "evm":
            await transfer(self.chain.rpc, self.operator, self.cloud_account, GAS_WEI)
        await self._admit(tell)

    async def _chain(self, tell: Tell) -> AddressBook:
        tell("starting the chain")
        self.chain.start(self.processes)
        tell("deploying the contracts")
        self.operator = operator_key().account
        return await deploy(self.chain.rpc, self.operator)

    async def _log(self, tell: Tell) -> AddressBook:
        """A log with an operator of its own: nobody else knows these keys."""
        tell("starting the log")
        self.operator = KeyFile.generate(os.urandom).account
        book = begin(self.home / "log", self.operator, f"http://127.0.0.1:{free_port()}", int(time.time()))
        self.ledger_file.write_bytes(book.to_bytes())
        self._run_log()
        deadline = time.monotonic() + START_SECONDS
        async with connect(book) as ledger:
            while True:
                self.processes.require_running()
                try:
                    await ledger.head()
                    return book
                except Unavailable:
                    if time.monotonic() > deadline:
                        raise
                await asyncio.sleep(STEP_SECONDS / 2)

    def _run_log(self) -> None:
        self.processes.start(
            "log", [sys.executable, "-m", "nodes.cli.main", "ledger", "serve", "--home", str(self.home)]
        )

    def _write_nodes(self) -> None:
        shape = self.shape
        self.cloud_account = self._create(
            "cloud", tier="cloud", listen=f"127.0.0.1:{self.cloud_port}", workloads=[self._workload(Share())]
        )
        self.edge_ports = [free_port() for _ in range(shape.edges)]
        for number, port in enumerate(self.edge_ports):
            self._create(
                f"edge-{number + 1}", tier="edge", listen=f"127.0.0.1:{port}", parent=self.cloud,
                attack="" if number else shape.edge_attack,
            )  # fmt: skip
        for number in range(shape.devices):
            share = Share(number, shape.devices, shape.split, shape.seed)
            self._create(
                device_name(number), tier="end", workloads=[self._workload(share)],
                parent=f"http://127.0.0.1:{self.edge_ports[shape.edge_of(number)]}",
                attack=shape.attack if number < shape.liars else "",
                slowdown=shape.slowdown if number >= shape.devices - shape.slow else 1.0,
                uplink=shape.link_bytes if number >= shape.devices - shape.slow_links else 0.0,
                width=shape.widths[number % len(shape.widths)] if shape.widths else 1.0,
            )  # fmt: skip

    def _workload(self, share: Share) -> WorkloadSettings:
        kind, _, file = self.shape.workload.partition(":")
        name = f"{kind}:{Path(file).resolve()}" if file else self.shape.workload
        return WorkloadSettings(name, self.shape.client_key, share)

    def _create(
        self, name: str, *, tier: str, listen: str = "", parent: str = "", attack: str = "", slowdown: float = 1.0,
        uplink: float = 0.0, width: float = 1.0, workloads: list[WorkloadSettings] | None = None,
    ) -> bytes:  # fmt: skip
        config = NodeConfig(
            name=name, tier=tier, listen=listen, parent=parent, attack=attack, slowdown=slowdown, workloads=workloads or [],
            uplink_bytes_per_second=uplink, width=width, ledger=str(self.ledger_file.resolve()),
        )  # fmt: skip
        return create_node(self.folder(name), config).account.address

    def folder(self, name: str) -> Path:
        return self.home / "nodes" / name

    def blob_folders(self) -> list[Path]:
        return [self.folder(name) / "state" / "blobs" for name in self.names()]

    def run(self, name: str) -> None:
        """Start one node's process (again)."""
        config = str(self.folder(name) / "node.toml")
        self.processes.start(name, [sys.executable, "-m", "nodes.cli.main", "node", "run", "--config", config])

    def kill(self, name: str) -> None:
        """kill -9 one process, the ledger's too."""
        self.processes.all[name].kill()

    def restart(self, name: str) -> None:
        if name == "chain":
            self.chain.start(self.processes)
        elif name == "log":
            self._run_log()
        else:
            self.run(name)

    async def _admit(self, tell: Tell) -> None:
        """As the registrar: admit what was started here, as it shows up on the ledger."""
        expected = set(self.names())
        deadline = time.monotonic() + JOIN_SECONDS
        async with self.ledger() as ledger:
            operator = Operator(ledger, self.operator)
            while True:
                self.processes.require_running()
                nodes = list((await operator.roster()).nodes.values())
                await operator.change("admit", [n for n in nodes if n.status is Status.PENDING and n.name in expected])
                active = {node.name for node in nodes if node.status is Status.ACTIVE}
                tell(f"{len(active)} of {len(expected)} nodes are registered and admitted")
                if expected <= active:
                    return
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"these nodes did not join in {JOIN_SECONDS:.0f} s: {', '.join(sorted(expected - active))}"
                    )
                await asyncio.sleep(STEP_SECONDS)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.stop()
