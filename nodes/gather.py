"""The gathering half of an edge and of a cloud: show the offer to those below, take their messages, know who is missing.

The table in `protocol.machine` decides; this file performs: it holds the long polls, rings the alarms and calls back
when the round closes. Nothing is promised before it is on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from middleware.errors import OurFault, PeerFault
from middleware.protocol.machine import (
    Alarm,
    Arrived,
    Asked,
    Close,
    Counted,
    Event,
    Hurried,
    Hurry,
    Opened,
    Parent,
    Phase,
    Rang,
    Settled,
    step_parent,
)
from middleware.protocol.update import body_limit
from middleware.trust.access import Desk, TokenBucket, judge_poll, take
from middleware.types import Node, Roster
from middleware.wire.message import Message, Offer, Poll, Signed, expect
from nodes.agent import Agent
from nodes.http import Upload

LOG = logging.getLogger("drystone")


class Gathering:
    """One parent's side of the round that is open."""

    def __init__(
        self, agent: Agent, close: Callable[[frozenset[int]], Coroutine[None, None, None]],
        hurry: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`close` puts a round together; `hurry` asks the children to close theirs, where rounds close by arrivals."""
        self.agent = agent
        self.close, self.hurry = close, hurry
        self.state = Parent()
        self.offer: Signed[Offer] | None = None
        self.roster = Roster(0, {})
        self.admission = asyncio.Lock()  # places in the tree are given one after the other
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.sequences: dict[int, int] = {}  # node: last sequence of an accepted contribution
        self.poll_sequences: dict[int, int] = {}
        self.received: dict[int, bytes] = {}  # node: fingerprint of its contribution to this round
        self._buckets: dict[int, TokenBucket] = {}

    # ------------------------------------------------------------------------------------------------------------ state

    def feed(self, event: Event) -> None:
        """One event into the table, its effects into the loop."""
        loop = asyncio.get_running_loop()
        self.state, effects = step_parent(self.state, event, loop.time())
        for effect in effects:
            match effect:
                case Alarm(at):
                    loop.call_at(at, self._ring, self.state.task, self.state.round)
                case Close(missing):
                    self.start(self.close(missing))
                case Hurry():
                    self.hurry()

    def _ring(self, task: int, round: int) -> None:
        if (self.state.task, self.state.round) == (task, round) and self.state.phase is Phase.OPEN:
            self.feed(Rang())

    def start(self, coroutine: Coroutine[None, None, None]) -> None:
        """Run beside the loop; an exception there is our fault and must not go unseen."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("background work failed", exc_info=task.exception())
            self.agent.fail(task.exception())

    def show(self, offer: Signed[Offer], roster: Roster) -> None:
        """Put an offer up for everyone who polls."""
        self.offer, self.roster = offer, roster
        self.agent.meters.round.set(offer.message.round)
        self._changed.set()
        self._changed = asyncio.Event()

    def open(
        self, offer: Signed[Offer], roster: Roster, children: list[Node], seconds: float, received: dict[int, bytes],
        spare: int, arrivals: int = 0,
    ) -> None:  # fmt: skip
        """Open a round for `children`, the last `spare` of whom it does not wait for; with `arrivals` they are asked to close
        once so many updates were `counted`.

        `received` are the fingerprints of what was accepted before a restart.
        """
        now = asyncio.get_running_loop().time()
        message = offer.message
        self.received = dict(received)
        expected = frozenset(child.id for child in children)
        self.feed(Opened(message.task, message.round, expected, now + seconds, spare, arrivals))
        self.show(offer, roster)
        for child in sorted(received):
            self.arrived(message.task, message.round, child)

    @property
    def offered(self) -> Offer:
        """The offer that is shown. Only asked for while a round is open or closing."""
        if self.offer is None:
            raise OurFault("no offer is shown")
        return self.offer.message

    @property
    def is_open(self) -> bool:
        return self.state.phase is Phase.OPEN

    def require_open(self, task: int, round: int) -> None:
        """The fault that says what is wrong, unless this task and round are open here."""
        if self.state.task != task:
            raise PeerFault("wrong-task", f"task {task} is not running here, {self.state.task or 'none'} is")
        if not self.is_open or self.state.round != round:
            raise PeerFault("wrong-round", f"round {round} is not open here")

    def arrived(self, task: int, round: int, child: int) -> None:
        """The child's contribution is durable; if the round closed meanwhile it still has its place."""
        if self.is_open and (self.state.task, self.state.round) == (task, round):
            self.feed(Arrived(child))

    def counted(self, task: int, round: int) -> None:
        """A usable update of some child's child is durable."""
        if self.is_open and (self.state.task, self.state.round) == (task, round):
            self.feed(Counted())

    def hurried(self, task: int, round: int) -> None:
        """The parent asks to close; nothing to do where this round was closed already."""
        if self.is_open and (self.state.task, self.state.round) == (task, round):
            self.feed(Hurried())

    def settled(self, task: int, round: int) -> None:
        """What the close asked for is done; nothing to tell if the next offer has come meanwhile."""
        if self.state.phase is Phase.CLOSED and (self.state.task, self.state.round) == (task, round):
            self.feed(Settled())

    # --------------------------------------------------------------------------------------------------------- judging

    def desk(self, task: int, contribution: bool = True) -> Desk:
        """What `trust.access` needs to judge a message about `task`. Polls and contributions are numbered apart: an
        update that a crash held back is older than the poll that asked for its round again."""
        agent = self.agent
        if contribution and self.offer is None:
            raise PeerFault("overloaded", "this node has just started and has no round open yet")
        known = agent.index.tasks.get(task)
        return Desk(
            me=agent.id,
            domain=agent.domain,
            roster=self.roster if contribution else agent.index.roster(),
            task=self.state.task,
            round=self.state.round if self.is_open else 0,
            samples_cap=known.policy.samples_cap if known else agent.limits.samples,
            body_bytes=body_limit(known.policy) if known else agent.limits.body_bytes,
            sequences=self.sequences if contribution else self.poll_sequences,
            received=self.received,
            limits=agent.limits,
        )

    def pace(self, sender: int) -> None:
        """Refuse whoever sends too fast; called once the signature is known to be the sender's."""
        limits, now = self.agent.limits, asyncio.get_running_loop().time()
        bucket = self._buckets.get(sender) or TokenBucket.full(limits.requests_per_second, limits.requests_burst, now)
        self._buckets[sender], wait = take(bucket, now)
        if wait:
            raise PeerFault("over-quota", f"node {sender} may send again in {wait:.2f} s")

    # ------------------------------------------------------------------------------------------------------------ polls

    async def poll(self, received: Signed[Message], upload: Upload) -> bytes:
        """Answer with an offer newer than the asker has, at once or as soon as there is one; else empty."""
        signed = expect(received, Poll)
        message = signed.message
        judge_poll(self.desk(message.task, contribution=False), signed)
        self.pace(message.sender)
        self.poll_sequences[message.sender] = message.sequence
        self.feed(Asked(message.sender))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.agent.limits.poll_seconds
        with upload.parked():
            while not self._newer(message):
                try:
                    await asyncio.wait_for(self._changed.wait(), deadline - loop.time())
                except TimeoutError:
                    return b""
        if self.offer is None:
            return b""
        return self.offer.stored()

    def _newer(self, poll: Poll) -> bool:
        if self.offer is None:
            return False
        offer = self.offer.message
        if offer.state == "closing" and (offer.task, offer.round) == (poll.task, poll.round):
            return poll.sender not in self.received  # who has reported knows that the round is closing
        return (offer.task, offer.round) > (poll.task, poll.round)
