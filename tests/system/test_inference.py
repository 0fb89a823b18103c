"""A model that a task trained is published, licensed, paid for and run over three tiers of real processes; edge and cloud are
killed in a stream of requests and nobody loses an answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from devnet.fleet import Fleet, Shape
from devnet.serving import joined, serving
from ledger.deploy import transfer
from middleware.errors import PeerFault
from middleware.infer.export import export
from middleware.infer.publish import assembled, measured
from middleware.infer.segments import cut
from middleware.learn.workload import for_serving
from middleware.trust.keys import KeyFile
from middleware.types import Status, Verdict
from middleware.wire import tensors
from nodes.config import read_config, write_config
from nodes.kept import read_session, sessions_below
from nodes.market import Market, kept_vouchers
from nodes.operator import Choices, Operator, policy_of
from nodes.recheck import recheck
from nodes.session import Session
from tests.unit.nodes.serving_world import built

pytestmark = [pytest.mark.system, pytest.mark.slow]
PATIENCE = 120.0  # seconds; far more than anything here takes
ROUNDS = 4


class Published:
    """A running fleet, a model of its task, and what its device holds."""

    def __init__(self, fleet: Fleet, market: Market, root: bytes, samples: Any, labels: Any) -> None:
        self.fleet, self.market, self.root, self.samples, self.labels = fleet, market, root, samples, labels

    @property
    def device(self) -> Path:
        return self.fleet.folder("device-1")

    @property
    def keys(self) -> KeyFile:
        return KeyFile.from_bytes((self.device / "keys.json").read_bytes())


async def trained(fleet: Fleet, operator: Operator) -> int:
    """A task that has run all its rounds, every one of them final."""
    policy = policy_of(Choices(rounds=ROUNDS, tolerate=0, aggregator="mean", epochs=2, round_seconds=20.0))
    number = await operator.create_task("cloud", policy, 0)
    async with asyncio.timeout(PATIENCE):
        while len((await operator.refresh()).anchored.get(number, [])) < ROUNDS:
            await asyncio.sleep(0.2)
    return number


@pytest.fixture(params=["evm", "local"])
async def published(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Published]:
    with Fleet(tmp_path, Shape(devices=4, edges=2), on=request.param) as fleet:
        await fleet.start(lambda what: None)
        async with fleet.ledger() as ledger:
            operator = Operator(ledger, fleet.operator)
            number = await trained(fleet, operator)
            task, header = operator.index.tasks[number], operator.index.anchored[number][-1].header
            blobs = fleet.folder("cloud") / "state" / "blobs" / header.model_out.hex()[:2] / header.model_out.hex()
            vector = tensors.decode_model(blobs.read_bytes(), task.policy.parameters)
            module, samples, labels = for_serving("digits", task.policy.model, vector)
            model, files = assembled("digits", cut(export(module, (64,))), task=number, round=ROUNDS, unit_macs=1000)
            model = measured(model, files, samples, labels)
            market = Market(ledger, fleet.operator)
            root = await market.publish(model, price=3, share=4000)
            await market.bring(fleet.cloud, model, files)
            yield Published(fleet, market, root, samples, labels)


async def licensed(here: Published, deposit: int) -> int:
    """Grant the device a licence, and open its channel; returns the channel's number."""
    index = await here.market.refresh()
    me = next(
        node for node in index.roster().nodes.values() if node.name == "device-1" and node.status is Status.ACTIVE
    )
    await here.market.grant(here.root, me.account, (1 << 64) - 1, 1 << 40)
    await here.market.mint(me.account, deposit)
    if here.fleet.on == "evm":
        await transfer(here.fleet.chain.rpc, here.fleet.operator, me.account, 10**18)
    async with here.fleet.ledger() as ledger:
        return (await Market(ledger, here.keys.account).open_channel(here.root, me.parent, deposit)).id


