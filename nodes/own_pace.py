"""A device in a task whose rounds close by arrivals: it trains from the newest model that it has seen, however long that takes.

When it is done it asks which round is open now, and composes and signs what it learned for that one; the round that it
started from stands in the signed metrics (`protocol.staleness`). What it learned is on disk before any of that. A round that
closes while it delivers refuses the update, and the same vector is composed again for the next; the codec's residual is
then what it was before, so nothing counts twice. An update that nobody has answered is sent again as it is, because it may
have been taken: only a parent that stays silent for a round's length after the round is over counts as one that refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from middleware.maths.schedule import compensated_update, total_rate
from middleware.policy import Policy
from middleware.protocol.staleness import BASE
from middleware.protocol.update import Floats
from middleware.wire import tensors
from middleware.wire.message import Metrics, Offer, decode_metrics, encode_metrics
from nodes.store import Learned

if TYPE_CHECKING:
    from nodes.device import Device

LOG = logging.getLogger("drystone")


class OwnPace:
    """What a device does in place of training in a round and delivering in it."""

    def __init__(self, device: Device) -> None:
        self.device = device

    async def train(self) -> None:
        """Learn from the offered model, unless there is something left to deliver, or this round has an update of ours."""
        device, offer = self.device, self.device.offered
        store = device.agent.store
        sent = store.last_outgoing(offer.task)
        if store.trained(offer.task) is not None or (sent is not None and sent[0] >= offer.round):
            return
        update, told = await device.learn()
        metrics = encode_metrics({**told, BASE: offer.round})
        store.put_trained(offer.task, Learned(offer.round, offer.model_in, metrics, update.tobytes()))

    async def deliver(self) -> None:
        """Get what was learned into a round, the first that takes it."""
        device, task = self.device, self.device.offered.task
        store, policy = device.agent.store, device.agent.task(task).policy
        while (learned := store.trained(task)) is not None:
            last, answer = store.last_outgoing(task) or (0, "none sent")
            if answer:
                offer = await self._open_now(task, max(last, learned.base - 1))
                if offer is None:
                    store.drop_trained(task)  # the task has ended
                    return
                late, schedule = offer.round - learned.base, policy.schedule
                if schedule is not None and late > schedule.most_stale:
                    LOG.warning("what was learned from round %d is %d rounds old and is dropped", learned.base, late)
                    store.drop_trained(task)
                    return
                told = decode_metrics(learned.told)
                update = await self._compensated(policy, offer, learned, told)
                await device.commit(offer, update, told, store.residual(task), same_again=True)
                last = offer.round
            if await device.deliver(task, last, policy.round_seconds) not in ("receipt", "wrong-round"):
                store.drop_trained(task)  # refused for what it is: the next round would refuse it too

    async def _open_now(self, task: int, after: int) -> Offer | None:
        """The offer of the round that is open, later than `after`; None when the task has ended."""
        while True:
            offer = await self.device.ask(task, after)
            if offer is None:
                continue
            message = offer.message
            if message.task != task or message.state in ("done", "stopped"):
                return None
            if message.state == "open":
                return message
            after = message.round

    async def _compensated(self, policy: Policy, offer: Offer, learned: Learned, told: Metrics) -> Floats:
        """What was learned, moved to the model of now where the task asks for that (DC-ASGD)."""
        update = np.frombuffer(learned.vector, np.float32)
        strength = policy.schedule.compensation if policy.schedule is not None else None
        if strength is None or offer.model_in == learned.model:
            return update
        then = tensors.decode_model(await self.device.agent.fetch(learned.model, offer.model_bytes), policy.parameters)
        plan = policy.training
        rate = total_rate(plan.learning_rate, plan.momentum, int(told["steps"]))
        return compensated_update(update, rate, await self.device.model(offer), then, strength)
