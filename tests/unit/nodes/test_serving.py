"""Requests over real sockets: answers equal the whole model's, whoever ran what; nothing is lost when a tier goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.infer import inputs
from middleware.infer.plan import Constraints
from middleware.infer.store import Budget
from middleware.wire.model import encode_model_manifest, root_of
from nodes.line import Refused
from tests.unit.nodes.serving_world import CLOUD, EDGE, built, world

NUMBERS = np.random.default_rng(0)


def pictures(count: int) -> list[np.ndarray]:
    return [NUMBERS.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(count)]


def expected(module: torch.nn.Module, manifest: object, picture: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(inputs.prepared(manifest, picture))).numpy()[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["device", "raw", "png", "f32@1", "f32@3", "f16@2"])
async def test_edge_inference_gives_the_answer_of_the_whole_model(tmp_path: Path, way: str) -> None:
    manifest, files, module = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced=way) as session:
        for picture in pictures(4):
            reply = await session(picture)
            whole = expected(module, manifest, picture)
            assert np.abs(reply.logits - whole).max() <= (1e-2 if way == "f16@2" else 1e-5) * np.abs(whole).max()
            assert reply.way == way and reply.degraded == "" and (reply.bytes_up > 0) == (way != "device")
    if way != "device":
        assert here.books.records[0][1].count == 4


async def test_the_parts_of_the_latency_are_the_wall_time(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced="u8@2") as session:
        reply = await session(pictures(1)[0])
        assert len(reply.parts) == 7 and all(part >= 0 for part in reply.parts) and reply.ms > 0


async def test_three_tiers_the_cloud_runs_the_end_of_the_chain(tmp_path: Path) -> None:
    manifest, files, module = built()
    async with world(tmp_path, files, cloud=True) as here:
        async with await here.session(root_of(manifest), forced="f32@1/f32@3") as session:
            for picture in pictures(3):
                reply = await session(picture)
                whole = expected(module, manifest, picture)
                assert reply.tier == "cloud" and np.abs(reply.logits - whole).max() <= 1e-5 * np.abs(whole).max()
        served = here.served[CLOUD].report()["models"][root_of(manifest).hex()]  # type: ignore[index]
        assert served["requests"] == 3
        async with await here.session(root_of(manifest), forced="raw/raw@0") as session:
            assert (await session(pictures(1)[0])).tier == "cloud"


async def test_end_inference_works_with_nobody_there_and_sends_nothing(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here:
        await here.stop(EDGE)
        async with await here.session(root_of(manifest)) as session:
            replies = [await session(picture) for picture in pictures(3)]
            assert {reply.tier for reply in replies} == {"device"} and session.tally.bytes_up == 0


async def test_an_edge_that_dies_and_comes_back_costs_no_answer(tmp_path: Path) -> None:
    manifest, files, module = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced="f32@2") as session:
        told = []
        for number, picture in enumerate(pictures(30)):
            if number == 10:
                await here.stop(EDGE)
            if number == 20:
                await here.start(EDGE)
                session.next_try = 0.0
                session._reopen_if_due()
                assert session.reopening is not None
                await session.reopening
            reply = await session(picture)
            whole = expected(module, manifest, picture)
            assert np.abs(reply.logits - whole).max() <= 1e-5 * np.abs(whole).max()
            told.append(reply.tier)
        assert told[:10] == ["edge"] * 10 and told[10:20] == ["device"] * 10 and told[20:] == ["edge"] * 10


async def test_a_device_that_holds_the_head_alone_answers_by_its_branch_and_says_degraded(tmp_path: Path) -> None:
    manifest, files, _ = built(held=3, threshold=0.01)
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced="f32@2") as session:
        assert (await session(pictures(1)[0])).tier == "edge"
        await here.stop(EDGE)
        reply = await session(pictures(1)[0])
        assert reply.tier == "exit@2" and reply.degraded
    bare, files, _ = built(held=3)
    async with world(tmp_path, files) as here, await here.session(root_of(bare), forced="f32@2") as session:
        await session(pictures(1)[0])
        await here.stop(EDGE)
        with pytest.raises(Unavailable, match="too little of net to go on alone"):
            await session(pictures(1)[0])
        with pytest.raises(Unavailable, match="too little of net to go on alone"):
            await session(pictures(1)[0])


async def test_constraints_that_nothing_meets_are_refused_with_their_reasons(tmp_path: Path) -> None:
    manifest, files, _ = built(held=3)
    async with world(tmp_path, files) as here:
        async with await here.session(root_of(manifest), constraints=Constraints(privacy="local")) as session:
            with pytest.raises(ConfigurationError, match="the licence leaves the device the first 3"):
                await session(pictures(1)[0])


async def test_a_cloud_that_dies_is_told_and_the_edge_answers_instead(tmp_path: Path) -> None:
    manifest, files, module = built()
    async with world(tmp_path, files, cloud=True) as here:
        async with await here.session(root_of(manifest), forced="f32@1/f32@3") as session:
            assert (await session(pictures(1)[0])).tier == "cloud"
            await here.stop(CLOUD)
            for picture in pictures(3):
                reply = await session(picture)
                whole = expected(module, manifest, picture)
                assert np.abs(reply.logits - whole).max() <= 1e-5 * np.abs(whole).max()
                assert reply.tier in ("device", "edge")


async def test_who_has_no_grant_is_refused_by_name(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here:
        here.books.users.clear()
        session = await here.session(root_of(manifest), forced="f32@2")
        with pytest.raises(Refused, match="unlicensed: no grant"):
            await session._open()
        with pytest.raises(PeerFault, match="no grant"):
            await session.__aenter__()
        session.thread.shutdown()


async def test_a_revoked_licence_ends_the_session_that_is_open(tmp_path: Path) -> None:
    manifest, files, _ = built(held=2)
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced="f32@2") as session:
        await session(pictures(1)[0])
        here.books.gone = "the grant was revoked"
        for _ in range(2):
            with pytest.raises(PeerFault, match="unlicensed: the grant was revoked"):
                await session(pictures(1)[0])


async def test_privacy_classes_hold_on_the_socket(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here:
        async with await here.session(root_of(manifest), constraints=Constraints(privacy="features")) as session:
            for picture in pictures(5):
                assert (await session(picture)).way not in ("raw", "png", "jpeg95", "jpeg75")
        async with await here.session(root_of(manifest), constraints=Constraints(privacy="local")) as session:
            for picture in pictures(5):
                assert (await session(picture)).bytes_up == 0


async def test_unpaid_work_is_refused_at_the_allowance(tmp_path: Path) -> None:
    manifest, files, _ = built(held=2)
    async with world(tmp_path, files) as here:
        here.books.price, here.books.unpaid = 1, 1
        async with await here.session(root_of(manifest), forced="f32@2") as session:
            for picture in pictures(manifest.units(0) // manifest.units(2)):
                await session(picture)
            with pytest.raises(Unavailable, match="units are unpaid"):
                await session(pictures(1)[0])


async def test_a_model_in_use_is_never_evicted_and_an_idle_one_makes_room(tmp_path: Path) -> None:
    first, files, _ = built()
    second = msgspec.structs.replace(first, name="another")
    files = {**files, root_of(second): encode_model_manifest(second)}
    async with world(tmp_path, files) as here:
        here.served[EDGE].store.budget = Budget(1 + sum(file.length for file in first.files()))
        async with await here.session(root_of(first), forced="f32@2") as session:
            await session(pictures(1)[0])
            other = await here.session(root_of(second), forced="f32@2")
            with pytest.raises(Refused, match="overloaded: every model that could make room is in use"):
                await other._open()
            other.thread.shutdown()
        for _ in range(100):
            if here.served[EDGE].store.idle(root_of(first)):
                break
            await asyncio.sleep(0)
        async with await here.session(root_of(second), forced="f32@2") as session:
            assert (await session(pictures(1)[0])).tier == "edge"
        memory = here.served[EDGE].report()["memory"]
        assert memory["evictions"] == 1 and memory["resident_bytes"] <= memory["budget_bytes"]  # type: ignore[index]