async def test_a_trained_model_is_licensed_run_paid_by_the_use_and_redeemed_in_one_transaction(
    published: Published,
) -> None:
    here = published
    with pytest.raises(PeerFault, match="holds no licence"):
        async with Session(here.device, "digits"):
            raise AssertionError("a session without a licence was opened")
    channel = await licensed(here, 10**6)
    replies = []
    async with Session(here.device, "digits", forced="u8@1") as session:
        for sample in here.samples[:60]:
            replies.append(await session(sample))
        units = session.running.tally.units
    assert {reply.tier for reply in replies} == {"edge"} and units == sum(reply.units for reply in replies) > 0
    right = np.mean([reply.label == label for reply, label in zip(replies, here.labels, strict=False)])
    assert right > 0.6
    edge = (await here.market.refresh()).roster().nodes[here.market.index.licences.channels[channel].edge].name
    vouchers = kept_vouchers(here.fleet.folder(edge) / "state" / "node.db")
    assert [voucher.units for voucher in vouchers] == [units]
    ((_, paid),) = await here.market.redeem(vouchers)
    assert paid == 3 * units and await here.market.redeem(vouchers) == []

    async with Session(here.device, here.root.hex(), forced="raw") as session:
        assert (await session(here.samples[0])).tier == "edge"
        await here.market.revoke(here.root, here.keys.account.address)
        with pytest.raises(PeerFault, match="unlicensed"):
            async with asyncio.timeout(10):
                while True:  # until the edge has read the block
                    await session(here.samples[1])


async def test_edge_and_cloud_are_killed_in_a_stream_and_every_request_is_answered(published: Published) -> None:
    here = published
    await licensed(here, 10**6)
    edge = "edge-1"
    tiers: list[str] = []
    async with Session(here.device, "digits", forced="raw") as session:
        for number in range(200):
            if number == 50:
                here.fleet.kill(edge)
            if number == 80:
                here.fleet.restart(edge)
                async with asyncio.timeout(PATIENCE):
                    while session.running.line is None:  # it joins the ledger and loads the model again
                        await asyncio.sleep(0.1)
                        session.running._reopen_if_due()
            if number == 120:
                here.fleet.kill("cloud")
            reply = await session(here.samples[number % len(here.samples)])
            tiers.append(reply.tier)
    assert len(tiers) == 200
    assert tiers[:50] == ["edge"] * 50 and set(tiers[51:80]) == {"device"} and set(tiers[80:]) == {"edge"}
    assert os.path.exists(here.device / "state" / "inference.json")


async def test_an_edge_that_makes_answers_up_is_given_away_by_its_own_checkpoint(tmp_path: Path) -> None:
    manifest, files, _ = built()
    generator = np.random.default_rng(0)
    async with serving(tmp_path) as world:
        root = await world.publish(manifest, files)
        folder = world.fleet.folder("edge-1")
        world.fleet.kill("edge-1")
        config = read_config(folder / "node.toml").config
        lying = msgspec.structs.replace(config, attack="false-answers", checkpoint_entries=1)
        write_config(folder / "node.toml", lying)
        world.fleet.restart("edge-1")
        await joined(world.fleet)
        async with Session(world.device, "net", forced="raw", keep=True) as session:
            for _ in range(20):
                assert (await session(generator.integers(0, 256, (16, 16, 3)).astype(np.uint8))).tier == "edge"
        settings = read_config(world.device / "node.toml")
        (file,) = sessions_below(settings.path("state"))
        kept = read_session(file)
        assert kept.root == root and len(kept.answers) == 20
        async with asyncio.timeout(PATIENCE):
            while (report := await recheck(settings, kept, 1.0, lambda digest: None)).verdict is Verdict.UNVERIFIABLE:
                await asyncio.sleep(0.5)
        assert report.verdict is Verdict.INVALID and report.valid == 17
        assert [finding.fault for finding in report.findings] == ["false-answer"] * 4
        assert all("checkpoint transaction" in finding.proven_by for finding in report.findings)
