"""A sharded parameter server: server j holds slice j of the model and of its moments, and it alone moves them.

A round's sums are cut at the same places as the model. Each server divides its slice of them by the round's weight and moves its
slice of the model (Li et al. 2014, "Scaling distributed machine learning with the parameter server", section 3). Nothing of it
reads another slice, so any number of servers make the model that one makes, to the bit, and an auditor needs to know nothing of
them. A server that does not answer leaves a hole, which is an error: a model around it would silently be a mixture of two rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from middleware.maths import aggregate, shards
from middleware.policy import Policy
from middleware.protocol import memory
from middleware.protocol.update import Floats, Integers


class Moved(NamedTuple):
    """What one server, or all together, made of a round: the aggregate on the grid, the model, the server step's vectors."""

    applied: Integers
    model: Floats
    vectors: tuple[Floats, ...]


class Slice(NamedTuple):
    """What one server needs for a round; `vectors` are empty before the first."""

    model: Floats
    vectors: tuple[Floats, ...]
    sums: Integers


Servers = Callable[[Policy, Floats, tuple[Floats, ...], Integers, int], Moved]
"""(policy, model (d,), vectors, sums (d,) int64, weight of the sums) -> what the servers made of it."""


def cut(count: int, model: Floats, vectors: tuple[Floats, ...], sums: Integers) -> list[Slice]:
    """The slices of `count` servers: views, no copies."""
    cuts = [shards.split(one, count) for one in (model, sums, *vectors)]
    return [Slice(part, tuple(moments), summed) for part, summed, *moments in zip(*cuts, strict=True)]


def step(policy: Policy, held: Slice, weight: int) -> Moved:
    """One server's round."""
    applied = aggregate.divide(held.sums, weight)
    model, vectors = memory.move(policy, held.model, applied, held.vectors)
    return Moved(applied, model, vectors)


def join(answers: Mapping[int, Moved], length: int, count: int) -> Moved:
    """The whole from `count` servers' answers. ValueError names the servers that did not answer, or not with their slice."""
    applied = shards.join({j: one.applied for j, one in answers.items()}, length, count)
    model = shards.join({j: one.model for j, one in answers.items()}, length, count)
    carried = {len(one.vectors) for one in answers.values()}
    if len(carried) != 1:
        raise ValueError(f"servers answered with {sorted(carried)} vectors: all carry as many")
    vectors = tuple(
        shards.join({j: one.vectors[place] for j, one in answers.items()}, length, count)
        for place in range(carried.pop())
    )
    return Moved(applied, model, vectors)


def in_turn(policy: Policy, model: Floats, vectors: tuple[Floats, ...], sums: Integers, weight: int) -> Moved:
    """All servers in this process, one after the other: what simulations and auditors run."""
    count = policy.shards or 1
    parts = cut(count, model, vectors, sums)
    return join({j: step(policy, part, weight) for j, part in enumerate(parts)}, policy.parameters, count)
