"""What an edge does: it shows the cloud's offer to its devices, gives receipts for their updates, and answers for them.

In the flat arrangement it passes every accepted update on as soon as it has promised a place for it; in the two-level
arrangement it adds them up instead. At the close it signs its root and reports. It never sees a model it must run, and
it holds the open nodes of one sum tree, not the updates.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine

from ledger.calls import Register
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.policy import Policy
from middleware.protocol import peering
from middleware.protocol import update as updates
from middleware.protocol.machine import Phase
from middleware.protocol.sums import NOTHING, Summed, SumTree
from middleware.protocol.update import body_limit
from middleware.trust import roots, seal
from middleware.trust.access import (
    Desk,
    fingerprint,
    is_repeat,
    judge_offer,
    judge_receipt,
    judge_update,
    require_active,
)
from middleware.trust.keys import sign_edge_root
from middleware.types import ZERO32, EdgeLeaf, Leaf
from middleware.wire import tensors
from middleware.wire.message import (
    EdgeBody,
    EdgeReport,
    Message,
    Offer,
    Poll,
    ReceiptReply,
    Registration,
    Signed,
    Update,
    Wrapped,
    decode_stored,
    encode_edge_body,
    expect,
)
from nodes.agent import STEP_SECONDS, Agent, random_bytes
from nodes.answers import Answers
from nodes.checkpoints import Checkpoints
from nodes.gather import Gathering
from nodes.http import Handler, Upload
from nodes.link import Buffer
from nodes.store import Contribution

LOG = logging.getLogger("drystone")
LEDGER_SECONDS = 2.0  # that an offer may be ahead of this node's view of the ledger


class Edge:
    """The capability of tier edge."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.gathering = Gathering(agent, self._close)
        self.sums = SumTree(0)
        self.dropped: set[tuple[int, int]] = set()  # rounds in which a lying edge of a devnet has left one out
        self.forwards: dict[int, asyncio.Task[None]] = {}
        self.reported = asyncio.Event()  # this edge's part of the round that is closing is with the cloud, or too late
        self.answers = Answers(agent)
        self.checkpoints = Checkpoints(agent)
        self.register: Callable[[Register], object] | None = None
        self.handlers: dict[int, Handler] = {
            Poll.code: self._on_poll,
            Update.code: self._on_update,
            Registration.code: self._on_registration,
        }

    def background(self) -> list[Coroutine[None, None, None]]:
        return [self.answers.run(), self.checkpoints.run()]

    # ------------------------------------------------------------------------------------------------------- following

    async def run(self) -> None:
        """Follow the cloud's offers for as long as the node lives."""
        last = self.agent.store.last_offer()
        place = (0, 0)
        if last is not None:
            task, round, _, frame, _ = last
            place = (task, round)
            await self._take(decode_stored(frame, Offer), fresh=False)
        while True:
            try:
                poll = self.agent.sign(Poll(self.agent.id, self.agent.sequence(), *place))
                offer = await self.agent.parent.poll(poll.frame())
            except (Unavailable, PeerFault) as error:
                LOG.debug("no offer: %s", error)
                await asyncio.sleep(STEP_SECONDS)
                continue
            closing = offer is not None and offer.message.state == "closing"
            if offer is not None and (closing or (offer.message.task, offer.message.round) > place):
                try:
                    await self._take(offer, fresh=True)
                except (Unavailable, PeerFault) as error:
                    LOG.warning("offer not taken: %s", error)
                    await asyncio.sleep(STEP_SECONDS)
                    continue
                place = (offer.message.task, offer.message.round)

    async def _take(self, offer: Signed[Offer], fresh: bool) -> None:
        """Check an offer, have its model here, and show it to the devices."""
        agent, message = self.agent, offer.message
        await agent.view.until(
            lambda index: message.task in index.tasks and index.head_block >= message.roster_block, LEDGER_SECONDS
        )
        task = agent.task(message.task)
        if agent.index.head_block < message.roster_block:  # the edge signs that it judged by this very roster
            raise Unavailable(
                f"the offer's roster is of block {message.roster_block}, which this node has not read yet"
            )
        roster = agent.roster_at(message.roster_block)
        judge_offer(Desk(agent.id, agent.domain, agent.index.roster(), limits=agent.limits), offer)
        peering.require_one_model(task.policy, message)
        agent.require_same_past(message.seen)
        if message.state == "closing" and (message.task, message.round) == self._place():
            self.gathering.hurried(message.task, message.round)
            await self.reported.wait()
            return
        if message.state in ("done", "stopped"):
            agent.store.put_offer(message.task, message.round, message.state, offer.stored(), 0.0)
            self.gathering.show(offer, roster)
            return
        await agent.fetch(message.model_below(agent.id), message.model_bytes)
        if fresh:
            agent.store.put_offer(message.task, message.round, message.state, offer.stored(), 0.0)
        if agent.store.outgoing(message.task, message.round) is not None:
            self.gathering.show(offer, roster)  # closed before a restart: only the report may still have to go
            if fresh and message.state == "closing":
                await self._report(message.task, message.round)
            else:
                self.gathering.start(self._report(message.task, message.round))
            return
        kept = agent.store.contributions(message.task, message.round)
        received = {item.node: fingerprint(decode_stored(item.frame, Update)) for item in kept}
        async with self.gathering.admission:
            self.sums = SumTree(task.policy.parameters)
            for item in kept:
                await self._restore(task.policy, item)
            children, seconds = roster.children(agent.id), message.deadline_seconds
            self.reported.clear()
            self.gathering.open(offer, roster, children, seconds, received, task.policy.backup_devices)
        if message.state == "closing":  # this edge was away when the round opened: it has what it has
            self.gathering.hurried(message.task, message.round)

    def _place(self) -> tuple[int, int]:
        """The round that this edge took last."""
        return self.gathering.state.task, self.gathering.state.round

    async def _restore(self, policy: Policy, item: Contribution) -> None:
        """After a restart: add up again, or pass on what was promised and not delivered."""
        if policy.arrangement == "two-level":
            body = self.agent.blobs.get(item.body)
            if body is None:
                raise ConfigurationError(f"a body of round {item.round} is gone from {self.agent.blobs.folder}")
            message = decode_stored(item.frame, Update).message
            await self._add(policy, message, self._judge(policy, message, body), item.place)
        elif not item.forwarded:
            self._forward(item)

    # ------------------------------------------------------------------------------------------------------- messages

    async def _on_poll(self, signed: Signed[Message], upload: Upload) -> bytes:
        return await self.gathering.poll(signed, upload)

    async def _on_registration(self, signed: Signed[Message], upload: Upload) -> bytes:
        """A device that is not on the ledger yet: hand its signed request up."""
        return await self.agent.parent.post(expect(signed, Registration).frame())

    async def _on_update(self, received: Signed[Message], upload: Upload) -> bytes:
        """Judge, store, promise a place: in this order, and nothing heavy before the sender is known."""
        agent, gathering = self.agent, self.gathering
        signed = expect(received, Update)
        leaf = signed.message.leaf
        if upload.direct:
            return await self._pass_on(signed, upload)
        if agent.config.attack == "silent":
            raise PeerFault("overloaded", "this edge takes nothing (devnet)")
        desk = gathering.desk(leaf.task)
        if is_repeat(desk, signed):
            return self._receipt_of(leaf)
        try:
            judge_update(desk, signed)
        except PeerFault as fault:
            if fault.code not in ("wrong-round", "wrong-task"):
                raise
            return self._late_receipt(signed, fault)
        if signed.message.seen != gathering.offered.seen:
            raise PeerFault("mismatch", f"node {leaf.node} vouches for another past of the ledger than the offer")
        gathering.pace(leaf.node)
        policy = agent.task(leaf.task).policy
        body = await upload.read(leaf.ciphertext)
        opened = await agent.work(len(body), self._judge, policy, signed.message, body)
        async with gathering.admission:
            gathering.require_open(leaf.task, leaf.round)
            if leaf.node in gathering.received:
                if is_repeat(gathering.desk(leaf.task), signed):
                    return self._receipt_of(leaf)
                raise PeerFault("duplicate", f"node {leaf.node} has an update in round {leaf.round}")
            place = len(gathering.received)
            if agent.config.attack == "omit" and (leaf.task, leaf.round) not in self.dropped:
                self.dropped.add((leaf.task, leaf.round))
                gathering.arrived(leaf.task, leaf.round, leaf.node)
                return agent.receipt(leaf.task, leaf.round, place, roots.leaf_hash(agent.context, leaf)).stored()
            await agent.work(len(body), agent.blobs.put, body, leaf.ciphertext)
            refused = await self._add(policy, signed.message, opened, place)
            reply = agent.receipt(leaf.task, leaf.round, place, roots.leaf_hash(agent.context, leaf)).stored()
            item = Contribution(
                leaf.task, leaf.round, leaf.node, leaf.node, place, signed.stored(), leaf.ciphertext, reply, refused
            )
            agent.store.add_contribution(item)
            gathering.received[leaf.node] = fingerprint(signed)
            gathering.sequences[leaf.node] = leaf.sequence
        if policy.arrangement == "flat":
            self._forward(item, body)
        gathering.arrived(leaf.task, leaf.round, leaf.node)
        return reply

    async def _pass_on(self, signed: Signed[Update], upload: Upload) -> bytes:
        """An update that some device forced through the ledger: any edge hands it to the cloud, which judges it."""
        agent, leaf = self.agent, signed.message.leaf
        sender = require_active(agent.index.roster(), signed.message.sender)
        agent.require_signed(signed, sender)
        if signed.message.body_bytes > body_limit(agent.task(leaf.task).policy):
            raise PeerFault("too-large", f"a body of {signed.message.body_bytes} bytes: more than the policy can need")
        self.gathering.pace(sender.id)
        body = await upload.read(leaf.ciphertext)
        return await agent.parent.post(signed.stored(), body, leaf.ciphertext, direct=True)

    def _late_receipt(self, signed: Signed[Update], fault: PeerFault) -> bytes:
        """The receipt of an update that was taken, though its round is over: its device may not have heard. Else the fault."""
        leaf = signed.message.leaf
        known = self.agent.store.contribution(leaf.task, leaf.round, leaf.node, leaf.node)
        if known is None or known.frame != signed.stored():
            raise fault
        return known.reply

    def _receipt_of(self, leaf: Leaf) -> bytes:
        """The same update again gets the receipt that it got."""
        known = self.agent.store.contribution(leaf.task, leaf.round, leaf.node, leaf.node)
        if known is None:
            raise PeerFault("wrong-round", f"round {leaf.round} is not open here")
        return known.reply

    def _judge(self, policy: Policy, message: Update, body: bytes | bytearray) -> updates.Opened:
        key = updates.content_key(message.wrapped, self.agent.network)
        return updates.judge(message, body, key, policy)

    async def _add(self, policy: Policy, message: Update, opened: updates.Opened, place: int) -> str:
        """Two-level: check the committed root and add; the fault code of an update that stays in the tree, marked."""
        if policy.arrangement != "two-level":
            return ""
        size = opened.integers.nbytes
        try:
            await self.agent.work(size, updates.audit, message, opened, policy)
        except PeerFault as fault:
            self.sums.add(place, None, 0)
            return fault.code
        await self.agent.work(size, self.sums.add, place, opened.integers, message.leaf.weight)
        return ""

    # ------------------------------------------------------------------------------------------------------- upwards

    def _forward(self, item: Contribution, body: Buffer = b"") -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(item, body))
        self.forwards[item.node] = task
        task.add_done_callback(lambda done: self.agent.fail(done.exception()) if not done.cancelled() else None)

    async def _deliver(self, item: Contribution, body: Buffer) -> None:
        """Pass one promised update on until the cloud has it, or says that it will not take it."""
        data = body or self.agent.blobs.get(item.body)
        if data is None:
            LOG.error("the body of node %d's update is gone; the round goes on without it", item.node)
            return
        tried = b""
        while self._still(item.task, item.round):
            try:
                await self.agent.parent.post(item.frame, data, tried, item.reply)
            except Unavailable as error:
                tried = item.body
                LOG.debug("update of node %d not passed on yet: %s", item.node, error)
                await asyncio.sleep(STEP_SECONDS)
            except PeerFault as fault:
                LOG.warning("the cloud refused the update of node %d: %s", item.node, fault)
                return
            else:
                self.agent.store.mark_forwarded(item.task, item.round, item.node)
                return

    def _still(self, task: int, round: int) -> bool:
        offer = self.gathering.offer
        return offer is None or (offer.message.task, offer.message.round) <= (task, round)

    async def _close(self, missing: frozenset[int]) -> None:
        """Sign the root over what has a receipt, store it, and report until the cloud has it."""
        agent, state = self.agent, self.gathering.state
        policy, offer = agent.task(state.task).policy, self.gathering.offered
        if missing:
            LOG.info("round %d closed without nodes %s", state.round, sorted(missing))
        await agent.sound()
        async with self.gathering.admission:
            if self._place() != (state.task, state.round):
                return  # the next offer has come: nobody waits for this report
            items, tree = agent.store.contributions(state.task, state.round), self.sums
        leaves = [decode_stored(item.frame, Update).message.leaf for item in items]
        weights = [0 if item.refused else leaf.weight for leaf, item in zip(leaves, items, strict=True)]
        sealed, weights_root, summed = b"", ZERO32, NOTHING
        wrapped: tuple[Wrapped, ...] = ()
        if policy.arrangement == "two-level":
            weights_root = roots.edge_weights((leaf.node, weight) for leaf, weight in zip(leaves, weights, strict=True))
            summed = await agent.work(policy.parameters * 8, tree.close)
            sealed, wrapped = await agent.work(
                policy.parameters * 8, self._seal_sums, policy, state.task, state.round, summed
            )
        leaf = EdgeLeaf(
            task=state.task, round=state.round, edge=agent.id, root=roots.edge_tree(agent.context, leaves).root,
            count=len(items), aggregate=summed.node, weights=weights_root, roster_block=offer.roster_block,
        )  # fmt: skip
        body = encode_edge_body(
            EdgeBody(
                tuple(item.frame for item in items),
                tuple(item.refused for item in items),
                sealed,
                hashlib.sha256(sealed).digest() if sealed else ZERO32,
                summed.children,
            )
        )
        report = EdgeReport(
            sender=agent.id, sequence=agent.sequence(), leaf=leaf,
            root_signature=sign_edge_root(agent.domain, agent.account, leaf), weight_total=sum(weights),
            wrapped=wrapped, body_digest=hashlib.sha256(body).digest(), body_bytes=len(body), seen=offer.seen,
        )  # fmt: skip
        agent.blobs.put(body, report.body_digest)
        agent.store.put_outgoing(state.task, state.round, agent.sign(report).stored(), report.body_digest)
        self.gathering.settled(state.task, state.round)
        await self._report(state.task, state.round)

    def _seal_sums(self, policy: Policy, task: int, round: int, summed: Summed) -> tuple[bytes, tuple[Wrapped, ...]]:
        agent = self.agent
        if summed.vector is None:
            return b"", ()
        key = seal.new_content_key(random_bytes)
        sealed = seal.seal(key, tensors.encode_sums(summed.vector), seal.leaf_context(task, round, agent.id))
        cloud = agent.index.roster().nodes[agent.task(task).cloud].net_key
        readers = [cloud, *(bytes.fromhex(auditor) for auditor in policy.auditors)]
        return sealed, tuple(Wrapped(reader, seal.wrap(key, reader)) for reader in readers)

    async def _report(self, task: int, round: int) -> None:
        try:
            await self._deliver_report(task, round)
        finally:
            self.reported.set()

    async def _deliver_report(self, task: int, round: int) -> None:
        agent = self.agent
        for forward in list(self.forwards.values()):
            await asyncio.wait([forward])
        self.forwards.clear()
        stored = agent.store.outgoing(task, round)
        if stored is None or stored[3]:
            return
        frame, digest, _, _ = stored
        body = agent.blobs.get(digest) or b""
        tried = b""
        while self._still(task, round):
            try:
                reply = await agent.parent.post(frame, body, tried)
            except Unavailable as error:
                tried = digest
                LOG.debug("report of round %d not taken yet: %s", round, error)
                await asyncio.sleep(STEP_SECONDS)
            except PeerFault as fault:
                LOG.warning("the cloud refused the report of round %d: %s", round, fault)
                agent.store.answer_outgoing(task, round, None, fault.code)
                return
            else:
                receipt = decode_stored(reply, ReceiptReply)
                leaf = decode_stored(frame, EdgeReport).message.leaf
                desk = Desk(agent.id, agent.domain, agent.index.roster(), task, round)
                judge_receipt(desk, receipt, roots.edge_leaf_hash(agent.context, leaf))
                agent.store.answer_outgoing(task, round, reply, "receipt")
                return

    # --------------------------------------------------------------------------------------------------------- status

    def waiting_for(self) -> tuple[str, list[str]]:
        """("2 of 3 devices", the missing ones' names)."""
        state = self.gathering.state
        if state.phase is not Phase.OPEN:
            return "", []
        nodes = self.gathering.roster.nodes
        return f"{len(state.arrived)} of {len(state.expected)} devices", [
            nodes[child].name for child in sorted(state.missing)
        ]

    def report(self) -> dict[str, object]:
        state = self.gathering.state
        demands = list(self.answers.waiting.values())
        told = {"task": state.task, "round": state.round, "phase": state.phase.value, "demands": demands}
        return {**told, "checkpoint": self.checkpoints.report()}

    async def proof(self, task: int, round: int, node: int) -> bytes | None:
        """The cloud's proof, passed on: a device never talks to the cloud."""
        return await self.agent.parent.proof(task, round, node)
