"""A device that trains at its own pace: whatever happens meanwhile, what it learned goes into one round, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from devnet.simulation import Simulation, in_memory
from middleware.errors import PeerFault, Unavailable
from middleware.maths.schedule import compensated_update, total_rate
from middleware.policy import CodecSpec, Grid, Policy, Rule, Schedule
from middleware.protocol import update as updates
from middleware.protocol.update import Floats
from middleware.trust import roots
from middleware.trust.keys import AccountKey, sign_message, sign_receipt
from middleware.types import ZERO32, Receipt
from middleware.wire import tensors
from middleware.wire.message import Metrics, Offer, Poll, ReceiptReply, Signed, Update, decode_metrics, decode_stored
from nodes.agent import Agent
from nodes.chain import ChainView
from nodes.config import NodeConfig, Settings, WorkloadSettings
from nodes.device import Device
from nodes.store import Store
from nodes.workloads import Workloads

OPERATOR = AccountKey(bytes(range(1, 33)))
CLOUD, EDGE, DEVICE = 1, 2, 4
PARAMETERS = 200
VECTOR = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)


def policy(**changes: Any) -> Policy:
    fields = {
        "workload": "digits", "model": "mlp:1", "parameters": PARAMETERS, "rounds": 99, "rule": Rule("mean", 0),
        "grid": Grid(16, -10), "min_updates": 1, "round_seconds": 0.3, "codec": CodecSpec("topk", 0.1),
        "schedule": Schedule(arrivals=1, staleness="inverse", stalest=5),
    }  # fmt: skip
    return Policy(**{**fields, **changes})


class Answers:
    """An edge that the test scripts: what is open, and what it says to the updates that come."""

    def __init__(self, fleet: Simulation) -> None:
        self.fleet, self.round, self.state = fleet, 1, "open"
        self.models = {1: np.zeros(PARAMETERS, np.float32)}
        self.says: list[Callable[[Update], None]] = []  # for the updates to come; after them each gets a receipt
        self.taken: dict[int, Signed[Update]] = {}  # by round
        self.seen: list[Signed[Update]] = []

    def offer(self) -> Signed[Offer]:
        model = tensors.model_hash(tensors.encode_model(self.models.get(self.round, VECTOR)))
        task = self.fleet.index.tasks[1]
        message = Offer(
            CLOUD, self.round, 1, self.round, task.policy_hash, model, 10_000, -10, 60.0, ZERO32, self.state,  # type: ignore[arg-type]
            self.fleet.index.head_block,
        )  # fmt: skip
        return sign_message(self.fleet.context, self.fleet.keys[CLOUD].network, message)

    async def poll(self, frame: bytes) -> Signed[Offer] | None:
        asked = decode_stored(frame, Poll).message
        return self.offer() if (1, self.round) > (asked.task, asked.round) else None

    async def blob(self, digest: bytes, most: int) -> bytes:
        blobs = [tensors.encode_model(model) for model in (*self.models.values(), VECTOR)]
        return next(blob for blob in blobs if tensors.model_hash(blob) == digest)

    async def post(self, frame: bytes, body: bytes = b"", digest: bytes = b"", receipt: bytes = b"") -> bytes:
        signed = decode_stored(frame, Update)
        self.seen.append(signed)
        known = self.taken.get(signed.message.leaf.round)
        if known is None or known.stored() != frame:
            if self.says:
                self.says.pop(0)(signed.message)
            if signed.message.leaf.round != self.round:
                raise PeerFault("wrong-round", "it is over")
            self.taken[self.round] = signed
        return self.receipt(signed.message)

    def receipt(self, message: Update) -> bytes:
        leaf, keys = message.leaf, self.fleet.keys[EDGE]
        promise = Receipt(leaf.task, leaf.round, EDGE, 0, roots.leaf_hash(self.fleet.context, leaf))
        reply = ReceiptReply(EDGE, leaf.round, promise, sign_receipt(self.fleet.domain, keys.account, promise))
        return sign_message(self.fleet.context, keys.network, reply).stored()

    # what it may say

    def goes_on(self, message: Update) -> None:
        """The round closes while the update is on its way."""
        self.round += 1

    def takes_it_and_is_not_heard(self, message: Update) -> None:
        self.taken[self.round] = self.seen[-1]
        self.round += 1
        raise KilledError

    def refuses(self, message: Update) -> None:
        raise PeerFault("off-grid", "no")


class KilledError(BaseException):
    """kill -9, as far as a test in one process can play it."""


class Place:
    """A device on its disk, which can be started more than once."""

    def __init__(self, fleet: Simulation, folder: Path, session: aiohttp.ClientSession) -> None:
        self.fleet, self.folder, self.session = fleet, folder, session
        self.edge, self.trained = Answers(fleet), 0

    async def start(self) -> Device:
        view = ChainView(self.fleet.ledger, 1.0)
        await view.refresh()
        keys = self.fleet.keys[DEVICE]
        allowed = [WorkloadSettings("digits")]
        settings = Settings(self.folder, NodeConfig("device-1", "end", parent="http://127.0.0.1:1", workloads=allowed))
        store = Store(self.folder)
        agent = Agent(
            settings, keys.network, keys.account, self.fleet.registry.contract, view, store, self.session, self.fleet.context
        )  # fmt: skip
        agent.id, agent.link = DEVICE, self.edge  # type: ignore[assignment]
        device = Device(agent, Workloads(settings))

        async def learn() -> tuple[Floats, Metrics]:
            self.trained += 1
            return VECTOR, {"samples": 10, "steps": 4}

        device.learn = learn  # type: ignore[method-assign]
        return device

    async def once(self, device: Device) -> None:
        """The device asks and does what its offer asks for."""
        sent = device.agent.store.last_outgoing(1) or (0, "")
        offer = await device.ask(1, sent[0])
        assert offer is not None
        await device._take(offer)


@asynccontextmanager
async def placed(folder: Path, rules: Policy) -> AsyncIterator[Place]:
    ledger, context, registry = in_memory(OPERATOR)
    fleet = Simulation(ledger, context, registry, OPERATOR, rules, lambda *_: VECTOR, devices=4, edges=2)
    await fleet.join()
    async with aiohttp.ClientSession() as session:
        yield Place(fleet, folder, session)


def content(place: Place, device: Device, signed: Signed[Update], rules: Policy) -> Floats:
    body = device.agent.blobs.get(signed.message.leaf.ciphertext)
    assert body is not None
    key = updates.content_key(signed.message.wrapped, place.fleet.keys[CLOUD].network)
    return updates.judge(signed.message, body, key, rules).integers.astype(np.float32) * np.float32(2.0**-10)


def base(signed: Signed[Update]) -> object:
    return decode_metrics(signed.message.metrics)["base"]


async def test_a_round_that_closes_meanwhile_gets_the_same_vector_in_the_next_one_and_the_residual_once(
    tmp_path: Path,
) -> None:
    rules = policy()
    async with placed(tmp_path, rules) as place:
        device = await place.start()
        place.edge.says = [place.edge.goes_on, place.edge.goes_on]
        await place.once(device)
        assert place.trained == 1
        assert [signed.message.leaf.round for signed in place.edge.seen] == [1, 2, 3]
        assert [base(signed) for signed in place.edge.seen] == [1, 1, 1]
        sent = content(place, device, place.edge.taken[3], rules)
        residual = np.frombuffer(device.agent.store.residual(1) or b"", np.float32)
        np.testing.assert_allclose(sent + residual, VECTOR, atol=1e-6)
        assert device.agent.store.trained(1) is None

        place.edge.round = 4
        await place.once(device)
        again = content(place, device, place.edge.taken[4], rules)
        residual = np.frombuffer(device.agent.store.residual(1) or b"", np.float32)
        np.testing.assert_allclose(sent + again + residual, 2 * VECTOR, atol=1e-6)
        assert (place.trained, base(place.edge.taken[4])) == (2, 4)


async def test_a_device_that_was_killed_before_it_delivered_does_not_train_again(tmp_path: Path) -> None:
    async with placed(tmp_path, policy()) as place:
        device = await place.start()
        device.offer = place.edge.offer()
        await device.own_pace.train()
        device.agent.store.close()

        place.edge.round = 3
        device = await place.start()
        await place.once(device)
        assert place.trained == 1
        assert (base(place.edge.taken[3]), place.edge.taken[3].message.leaf.round) == (1, 3)


async def test_an_update_that_was_taken_unheard_is_not_composed_for_another_round(tmp_path: Path) -> None:
    async with placed(tmp_path, policy()) as place:
        device = await place.start()
        place.edge.says = [place.edge.takes_it_and_is_not_heard]
        with pytest.raises(KilledError):
            await place.once(device)
        device.agent.store.close()

        device = await place.start()
        device.offer = place.edge.offer()
        await device.own_pace.train()
        await device.own_pace.deliver()
        assert list(place.edge.taken) == [1]
        assert place.edge.seen[0].stored() == place.edge.seen[1].stored(), "the same bytes"
        assert device.agent.store.last_outgoing(1) == (1, "receipt")


async def test_what_is_too_old_is_dropped_and_the_device_goes_on_from_the_model_of_now(tmp_path: Path) -> None:
    async with placed(tmp_path, policy()) as place:
        device = await place.start()
        device.offer = place.edge.offer()
        await device.own_pace.train()
        place.edge.round = 7
        await place.once(device)
        assert place.edge.seen == []
        place.edge.round = 8
        await place.once(device)
        assert (place.trained, base(place.edge.taken[8])) == (2, 8)


async def test_what_is_refused_for_itself_is_not_sent_to_the_next_round(tmp_path: Path) -> None:
    async with placed(tmp_path, policy()) as place:
        device = await place.start()
        place.edge.says = [place.edge.refuses]
        await place.once(device)
        assert place.edge.taken == {} and len(place.edge.seen) == 1
        assert device.agent.store.trained(1) is None
        assert device.agent.store.last_outgoing(1) == (1, "off-grid")


async def test_a_task_that_ends_meanwhile_ends_the_delivery(tmp_path: Path) -> None:
    async with placed(tmp_path, policy()) as place:
        device = await place.start()
        device.offer = place.edge.offer()
        await device.own_pace.train()
        place.edge.round, place.edge.state = 2, "done"
        await device.own_pace.deliver()
        assert place.edge.seen == [] and device.agent.store.trained(1) is None


@pytest.mark.parametrize("strength", [None, 2.0])
async def test_dc_asgd_compensates_what_started_from_an_older_model_and_without_strength_leaves_it(
    tmp_path: Path, strength: float | None
) -> None:
    rules = policy(codec=CodecSpec("none"), schedule=Schedule(arrivals=1, compensation=strength))
    async with placed(tmp_path, rules) as place:
        device = await place.start()
        place.edge.models[2] = VECTOR * np.float32(3)
        device.offer = place.edge.offer()
        await device.own_pace.train()
        place.edge.round = 2
        await device.own_pace.deliver()
        rate = total_rate(rules.training.learning_rate, rules.training.momentum, 4)
        wanted = compensated_update(VECTOR, rate, place.edge.models[2], place.edge.models[1], strength or 0.0)
        sent = content(place, device, place.edge.taken[2], rules)
        np.testing.assert_allclose(sent, wanted, atol=2**-11)
        assert (strength is None) == (np.abs(sent - VECTOR).max() < 2**-10)


async def test_a_silent_edge_is_given_the_length_of_a_round_and_then_counts_as_one_that_refused(tmp_path: Path) -> None:
    async with placed(tmp_path, policy(round_seconds=0.05)) as place:
        device = await place.start()

        def silent(message: Update) -> None:
            raise Unavailable("no answer")

        def silent_for_good(message: Update) -> None:
            place.edge.round = 2
            raise Unavailable("no answer")

        await place.fleet.play()  # round 1 is on the ledger
        await device.agent.view.refresh()
        device.offer = place.edge.offer()
        await device.own_pace.train()
        place.edge.says = [silent, silent_for_good]
        await device.own_pace.deliver()
        assert [signed.message.leaf.round for signed in place.edge.seen] == [1, 1, 2]
        assert place.edge.seen[0].stored() == place.edge.seen[1].stored(), "the same bytes until it is given up"
        assert list(place.edge.taken) == [2]
