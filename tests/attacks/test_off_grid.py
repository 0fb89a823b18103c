"""An update's numbers lie outside the grid that the round fixes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from middleware.errors import PeerFault
from middleware.policy import CodecSpec
from middleware.protocol import update as updates
from tests.attacks.edge_world import EDGE, PARAMETERS, POLICY, World


@pytest.mark.parametrize(
    "payload",
    [
        np.full(PARAMETERS, 2048, "<i2").tobytes(),  # one past the 12-bit grid
        np.full(PARAMETERS - 1, 1, "<i2").tobytes(),
        b"",
    ],
)
async def test_values_off_the_grid_are_refused_before_a_place_is_promised(world: World, payload: bytes) -> None:
    await world.refused("off-grid", *world.update(payload=payload))


def test_a_codec_that_the_policy_does_not_offer_is_off_the_grid_for_whoever_opens_it(world: World) -> None:
    offered = CodecSpec("auto", choices=(CodecSpec("none"), CodecSpec("int8")), upload_seconds=1.0)
    policy = msgspec.structs.replace(POLICY, codec=offered)
    values = np.full(PARAMETERS, 5, "<i2").tobytes()
    for payload, fine in ((bytes([0]) + values, True), (bytes([2]) + values, False), (values, False), (b"", False)):
        message, body = world.update(payload=payload)
        key = updates.content_key(message.wrapped, world.key(EDGE))
        if fine:
            opened = updates.judge(message, body, key, policy)
            assert opened.codec == CodecSpec("none") and (opened.integers == 5).all()
            updates.audit(message, opened, policy)
            continue
        with pytest.raises(PeerFault, match="codec number|bytes") as caught:
            updates.judge(message, body, key, policy)
        assert caught.value.code == "off-grid"
