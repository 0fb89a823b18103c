"""Spot checks of receipts: caught as often as is stated (catalogue of inference, section 6 and section 7, test 10)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from middleware.errors import ConfigurationError
from middleware.protocol.spotcheck import caught, sampled, share_needed

SESSIONS = 1500


@pytest.mark.parametrize(("share", "cheated", "count"), [(0.05, 0.1, 100), (0.02, 0.5, 60), (0.3, 0.02, 120)])
def test_a_forged_result_is_caught_at_the_stated_probability_within_three_sigma(
    share: float, cheated: float, count: int
) -> None:
    generator = np.random.default_rng(0)
    seen = 0
    for _ in range(SESSIONS):
        wrong = set(np.flatnonzero(generator.random(count) < cheated))
        seen += not wrong.isdisjoint(sampled(generator.bytes(32), generator.bytes(32), count, share))
    stated = caught(share, cheated, count)
    assert abs(seen / SESSIONS - stated) <= 3 * math.sqrt(stated * (1 - stated) / SESSIONS)


def test_what_is_drawn_depends_on_the_block_and_on_the_root_and_on_nothing_else() -> None:
    block, root = bytes(32), bytes([1]) * 32
    drawn = sampled(block, root, 500, 0.1)
    assert drawn == sampled(block, root, 500, 0.1)
    assert drawn == sampled(block, root, 600, 0.1)[: len(drawn)]
    assert drawn != sampled(root, root, 500, 0.1)
    assert drawn != sampled(block, block, 500, 0.1)


def test_a_share_of_all_draws_all_and_of_nothing_none() -> None:
    assert sampled(bytes(32), bytes(32), 50, 1.0) == tuple(range(50))
    assert sampled(bytes(32), bytes(32), 50, 0.0) == ()
    assert (caught(1.0, 1.0, 1), caught(1.0, 1.0, 0), caught(0.0, 1.0, 9)) == (1.0, 0.0, 0.0)


def test_the_share_that_is_needed_catches_as_wanted() -> None:
    for wanted, cheated, count in ((0.99, 0.05, 1000), (0.5, 0.001, 10_000), (0.999, 0.9, 50)):
        share = share_needed(wanted, cheated, count)
        assert caught(share, cheated, count) == pytest.approx(wanted)
    with pytest.raises(ConfigurationError, match="too few"):
        share_needed(0.99, 0.01, 10)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no share"):
        sampled(bytes(32), bytes(32), 5, 1.5)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        sampled(b"short", bytes(32), 5, 0.5)
