"""What a cloud does: it runs the tasks that the ledger gives it, one round after the other, and anchors each.

A round that was opened is on disk before anyone hears of it; a settled round, its header and the transaction that will
anchor it are one commit. So a cloud that is killed at any moment goes on where it was, and no header exists twice. The
chain is not on the path: the next round opens while the outbox delivers the last one's header.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Literal

import msgspec
import numpy as np

from ledger.calls import AnchorRound, Register
from ledger.forced import due
from ledger.index import ForcedUpdate, Index
from ledger.outbox import Outbox
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.learn.train import evaluate
from middleware.learn.workload import genesis
from middleware.policy import Policy, Task
from middleware.protocol import budget, inclusion, memory, peering, scoring, sharding, staleness, sums
from middleware.protocol import settlement as settling
from middleware.protocol import update as updates
from middleware.protocol.machine import Parent, Phase
from middleware.protocol.settlement import Forced, Opening, Received, Reported, Settlement
from middleware.protocol.sharding import Servers
from middleware.protocol.sums import NOTHING, Summed, SumTree
from middleware.protocol.update import Floats
from middleware.trust import chunks, eip712, roots, seal
from middleware.trust.access import (
    Desk,
    fingerprint,
    is_repeat,
    judge_passed_on,
    judge_registration,
    judge_report,
    judge_report_body,
    judge_update,
    require_active,
)
from middleware.types import ZERO32, Header
from middleware.wire import canonical, tensors
from middleware.wire.manifest import Manifest, decode_manifest
from middleware.wire.message import (
    EdgeReport,
    Message,
    Metrics,
    Offer,
    Poll,
    Registration,
    Signed,
    Update,
    decode_edge_body,
    decode_metrics,
    decode_stored,
    encode_metrics,
    expect,
)
from middleware.wire.state import State
from nodes.agent import SMALL_BYTES, STEP_SECONDS, Agent
from nodes.answers import Answers
from nodes.checkpoints import checkpoint
from nodes.evaluation import error, evaluation_root, measure
from nodes.gather import Gathering
from nodes.http import Handler, Upload
from nodes.secrets import secret_of
from nodes.shards import ShardServers
from nodes.store import Contribution
from nodes.workloads import Workloads

LOG = logging.getLogger("drystone")
GRACE_SECONDS = 2.0  # that an edge has, beyond its devices' deadline, to report
GRACE_SHARE = 0.25  # or this share of the round, whichever is longer
ROSTER_LAG_BLOCKS = 8  # that an edge's view may be behind ours when the chain goes away, and the round still runs
DIRECT = 0  # in the place of the child that brought an update: its device did, through the ledger
REGISTRATIONS = 65_536  # that this cloud pays for in its lifetime


class Summary(msgspec.Struct, frozen=True):
    """What a settled round cost and gave: shown by `task watch`, kept beside the header."""

    round: int
    accuracy: float
    loss: float
    void: bool
    updates: int
    missing: list[int]
    weights: dict[int, int]
    opened: float  # wall clock
    closed: float
    settled: float
    aggregation: float  # seconds
    evaluation: float
    bytes_sent: int  # update messages of the devices, whole
    training: list[tuple[float, float]]  # each device's interval, by its own clock
    steps: dict[int, int]  # gradient steps of each device
    ledger: float  # seconds of CPU that the ledger took since the last round
    staleness: dict[int, int] = {}  # rounds between an update's model and this one, where a round closes by arrivals


class Cloud:
    """The capability of tier cloud."""

    def __init__(self, agent: Agent, workloads: Workloads, outbox: Outbox) -> None:
        self.agent, self.workloads, self.outbox = agent, workloads, outbox
        self.gathering = Gathering(agent, self._close, self._hurry)
        self.task: Task | None = None
        self.model = np.zeros(0, np.float32)
        self.moves: scoring.Moves = ()
        self.shards: ShardServers | None = None
        self.secret = b""  # of a private task's noise
        self.carried = scoring.Carried(0, {})
        self.opening: Opening | None = None
        self.opened_at = 0.0
        self.received: dict[int, Received] = {}  # by device
        self.sums: dict[int, SumTree] = {}  # by edge, when the rule is the mean
        self.places: dict[int, dict[int, int]] = {}  # by edge: the place at which each device's update was added
        self.reports: dict[int, Reported] = {}  # by edge, in the order of receipts
        self.delivered: dict[int, Contribution] = {}  # by device: forced updates whose body is here
        self.deadline = 0.0  # of the open round, on the loop's clock
        self.taking = True  # forced updates: until the round is being settled
        self.waiting = "waiting for a task"
        self.registered = 0
        self.ledger_seconds = 0.0
        self.round_over = asyncio.Event()
        self.pump = asyncio.Event()
        self.answers = Answers(agent, outbox.plan)
        self.register: Callable[[Register], object] | None = outbox.plan
        self.handlers: dict[int, Handler] = {
            Poll.code: self._on_poll,
            Update.code: self._on_update,
            EdgeReport.code: self._on_report,
            Registration.code: self._on_registration,
        }

    def background(self) -> list[Coroutine[None, None, None]]:
        return [self._anchor(), self.answers.run()]

    # ----------------------------------------------------------------------------------------------------------- rounds

    async def run(self) -> None:
        """Run the tasks in the order of their numbers, for as long as the node lives."""
        while True:
            task = self._next_task()
            if task is None:
                self.waiting = "waiting for a task"
                await asyncio.sleep(STEP_SECONDS)
                continue
            try:
                await self._run_task(task)
            except ConfigurationError as error:
                self.waiting = f"task {task.id} cannot run here: {error}"
                LOG.error("%s", self.waiting)
                await asyncio.sleep(5)

    def _next_task(self) -> Task | None:
        for number, task in sorted(self.agent.index.tasks.items()):
            if task.cloud == self.agent.id and task.open and self._head(number)[0] < task.policy.rounds:
                return task
        return None

    def _head(self, task: int) -> tuple[int, bytes, Header | None]:
        """(last settled round, its header's hash, the header); (0, zeros, None) before the first."""
        rows = self.agent.store.settled(task)
        if not rows:
            return 0, ZERO32, None
        header = canonical.decode(rows[-1][1], Header)
        return header.round, eip712.header_hash(header), header

    async def _run_task(self, task: Task) -> None:
        agent, loop = self.agent, asyncio.get_running_loop()
        self.task = task
        head, _, header = self._head(task.id)
        if header is None:
            self.waiting = "making the first model"
            self.model = await loop.run_in_executor(agent.pool, genesis, task.policy)
            blob = tensors.encode_model(self.model)
            if agent.blobs.put(blob) != task.genesis_model:
                raise ConfigurationError("its first model is not the one that its policy and seed make")
        else:
            blob = agent.blobs.get(header.model_out) or b""
            self.model = tensors.decode_model(blob, task.policy.parameters)
        workload = await loop.run_in_executor(agent.pool, self.workloads.load, task.policy)
        if task.policy.evaluation:
            root = await loop.run_in_executor(agent.pool, evaluation_root, workload, task.policy.evaluation_slices)
            if root.hex() != task.policy.evaluation:
                raise ConfigurationError("its evaluation slices are not the ones that its policy names")
        if task.policy.pay == "scores":
            settled = [canonical.decode(row[1], Header) for row in agent.store.settled(task.id)]
            self.moves = await loop.run_in_executor(agent.pool, self._known_moves, task, settled)
        self.secret = secret_of(agent.settings.folder, task.policy)
        self.shards = ShardServers(task.policy) if task.policy.shards is not None else None
        last = budget.last_round(task.policy)
        while head < last and self._still_open(task):
            if not await self._ready(task):
                continue
            await self._open_round(task, head + 1)
            while self._head(task.id)[0] == head and self._still_open(task):
                await self._over_or_stopped()
            head = self._head(task.id)[0]
        if head == last < task.policy.rounds:
            LOG.warning("task %d ends after round %d: one more would pass its epsilon", task.id, head)
        await agent.sound()
        if self.shards is not None:
            await loop.run_in_executor(agent.pool, self.shards.close)
        self._end(task, head)

    def _still_open(self, task: Task) -> bool:
        """Whether the ledger still wants rounds of this task; a ledger that was rewound is not asked."""
        known = self.agent.index.tasks.get(task.id)
        return bool(self.agent.view.rewound) or (known is not None and known.open)

    async def _over_or_stopped(self) -> None:
        """Wait for the round's end, but look now and then whether the task was ended on the ledger."""
        try:
            await asyncio.wait_for(self.round_over.wait(), STEP_SECONDS)
        except TimeoutError:
            return

    async def _ready(self, task: Task) -> bool:
        """A round opens once enough devices are active below active edges, on the ledger that this cloud knows."""
        if self.agent.view.rewound:
            self.waiting = self.agent.view.rewound
            await asyncio.sleep(STEP_SECONDS)
            return False
        roster = self.agent.index.roster()
        edges = roster.children(self.agent.id)
        devices = [device for edge in edges for device in roster.children(edge.id)]
        if len(devices) >= task.policy.min_updates:
            return True
        self.waiting = f"{len(devices)} of {task.policy.min_updates} devices registered below {len(edges)} edges"
        await asyncio.sleep(STEP_SECONDS)
        return False

    async def _open_round(self, task: Task, number: int) -> None:
        """Fix what the round rests on, store it, then show it."""
        agent, policy = self.agent, task.policy
        _, prev, last = self._head(task.id)
        manifest = self._manifest(last)
        state = self._state(policy, manifest)
        kept = agent.store.offer(task.id, number)
        if kept is not None:
            offer = decode_stored(kept, Offer)
        else:
            model_in = last.model_out if last is not None else task.genesis_model
            offer = agent.sign(
                Offer(
                    sender=agent.id, sequence=agent.sequence(), task=task.id, round=number, policy_hash=task.policy_hash,
                    model_in=model_in, model_bytes=tensors.blob_length(policy.parameters),
                    exponent=policy.grid.exponent, deadline_seconds=policy.round_seconds, prev=prev,
                    roster_block=max(task.block, agent.index.roster_block(ROSTER_LAG_BLOCKS)), seen=agent.seen(),
                    models=await self._edges_models(policy, state),
                )
            )  # fmt: skip
            with agent.store.transaction():
                agent.store.put_offer(task.id, number, "open", offer.stored(), time.time())
                agent.store.append_log(offer.stored())
        roster = agent.roster_at(offer.message.roster_block)
        self.carried = scoring.carried(policy, manifest)
        self.opening = Opening(
            task=task.id, round=number, prev=prev, policy_hash=task.policy_hash, model_in=offer.message.model_in,
            model=self.model, roster_root=roots.roster_root(roster), roster_block=offer.message.roster_block,
            rewards=dict(manifest.rewards) if manifest is not None else {}, state=state,
            secret=self.secret,
        )  # fmt: skip
        self.received, self.sums, self.places, self.reports, self.delivered = {}, {}, {}, {}, {}
        self.taking = True
        self.round_over = asyncio.Event()
        self.opened_at = time.time()
        received = await self._restore(task, number)
        grace = max(GRACE_SECONDS, GRACE_SHARE * policy.round_seconds)
        edges = [edge for edge in roster.children(agent.id) if roster.children(edge.id)]
        self.waiting = ""
        self.deadline = asyncio.get_running_loop().time() + policy.round_seconds + grace
        self.gathering.open(
            offer, roster, edges, policy.round_seconds + grace, received, policy.backup_edges, policy.arrivals
        )
        for row in list(self.received.values()):
            if not row.refused:
                self.gathering.counted(task.id, number)

    def _hurry(self) -> None:
        """As many updates are here as the round waits for: ask the edges to close, by the same offer again as closing."""
        agent, offer = self.agent, self.gathering.offered
        if agent.view.rewound:
            return  # nothing is signed before a ledger that lost its past: the round ends at its deadline
        closing = msgspec.structs.replace(offer, sequence=agent.sequence(), state="closing")
        self.gathering.show(agent.sign(closing), self.gathering.roster)

    def _manifest(self, last: Header | None) -> Manifest | None:
        if last is None:
            return None
        blob = self.agent.blobs.get(last.manifest)
        if blob is None:
            raise ConfigurationError(f"the manifest of round {last.round} is gone from {self.agent.blobs.folder}")
        return decode_manifest(blob)

    def _state(self, policy: Policy, last: Manifest | None) -> State:
        """What the last round left; nothing before the first round, and for a task that carries nothing."""
        if last is None or last.state == ZERO32:
            return memory.EMPTY
        blob = self.agent.blobs.get(last.state)
        if blob is None:
            raise ConfigurationError(f"the state of round {last.round} is gone from {self.agent.blobs.folder}")
        return memory.read(policy, blob)

    async def _edges_models(self, policy: Policy, state: State) -> tuple[tuple[int, bytes], ...]:
        """(edge, SHA-256) of the models that edges have of their own, each put where it can be fetched."""
        agent, found = self.agent, []
        for edge, peer in sorted(state.peers.items()):
            own = await agent.work(self.model.nbytes, peering.model_of, self.model, peer, policy.grid.exponent)
            found.append((edge, agent.blobs.put(tensors.encode_model(own))))
        return tuple(found)

    def _known_moves(self, task: Task, settled: list[Header]) -> scoring.Moves:
        """The last moves of the model, from the models that earlier rounds left."""
        exponent = task.policy.grid.exponent
        return scoring.known_moves(reversed(settled), lambda digest: self._model(task, digest), exponent)

    def _model(self, task: Task, digest: bytes) -> Floats:
        blob = self.agent.blobs.get(digest)
        if blob is None:
            raise ConfigurationError(f"model {digest.hex()[:16]} is gone from {self.agent.blobs.folder}")
        return tensors.decode_model(blob, task.policy.parameters)

    async def _restore(self, task: Task, number: int) -> dict[int, bytes]:
        """After a restart: open again what was accepted, in the order of the receipts."""
        agent, received = self.agent, {}
        rows = agent.store.contributions(task.id, number)
        for item in sorted(rows, key=lambda item: (item.node == item.child, item.place)):
            body = agent.blobs.get(item.body)
            if body is None:
                raise ConfigurationError(f"a body of round {number} is gone from {agent.blobs.folder}")
            if item.child == DIRECT:
                self.delivered[item.node] = item
            elif item.node == item.child:
                report = decode_stored(item.frame, EdgeReport)
                self.reports[item.child] = await self._read_report(task.policy, report, body)
                received[item.child] = fingerprint(report)
            else:
                self.places.setdefault(item.child, {})[item.node] = item.place
                await self._read_update(task.policy, item, body, item.place)
        return received

    def _end(self, task: Task, head: int) -> None:
        """Tell everyone below that there is no further round, in the place of the round that will not come."""
        agent = self.agent
        state: Literal["done", "stopped"] = "done" if head >= task.policy.rounds else "stopped"
        self.gathering.state = Parent(absent=self.gathering.state.absent)
        place = max(head, self.opening.round if self.opening else 0) + 1
        last = self._head(task.id)[2]
        offer = agent.sign(
            Offer(
                sender=agent.id, sequence=agent.sequence(), task=task.id, round=place, policy_hash=task.policy_hash,
                model_in=last.model_out if last else task.genesis_model,
                model_bytes=tensors.blob_length(task.policy.parameters), exponent=task.policy.grid.exponent,
                deadline_seconds=0.0, prev=self._head(task.id)[1], state=state, roster_block=agent.index.head_block,
                seen=agent.seen(),
            )
        )  # fmt: skip
        self.gathering.show(offer, agent.index.roster())
        self.task = None
        LOG.info("task %d is %s after round %d", task.id, state, head)

    # --------------------------------------------------------------------------------------------------------- messages

    async def _on_poll(self, signed: Signed[Message], upload: Upload) -> bytes:
        return await self.gathering.poll(signed, upload)

    async def _on_update(self, received: Signed[Message], upload: Upload) -> bytes:
        """An update that an edge promised a place for and passes on."""
        agent, gathering = self.agent, self.gathering
        signed = expect(received, Update)
        if upload.direct:
            return await self._on_forced(signed, upload)
        leaf = signed.message.leaf
        mine = gathering.desk(leaf.task)
        edge = require_active(mine.roster, leaf.edge)
        if edge.parent != agent.id:
            raise PeerFault("wrong-parent", f"edge {leaf.edge} does not belong below this cloud")
        known = agent.store.contribution(leaf.task, leaf.round, leaf.edge, leaf.node)
        if known is not None and known.frame == signed.stored():
            return b""
        judge_update(
            Desk(leaf.edge, agent.domain, mine.roster, mine.task, mine.round, mine.samples_cap, mine.body_bytes), signed
        )
        if known is not None:
            raise PeerFault("duplicate", f"node {leaf.node} has another update in round {leaf.round}")
        if signed.message.seen != gathering.offered.seen:
            raise PeerFault("mismatch", f"node {leaf.node} vouches for another past of the ledger than the offer")
        place = judge_passed_on(agent.domain, edge, leaf, upload.receipt)
        if place >= agent.limits.children:
            raise PeerFault("malformed", f"place {place}: an edge has at most {agent.limits.children}")
        policy = agent.task(leaf.task).policy
        body = await upload.read(leaf.ciphertext)
        item = Contribution(leaf.task, leaf.round, leaf.edge, leaf.node, place, signed.stored(), leaf.ciphertext, b"")
        async with gathering.admission:
            gathering.require_open(leaf.task, leaf.round)
            if leaf.node in self.received:
                return b""
            places = self.places.setdefault(leaf.edge, {})
            if place in places.values():
                raise PeerFault("mismatch", f"edge {leaf.edge} promised place {place} twice")
            places[leaf.node] = place
            await agent.work(len(body), agent.blobs.put, body, leaf.ciphertext)
            await self._read_update(policy, item, body, item.place)
            agent.store.add_contribution(item)
        if not self.received[leaf.node].refused:
            gathering.counted(leaf.task, leaf.round)
        return b""

    async def _read_update(self, policy: Policy, item: Contribution, body: bytes | bytearray, place: int) -> None:
        """Decrypt, decode and check an update; one that fails stays, marked with its fault. `place` is where its edge says
        that it stands."""
        agent = self.agent
        message = decode_stored(item.frame, Update).message
        key, refused, integers = b"", "", None
        try:
            key = updates.content_key(message.wrapped, agent.network)
            opened = await agent.work(len(body), updates.judge, message, body, key, policy)
            await agent.work(opened.integers.nbytes, updates.audit, message, opened, policy)
            integers = opened.integers
        except PeerFault as fault:
            refused = fault.code
            LOG.warning("update of node %d marked: %s", item.node, fault)
        if policy.rule.name == "mean":
            tree = self.sums.setdefault(item.child, SumTree(policy.parameters))
            weight = 0 if refused else staleness.weight_of(message, policy)
            await agent.work(policy.parameters * 2, tree.add, place, integers, weight)
            integers = integers if policy.pay == "scores" else None  # scores need them again when the round closes
        shown = key if policy.readers == "public" else b""
        self.received[item.node] = Received(item.frame, message.leaf, shown, refused, integers)

    async def _on_forced(self, signed: Signed[Update], upload: Upload) -> bytes:
        """An update that its device put before the ledger because its edge did not answer: anybody may bring it. What it
        is worth the ledger has said, so there is no receipt."""
        agent, leaf = self.agent, signed.message.leaf
        mine = self.gathering.desk(leaf.task)
        known = agent.store.contribution(leaf.task, leaf.round, DIRECT, leaf.node)
        if known is not None and known.frame == signed.stored():
            return b""
        edge = require_active(mine.roster, leaf.edge)
        if edge.parent != agent.id:
            raise PeerFault("wrong-parent", f"edge {leaf.edge} does not belong below this cloud")
        task, round = (self.opening.task, self.opening.round) if self.opening is not None else (0, 0)
        judge_update(Desk(leaf.edge, agent.domain, mine.roster, task, round, mine.samples_cap, mine.body_bytes), signed)
        if signed.message.seen != self.gathering.offered.seen:
            raise PeerFault("mismatch", f"node {leaf.node} vouches for another past of the ledger than the offer")
        self.gathering.pace(leaf.node)
        leaf_hash = roots.leaf_hash(agent.context, leaf)
        await agent.view.refresh()
        number = next((one.k for one in self._came(agent.index) if one.leaf_hash == leaf_hash), 0)
        if not number:
            raise PeerFault("overloaded", f"the ledger shows no forced update of node {leaf.node} for this round yet")
        body = await upload.read(leaf.ciphertext)
        async with self.gathering.admission:
            if not self.taking or self.opening is None or self.opening.round != leaf.round:
                raise PeerFault("wrong-round", f"round {leaf.round} is being settled")
            await agent.work(len(body), agent.blobs.put, body, leaf.ciphertext)
            item = Contribution(
                leaf.task, leaf.round, DIRECT, leaf.node, number - 1, signed.stored(), leaf.ciphertext, b""
            )
            if leaf.node not in self.delivered:
                agent.store.add_contribution(item)
                self.delivered[leaf.node] = item
        return b""

    def _came(self, index: Index) -> list[ForcedUpdate]:
        """The open task's forced updates as this view of the ledger has them."""
        return index.forced.get(self.task.id if self.task is not None else 0, [])

    async def _forced(self, task: Task, opening: Opening) -> Forced:
        """What the round must acknowledge, and what of it was delivered; see `ledger.forced`. Only what is final is named:
        a header whose chain value a reorganisation took back could never be anchored. It waits for bodies until the
        round's deadline."""
        loop, index = asyncio.get_running_loop(), self.agent.index
        while True:
            forced = self._came(self.agent.view.final)
            here = [one for one in forced if one.leaf.round == opening.round]
            late = loop.time() >= self.deadline
            read = len(forced) >= due(self._came(index), opening.roster_block)
            if not index.tasks[task.id].open or (
                read and (late or all(one.leaf.node in self.delivered for one in here))
            ):
                break
            await asyncio.sleep(STEP_SECONDS)
        async with self.gathering.admission:
            self.taking = False
        taken = {row.leaf.node for report in self.reports.values() for row in report.updates}
        rows = []
        for one in here:
            item = self.delivered.get(one.leaf.node)
            if item is None:
                LOG.warning("forced update %d, of node %d, was not delivered", one.k, one.leaf.node)
            else:
                rows.append(await self._read_forced(task.policy, item, one.leaf.node in taken))
        return Forced(forced[-1].chain if forced else ZERO32, tuple(rows))

    async def _read_forced(self, policy: Policy, item: Contribution, duplicate: bool) -> Received:
        """One delivered forced update; marked where an edge took the device in after all, or its content does not hold."""
        agent, message = self.agent, decode_stored(item.frame, Update).message
        key, refused, integers = b"", "duplicate" if duplicate else "", None
        try:
            key = updates.content_key(message.wrapped, agent.network)
            if not duplicate:
                body = agent.blobs.get(item.body) or b""
                opened = await agent.work(len(body), updates.judge, message, body, key, policy)
                await agent.work(opened.integers.nbytes, updates.audit, message, opened, policy)
                integers = opened.integers
        except PeerFault as fault:
            refused = refused or fault.code
            LOG.warning("forced update of node %d marked: %s", item.node, fault)
        return Received(item.frame, message.leaf, key if policy.readers == "public" else b"", refused, integers)

    async def _on_report(self, received: Signed[Message], upload: Upload) -> bytes:
        """An edge's root over what it promised; answered with the cloud's own promise."""
        agent, gathering = self.agent, self.gathering
        signed = expect(received, EdgeReport)
        leaf = signed.message.leaf
        desk = msgspec.structs.replace(gathering.desk(leaf.task), body_bytes=agent.limits.body_bytes)
        known = agent.store.contribution(leaf.task, leaf.round, leaf.edge, leaf.edge)
        if known is not None and known.frame == signed.stored():
            return known.reply
        judge_report(desk, signed)
        if leaf.roster_block != gathering.offered.roster_block or signed.message.seen != gathering.offered.seen:
            raise PeerFault("mismatch", f"edge {leaf.edge} judged by another roster, or another past, than was offered")
        gathering.pace(leaf.edge)
        body = await upload.read(signed.message.body_digest)
        policy = agent.task(leaf.task).policy
        async with gathering.admission:
            gathering.require_open(leaf.task, leaf.round)
            if is_repeat(gathering.desk(leaf.task), signed):
                raise PeerFault("duplicate", f"edge {leaf.edge} has reported on round {leaf.round}")
            report = await self._read_report(policy, signed, bytes(body))
            place = len(self.reports)
            agent.blobs.put(body, signed.message.body_digest)
            reply = agent.receipt(leaf.task, leaf.round, place, roots.edge_leaf_hash(agent.context, leaf)).stored()
            agent.store.add_contribution(
                Contribution(
                    leaf.task,
                    leaf.round,
                    leaf.edge,
                    leaf.edge,
                    place,
                    signed.stored(),
                    signed.message.body_digest,
                    reply,
                )
            )
            self.reports[leaf.edge] = report
            gathering.received[leaf.edge] = fingerprint(signed)
            gathering.sequences[leaf.edge] = signed.message.sequence
        gathering.arrived(leaf.task, leaf.round, leaf.edge)
        return reply

    async def _read_report(self, policy: Policy, signed: Signed[EdgeReport], data: bytes) -> Reported:
        """Check an edge's report against its updates; PeerFault for anything the edge must not have signed."""
        agent, message = self.agent, signed.message
        body = decode_edge_body(data, agent.limits)
        desk = self.gathering.desk(message.leaf.task, contribution=False)  # also read again before a round is shown
        desk = msgspec.structs.replace(desk, roster=agent.roster_at(self.opening.roster_block if self.opening else 0))
        judged = judge_report_body(desk, message, body)
        rows = []
        for update, refused in judged:
            if update.message.seen != message.seen:
                raise PeerFault("mismatch", f"node {update.message.sender} vouches for another past than its edge")
            row = self.received.get(update.message.sender)
            if policy.arrangement == "two-level":
                key = updates.content_key(update.message.wrapped, agent.network) if policy.readers == "public" else b""
                rows.append(Received(update.stored(), update.message.leaf, key, refused, None))
            elif row is None or row.frame != update.stored():
                raise PeerFault("mismatch", f"the update of node {update.message.sender} was not passed on")
            else:
                rows.append(msgspec.structs.replace(row, refused=row.refused or refused))
        if policy.arrangement == "flat":
            told = {row.leaf.node: place for place, row in enumerate(rows)}
            if self.places.get(message.sender, {}) != told:
                raise PeerFault("mismatch", f"edge {message.sender} signed another order than it passed updates on in")
            summed = None
            if policy.rule.name == "mean":
                tree = self.sums.pop(message.sender, SumTree(policy.parameters))
                summed = await agent.work(policy.parameters * 8, tree.close)
            return Reported(signed.stored(), message.leaf, tuple(rows), summed)
        return await self._read_sums(policy, signed, body.sealed_sums, body.sums_children, tuple(rows))

    async def _read_sums(
        self,
        policy: Policy,
        signed: Signed[EdgeReport],
        sealed: bytes,
        children: tuple[bytes, ...],
        rows: tuple[Received, ...],
    ) -> Reported:
        """Two-level: the edge's sums are the ones it committed, and their weights are those of its updates."""
        agent, message = self.agent, signed.message
        weights = settling.declared_weights(rows)
        total = sum(weights.values())
        if message.leaf.weights != roots.edge_weights(settling.weights_entries(rows, weights)):
            raise PeerFault("mismatch", f"edge {message.sender} signed other weights than its updates have")
        if message.weight_total != total:
            raise PeerFault(
                "mismatch", f"edge {message.sender} claims weight {message.weight_total}, its updates {total}"
            )
        if not total:
            if message.leaf.aggregate != ZERO32:
                raise PeerFault("mismatch", f"edge {message.sender} signed sums without an update to add")
            return Reported(signed.stored(), message.leaf, rows, NOTHING)
        key = updates.content_key(message.wrapped, agent.network)
        place = seal.leaf_context(message.leaf.task, message.leaf.round, message.sender)
        plain = await agent.work(len(sealed), seal.open_sealed, key, sealed, place)
        vector = tensors.decode_sums(plain, policy.parameters)
        root = await agent.work(vector.nbytes, chunks.sums_root, vector)
        if not sums.opens(message.leaf.aggregate, root, children):
            raise PeerFault("mismatch", f"the sums of edge {message.sender} do not have the root it signed")
        blob, shown = agent.blobs.put(sealed), key if policy.readers == "public" else b""
        summed = Summed(message.leaf.aggregate, root, children, vector, total)
        return Reported(signed.stored(), message.leaf, rows, summed, blob, shown)

    async def _on_registration(self, received: Signed[Message], upload: Upload) -> bytes:
        """Pay the gas for a node that is not on the ledger yet. It is pending until a registrar admits it."""
        agent = self.agent
        signed = expect(received, Registration)
        message = signed.message
        await agent.view.refresh()
        if not agent.config.admit_requests or self.registered >= REGISTRATIONS:
            raise PeerFault("over-quota", "this cloud pays for no further registrations")
        if agent.index.roster().by_key(message.net_key) is not None:
            return b""
        desk = Desk(agent.id, agent.domain, agent.index.roster(), limits=agent.limits)
        judge_registration(desk, eip712.Domain(agent.context.chain_id, agent.registry), signed)
        self.registered += 1
        self.outbox.plan(
            Register(
                net_key=message.net_key, account=message.account, owner=message.owner, tier=int(message.tier),
                parent=message.parent, name=message.name, meta_hash=message.meta_hash, deadline=message.deadline,
                account_signature=message.account_signature, net_key_proof=message.net_key_proof,
            )
        )  # fmt: skip
        return b""

    # --------------------------------------------------------------------------------------------------------- closing

    async def _close(self, missing: frozenset[int]) -> None:
        """Settle, evaluate, and commit the round with the transaction that will anchor it."""
        agent, task, opening = self.agent, self.task, self.opening
        if task is None or opening is None:
            return
        closed = time.time()
        await agent.sound()
        async with self.gathering.admission:
            reports = list(self.reports.values())
        forced = await self._forced(task, opening)
        size = task.policy.parameters * 2 * max(2, len(self.received))
        measure = None
        if task.policy.rule.measures:
            size = max(size, SMALL_BYTES)  # a network is run for every question: never in place
            measure = partial(error, self.workloads.load(task.policy), task.policy, agent.config.device)
        servers: Servers = sharding.in_turn
        if self.shards is not None:
            size, servers = max(size, SMALL_BYTES), self.shards  # processes are waited for: never in place
        began = time.perf_counter()
        result = await agent.work(
            size, settling.settle, agent.context, task.policy, opening, reports, forced, measure, servers
        )
        aggregation = time.perf_counter() - began
        if task.policy.pay == "scores":
            result = await self._score(task.policy, opening, result, reports, forced)
        metrics = await self._evaluate(task.policy, result)
        evaluation = time.perf_counter() - began - aggregation
        header, manifest = settling.finish(result, encode_metrics(metrics))
        agent.blobs.put(result.model_blob, header.model_out)
        agent.blobs.put(manifest, header.manifest)
        if result.state_blob:
            agent.blobs.put(result.state_blob, result.manifest.state)
        summary = self._summary(task.policy, reports, result, metrics, missing, closed, aggregation, evaluation)
        with agent.store.transaction():
            agent.store.put_settled(
                task.id, opening.round, canonical.encode(header), header.manifest, msgspec.json.encode(summary)
            )
            self.outbox.plan(AnchorRound(header))
        if task.policy.pay == "scores":
            self.moves = scoring.remember(self.moves, self.model, result.model, task.policy.grid.exponent)
            self._plan_checkpoint(opening.round)
        self.model = result.model
        self.gathering.settled(task.id, opening.round)
        LOG.info("round %d settled: accuracy %.4f%s", opening.round, summary.accuracy, ", void" if result.void else "")
        self.round_over.set()
        self.pump.set()

    async def _score(
        self, policy: Policy, opening: Opening, result: Settlement, reports: list[Reported], forced: Forced
    ) -> Settlement:
        """Measure the round on the slice that its inputs choose, keep what was measured, and pay by it."""
        agent, loop = self.agent, asyncio.get_running_loop()
        measured = None
        if result.applied is not None:
            place = scoring.slice_of(result.header.inputs_root, opening.task, opening.round, policy.evaluation_slices)
            move = result.applied.astype(np.float64) * policy.grid.step
            vector = await loop.run_in_executor(
                agent.pool,
                measure,
                self.workloads.load(policy),
                policy,
                opening.model,
                move,
                place,
                agent.config.device,
            )
            measured = scoring.quantise(vector, policy.parameters)
            agent.blobs.put(scoring.encode_importance(measured))
        size = policy.parameters * 2 * len(self.received)
        return await agent.work(
            size, scoring.pay, policy, opening, result, reports, self.carried, self.moves, measured, forced
        )

    def _plan_checkpoint(self, round: int) -> None:
        """Now and then, put on the ledger how far this cloud's log has grown: it cannot be rewritten behind that."""
        agent, every = self.agent, self.agent.config.checkpoint_rounds
        if every and round % every == 0:
            self.outbox.plan(checkpoint(agent))

    async def _evaluate(self, policy: Policy, result: Settlement) -> Metrics:
        loop, agent = asyncio.get_running_loop(), self.agent
        workload = self.workloads.load(policy)
        accuracy, loss = await loop.run_in_executor(agent.pool, evaluate, workload, result.model, agent.config.device)
        return {"accuracy": accuracy, "loss": loss}

    def _summary(
        self, policy: Policy, reports: list[Reported], result: Settlement, metrics: Metrics, missing: frozenset[int],
        closed: float, aggregation: float, evaluation: float,
    ) -> Summary:  # fmt: skip
        frames = [update.frame for report in reports for update in report.updates]
        messages = [decode_stored(frame, Update).message for frame in frames]
        spent, self.ledger_seconds = self.ledger_seconds, 0.0
        told = {message.sender: decode_metrics(message.metrics) for message in messages}
        used = [message for message in messages if not self.received[message.sender].refused] if policy.arrivals else []
        late = {m.sender: m.leaf.round - staleness.base_of(m, policy) for m in used}
        return Summary(
            round=result.header.round, accuracy=float(metrics["accuracy"]), loss=float(metrics["loss"]),
            void=result.void, updates=len(frames), missing=sorted(missing),
            weights={message.sender: result.weights.get(message.sender, 0) for message in messages},
            opened=self.opened_at, closed=closed, settled=time.time(), aggregation=aggregation, evaluation=evaluation,
            bytes_sent=sum(len(frame) for frame in frames) + sum(message.body_bytes for message in messages),
            training=[(float(m.get("started", 0.0)), float(m.get("finished", 0.0))) for m in told.values()],
            steps={node: int(m.get("steps", 0)) for node, m in told.items()}, ledger=spent,
            staleness=late,
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- anchoring

    async def _anchor(self) -> None:
        """Deliver what the outbox holds, in order, for as long as the node lives."""
        while True:
            await self.agent.sound()
            began = time.thread_time()
            try:
                await self.outbox.drain()
            except Unavailable as error:
                LOG.info("the ledger is out of reach, transactions wait: %s", error)
            self.ledger_seconds += time.thread_time() - began
            try:
                await asyncio.wait_for(self.pump.wait(), STEP_SECONDS)
            except TimeoutError:
                continue
            self.pump.clear()

    # ---------------------------------------------------------------------------------------------------------- status

    def waiting_for(self) -> tuple[str, list[str]]:
        """("2 of 3 edges", the missing ones' names)."""
        state = self.gathering.state
        if self.waiting or state.phase is not Phase.OPEN:
            return self.waiting, []
        nodes = self.gathering.roster.nodes
        return f"{len(state.arrived)} of {len(state.expected)} edges", [
            nodes[child].name for child in sorted(state.missing)
        ]

    def report(self) -> dict[str, object]:
        """The running task and what its rounds gave so far."""
        state = self.gathering.state
        return {
            "task": self.task.id if self.task else 0,
            "round": state.round,
            "phase": state.phase.value,
            "outbox": self.outbox.status(),
            "demands": list(self.answers.waiting.values()),
            "ledger_seconds": self.agent.view.cpu_seconds,
            "shards": self.shards.processes() if self.shards is not None else {},
            "rounds": {
                str(number): [msgspec.json.decode(row[3]) for row in self.agent.store.settled(number)]
                for number, task in self.agent.index.tasks.items()
                if task.cloud == self.agent.id
            },
        }

    async def proof(self, task: int, round: int, node: int) -> bytes | None:
        """The canonical inclusion proof of a node's update in a settled round."""
        for number, _, manifest, _ in self.agent.store.settled(task):
            blob = self.agent.blobs.get(manifest)
            if number == round and blob is not None:
                found = inclusion.prove(self.agent.context, decode_manifest(blob), node)
                return None if found is None else canonical.encode(found)
        return None
