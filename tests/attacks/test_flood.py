"""A sender sends too much, or too fast."""

from __future__ import annotations

import msgspec
import pytest

from middleware.errors import Unavailable
from middleware.protocol import update as updates
from middleware.trust.keys import sign_message
from middleware.wire.message import Poll
from tests.attacks.edge_world import CONTEXT, DEVICE, POLICY, World


async def test_a_body_longer_than_the_task_can_need_is_refused_unread(world: World) -> None:
    message, body = world.update(payload=bytes(updates.body_limit(POLICY) + 1))
    await world.refused("too-large", message, body)


async def test_who_sends_too_fast_is_slowed_and_the_others_are_not(world: World) -> None:
    limits = msgspec.structs.replace(world.agent.limits, requests_per_second=0.001, requests_burst=1)
    world.agent.limits = limits
    first = sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 7)).frame()
    assert (await world.link.poll(first)) is not None
    with pytest.raises(Unavailable, match="over-quota"):
        await world.link.poll(sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 8)).frame())
    assert (await world.link.poll(sign_message(CONTEXT, world.key(5), Poll(5, 1)).frame())) is not None
