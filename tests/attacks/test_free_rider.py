"""A device rides free where scores are paid: it copies another's update, or sends back what the last round did.

Real training on the digits, twenty rounds, real settlement; `make bench Q=scores` measures more kinds and seeds.
"""

from __future__ import annotations

import pytest
import torch

from devnet.bench import scores

torch.set_num_threads(1)


@pytest.mark.parametrize("ride", ["the last delta", "the last delta and as much noise"])
def test_a_free_rider_earns_at_most_a_twentieth_and_a_copy_nothing_in_twenty_rounds(ride: str) -> None:
    found = scores.ridden(ride, seed=0)
    assert found["rider"] <= scores.BAR
    assert found["copier"] == 0
    assert found["raw rider"] > scores.BAR  # without what takes known moves out, it would have been paid
    assert 0.8 < found["paid of pool"] <= 1  # and the honest got most of the pool
