"""Thousands of devices in one process: everything a round does but sockets and processes, for as many as memory holds.

The core is the daemons': `protocol.update` composes, seals and judges each update, `protocol.settlement` applies the
rule, and the header goes to the ledger's specification in memory. Three things make a crowd of it. Its devices join with
one transaction, as a batch. They train side by side, a group at a time (`learn.fleet`),
when the first of the group is asked for its update. And nothing is kept that a
later step does not read: bodies are dropped once they are judged, and with the mean so are the integers.

Without the wire an update goes to the grid and through its codec, and that is all: no keys, no sealing, no trees, no
ledger. What the model learns is the same, because the rule works on the same integers.

A crowd is often larger than its data. Where a data set has too few samples to be dealt, each device draws its own from
it, and devices share samples; `Dealt.shared` says that this happened.
"""

from __future__ import annotations

import asyncio
import math
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from devnet.arrivals import TimedSimulation
from devnet.chain import operator_key
from devnet.demo import require_enough
from devnet.simulation import Simulation, in_memory
from middleware.errors import ConfigurationError
from middleware.maths import aggregate, attack, partition
from middleware.policy import Policy
from middleware.protocol import memory
from middleware.protocol.choice import choose
from middleware.protocol.settlement import Reported
from middleware.protocol.update import Floats, keeps_residual, pack
from middleware.wire import tensors

if TYPE_CHECKING:
    from middleware.learn.workload import Samples

Indices = npt.NDArray[np.int64]

DRAWN: Final = 32  # samples that a device draws where they cannot be dealt
DEAL: Final = 1  # keeps the generator that deals samples apart from others of the same seed, as `learn.workload` does
LIES: Final = 2  # and the one that liars draw from
CODEC_DRAWS: Final = 3  # and the one that codecs draw from
SPEEDS: Final = 4  # and the one that draws how long each device takes
SLOWDOWN: Final = 10.0
MOST_SEEN: Final = 16  # honest updates that a liar knows


class Shape(msgspec.Struct, frozen=True):
    """The crowd: who there is, who lies, how the data is dealt, and what of the round is real."""

    devices: int = 1000
    edges: int = 10
    liars: int = 0
    attack: str = ""
    split: str = "iid"
    samples: int = 0  # each device draws so many; 0 deals the data set, or draws `DRAWN` where it is too small
    slow_links: int = 0  # the last so many devices upload `link_bytes` a second, the others as fast as they like
    link_bytes: float = 1e5
    seed: int = 0
    wire: bool = True
    ledger: bool = True
    slow: int = 0  # the last so many devices take `SLOWDOWN` times as long for an update

    def __post_init__(self) -> None:
        if not 0 < self.edges <= self.devices or not 0 <= self.liars <= self.devices or self.samples < 0:
            raise ConfigurationError(
                f"{self.devices} devices, {self.edges} edges, {self.liars} liars, {self.samples} samples: give at least "
                "one edge, at most one a device, and at most all of them as liars"
            )
        if not 0 <= self.slow <= self.devices:
            raise ConfigurationError(f"{self.slow} slow devices among {self.devices}: at most all of them")
        if not 0 <= self.slow_links <= self.devices or self.link_bytes <= 0:
            raise ConfigurationError(
                f"{self.slow_links} slow links of {self.link_bytes:g} bytes a second among {self.devices} devices: "
                "at most all of them, at a rate above 0"
            )
        if self.ledger and not self.wire:
            raise ConfigurationError("a ledger anchors what the wire committed: add --no-ledger to --no-wire")

    def link(self, device: int) -> float:
        """Bytes a second that a device uploads."""
        return self.link_bytes if device >= self.devices - self.slow_links else math.inf


class Dealt(NamedTuple):
    """Who holds which samples of the pool, and whether devices share them."""

    shares: list[Indices]
    shared: bool


