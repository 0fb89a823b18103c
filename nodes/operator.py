"""What the owner of a key does to the ledger: admit and suspend nodes, create and end tasks, fund and pay.

The command line and the demo call these; a daemon never does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ledger import codes
from ledger.artifacts import NAMES
from ledger.calls import Admit, Approve, Claim, CloseTask, CreateTask, Fund, Reinstate, Revoke, Suspend
from ledger.connect import AnyLedger
from ledger.index import Anchored, Index
from ledger.lists import learn_known, materialisation
from ledger.local import LocalLedger
from ledger.rpc import hexed, unhexed
from middleware.errors import ConfigurationError, LedgerRefused
from middleware.policy import (
    AUTO,
    UPLOAD_SECONDS,
    WIDTH_ONE,
    CodecSpec,
    Grid,
    LocalPrivacy,
    Peers,
    Policy,
    Privacy,
    Promise,
    RecordPrivacy,
    Rule,
    Schedule,
    Server,
    Training,
)
from middleware.policy.peers import GAMMA_PARTS
from middleware.ports import Call
from middleware.trust import merkle
from middleware.trust.eip712 import Domain
from middleware.trust.keys import AccountKey
from middleware.types import LIMITS, Node, Roster, Status
from middleware.wire import tensors
from middleware.wire.manifest import decode_manifest
from nodes.evaluation import evaluation_root
from nodes.promises import LOCAL_BITS, Terms, promise_of

AUTO_CHOICES = ("none", "int8", "int4", "topk+int8@0.1", "topk+int8@0.01", "topk+int8@0.001")  # of --codec auto
VERBS: dict[str, Callable[[int], Admit | Suspend | Reinstate | Revoke]] = {
    "admit": Admit,
    "suspend": Suspend,
    "reinstate": Reinstate,
    "revoke": Revoke,
}

SAMPLES_CAP = 4096  # declared samples, where nothing else is asked for; no cap where devices train for a fixed time


async def told(ledger: AnyLedger) -> dict[str, str]:
    """What an exported record opens with: the address book's fields, and on a chain the code at each contract's address."""
    book = ledger.book
    fields = {name: str(value) for name, value in msgspec.json.decode(book.to_bytes(), type=dict[str, Any]).items()}
    if isinstance(ledger, LocalLedger):
        return fields
    found = await ledger.rpc.ask_all([("eth_getCode", [hexed(book.address(name)), "latest"]) for name in NAMES])
    for name, code in zip(NAMES, found, strict=True):
        fields[codes.PREFIX + name] = codes.code_of(name, unhexed(code)).described()
    return fields


class Choices(msgspec.Struct, frozen=True):
    """A task as it is asked for; None leaves a value to the default that fits the rest."""

    workload: str = "digits"
    client_key: str = "client"
    model: str = "auto"
    rounds: int = 20
    aggregator: str = "multi-krum"
    tolerate: int = 1
    server: str = "plain"
    arrangement: str = "flat"
    codec: str = "none"
    density: float = 0.01
    bit_budget: int | None = None
    upload_seconds: float | None = None  # codec auto
    backup_devices: int = 0
    backup_edges: int = 0
    arrivals: int | None = None
    staleness: str | None = None
    stalest: int | None = None
    compensation: float | None = None
    widths: str | None = None
    peers: str | None = None
    global_every: int | None = None
    links: str | None = None
    gossip_step: float | None = None
    peer_density: float | None = None
    grid_bits: int | None = None  # 16, or what noise on the device needs
    grid_exponent: int | None = None
    min_updates: int | None = None
    round_seconds: float = 30.0
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    proximal: float | None = None
    seconds: float | None = None
    shards: int | None = None
    readers: str | None = None  # public, or auditors under central privacy
    auditors: tuple[str, ...] = ()
    reward_per_round: int = 1_000_000
    samples_cap: int | None = None  # 4096, or 1 where every client weighs the same
    seed: int = 0
    pay: str = "participation"
    epoch: int = 10
    slices: int = 4
    dp: float | None = None  # epsilon over the whole task
    dp_mode: str = "central"
    dp_rate: float = 0.1  # records: the probability that a step draws one
    dp_steps: int = 20  # records: a round
    dp_delta: float = 1e-5
    dp_noise: float | None = None
    dp_clip: float = 1.0
    dp_clients: int = 0
    dp_commitment: str = ""


USUAL = Choices()
DP_OPTIONS = {"dp_mode", "dp_rate", "dp_steps", "dp_delta", "dp_noise", "dp_clip", "dp_clients"}


def policy_of(choices: Choices) -> Policy:
    """The policy that these choices mean; ConfigurationError when it cannot hold, or when one of them would do nothing."""
    from middleware.learn.workload import resolve_model, workload_id  # torch is loaded only when a task is made

    model, parameters = resolve_model(choices.workload, choices.model, client_key=choices.client_key)
    rule = Rule(choices.aggregator, 0 if choices.aggregator == "mean" else choices.tolerate)
    _require_used(choices, rule)
    server = server_of(choices.server)
    training = msgspec.structs.replace(
        Training(momentum=0.0) if choices.codec == "dgc" else Training(),  # dgc has the momentum: two would overshoot
        **{
            name: value
            for name in ("epochs", "batch", "learning_rate", "momentum", "proximal", "seconds")
            if (value := getattr(choices, name)) is not None
        },
    )
    promise = _promise(choices)
    private, local = isinstance(promise, Privacy), isinstance(promise, LocalPrivacy)
    readers = choices.readers or ("auditors" if private else "public")
    if readers not in ("public", "auditors"):
        raise ConfigurationError(f"readers {readers!r}: choose public or auditors")
    if choices.auditors and readers == "public":
        raise ConfigurationError(
            "anybody may read updates under --readers public: add --readers auditors, or no --auditor"
        )
    usual_bits = LOCAL_BITS if local else Grid().bits
    usual_cap = 1 if private or local else SAMPLES_CAP if choices.seconds is None else LIMITS.samples
    scored = choices.pay == "scores"
    return Policy(
        workload=workload_id(choices.workload),
        model=model,
        parameters=parameters,
        rounds=choices.rounds,
        arrangement=choices.arrangement,
        rule=rule,
        grid=Grid(
            usual_bits if choices.grid_bits is None else choices.grid_bits,
            Grid().exponent if choices.grid_exponent is None else choices.grid_exponent,
        ),
        schedule=schedule_of(choices),
        peers=peers_of(choices),
        shards=choices.shards,
        widths=None if choices.widths is None else tuple(round(WIDTH_ONE * part) for part in parts_of(choices.widths)),
        codec=codec_of(choices),
        training=training,
        min_updates=rule.least_updates if choices.min_updates is None else choices.min_updates,
        round_seconds=choices.round_seconds,
        readers="public" if readers == "public" else "auditors",
        auditors=choices.auditors,
        samples_cap=usual_cap if choices.samples_cap is None else choices.samples_cap,
        reward_per_round=choices.reward_per_round,
        seed=choices.seed,
        pay=choices.pay,
        epoch_rounds=min(choices.epoch, choices.rounds) if scored else 0,
        evaluation=_evaluation(choices, model) if scored or rule.measures else "",
        evaluation_slices=choices.slices if scored or rule.measures else 0,
        server=server,
        privacy=promise if isinstance(promise, Privacy) else None,
        local=promise if isinstance(promise, LocalPrivacy) else None,
        records=promise if isinstance(promise, RecordPrivacy) else None,
    )


def _require_used(choices: Choices, rule: Rule) -> None:
    """Whoever asks for something has it, or hears why not: above all, no option of --dp without --dp."""
    asked = {name for name in choices.__struct_fields__ if getattr(choices, name) != getattr(USUAL, name)}
    if choices.dp is None and (alone := sorted(asked & DP_OPTIONS)):
        raise ConfigurationError(f"{_flags(alone)} without --dp protects nobody: add --dp EPSILON, or leave it out")
    if choices.pay != "scores" and "epoch" in asked:
        raise ConfigurationError("--epoch says how often scores are paid: add --pay scores, or leave it out")
    if choices.pay != "scores" and not rule.measures and "slices" in asked:
        raise ConfigurationError("--slices cuts what a task is measured on: add --pay scores, or leave it out")


def _flags(names: list[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


def codec_of(choices: Choices) -> CodecSpec:
    """What --codec and its companions mean: a codec's name, or `auto`, or `auto:` and the codecs that a device may choose from,
    each perhaps with a density of its own, as in auto:none,topk+int8@0.1,topk+int8."""
    kind, _, named = choices.codec.partition(":")
    if kind != AUTO:
        if choices.upload_seconds is not None:
            raise ConfigurationError("--upload-seconds belongs to --codec auto")
        return CodecSpec(choices.codec, choices.density, budget=choices.bit_budget)
    offered = []
    for item in named.split(",") if named else AUTO_CHOICES:
        name, _, density = item.partition("@")
        try:
            offered.append(
                CodecSpec(
                    name, float(density or choices.density), budget=choices.bit_budget if name == "digital" else None
                )
            )
        except ValueError as error:
            raise ConfigurationError(f"--codec {choices.codec!r}: a density is written topk@0.01") from error
    if choices.bit_budget is not None and all(spec.budget is None for spec in offered):
        raise ConfigurationError("--bit-budget belongs to codec digital, which is not among the choices")
    seconds = UPLOAD_SECONDS if choices.upload_seconds is None else choices.upload_seconds
    return CodecSpec(AUTO, choices=tuple(offered), upload_seconds=seconds)


def _promise(choices: Choices) -> Promise | None:
    if choices.dp is None:
        return None
    exponent = Grid().exponent if choices.grid_exponent is None else choices.grid_exponent
    return promise_of(
        Terms(
            choices.dp, choices.dp_mode, choices.dp_delta, choices.dp_noise, choices.dp_clip, choices.dp_clients,
            choices.dp_commitment, choices.dp_rate, choices.dp_steps, choices.rounds, exponent,
        )
    )  # fmt: skip


def schedule_of(choices: Choices) -> Schedule | None:
    """Whom the rounds wait for; None where nothing was asked for."""
    made = {
        "backup_devices": choices.backup_devices, "backup_edges": choices.backup_edges, "arrivals": choices.arrivals,
        "staleness": choices.staleness, "stalest": choices.stalest, "compensation": choices.compensation,
    }  # fmt: skip
    return Schedule(**made) if any(value not in (0, None) for value in made.values()) else None  # type: ignore[arg-type]


def parts_of(text: str) -> tuple[float, ...]:
    """The parts of --widths, such as 1,0.5,0.25. ConfigurationError for anything else."""
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = (0.0,)
    if not all(0 < part <= 1 for part in parts):
        raise ConfigurationError(f"--widths {text!r}: write parts of the model from 1 down, such as 1,0.5,0.25")
    return parts


def peers_of(choices: Choices) -> Peers | None:
    """Whether each edge keeps a model of its own; None where nothing was asked for."""
    asked = (choices.global_every, choices.links, choices.gossip_step, choices.peer_density)
    if choices.peers is None:
        if asked != (None, None, None, None):
            raise ConfigurationError(
                "--global-every, --links, --gossip-step and --peer-density say how peers meet: add --peers"
            )
        return None
    usual = {"gossip": "ring", "choco": "ring", "push-sum": "exponential"}.get(choices.peers)
    gamma, density = (0.25, 0.1) if choices.peers == "choco" else (None, None)
    step = gamma if choices.gossip_step is None else choices.gossip_step
    if choices.gossip_step is not None and not 1 / GAMMA_PARTS <= choices.gossip_step <= 1:
        raise ConfigurationError(f"--gossip-step {choices.gossip_step:g}: 1/{GAMMA_PARTS} to 1, a whole step")
    return Peers(
        choices.peers, choices.global_every, choices.links or usual, None if step is None else round(step * GAMMA_PARTS),
        density if choices.peer_density is None else choices.peer_density,
    )  # fmt: skip


def server_of(text: str) -> Server | None:
    """The server step of "plain", "step:ALPHA", or "KIND" or "KIND:RATE" of an optimiser; without a rate it is 1 for momentum
    and 0.1 for the others. ConfigurationError for anything else."""
    kind, _, number = text.partition(":")
    if text == "plain":
        return None
    try:
        if kind == "step":
            return Server(kind, alpha=int(number))
        if kind == "momentum" or number:
            return Server(kind, rate=float(number or 1))
        return Server(kind, rate=0.1)
    except ValueError as error:
        raise ConfigurationError(f"--server {text!r}: write plain, step:128, momentum, adam:0.1 or the like") from error


def _evaluation(choices: Choices, model: str) -> str:
    """The root over the slices of the workload's test part, in hex."""
    from middleware.learn.workload import load_workload

    return evaluation_root(load_workload(choices.workload, model, client_key=choices.client_key), choices.slices).hex()


