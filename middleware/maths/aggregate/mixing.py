"""Steps before a rule, which make honest updates more alike: nearest-neighbour mixing and bucketing.

    nnm+RULE        each update becomes the mean of its n - f nearest, itself included; of equally near ones the lower index
                    (NNM; Allouah et al. 2023, algorithm 1)
    bucketing+RULE  the updates are shuffled and averaged two by two (Karimireddy, He, Jaggi 2022, algorithm 1)

Means stay undivided: a mixed update is a sum of as many updates as any other mixed update is (a lone one in the last bucket
counts twice), and the rule's total is multiplied by that number. Under a rule that is a weighted sum of mixed updates the
result is one of the updates themselves, and those are the weights.

Bucketing's order is that of SHA-256(seed, sender), so it does not depend on how the updates arrive, and whoever wants to
choose his bucket would have to choose the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from middleware.maths.aggregate.blocks import blocks, columns_that_fit, gather, in_spans, largest_of
from middleware.maths.aggregate.coordinates import middle, middle_ranks
from middleware.maths.aggregate.distances import squared_distances
from middleware.maths.aggregate.given import Aggregate, Given, Integers, Memory, Rows, senders_of
from middleware.maths.aggregate.linear import divide, linear

BUCKET: Final = 2  # updates that bucketing averages into one

Inner = Callable[[Rows, Sequence[int], int, Given], Aggregate]
InnerWeights = Callable[[Rows, Sequence[int], int, Given], tuple[int, ...]]


def farthest(rows: Rows, f: int) -> list[list[int]]:
    """For each row the f others that are not among its n - f nearest. ValueError unless n >= 2f + 1."""
    count = len(rows)
    if count < 2 * f + 1:
        raise ValueError(f"nnm with f={f} needs at least {2 * f + 1} updates, not {count}")
    distances = squared_distances(rows)
    out = []
    for index in range(count):
        distances[index, index] = -1  # itself is the nearest, also among twins
        order = np.argsort(distances[index], kind="stable")
        out.append(sorted(int(other) for other in order[count - f :]))
    return out


def nearest_neighbour_mixing(rows: Rows, f: int, out: Integers | None = None) -> Integers:
    """The n mixed rows (n, d), undivided: each the sum of its n - f nearest. They are put into `out`, if that is given."""
    count, length = len(rows), len(rows[0])
    kind = _wide(rows, count)
    left_out = farthest(rows, f)
    mixed = np.empty((count, length), kind) if out is None else out
    if mixed.shape != (count, length) or mixed.dtype != kind:
        raise ValueError(f"mixed updates need an array of {kind} {(count, length)}, not {mixed.dtype} {mixed.shape}")
    read = _mixing(rows, left_out, kind)

    def work(first: int, end: int) -> None:
        for part in blocks(first, end, columns_that_fit(2 * count, kind.itemsize)):
            read(part, mixed[:, part])

    in_spans(work, count, length)
    return mixed


def _wide(rows: Rows, times: int) -> np.dtype[np.signedinteger[Any]]:
    return np.dtype(np.int32 if largest_of(rows) * times < 1 << 31 else np.int64)


Read = Callable[[slice, npt.NDArray[Any]], npt.NDArray[Any]]


def _mixing(rows: Rows, left_out: Sequence[Sequence[int]], kind: np.dtype[Any]) -> Read:
    """What reads a block of mixed rows: the sum of all rows, less those that each leaves out.

    What most rows leave out, which is what the liars sent, is subtracted once; the others differ from that by little.
    """
    count = len(rows)
    usual = {j for j in range(count) if 2 * sum(j in others for others in left_out) > count}
    less = [sorted(set(others) - usual) for others in left_out]
    more = [sorted(usual - set(others)) for others in left_out]

    def read(part: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        block = gather(rows, part, np.empty((count, part.stop - part.start), kind))
        whole = block.sum(axis=0, dtype=kind)
        for j in sorted(usual):
            whole -= block[j]
        mixed = out[:, : part.stop - part.start]
        for line, subtracted, added in zip(mixed, less, more, strict=True):
            line[...] = whole
            for j in subtracted:
                line -= block[j]
            for j in added:
                line += block[j]
        return mixed

    return read


def mixed_then(
    name: str, inner: Inner, inner_weights: InnerWeights | None, rows: Rows, f: int, given: Given
) -> Aggregate:  # fmt: skip
    """nnm+RULE, the rule being given by its name, its function, and its function for weights if it has one."""
    count, times = len(rows), len(rows) - f
    if name in ("median", "trimmed-mean"):  # block by block: the mixed rows are nowhere as a whole
        first, end = middle_ranks(name, count, f)
        kind = _wide(rows, count)
        sums = middle(count, len(rows[0]), kind, _mixing(rows, farthest(rows, f), kind), first, end)
        return Aggregate((1,) * count, sums, (end - first) * times)
    left_out = farthest(rows, f)
    if name == "mean":
        chosen: tuple[int, ...] = (1,) * count
    elif inner_weights is not None:
        chosen = inner_weights(nearest_neighbour_mixing(rows, f), (1,) * count, f, given)
    else:
        return _scaled(inner, nearest_neighbour_mixing(rows, f), f, given, times)
    whole = sum(chosen)
    without = [sum(weight for weight, out in zip(chosen, left_out, strict=True) if j in out) for j in range(count)]
    return linear(rows, [whole - less for less in without])


def buckets(given: Given, count: int) -> list[list[int]]:
    """The indices of the updates in each bucket."""
    senders = senders_of(given, count)
    drawn = [hashlib.sha256(given.seed + sender.to_bytes(8, "big")).digest() for sender in senders]
    order = sorted(range(count), key=lambda index: drawn[index])
    return [order[start : start + BUCKET] for start in range(0, count, BUCKET)]


def bucketing(rows: Rows, given: Given) -> Integers:
    """The buckets' sums (ceil(n / 2), d), undivided: each the sum of two rows, or twice the last one."""
    groups, kind = buckets(given, len(rows)), _wide(rows, BUCKET)
    sums = np.empty((len(groups), len(rows[0])), kind)
    for line, group in zip(sums, groups, strict=True):
        np.add(rows[group[0]], rows[group[-1]], out=line, dtype=kind)
    return sums


