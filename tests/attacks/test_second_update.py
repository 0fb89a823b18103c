"""A device sends two updates in one round."""

from __future__ import annotations

from tests.attacks.edge_world import World


async def test_a_second_update_in_one_round_is_a_duplicate(world: World) -> None:
    await world.send(*world.update())
    await world.refused("duplicate", *world.update(value=6))
