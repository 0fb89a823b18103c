"""A device declares more samples than the policy counts."""

from __future__ import annotations

from tests.attacks.edge_world import World


async def test_more_samples_than_the_policy_counts_are_refused(world: World) -> None:
    await world.refused("too-large", *world.update(samples=501))
