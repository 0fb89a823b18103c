"""An update's numbers lie outside the grid that the round fixes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.attacks.edge_world import PARAMETERS, World


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