def deal(labels: npt.NDArray[np.int64], clients: npt.NDArray[Any] | None, shape: Shape) -> Dealt:
    """Deal samples with these labels (n,), and owners (n,) where there are any, to the crowd's devices.

    Drawn shares follow the split: of all samples (iid), by class proportions from Dirichlet(A, ..., A) for each device
    (Hsu, Qi and Brown 2019), or from the samples of one owner (client), owners taking turns.
    """
    generator = np.random.default_rng([shape.seed, DEAL])
    owners = 0 if clients is None else len(np.unique(clients))
    enough = owners if shape.split == "client" else len(labels) // partition.MINIMUM
    try:
        if not shape.samples and shape.devices <= enough:
            return Dealt(partition.deal(shape.split, labels, clients, shape.devices, generator), False)
        return Dealt(list(_drawn(labels, clients, shape, shape.samples or DRAWN, generator)), True)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _drawn(
    labels: npt.NDArray[np.int64], clients: npt.NDArray[Any] | None, shape: Shape, count: int, generator: np.random.Generator
) -> Iterator[Indices]:  # fmt: skip
    kind, _, parameter = shape.split.partition(":")
    if shape.split == "iid":
        for _ in range(shape.devices):
            yield generator.integers(len(labels), size=count)
        return
    if kind == "client" and clients is not None:
        held = [np.flatnonzero(clients == owner) for owner in np.unique(clients)]
        for device in range(shape.devices):
            yield generator.choice(held[device % len(held)], count)
        return
    try:
        alpha = float(parameter) if kind == "dirichlet" else 0.0
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < float("inf"):
        raise ValueError(
            f"split {shape.split!r}: choose iid, dirichlet:A with A above 0, or client where rows have owners"
        )
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(shape.devices):
        chosen = generator.choice(len(members), count, p=generator.dirichlet(np.full(len(members), alpha)))
        yield np.array([generator.choice(members[label]) for label in chosen])


