"""An old message is sent again, or one of another round or task."""

from __future__ import annotations

import pytest

from middleware.errors import PeerFault
from middleware.trust.keys import sign_message
from middleware.wire.message import Poll
from tests.attacks.edge_world import CONTEXT, DEVICE, World


async def test_the_same_update_again_gets_the_same_receipt_and_one_place(world: World) -> None:
    message, body = world.update()
    assert await world.send(message, body) == await world.send(message, body)
    assert len(world.agent.store.contributions(1, 1)) == 1


async def test_an_old_sequence_number_is_a_replay(world: World) -> None:
    world.edge.gathering.sequences[DEVICE] = 10_000
    await world.refused("replayed", *world.update())


async def test_another_round_and_another_task_are_refused(world: World) -> None:
    await world.refused("wrong-round", *world.update(round=2))
    await world.refused("wrong-task", *world.update(task=2))


async def test_a_replayed_poll_is_refused(world: World) -> None:
    poll = sign_message(CONTEXT, world.key(DEVICE), Poll(DEVICE, 7)).frame()
    assert (await world.link.poll(poll)) is not None
    with pytest.raises(PeerFault, match="replayed"):
        await world.link.poll(poll)
