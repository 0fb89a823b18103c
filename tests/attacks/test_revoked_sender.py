"""A node that was suspended or thrown out goes on sending."""

from __future__ import annotations

from ledger.calls import Revoke, Suspend
from tests.attacks.edge_world import DEVICE, World


async def test_a_suspended_and_a_revoked_device_are_out(world: World) -> None:
    await world.change(Suspend(DEVICE))
    await world.refused("suspended", *world.update())
    await world.change(Revoke(DEVICE))
    await world.refused("revoked", *world.update())