class Crowd:
    """The devices of a simulation: trains them a group at a time, and gives out each one's update, lies included."""

    def __init__(
        self, source: str, policy: Policy, shape: Shape, client_key: str = "client",
        arrive: Callable[[int, int], None] = lambda round, device: None,
    ) -> None:  # fmt: skip
        """`arrive` hears of each update that is given out: its round, and its device's number from 0."""
        from middleware.learn.workload import load_pooled, load_table

        table = load_table(source, client_key)
        self.workload = load_pooled(
            source, policy.model, client_key=client_key, indices=[0], of=1, split="iid", seed=shape.seed
        )
        clients = None if table.clients is None else table.clients[~table.test]
        self.policy, self.shape, self.arrive = policy, shape, arrive
        self.shares, self.shared = deal(self.workload.data().labels, clients, shape)
        self.pool = self._poisoned(table.classes)
        self.known: Floats | None = None  # the model that liars saw last, and by what it moved since the one before
        self.move: Floats | None = None
        self.losses: list[float] = []  # of this round's devices
        self.seconds = 0.0  # spent in training
        self._ready: dict[int, Floats] = {}
        self.model_below: Callable[[int], Floats] | None = None  # a device's own edge's model, where edges have theirs

    def _poisoned(self, classes: int) -> Samples:
        """The pool that devices train on; liars that lie in their samples get copies of their own at its end."""
        from middleware.learn.poison import poisoned
        from middleware.learn.workload import Samples

        pool = self.workload.data()
        if not self.shape.liars or self.shape.attack.partition(":")[0] not in attack.IN_SAMPLES:
            return pool
        pieces, end = [pool], len(pool)
        for device in range(self.shape.liars):
            share = self.shares[device]
            held = Samples(pool.features[share], pool.labels[share])
            generator = np.random.default_rng([self.policy.seed, device, LIES])
            pieces.append(poisoned(held, self.shape.attack, classes, generator))
            self.shares[device] = np.arange(end, end + len(share))
            end += len(share)
        return Samples(
            np.concatenate([piece.features for piece in pieces]), np.concatenate([piece.labels for piece in pieces])
        )

    def samples(self, device: int) -> int:
        return len(self.shares[device])

    def learned(self, device: int, round: int, model: Floats) -> Floats:
        """The update of one device (from 0). Devices come in ascending order: their group is trained with the first."""
        if device not in self._ready:
            began = time.perf_counter()
            self._train(device, round, model)
            self.seconds += time.perf_counter() - began
        self.arrive(round, device)
        update = self._ready.pop(device)
        if device < self.shape.liars:
            return self._lie(update, device, round, model)
        return update

    def _lie(self, update: Floats, device: int, round: int, model: Floats) -> Floats:
        """What a liar sends: it has seen the honest updates of its own group, or only its own where there are none."""
        if self.shape.attack.partition(":")[0] in attack.IN_SAMPLES:
            return np.asarray(update * np.float32(attack.in_samples_number(self.shape.attack)))
        if self.known is not model:
            self.move = None if self.known is None else model - self.known
            self.known = model
        honest = [learned for place, learned in self._ready.items() if place >= self.shape.liars][:MOST_SEEN]
        generator = np.random.default_rng([self.policy.seed, round, device, LIES])
        seen = attack.Seen(update, np.stack(honest or [update]), generator, self.move, self.shape.liars)
        return attack.parse(self.shape.attack).tell(seen)

    def alone(self, device: int, round: int, model: Floats) -> Floats:
        """The update of one device that starts from a model of its own, in any order."""
        from middleware.learn.fleet import teach

        began = time.perf_counter()
        seeds = [[self.policy.seed, round, self.node(device)]]
        (taught,) = teach(self.policy.model, model, self.pool, [self.shares[device]], self.policy.training, seeds)
        self.losses.append(float(taught.losses[0]))
        self.seconds += time.perf_counter() - began
        self.arrive(round, device)
        return self._lie(taught.updates[0], device, round, model) if device < self.shape.liars else taught.updates[0]

    def takes(self, device: int) -> float:
        """Seconds on the simulated clock for an update: about 1, and `SLOWDOWN` times that for a slow one."""
        drawn = float(np.random.default_rng([self.shape.seed, device, SPEEDS]).uniform(0.8, 1.2))
        return drawn * SLOWDOWN if device >= self.shape.devices - self.shape.slow else drawn

    def evaluate(self, model: Floats) -> tuple[float, float]:
        from middleware.learn.train import evaluate

        return evaluate(self.workload, model)

    def _train(self, first: int, round: int, model: Floats) -> None:
        from middleware.learn.fleet import chunk_for, teach

        if not first:
            self.losses = []
        devices = range(first, min(first + chunk_for(self.policy.parameters), self.shape.devices))
        seeds = [[self.policy.seed, round, self.node(device)] for device in devices]
        shares = self.shares[devices.start : devices.stop]
        models = model if self.model_below is None else np.stack([self.model_below(device) for device in devices])
        for taught in teach(self.policy.model, models, self.pool, shares, self.policy.training, seeds):
            self._ready |= {
                first + int(place): update for place, update in zip(taught.places, taught.updates, strict=True)
            }
            self.losses += map(float, taught.losses)

    def node(self, device: int) -> int:
        """The device's number on the ledger: the cloud is 1, then come the edges."""
        return 2 + self.shape.edges + device


class Round(msgspec.Struct, frozen=True):
    """What one round was: test accuracy and loss after it, seconds of it all and of the training in it, payload bytes that
    went up, and whether too few updates were usable."""

    round: int
    accuracy: float
    loss: float
    training_loss: float
    seconds: float
    training_seconds: float
    bytes_up: int
    void: bool
    refused: int
    liars_used: int  # liars to whose update the rule gave a weight; -1 where the rule weighs coordinates
    updates: int
    clock: float  # seconds on the simulated clock when the round ended; 0 where everybody is equally fast
    staleness: float  # mean, in rounds


class _Dropped(dict[bytes, bytes]):
    """Blobs that nobody will read again."""

    def __setitem__(self, digest: bytes, data: bytes) -> None:
        return


