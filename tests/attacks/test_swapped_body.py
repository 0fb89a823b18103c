"""The body is not the one that was committed."""

from __future__ import annotations

import hashlib

import msgspec

from tests.attacks.edge_world import World


async def test_another_body_than_the_committed_one_is_a_mismatch(world: World) -> None:
    message, body = world.update()
    await world.refused("mismatch", message, bytes(len(body)))


async def test_a_body_sealed_for_another_round_does_not_open(world: World) -> None:
    message, _ = world.update()
    _, body = world.update(round=2)
    leaf = msgspec.structs.replace(message.leaf, ciphertext=hashlib.sha256(body).digest())
    await world.refused("mismatch", msgspec.structs.replace(message, leaf=leaf, body_digest=leaf.ciphertext), body)
