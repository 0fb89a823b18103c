"""What a device does: it asks its edge for a round, trains on its own data, and delivers one sealed update.

A device only calls out, so it may sit behind any NAT. The update is composed once: it is on disk before it is sent,
together with the residual of its compression, and a device that was killed sends the same bytes again instead of
training again. Where rounds close by arrivals it trains at its own pace, see `own_pace`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial

import numpy as np

from ledger.calls import Register
from ledger.index import Index
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.learn.hardware import Hardware
from middleware.learn.poison import lie
from middleware.learn.train import Trained as Learned
from middleware.learn.train import train
from middleware.learn.workload import Workload
from middleware.policy import WIDTH_ONE, Policy
from middleware.protocol import budget, choice, inclusion, peering, widths
from middleware.protocol import update as updates
from middleware.protocol.choice import Transfer
from middleware.protocol.machine import Answered, Effect, Event, Member, Offered, Send, Train, Trained, step_member
from middleware.protocol.widths import WIDTH
from middleware.trust import roots
from middleware.trust.access import Desk, judge_offer, judge_receipt
from middleware.wire import canonical, tensors
from middleware.wire.message import Metrics, Offer, Poll, ReceiptReply, Signed, Update, decode_stored, encode_metrics
from nodes.agent import STEP_SECONDS, Agent, random_bytes
from nodes.chain import ChainView
from nodes.http import Handler
from nodes.own_pace import OwnPace
from nodes.workloads import Workloads

LOG = logging.getLogger("drystone")
OWN_FAULT_SECONDS = 5.0  # between two tries at something that only the owner can mend
SILENT_ROUNDS = 2  # in a row without an answer from the edge, until this node names the remedy
ANCHOR_SECONDS = 10.0  # that the last header of an ended task may take to show on the ledger


class Device:
    """The capability of tier end."""

    def __init__(self, agent: Agent, workloads: Workloads) -> None:
        self.agent = agent
        self.workloads = workloads
        self.state = Member()
        self.offer: Signed[Offer] | None = None
        self.known: updates.Floats | None = None  # the model that the last round started from
        self.proven = self.omitted = 0
        self.codec = ""  # of the last update that was composed
        self.silent = 0  # rounds in a row that ended without an answer from the edge
        self.remedies: list[str] = []  # what the owner may do about broken promises, as a command line
        self.register: Callable[[Register], object] | None = None
        self.handlers: dict[int, Handler] = {}
        self.own_pace = OwnPace(self)

    def background(self) -> list[Coroutine[None, None, None]]:
        return []

    async def run(self) -> None:
        """Ask, train, deliver, for as long as the node lives."""
        place = (0, 0)
        while True:
            try:
                offer = await self.ask(*place)
                if offer is None:
                    continue
                await self._take(offer)
            except (Unavailable, PeerFault) as error:
                self.agent.state = f"no work: {error}"
                LOG.debug("%s", self.agent.state)
                await asyncio.sleep(STEP_SECONDS)
                continue
            except ConfigurationError as error:
                self.agent.state = f"cannot work: {error}"
                LOG.error("%s", self.agent.state)
                await asyncio.sleep(OWN_FAULT_SECONDS)
                continue
            place = self._delivered(offer.message)

    def _delivered(self, offer: Offer) -> tuple[int, int]:
        """The (task, round) that is behind this device: the offer's, or the later one that its own pace delivered in."""
        last = self.agent.store.last_outgoing(offer.task) if self.agent.task(offer.task).policy.arrivals else None
        return offer.task, max(offer.round, last[0] if last is not None else 0)

    async def ask(self, task: int, round: int) -> Signed[Offer] | None:
        """An offer newer than (task, round) that holds before this node's view of the ledger, or None for now."""
        agent = self.agent
        poll = agent.sign(Poll(agent.id, agent.sequence(), task, round))
        offer = await agent.parent.poll(poll.frame())
        if offer is None:
            return None
        message = offer.message
        await agent.view.until(
            lambda index: message.task in index.tasks and index.head_block >= message.seen.block, 2.0
        )
        judge_offer(Desk(agent.id, agent.domain, agent.index.roster(), limits=agent.limits), offer)
        peering.require_one_model(agent.task(message.task).policy, message)
        agent.require_same_past(message.seen)
        return offer

    async def _take(self, offer: Signed[Offer]) -> None:
        agent, message = self.agent, offer.message
        task = agent.task(message.task)
        if message.state == "closing":
            return  # the round is over for devices, and the next one comes
        if message.state != "open":
            await self._prove(message.task)
            agent.state = f"task {message.task} is {message.state}, {self.proven} receipts proven, {self.omitted} not"
            if self.remedies:
                agent.state += f": {self.remedies[0]}"
            return
        self.workloads.require(task.policy)
        self.offer = offer
        await self._feed(Offered(message.task, message.round))

    async def _feed(self, event: Event) -> None:
        before = self.state
        self.state, effects = step_member(before, event, time.monotonic())
        try:
            for effect in effects:
                await self._perform(effect)
        except (Unavailable, PeerFault, ConfigurationError):
            self.state = before  # the event did not happen: the same offer will bring it again
            raise

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Train(task, round):
                if self.agent.task(task).policy.arrivals:
                    await self.own_pace.train()
                elif self.agent.store.outgoing(task, round) is None:
                    await self._compose()
                await self._feed(Trained())
            case Send():
                if self.agent.task(self.state.task).policy.arrivals:
                    await self.own_pace.deliver()
                else:
                    await self.deliver(self.state.task, self.state.round)
                await self._feed(Answered())

    # ------------------------------------------------------------------------------------------------------- training

    @property
    def offered(self) -> Offer:
        """The offer whose model this device trains on."""
        if self.offer is None:
            raise ConfigurationError("there is no offer to train on")
        return self.offer.message

    async def _compose(self) -> None:
        """Train on the offered model and put the signed update on disk."""
        offer, kept = self.offered, self.agent.store.residual(self.offered.task)
        update, told = await self.learn()
        await self.commit(offer, update, told, kept)

    async def learn(self) -> tuple[updates.Floats, Metrics]:
        """Train on the offered model: (the update, what it tells of itself)."""
        agent, offer = self.agent, self.offered
        policy = agent.task(offer.task).policy
        if own := policy.local or policy.records:  # this device's own noise, so it counts for itself
            budget.require_affordable(own, offer.round)
        agent.state = f"training round {offer.round} of task {offer.task}"
        model = await self.model(offer)
        loop = asyncio.get_running_loop()
        workload = await loop.run_in_executor(agent.pool, self.workloads.load, policy)
        began = time.monotonic()
        if policy.widths is not None:
            model, workload = self._narrowed(policy, model, workload)
        learned = await loop.run_in_executor(agent.pool, self._train, policy, offer, model, workload)
        await asyncio.sleep((agent.config.slowdown - 1) * (time.monotonic() - began))
        return learned

    def _narrowed(
        self, policy: Policy, model: updates.Floats, workload: Workload
    ) -> tuple[updates.Floats, Workload]:  # fmt: skip
        """The widest model of the task that this device can train, as the whole one has it."""
        width = widths.chosen(policy, self.agent.config.width)
        mask = widths.held(policy, width)
        if mask is None:
            return model, workload
        return model[mask], workload.narrowed(widths.name_of(policy, width), WIDTH_ONE / width)

    async def model(self, offer: Offer) -> updates.Floats:
        """The model that an offer names for this device."""
        edge = self.agent.index.roster().nodes[self.agent.id].parent
        blob = await self.agent.fetch(offer.model_below(edge), offer.model_bytes)
        return tensors.decode_model(blob, self.agent.task(offer.task).policy.parameters)

    def _train(
        self, policy: Policy, offer: Offer, model: updates.Floats, workload: Workload
    ) -> tuple[updates.Floats, Metrics]:  # fmt: skip
        agent = self.agent
        started = time.time()
        place, config = (offer.round, agent.id), agent.config
        hardware = Hardware(config.device, config.precision, config.graphs)
        hardware.require()
        if config.attack:
            moved = None if self.known is None or len(self.known) != len(model) else model - self.known
            result = lie(config.attack, workload, policy, model, *place, moved, hardware, self._clock)
        else:
            result = self._learned(policy, model, workload, place, hardware)
        self.known = model
        told: Metrics = {
            "started": started,
            "finished": time.time(),
            "samples": result.samples,
            "steps": result.steps,
            **result.metrics,
        }
        if policy.widths is not None:
            told[WIDTH] = widths.chosen(policy, config.width)
        if policy.privacy or policy.local:  # these say how much data a client has: they are there, and say nothing
            told = {"started": 0.0, "finished": 0.0, "samples": 1, "steps": 0}
        return result.update, told

    def _clock(self) -> float:
        """Seconds of training: on a node that a devnet slows down more of them pass than on the wall."""
        return time.monotonic() * self.agent.config.slowdown

    async def commit(
        self, offer: Offer, update: updates.Floats, told: Metrics, kept: bytes | None, same_again: bool = False
    ) -> None:
        """Compose and sign an update for the offer's round, and put it on disk. `kept` is the residual of earlier rounds; it
        comes back if the parent refuses, with what was learned unless that is composed `same_again`."""
        agent = self.agent
        loop, sequence, policy = asyncio.get_running_loop(), agent.sequence(), agent.task(offer.task).policy
        number = choice.choose(policy, choice.rate(agent.store.uploads()))
        composed, signed = await loop.run_in_executor(
            agent.pool, self._sealed, offer, update, told, sequence, kept, number
        )
        agent.blobs.put(composed.body, composed.leaf.ciphertext)
        with agent.store.transaction():
            if composed.residual is not None and composed.wanted is not None:
                refused = (kept or b"") if same_again else composed.wanted.tobytes()
                agent.store.put_residual(offer.task, composed.residual.tobytes(), refused)
            agent.store.put_outgoing(offer.task, offer.round, signed.stored(), composed.leaf.ciphertext)
        self.codec = policy.codec.offered[number].name
        LOG.info("round %d: %d bytes by codec %s", offer.round, len(composed.body), self.codec)
        if composed.saturated:
            LOG.warning("round %d: %d coordinates were cut off by the grid", offer.round, composed.saturated)

    def _sealed(
        self, offer: Offer, update: updates.Floats, told: Metrics, sequence: int, kept: bytes | None, number: int
    ) -> tuple[updates.Composed, Signed[Update]]:
        agent = self.agent
        policy, metrics = agent.task(offer.task).policy, encode_metrics(told)
        roster = agent.index.roster()
        edge = roster.nodes[roster.nodes[agent.id].parent]
        cloud = roster.nodes[edge.parent]
        composed = updates.compose(
            update,
            np.frombuffer(kept, np.float32) if kept is not None else None,
            policy,
            (offer.task, offer.round, agent.id, edge.id, sequence),
            int(told["samples"]),
            metrics,
            [edge.net_key, cloud.net_key, *(bytes.fromhex(auditor) for auditor in policy.auditors)],
            random_bytes,
            number,
            WIDTH_ONE if policy.widths is None else int(told[WIDTH]),
        )
        message = Update(
            agent.id,
            sequence,
            composed.leaf,
            composed.wrapped,
            metrics,
            composed.leaf.ciphertext,
            len(composed.body),
            offer.seen,
        )
        return composed, agent.sign(message)

    def _learned(
        self, policy: Policy, model: updates.Floats, workload: Workload, place: tuple[int, int], hardware: Hardware
    ) -> Learned:
        """What this device learns, by DP-SGD where the policy protects single records."""
        if policy.records is None:
            return train(workload, policy, model, *place, hardware, self._clock)
        from middleware.learn.private import ENTROPY_BYTES, train_private  # opacus takes a second to load

        return train_private(workload, policy, policy.records, model, random_bytes(ENTROPY_BYTES), hardware)

    # ------------------------------------------------------------------------------------------------------- delivering

    async def deliver(self, task: int, round: int, patience: float = 0.0) -> str:
        """Send until there is a receipt or a refusal, both are kept, or until `patience` seconds have passed without either
        and the round is over. Returns what it ended with: "receipt", or a fault's code."""
        agent, store = self.agent, self.agent.store
        began = time.monotonic()
        stored = store.outgoing(task, round)
        if stored is None or stored[3]:
            return stored[3] if stored is not None else "wrong-round"
        frame, digest, _, _ = stored
        body = agent.blobs.get(digest)
        if body is None:
            raise ConfigurationError(
                f"the body of this node's update of round {round} is gone from {agent.blobs.folder}"
            )
        agent.state = f"delivering round {round} of task {task}"
        if self.silent >= SILENT_ROUNDS:
            agent.state += f"; no answer for {self.silent} rounds: {self.remedy('force', task, round)}"
            LOG.warning("%s", agent.state)
        tried = b""
        while True:
            try:
                reply = await self._timed(task, frame, body, tried)
            except Unavailable as error:
                tried = digest
                LOG.debug("update of round %d not taken yet: %s", round, error)
                if time.monotonic() - began >= patience and _has_round(agent.view, task, round, agent.index):
                    self.silent += 1
                    LOG.warning("round %d of task %d went by without an answer to its update", round, task)
                    with store.transaction():
                        store.take_back_residual(task)
                        store.answer_outgoing(task, round, None, "wrong-round")
                    return "wrong-round"
                await asyncio.sleep(STEP_SECONDS)
            except PeerFault as fault:
                self.silent = 0
                expected = patience > 0 and fault.code == "wrong-round"  # the round closed by others' arrivals
                LOG.log(logging.INFO if expected else logging.WARNING, "update of round %d refused: %s", round, fault)
                with store.transaction():
                    store.take_back_residual(task)
                    store.answer_outgoing(task, round, None, fault.code)
                return fault.code
            else:
                receipt = decode_stored(reply, ReceiptReply)
                leaf = decode_stored(frame, Update).message.leaf
                desk = Desk(agent.id, agent.domain, agent.index.roster(), task, round)
                judge_receipt(desk, receipt, roots.leaf_hash(agent.context, leaf))
                with store.transaction():
                    store.answer_outgoing(task, round, reply, "receipt")
                    store.drop_trained(task)
                self.silent = 0
                agent.state = f"has a receipt for round {round} of task {task}"
                return "receipt"

    async def _timed(self, task: int, frame: bytes, body: bytes, tried: bytes) -> bytes:
        """Post the update; where the task leaves the codec to its devices, keep how fast the link was.

        A try that failed says something about the link only when it took longer than an upload should, and then no more than
        that the link is not faster; one that went on where an earlier broke off says nothing.
        """
        agent, longest = self.agent, self.agent.task(task).policy.codec.upload_seconds
        began, answered = time.monotonic(), False
        try:
            reply = await agent.parent.post(frame, body, tried)
            answered = True
        finally:
            seconds = time.monotonic() - began
            if longest is not None and seconds > (0 if answered and not tried else longest):
                agent.store.put_upload(Transfer(len(frame) + len(body), seconds))
        return reply

    # --------------------------------------------------------------------------------------------------------- proving

    async def _prove(self, task: int) -> None:
        """When a task has ended: every receipt must lead to a header on the ledger, or the parent broke its promise."""
        agent, store = self.agent, self.agent.store
        self.omitted, self.remedies = 0, []
        for round, frame, reply in store.receipts(task):
            leaf, receipt = (
                decode_stored(frame, Update).message.leaf,
                decode_stored(reply, ReceiptReply).message.receipt,
            )
            if not await agent.view.until(partial(_has_round, agent.view, task, round), ANCHOR_SECONDS):
                LOG.warning("round %d of task %d is not on the ledger: its receipt is kept", round, task)
                continue
            header = agent.view.final.anchored[task][round - 1].header
            try:
                proof = canonical.decode(await agent.parent.proof(task, round, agent.id), inclusion.Inclusion)
                inclusion.verify(agent.context, header, proof)
            except (Unavailable, PeerFault) as error:
                self._left_out(task, round, str(error))
                continue
            if (proof.leaf, proof.index) != (leaf, receipt.index):
                self._left_out(task, round, f"it is not at place {receipt.index}")
                continue
            self.proven += 1
            store.put_proof(task, round, canonical.encode(proof))

    def _left_out(self, task: int, round: int, why: str) -> None:
        """A promise that was broken: what the owner may do about it. This node spends nobody's gas by itself."""
        self.omitted += 1
        self.remedies.append(self.remedy("omission", task, round))
        LOG.error(
            "the update of round %d is not in the anchored record as its receipt promises (%s): %s",
            round, why, self.remedies[-1],
        )  # fmt: skip

    def remedy(self, verb: str, task: int, round: int) -> str:
        """The command line of a dispute, from this node's own store."""
        return f"drystone dispute {verb} {self.agent.config.name} --task {task} --round {round}"

    # ---------------------------------------------------------------------------------------------------------- status

    def waiting_for(self) -> tuple[str, list[str]]:
        return "", []

    def report(self) -> dict[str, object]:
        return {
            "task": self.state.task,
            "round": self.state.round,
            "phase": self.state.phase.value,
            "proven": self.proven,
            "omitted": self.omitted,
            "silent": self.silent,
            "codec": self.codec,
            "uplink_bytes_per_second": choice.rate(self.agent.store.uploads()),
            "remedies": self.remedies,
        }

    async def proof(self, task: int, round: int, node: int) -> bytes | None:
        return None


def _has_round(view: ChainView, task: int, round: int, index: Index) -> bool:
    return len(index.final(view.finality_blocks).anchored.get(task, [])) >= round