class _Wired(Simulation):
    """A simulation that keeps no body, and with the mean no update that is in its edge's sums."""

    def _edge(self, edge: int) -> Reported:
        reported = super()._edge(edge)
        if reported.summed is None or self.policy.pay == "scores":
            return reported
        freed = tuple(msgspec.structs.replace(update, integers=None) for update in reported.updates)
        return msgspec.structs.replace(reported, updates=freed)


class _TimedWired(_Wired, TimedSimulation):
    """The same on a clock, each device as fast as it is."""


async def simulate(crowd: Crowd, tell: Callable[[Round], None] = lambda round: None) -> dict[str, Any]:
    """Run every round of the crowd's policy and return the report; `tell` hears of each round as it ends."""
    from middleware.learn.workload import genesis

    policy, shape = crowd.policy, crowd.shape
    require_enough(shape.devices, policy)
    if not shape.wire and (policy.schedule is not None or shape.slow):
        raise ConfigurationError(
            "without the wire a round is the rule over everybody: leave --no-wire out with a schedule"
        )
    if policy.pay != "participation":
        raise ConfigurationError("a simulation pays participation: scores are measured on a demo or a task")
    if policy.privacy is not None or policy.records is not None:
        raise ConfigurationError(
            "a simulation adds no noise in training or at the cloud: use --dp-mode local, or a demo"
        )
    if not shape.wire and (policy.peers is not None or policy.local is not None):
        raise ConfigurationError(
            "edges with models of their own, and noise on the device, need the wire: leave out --no-wire"
        )
    if policy.widths is not None:
        raise ConfigurationError("a crowd's devices all train the whole model: models of several widths run in a demo")
    if policy.peers is not None and (policy.schedule is not None or shape.slow):
        raise ConfigurationError(
            "edges with models of their own run on a clock in a demo: leave --slow and schedules out"
        )
    began = time.perf_counter()
    model = genesis(policy)
    play = await _wired(crowd, model) if shape.wire else _bare(crowd)
    joined = time.perf_counter() - began
    rounds: list[Round] = []
    for number in range(1, policy.rounds + 1):
        started, trained = time.perf_counter(), crowd.seconds
        found = await play(number, model)
        model = found.model
        seconds = time.perf_counter() - started
        accuracy, loss = await asyncio.to_thread(crowd.evaluate, model)
        rounds.append(
            Round(
                number, accuracy, loss, float(np.mean(crowd.losses)), seconds, crowd.seconds - trained, found.bytes_up,
                found.void, found.refused, found.liars_used, found.updates, found.clock, found.staleness,
            )
        )  # fmt: skip
        tell(rounds[-1])
    return report(policy, shape, crowd, rounds, joined, tensors.model_hash(tensors.encode_model(model)))