class Operator:
    """A key, and the ledger it acts on."""

    def __init__(self, ledger: AnyLedger, key: AccountKey) -> None:
        self.ledger, self.key = ledger, key
        self.index = Index()
        self.made: list[tuple[Call, bytes]] = []  # with the transactions' hashes, in order

    async def refresh(self) -> Index:
        self.index.extend(await self.ledger.entries(self.index.cursor))
        return self.index

    async def roster(self) -> Roster:
        return (await self.refresh()).roster()

    async def change(self, verb: str, nodes: list[Node]) -> None:
        """Admit, suspend, reinstate or revoke each node."""
        for node in nodes:
            await self.ledger.send(VERBS[verb](node.id), self.key)

    async def _send(self, call: Call) -> None:
        outcome = await self.ledger.send(call, self.key)
        self.made.append((call, outcome.transaction))

    async def repeat_lost(self) -> list[str]:
        """Make again what a chain no longer has that lost its last blocks, in the order in which it was made; says what.

        An account's nonces went back with the blocks, so a transaction that comes back after all takes the same one's place.
        """
        known = [await self.ledger.receipt(transaction) is not None for _, transaction in self.made]
        lost = [call for (call, _), there in zip(self.made, known, strict=True) if not there]
        self.made = [made for made, there in zip(self.made, known, strict=True) if there]
        for call in lost:
            await self._send(call)
        return [call.function for call in lost]

    async def find(self, names: list[str]) -> list[Node]:
        """Nodes by name or number; ConfigurationError names the first that the ledger does not know."""
        roster = await self.roster()
        return [named(roster, name) for name in names]

    async def pending(self) -> list[Node]:
        return [node for node in (await self.roster()).nodes.values() if node.status is Status.PENDING]

    async def create_task(self, cloud: str, policy: Policy, window: int) -> int:
        """Put the task on the ledger and fund all its rounds; returns its number."""
        from middleware.learn.workload import genesis

        node = named(await self.roster(), cloud)
        model = tensors.model_hash(tensors.encode_model(genesis(policy)))
        before = set((await self.refresh()).tasks)
        await self._send(CreateTask.of(node.id, window, model, policy))
        new = set((await self.refresh()).tasks) - before
        if len(new) != 1:
            raise LedgerRefused("TaskNotFound", sorted(new))
        task = new.pop()
        pool = policy.reward_per_round * policy.rounds
        if pool:
            await self._send(Approve(self.ledger.book.rewards, pool))
            await self._send(Fund(task, pool))
        return task

    async def stop_task(self, task: int) -> None:
        await self.ledger.send(CloseTask(task), self.key)

    async def claim_all(self, task: int, manifest_of: Callable[[bytes], bytes | None]) -> dict[int, int]:
        """Pay every node what the last anchored round's rewards root owes it; returns node -> amount paid now. A member of a
        batch gets an entry of its own first. `manifest_of` gives any blob by its digest."""
        index = await self.refresh()
        learn_known(index, Domain(self.ledger.book.chain_id, self.ledger.book.registry), manifest_of)
        rounds = index.anchored.get(task, [])
        if not rounds:
            raise ConfigurationError(f"task {task} has no anchored round yet")
        last: Anchored = rounds[-1]
        blob = manifest_of(last.header.manifest)
        if blob is None:
            raise ConfigurationError(f"the manifest of round {last.header.round} was not found: give --blobs")
        entries = list(decode_manifest(blob).rewards)
        paid: dict[int, int] = {}
        for place, (node, cumulative) in enumerate(entries):
            due = cumulative - index.claimed.get((task, node), 0)
            if due <= 0:
                continue
            member = index.roster().nodes.get(node)
            if member is not None and member.batch:
                await self.ledger.send(materialisation(index, member), self.key)
            await self.ledger.send(
                Claim(
                    task=task, round=last.header.round, header_hash=last.header_hash,
                    anchored_at=last.position.time, node=node, cumulative=cumulative, index=place,
                    size=len(entries), path=merkle.pack_sum_path(merkle.sum_path(entries, place)),
                ),
                self.key,
            )  # fmt: skip
            paid[node] = due
        return paid


def named(roster: Roster, name: str) -> Node:
    """A node by name or number."""
    node = roster.nodes.get(int(name)) if name.isdigit() else roster.by_name(name)
    if node is None:
        known = ", ".join(sorted(node.name for node in roster.nodes.values())) or "none"
        raise ConfigurationError(f"the ledger knows no node {name!r}; it knows: {known}")
    return node


def read_blob(folders: list[Path], digest: bytes) -> bytes | None:
    """A blob from the first of these blob folders that holds it."""
    name = digest.hex()
    for folder in folders:
        path = folder / name[:2] / name
        if path.exists():
            return path.read_bytes()
    return None
