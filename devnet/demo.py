"""The main job in one call: a fleet with liars trains, every round is anchored, everyone is paid, and all of it is audited.

`run_demo` returns the report whose keys are fixed (see docs/guide/report.md) and writes it, the picture and the ledger's
record into the output folder. Nothing in it is estimated: each figure is read from the run, the ledger or the audit.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from devnet.fleet import Fleet, Shape, device_name
from devnet.picture import draw_accuracy
from ledger.connect import AnyLedger
from ledger.index import Index
from ledger.local import LocalLedger
from ledger.record import export_record
from middleware.errors import ConfigurationError, Unavailable
from middleware.policy import Policy
from middleware.protocol.budget import commitment, last_round
from middleware.trust.keys import KeyFile, NetworkKey
from nodes.cloud import Summary
from nodes.create import write_keys
from nodes.operator import Choices, Operator, policy_of, read_blob, told
from nodes.secrets import keep, new_secret

if TYPE_CHECKING:
    from middleware.learn.workload import Classification

ROUND_SECONDS = 120.0  # a round is given up for dead after that long without news
FINAL_SECONDS = 60.0
LOOK_SECONDS = 0.1
SILENT_SECONDS = 5.0  # without news, until the ledger is asked whether it still has the task


class Progress:
    """What the run tells while it works; the command line draws it, tests leave it silent."""

    def step(self, what: str) -> None: ...

    def round(self, number: int, total: int, accuracy: float) -> None: ...


def parse_byzantine(text: str) -> tuple[int, str]:
    """(how many lie, with which attack) of "N", "N:ATTACK" or "N:ATTACK:NUMBER"."""
    from middleware.maths import attack

    count, _, lie = text.partition(":")
    lie = lie or "negate"
    if not count.isdigit():
        raise ConfigurationError(f"--byzantine {text!r}: write N or N:ATTACK, e.g. 2:negate")
    try:
        attack.require(lie)
    except ValueError as error:
        raise ConfigurationError(f"--byzantine: {error}") from error
    return int(count), lie


def require_enough(devices: int, policy: Policy) -> None:
    """ConfigurationError where no round could ever count."""
    if devices < policy.min_updates:
        rule = f"{policy.rule.name} (f={policy.rule.f})"
        raise ConfigurationError(
            f"{devices} devices: a round of {rule} takes {policy.min_updates} updates at least; start more --devices, have "
            "fewer of them lie, or choose another --aggregator"
        )


async def run_demo(
    shape: Shape, choices: Choices, out: Path, progress: Progress, faults: Callable[[Fleet], Any] | None = None,
    on: str = "evm",
) -> dict[str, Any]:  # fmt: skip
    """Run it all on a chain ("evm") or a local log ("local"); returns the report. `faults(fleet)` may be a coroutine function
    that injects failures meanwhile."""
    secret, auditor = b"", None
    if choices.dp is not None and choices.dp_mode == "central":
        secret, auditor = new_secret(), KeyFile.generate(os.urandom)
        choices = msgspec.structs.replace(
            choices,
            dp_commitment=commitment(secret),
            dp_clients=shape.devices,
            auditors=(auditor.network.public.hex(),),
        )
    policy = policy_of(choices)
    require_enough(shape.devices, policy)
    if last_round(policy) < policy.rounds:
        raise ConfigurationError(
            f"only {last_round(policy)} rounds fit this epsilon: use more --dp-noise, or fewer --rounds"
        )
    await asyncio.to_thread(pooled_data, shape, policy)  # a deal that cannot be made is refused before anything starts
    world = out / "world"
    if world.exists():
        shutil.rmtree(world)
    world.mkdir(parents=True)
    with Fleet(world, shape, on=on) as fleet:
        await fleet.start(progress.step)
        if auditor is not None:
            keep(fleet.folder("cloud"), secret)
            write_keys(world / "auditor.json", auditor)
        disturb = asyncio.ensure_future(faults(fleet)) if faults is not None else None
        async with fleet.ledger() as ledger:
            run = Run(fleet, ledger, policy, progress, disturb)
            await run.train()
            if disturb is not None:
                disturb.cancel()
            await run.pay()
            record = await run.record(out)
        progress.step("training centrally, for comparison")
        central = await asyncio.to_thread(central_curve, shape, policy, run.summaries, fleet)
        progress.step("auditing")
        audit = await asyncio.to_thread(verify_run, out, fleet, None if auditor is None else auditor.network, secret)
        report = {**record, "central": central, "central_accuracy": central[-1], "audit": audit}
    draw_accuracy(out / "accuracy.png", report)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


class Run:
    """One task on a running fleet."""

    def __init__(
        self,
        fleet: Fleet,
        ledger: AnyLedger,
        policy: Policy,
        progress: Progress,
        disturb: asyncio.Future[Any] | None = None,
    ) -> None:
        self.fleet, self.policy, self.progress, self.disturb = fleet, policy, progress, disturb
        self.ledger = ledger
        self.operator = Operator(ledger, fleet.operator)
        self.summaries: list[Summary] = []
        self.task = 0
        self.total = self.waited = self.cloud_cpu = 0.0
        self.paid: dict[int, int] = {}
        self.nonces = (0, 0)

    async def train(self) -> None:
        """Create the task and follow it until its last header is on the ledger."""
        self.progress.step("creating the task")
        cloud = (await self.operator.find(["cloud"]))[0]
        before = await self.ledger.nonce(cloud.account)
        began = time.monotonic()
        self.task = await self.operator.create_task("cloud", self.policy, 0)
        self.waited += time.monotonic() - began
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            await self._follow(session)
            settled = time.monotonic()
            await self._anchored(session)
        self.waited += time.monotonic() - settled
        self.total = time.monotonic() - began
        self.nonces = (before, await self.ledger.nonce(cloud.account))

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        news = looked = time.monotonic()
        while len(self.summaries) < self.policy.rounds:
            status = await self._status(session)
            rows = status.get("rounds", {}).get(str(self.task), []) if status else []
            for row in rows[len(self.summaries) :]:
                self.summaries.append(msgspec.convert(row, Summary, strict=False))
                self.progress.round(len(self.summaries), self.policy.rounds, self.summaries[-1].accuracy)
                news = time.monotonic()
            self._require_running()
            if time.monotonic() - max(news, looked) > SILENT_SECONDS:
                await self._repeat_lost()
                looked = time.monotonic()
            if time.monotonic() - news > ROUND_SECONDS + self.policy.round_seconds:
                said = status.get("waiting_for") if status else "nothing"
                raise Unavailable(f"no round for {time.monotonic() - news:.0f} s; the cloud says: {said}")
            if len(self.summaries) < self.policy.rounds:
                await asyncio.sleep(LOOK_SECONDS)

    async def _repeat_lost(self) -> None:
        """A chain that was killed may have lost the blocks with the task or its funds: real ones do not, anvil does."""
        try:
            lost = await self.operator.repeat_lost()
        except Unavailable:
            return  # it is down just now; the next look tries again
        if lost:
            self.progress.step(f"the chain lost {', '.join(lost)} with its last blocks: made again")

    def _require_running(self) -> None:
        """Say at once which process ended by itself, and how its log ends; a failed fault injection is an error too."""
        if self.disturb is None:
            self.fleet.processes.require_running()
        elif self.disturb.done() and not self.disturb.cancelled():
            self.disturb.result()
            self.fleet.processes.require_running()

    async def _status(self, session: aiohttp.ClientSession) -> dict[str, Any] | None:
        """The cloud's status, or None while it is down."""
        try:
            async with session.get(f"{self.fleet.cloud}/status") as answer:
                return msgspec.json.decode(await answer.read(), type=dict[str, Any])
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def _anchored(self, session: aiohttp.ClientSession) -> None:
        """Wait until the ledger has every header and the outbox calls them final."""
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            try:
                index = await self.operator.refresh()
                status = await self._status(session)
                if (
                    status
                    and len(index.anchored.get(self.task, [])) == self.policy.rounds
                    and not _open(status["outbox"])
                ):
                    self.cloud_cpu = float(status["ledger_seconds"])
                    return
            except Unavailable:
                index = self.operator.index
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"only {len(index.anchored.get(self.task, []))} of {self.policy.rounds} headers were anchored"
                )
            await asyncio.sleep(LOOK_SECONDS / 5)

    async def pay(self) -> None:
        self.progress.step("paying the rewards")
        folders = self.fleet.blob_folders()
        self.paid = await self.operator.claim_all(self.task, lambda digest: read_blob(folders, digest))

    async def record(self, out: Path) -> dict[str, Any]:
        """Export the ledger's record and read the report's figures."""
        index = await self.operator.refresh()
        if index.head is None:
            raise Unavailable("the ledger shows nothing")
        blocks = await self.ledger.blocks() if isinstance(self.ledger, LocalLedger) else ()
        record = export_record(index.entries, index.head, await told(self.ledger), blocks)
        (out / "ledger.jsonl").write_bytes(record)
        (out / "ledger.json").write_bytes(self.fleet.ledger_file.read_bytes())
        return self._figures(index)

    def _figures(self, index: Index) -> dict[str, Any]:
        policy, rounds = self.policy, self.summaries
        nodes = index.roster().nodes
        zero = {node: sum(row.weights.get(node, 0) == 0 for row in rounds if node in row.weights) for node in nodes}
        taken = {node: sum(node in row.weights for row in rounds) for node in nodes}
        cpu = self.cloud_cpu + sum(row.ledger for row in rounds)
        training = union(interval for row in rounds for interval in row.training)
        opened = sum(row.closed - row.opened - union(clip(row.training, row.opened, row.closed)) for row in rounds)
        return {
            "accuracy": [row.accuracy for row in rounds],
            "rounds": len(rounds),
            "devices": self.fleet.shape.devices,
            "edges": self.fleet.shape.edges,
            "byzantine": [device_name(number) for number in range(self.fleet.shape.liars)],
            "transactions_per_round": (self.nonces[1] - self.nonces[0]) / len(rounds),
            "gas_per_round": [item.position.gas_used for item in index.anchored[self.task]],
            "bytes_up_dense": 4 * policy.parameters * sum(row.updates for row in rounds),
            "bytes_up_sent": sum(row.bytes_sent for row in rounds),
            "seconds": {
                "total": self.total,
                "training": training,
                "transport": opened,
                "aggregation": sum(row.aggregation for row in rounds),
                "evaluation": sum(row.evaluation for row in rounds),
                "ledger": self.waited + cpu,
            },
            "rounds_seconds": [row.settled - row.opened for row in rounds],
            "overhead_seconds": [row.settled - row.opened - union(row.training) for row in rounds],
            "rewards": {nodes[node].name: amount for node, amount in sorted(self.paid.items())},
            "caught": [nodes[n].name for n in sorted(nodes) if taken[n] and 2 * zero[n] >= len(rounds)],
            "void_rounds": [row.round for row in rounds if row.void],
            "task": self.task,
            "policy": msgspec.to_builtins(policy),
        }


