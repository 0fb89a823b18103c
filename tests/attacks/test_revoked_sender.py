"""A node that was suspended or thrown out goes on sending."""

from __future__ import annotations

import msgspec
import pytest

from ledger.calls import Revoke, Suspend
from middleware.errors import Unavailable
from middleware.trust.keys import sign_message
from nodes import edge
from tests.attacks.edge_world import CONTEXT, DEVICE, World


async def test_a_suspended_and_a_revoked_device_are_out(world: World) -> None:
    await world.change(Suspend(DEVICE))
    await world.refused("suspended", *world.update())
    await world.change(Revoke(DEVICE))
    await world.refused("revoked", *world.update())


async def test_an_offer_ahead_of_the_ledger_is_not_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud that makes its edge sign for a roster of the future could have it convicted of letting in a node that is thrown
    out only later."""
    monkeypatch.setattr(edge, "LEDGER_SECONDS", 0.0)
    shown = world.edge.gathering.offered
    ahead = msgspec.structs.replace(shown, round=2, sequence=2, roster_block=world.agent.index.head_block + 1)
    with pytest.raises(Unavailable, match="has not read yet"):
        await world.edge._take(sign_message(CONTEXT, world.fleet.keys[1].network, ahead), fresh=True)
    assert world.edge.gathering.offered == shown
