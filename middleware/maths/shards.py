"""A sharded parameter server: server j holds slice j of the model and alone updates it (Li et al. 2014, section 3).

A slice's update reads nothing of another slice, so any number of shards gives the model that one server gives, to the bit.
What is missing is an error: a model put together around a hole would be a silent mixture of two rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bounds(length: int, shards: int) -> tuple[tuple[int, int], ...]:
    """(start, end) of each shard; sizes differ by at most one. ValueError for more shards than numbers, or none."""
    if not 0 < shards <= length:
        raise ValueError(f"{shards} shards of {length} numbers: choose 1 to {length}")
    cuts = [length * shard // shards for shard in range(shards + 1)]
    return tuple(zip(cuts[:-1], cuts[1:], strict=True))


def split(vector: Array, shards: int) -> list[Array]:
    """Views of a vector (d,), one a shard."""
    return [vector[start:end] for start, end in bounds(len(vector), shards)]


def join(slices: Mapping[int, Array], length: int, shards: int) -> Array:
    """The model (length,) from its slices by shard. ValueError names a shard that is missing or of another size."""
    places = bounds(length, shards)
    missing = sorted(set(range(shards)) - slices.keys())
    if missing:
        raise ValueError(f"shards {missing} of {shards} did not answer: the model has holes, keep the last one")
    for shard, (start, end) in enumerate(places):
        if slices[shard].shape != (end - start,):
            raise ValueError(f"shard {shard} has shape {slices[shard].shape}, not {(end - start,)}")
    return np.concatenate([slices[shard] for shard in range(shards)])
