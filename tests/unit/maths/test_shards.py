"""A sharded parameter server (catalogue, training 1.1)."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths import shards


def momentumless(model: shards.Array, updates: shards.Array) -> shards.Array:
    return np.asarray(model - np.float32(0.1) * updates.mean(axis=0, dtype=np.float32))


def test_parameter_server_with_four_shards_equals_one_to_the_bit() -> None:
    generator = np.random.default_rng(1)
    one = four = generator.normal(size=1003).astype(np.float32)
    for _ in range(20):
        updates = generator.normal(size=(5, 1003)).astype(np.float32)
        one = shards.apply(one, updates, 1, momentumless, lambda shard: True)
        four = shards.apply(four, updates, 4, momentumless, lambda shard: True)
        assert one.tobytes() == four.tobytes()


def test_parameter_server_names_a_killed_shard() -> None:
    model, updates = np.zeros(10, np.float32), np.ones((2, 10), np.float32)
    with pytest.raises(ValueError, match=r"shards \[2\] of 4 did not answer"):
        shards.apply(model, updates, 4, momentumless, lambda shard: shard != 2)


def test_slices_cover_the_model_once_and_fit() -> None:
    assert shards.bounds(10, 4) == ((0, 2), (2, 5), (5, 7), (7, 10))
    assert [len(part) for part in shards.split(np.arange(10), 4)] == [2, 3, 2, 3]
    with pytest.raises(ValueError, match="choose 1 to 3"):
        shards.bounds(3, 4)
    with pytest.raises(ValueError, match="shard 1 has shape"):
        shards.join({0: np.zeros(5), 1: np.zeros(4)}, 10, 2)
