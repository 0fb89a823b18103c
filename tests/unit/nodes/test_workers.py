"""A node's threads: fair turns among tenants, batches that change no answer, and nothing queued in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from middleware.errors import PeerFault
from middleware.infer.tenancy import Busy, Rules, Turns
from middleware.wire.model import root_of
from middleware.wire.session import Course
from nodes.models import LoadedModel, load
from nodes.workers import QUEUE_MS, Ran, Workers
from tests.unit.nodes.serving_world import built

NUMBERS = np.random.default_rng(1)


async def model() -> LoadedModel:
    manifest, files, _ = built()

    async def fetch(digest: bytes, most: int) -> bytes:
        return files[digest]

    found = await load(root_of(manifest), fetch)
    found.warm()
    return found


@asynccontextmanager
async def workers(batch: int = 1) -> AsyncIterator[Workers]:
    made = Workers(1, batch)
    try:
        yield made
    finally:
        made.close()


def picture() -> bytes:
    return NUMBERS.integers(0, 256, 16 * 16 * 3).astype(np.uint8).tobytes()


def course(loaded: LoadedModel) -> Course:
    return Course(0, len(loaded.manifest.segments), "raw")


async def test_tenants_take_turns_whatever_one_of_them_has_queued() -> None:
    loaded, order = await model(), list[bytes]()
    async with workers() as here:
        here.turns = Turns(Rules(batch=1, slice_ms=0.01))  # less than a request: one a turn
        found = []
        for tenant in (b"heavy",) * 20 + (b"light",):
            done = here.offer(tenant, loaded, course(loaded), picture())
            assert isinstance(done, asyncio.Future)
            done.add_done_callback(lambda _, tenant=tenant: order.append(tenant))  # type: ignore[misc]
            found.append(done)
        await asyncio.gather(*found)
    assert len(order) == 21 and order.index(b"light") <= 2


async def test_a_batch_gives_each_the_answer_that_it_would_get_alone() -> None:
    loaded, pictures = await model(), [picture() for _ in range(9)]
    async with workers() as alone, workers(batch=8) as together:
        single = [await _ran(alone, loaded, one) for one in pictures]
        batched = await asyncio.gather(*(_ran(together, loaded, one) for one in pictures))
        assert together.batches < len(pictures) == together.batched == alone.batches
    for one, other in zip(single, batched, strict=True):
        assert (
            np.abs(one.given - other.given).max() <= 1e-5 * np.abs(one.given).max()
            and other.each_ms <= other.compute_ms
        )


async def test_bytes_that_are_nothing_fail_alone_in_their_batch() -> None:
    loaded = await model()
    async with workers(batch=8) as here:
        first, bad, good = await asyncio.gather(
            *(_ran(here, loaded, data) for data in (picture(), b"short", picture())), return_exceptions=True
        )
        assert here.batches == 2 and isinstance(first, Ran) and isinstance(good, Ran)
        assert isinstance(bad, PeerFault) and bad.code == "malformed"


async def test_a_request_whose_asker_has_left_does_not_run() -> None:
    loaded = await model()
    async with workers() as here:
        first, second, third = (here.offer(b"one", loaded, course(loaded), picture()) for _ in range(3))
        assert (
            isinstance(first, asyncio.Future)
            and isinstance(second, asyncio.Future)
            and isinstance(third, asyncio.Future)
        )
        second.cancel()
        await asyncio.gather(first, third)
        assert here.batches == 2 and not here.jobs and not here.turns.running


async def test_what_would_wait_too_long_is_told_when_to_come_back() -> None:
    loaded = await model()
    loaded.measured = {key: QUEUE_MS / 2 for key in loaded.measured}
    async with workers() as here:
        found = [here.offer(b"one", loaded, course(loaded), picture()) for _ in range(5)]
        busy = [one for one in found if isinstance(one, Busy)]
        assert busy and all(one.retry_ms >= 1 and "wait" in one.reason for one in busy)
        assert here.wait_ms(b"other") < here.wait_ms(b"one")
        await asyncio.gather(*(one for one in found if isinstance(one, asyncio.Future)))


async def test_a_fault_of_ours_reaches_whoever_waits_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = await model()
    async with workers() as here:
        with monkeypatch.context() as broken:
            broken.setattr(loaded.runner, "run", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await _ran(here, loaded, picture())
        assert isinstance(await _ran(here, loaded, picture()), Ran)


async def _ran(here: Workers, loaded: LoadedModel, data: bytes) -> Ran:
    found = here.offer(b"one", loaded, course(loaded), data)
    assert isinstance(found, asyncio.Future)
    return await found
