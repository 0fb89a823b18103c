"""A device splits itself in several where scores are paid: its parts earn what it would have earned."""

from __future__ import annotations

import torch

from devnet.bench import scores

torch.set_num_threads(1)


def test_a_device_split_in_two_scores_exactly_the_same_in_sum() -> None:
    """Two worlds with real training, alike but for the split: every round's raw and counted scores, to the last unit."""
    assert scores.split_differences(seed=0, rounds=6) == (0, 6)
