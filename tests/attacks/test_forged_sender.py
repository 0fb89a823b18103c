"""Somebody speaks as a member that it is not."""

from __future__ import annotations

from middleware.trust import roots
from middleware.wire.message import ReceiptReply, decode_stored
from tests.attacks.edge_world import CONTEXT, DEVICE, FOREIGN, OTHER_EDGE, World


async def test_an_honest_update_gets_a_receipt_for_its_leaf_and_place(world: World) -> None:
    message, body = world.update()
    reply = decode_stored(await world.send(message, body), ReceiptReply).message
    assert reply.receipt.leaf == roots.leaf_hash(CONTEXT, message.leaf) and reply.receipt.index == 0
    assert [item.node for item in world.agent.store.contributions(1, 1)] == [DEVICE]


async def test_a_stranger_is_unknown(world: World) -> None:
    message, body = world.update(node=99)
    await world.refused("unknown", message, body, by=DEVICE)


async def test_another_members_name_is_forged(world: World) -> None:
    message, body = world.update()
    await world.refused("forged", message, body, by=5)


async def test_an_edge_cannot_pose_as_a_device(world: World) -> None:
    await world.refused("wrong-tier", *world.update(node=OTHER_EDGE))


async def test_another_edges_device_and_another_edges_leaf_are_refused(world: World) -> None:
    await world.refused("wrong-parent", *world.update(node=FOREIGN))
    await world.refused("wrong-parent", *world.update(edge=OTHER_EDGE))
