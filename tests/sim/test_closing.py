"""An edge in a round that closes by arrivals: it closes when its cloud asks, keeps what it promised, and says so again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from middleware.errors import PeerFault
from middleware.protocol.machine import Phase
from middleware.trust.keys import sign_message
from middleware.wire.message import EdgeReport, Offer, Poll, ReceiptReply, Signed, decode_stored
from tests.attacks.edge_world import CONTEXT, DEVICE, World, world

__all__ = ["world"]


def offered(world: World, **changes: object) -> Signed[Offer]:
    first = world.edge.gathering.offered
    message = msgspec.structs.replace(first, sequence=first.sequence + 1, **changes)
    return sign_message(CONTEXT, world.fleet.keys[1].network, message)


@contextlib.asynccontextmanager
async def closing(world: World, offer: Signed[Offer]) -> AsyncIterator[asyncio.Task[None]]:
    """The edge takes an offer of a cloud that never answers its report."""
    taking = asyncio.ensure_future(world.edge._take(offer, fresh=True))
    while world.agent.store.outgoing(1, offer.message.round) is None:
        await asyncio.sleep(0)
    try:
        yield taking
    finally:
        taking.cancel()
        for task in list(world.edge.gathering._tasks):
            task.cancel()
        for forward in world.edge.forwards.values():
            forward.cancel()


async def test_an_edge_that_is_asked_to_close_reports_everybody_who_has_a_receipt(world: World) -> None:
    await world.send(*world.update(DEVICE))
    async with closing(world, offered(world, state="closing")) as taking:
        assert world.edge.gathering.state.phase is not Phase.OPEN
        stored = world.agent.store.outgoing(1, 1)
        assert stored is not None
        assert decode_stored(stored[0], EdgeReport).message.leaf.count == 1
        assert not taking.done(), "it asks for no further offer until its report is answered"
        with pytest.raises(PeerFault, match="wrong-round"):
            await world.send(*world.update(DEVICE + 1))


async def test_an_edge_that_was_away_when_the_round_opened_reports_what_it_has(world: World) -> None:
    async with closing(world, offered(world, round=2, state="closing")):
        stored = world.agent.store.outgoing(1, 2)
        assert stored is not None
        assert decode_stored(stored[0], EdgeReport).message.leaf.count == 0


async def test_a_receipt_that_was_not_heard_is_given_again_when_the_round_is_over(world: World) -> None:
    message, body = world.update(DEVICE)
    first = decode_stored(await world.send(message, body), ReceiptReply)
    await world.edge._take(offered(world, round=2), fresh=True)
    again = decode_stored(await world.send(message, body), ReceiptReply)
    assert (again.message, again.signature) == (first.message, first.signature)
    with pytest.raises(PeerFault, match="wrong-round"):
        await world.send(*world.update(DEVICE))


async def test_a_closing_offer_is_for_those_who_have_not_reported(world: World) -> None:
    gathering = world.edge.gathering
    gathering.show(offered(world, state="closing"), gathering.roster)
    asked = Poll(DEVICE, 999, 1, 1)
    assert gathering._newer(asked)
    gathering.received[DEVICE] = b"reported"
    assert not gathering._newer(asked)
    assert gathering._newer(Poll(DEVICE, 999, 1, 0))