def report(
    policy: Policy, shape: Shape, crowd: Crowd, rounds: list[Round], joined: float, model: bytes
) -> dict[str, Any]:  # fmt: skip
    """What a run found, ready for JSON."""
    dense = sum(round.updates for round in rounds) * policy.parameters * 4
    return {
        "devices": shape.devices,
        "shape": msgspec.to_builtins(shape),
        "policy": msgspec.to_builtins(policy),
        "samples_shared": crowd.shared,
        "samples": {"total": sum(map(len, crowd.shares)), "least": min(map(len, crowd.shares))},
        "rounds": [msgspec.to_builtins(round) for round in rounds],
        "accuracy": [round.accuracy for round in rounds],
        "model": model.hex(),  # SHA-256 of the last one
        "void_rounds": [round.round for round in rounds if round.void],
        "bytes_up_dense": dense,
        "bytes_up_sent": sum(round.bytes_up for round in rounds),
        "seconds": {
            "joining": joined,
            "rounds": sum(round.seconds for round in rounds),
            "training": sum(round.training_seconds for round in rounds),
        },
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """The most memory that this process ever held resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


Play = Callable[[int, Floats], Awaitable["_Played"]]  # (round, model)


class _Played(NamedTuple):
    model: Floats
    bytes_up: int
    void: bool
    refused: int
    liars_used: int
    updates: int
    clock: float = 0.0
    staleness: float = 0.0


def _liars_used(shape: Shape, policy: Policy, weights: dict[int, int]) -> int:
    if policy.rule.name not in aggregate.LINEAR:
        return -1
    first = 2 + shape.edges
    return sum(weights.get(first + liar, 0) > 0 for liar in range(shape.liars))


async def _wired(crowd: Crowd, first: Floats) -> Play:
    """Join everyone; a round is `Simulation.play`, on a clock where there is a schedule or somebody is slow."""
    shape, policy = crowd.shape, crowd.policy
    operator = operator_key().account
    ledger, context, registry = in_memory(operator)
    timed = policy.schedule is not None or shape.slow > 0
    where = (ledger, context, registry, operator, policy)
    kept: dict[str, Any] = {"samples": crowd.samples, "feedback": policy.rounds > 1, "link": shape.link}
    size = (shape.devices, shape.edges, shape.seed)
    world: _Wired = (
        _TimedWired(*where, crowd.alone, *size, seconds=crowd.takes, **kept)
        if timed
        else _Wired(*where, crowd.learned, *size, **kept)
    )
    world.blobs, world.model = _Dropped(), first
    if policy.peers is not None:
        crowd.model_below = world.model_below
    await world.join(batch=True)

    async def play(number: int, model: Floats) -> _Played:
        world.sent, before = 0, crowd.losses
        if timed:
            crowd.losses = []
        settlement, _ = await (world.play() if shape.ledger else world.settle())
        crowd.losses = crowd.losses or before or [0.0]
        rows = [update for edge in settlement.manifest.edges for update in edge.updates]
        used = _liars_used(shape, policy, settlement.weights)
        played = _Played(
            settlement.model, world.sent, settlement.void, sum(bool(row.refused) for row in rows), used, len(rows)
        )
        if not isinstance(world, _TimedWired):
            return played
        late = [world.round - base for _, base in world.trace[-1]]
        return played._replace(clock=world.now, staleness=float(np.mean(late)) if late else 0.0)

    return play


def _bare(crowd: Crowd) -> Play:
    """The grid, the codec, the rule and the server's step alone."""
    shape, policy = crowd.shape, crowd.policy
    residuals: dict[int, Floats] = {}
    carried: tuple[Floats, ...] = ()  # by the server's step
    feeds_back = keeps_residual(policy) and policy.rounds > 1

    async def play(number: int, model: Floats) -> _Played:
        nonlocal carried
        rows: list[Any] = []
        weights: list[int] = []
        sums = np.zeros(policy.parameters, np.int64)
        sent = 0
        for device in range(shape.devices):
            update = crowd.learned(device, number, model)
            draws = np.random.default_rng([policy.seed, number, device, CODEC_DRAWS])
            chosen = choose(policy, shape.link(device) if number > 1 else None)
            made = pack(update, residuals.get(device), policy, number, draws, chosen)
            if feeds_back and made.residual is not None:
                residuals[device] = made.residual
            sent += len(made.payload)
            weights.append(min(crowd.samples(device), policy.samples_cap))
            if policy.rule.name == "mean":
                aggregate.add_weighted(sums, made.integers, weights[-1])
            else:
                rows.append(made.integers)
        if len(weights) < policy.min_updates:
            return _Played(model, sent, True, 0, 0, len(weights))
        if policy.rule.name == "mean":
            found = aggregate.Aggregate(tuple(weights), sums, sum(weights))
        else:
            found = aggregate.aggregate(policy.rule.name, rows, weights, policy.rule.f)
        moved, carried = memory.move(policy, model, aggregate.divide(found.sums, found.total), carried)
        given = {crowd.node(device): weight for device, weight in enumerate(found.weights)}
        return _Played(moved, sent, False, 0, _liars_used(shape, policy, given), len(weights))

    return play


def table_of(workload: str, folder: Path) -> str:
    """The workload's source: mnist and hapt are written as a table into the run's folder first."""
    if workload not in ("mnist", "hapt"):
        return workload
    from devnet import datasets

    return f"table:{getattr(datasets, workload)().save(folder / f'{workload}.npz')}"