def _open(outbox: dict[str, int]) -> int:
    """Transactions that are not final yet."""
    return sum(count for state, count in outbox.items() if state not in ("FINAL", "REFUSED"))


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Seconds covered by at least one interval."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def clip(intervals: Iterable[tuple[float, float]], low: float, high: float) -> list[tuple[float, float]]:
    return [(max(start, low), min(stop, high)) for start, stop in intervals if stop > low and start < high]


def pooled_data(shape: Shape, policy: Policy) -> Classification:
    """The honest devices' data in one place, dealt as the devices deal it."""
    from middleware.learn.workload import load_pooled

    honest = list(range(shape.liars, shape.devices)) or list(range(shape.devices))
    return load_pooled(
        shape.workload, policy.model, client_key=shape.client_key, indices=honest, of=shape.devices, split=shape.split,
        seed=shape.seed,
    )  # fmt: skip


def central_curve(shape: Shape, policy: Policy, rounds: list[Summary], fleet: Fleet) -> list[float]:
    """The central run: the honest devices' data pooled, as many gradient steps a round as a device took on average."""
    from middleware.learn.train import central

    data = pooled_data(shape, policy)
    if policy.privacy is not None or policy.local is not None:  # devices do not tell their steps
        share = math.ceil(len(data.data().labels) / (shape.devices * policy.training.batch))
        return central(data, policy, [policy.training.epochs * share] * len(rounds))
    steps = [round(sum(row.steps.values()) / max(1, len(row.steps))) for row in rounds]
    return central(data, policy, steps)


def verify_run(out: Path, fleet: Fleet, reader: NetworkKey | None = None, secret: bytes = b"") -> dict[str, int]:
    """`drystone audit verify` over the exported record and the nodes' blobs: {valid, invalid, unverifiable}."""
    from nodes.records import verify_exported

    return verify_exported(out / "ledger.jsonl", fleet.home, reader, secret)