def bucketed_then(
    name: str, inner: Inner, inner_weights: InnerWeights | None, rows: Rows, f: int, given: Given
) -> Aggregate:  # fmt: skip
    """bucketing+RULE, as `mixed_then`. An update's weight is that of its bucket, twice for one that is alone in it."""
    groups, sums = buckets(given, len(rows)), bucketing(rows, given)
    ones = (1,) * len(groups)
    if inner_weights is not None:
        chosen = ones if name == "mean" else inner_weights(sums, ones, f, given)
        return linear(rows, _shared(groups, chosen, len(rows)))
    found = _scaled(inner, sums, f, given, BUCKET)
    return found._replace(weights=_shared(groups, found.weights, len(rows)))


def _shared(groups: Sequence[Sequence[int]], weights: Sequence[int], count: int) -> tuple[int, ...]:
    out = [0] * count
    for group, weight in zip(groups, weights, strict=True):
        for index in group:
            out[index] = weight * BUCKET // len(group)
    return tuple(out)


def _scaled(inner: Inner, mixed: Integers, f: int, given: Given, times: int) -> Aggregate:
    """The inner rule over rows that are `times` as long as they should be; what it remembers is of the true length."""
    centre = given.memory.centre
    if centre is not None:
        given = given._replace(memory=given.memory._replace(centre=centre.astype(np.int64) * times))
    found = inner(mixed, (1,) * len(mixed), f, given)
    total, memory = found.total * times, found.memory
    if memory.centre is not None:
        memory = Memory(divide(found.sums, total), memory.standing)
    return Aggregate(found.weights, found.sums, total, memory)
