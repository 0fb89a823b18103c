"""What a session knows of its world grows stale, and is looked at again on purpose: over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from middleware.wire.model import root_of
from nodes.inference import PROBE_REQUESTS, SAMPLE_REQUESTS, DeviceSession
from tests.unit.nodes.serving_world import built, world
from tests.unit.nodes.test_serving import pictures


def frozen(session: DeviceSession, ms: float) -> None:
    """The device seems to take so long for everything, whatever it does."""
    session.loaded.measured = dict.fromkeys(session.loaded.measured, ms)
    session.loaded.slowness = 1.0
    session.loaded.noted = lambda *_: None  # type: ignore[method-assign]


async def test_an_edge_that_was_slow_is_used_again_soon_after_it_recovered(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest)) as session:
        frozen(session, 1e3)
        session.estimates.edge_scale = 1e9
        session._plan("the edge was slow")
        tiers = [(await session(picture)).tier for picture in pictures(SAMPLE_REQUESTS + 3)]
        assert tiers[: SAMPLE_REQUESTS - 1] == ["device"] * (SAMPLE_REQUESTS - 1)
        assert tiers[SAMPLE_REQUESTS - 1 :] == ["edge"] * 4


async def test_an_edge_that_could_not_win_even_if_it_were_faster_is_not_asked(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest)) as session:
        frozen(session, 0.0)
        session._plan("the device takes no time")
        for picture in pictures(2 * SAMPLE_REQUESTS):
            assert (await session(picture)).tier == "device"


async def test_a_tier_above_the_edge_that_recovered_is_used_again(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files, cloud=True) as here, await here.session(root_of(manifest)) as session:
        frozen(session, 1e6)
        session.estimates.edge_times = dict.fromkeys(session.estimates.edge_times, 1e5)
        session.estimates.answered = lambda *_: session.estimates.unseen.update(edge=0)  # type: ignore[method-assign]
        session.estimates.beyond_scale = 1e9
        session._plan("the cloud was slow")
        tiers = [(await session(picture)).tier for picture in pictures(SAMPLE_REQUESTS + 2)]
        assert tiers[: SAMPLE_REQUESTS - 1] == ["edge"] * (SAMPLE_REQUESTS - 1)
        assert tiers[SAMPLE_REQUESTS - 1 :] == ["cloud"] * 3


async def test_the_link_is_measured_beside_the_requests_of_a_device_that_sends_nothing(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest)) as session:
        frozen(session, 0.0)
        session.estimates.rate = 1.0
        session._plan("the link was slow")
        for picture in pictures(PROBE_REQUESTS):
            await session(picture)
        await asyncio.gather(*session.beside)
        assert session.estimates.rate > 1e3 and session.tally.bytes_up == 0


async def test_the_device_is_timed_beside_requests_that_it_only_sends(tmp_path: Path) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest), forced="raw") as session:
        session.loaded.slowness = 1e6
        session.force("")
        for picture in pictures(PROBE_REQUESTS):
            assert (await session(picture)).tier == "edge"
        await asyncio.gather(*session.beside)
        assert session.loaded.slowness < 1e3


@pytest.mark.parametrize(("gap", "share"), [(1, 0.3), (2, 0.51), (50, 1.0)])
async def test_a_measurement_counts_the_more_the_longer_nothing_was_measured(
    tmp_path: Path, gap: int, share: float
) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest)) as session:
        estimates = session.estimates
        estimates.probed(1.0, 0.0, 0.0)
        estimates.rate = 1000.0
        for _ in range(gap):
            estimates.requested()
        estimates.probed(1.0, 2000.0, 0.0)
        assert estimates.rate == pytest.approx(1000 + 1000 * share)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 5), (0, 2)])
async def test_one_slow_stretch_says_that_every_stretch_is_slower(tmp_path: Path, first: int, last: int) -> None:
    manifest, files, _ = built()
    async with world(tmp_path, files) as here, await here.session(root_of(manifest)) as session:
        loaded = session.loaded
        before = loaded.times()
        loaded.noted(first, last, 5 * loaded.alone().of(first, last), 1.0)
        assert loaded.slowness == pytest.approx(5)
        assert loaded.times().of(0, 3) == pytest.approx(5 * loaded.alone().of(0, 3)) and before.segments == 5
