"""A sharded parameter server (catalogue, training 1.1): where vectors are cut, and that nothing is put together around a hole."""

import numpy as np
import pytest

from middleware.maths import shards


def test_parameter_server_shards_differ_by_one_number_at_most() -> None:
    assert shards.bounds(10, 4) == ((0, 2), (2, 5), (5, 7), (7, 10))
    assert [len(part) for part in shards.split(np.arange(10), 4)] == [2, 3, 2, 3]
    with pytest.raises(ValueError, match="4 shards of 3 numbers"):
        shards.bounds(3, 4)


def test_parameter_server_names_a_missing_shard_and_one_of_another_size() -> None:
    whole = np.arange(10)
    parts = dict(enumerate(shards.split(whole, 4)))
    assert np.array_equal(shards.join(parts, 10, 4), whole)
    del parts[2]
    with pytest.raises(ValueError, match=r"shards \[2\] of 4 did not answer"):
        shards.join(parts, 10, 4)
    with pytest.raises(ValueError, match="shard 1 has shape"):
        shards.join({0: np.zeros(5), 1: np.zeros(4)}, 10, 2)
