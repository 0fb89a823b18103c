from __future__ import annotations

import numpy as np
import pytest

from middleware.maths.aggregate import (
    RULES,
    Given,
    Memory,
    aggregate,
    bucketing,
    divide,
    nearest_neighbour_mixing,
    squared_distances,
)
from middleware.maths.aggregate.mixing import buckets


def drawn(seed: int, rows: int, length: int, largest: int = 32767) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (rows, length)).astype(np.int16)


def mixed_slowly(rows: np.ndarray, f: int) -> np.ndarray:
    distances, out = squared_distances(rows), []
    for index, line in enumerate(distances.tolist()):
        nearest = sorted(range(len(rows)), key=lambda j, own=index, line=line: (j != own, line[j], j))[: len(rows) - f]
        out.append(rows[nearest].astype(np.int64).sum(axis=0))
    return np.array(out)


@pytest.mark.parametrize("f", [0, 1, 4])
@pytest.mark.parametrize("largest", [1, 32767])
def test_nnm_is_the_sum_of_the_nearest(f: int, largest: int) -> None:
    for seed in range(10):
        rows = drawn(seed, 9, 40, largest)
        assert np.array_equal(nearest_neighbour_mixing(rows, f), mixed_slowly(rows, f))


def test_nnm_leaves_the_liars_to_each_other() -> None:
    """Where most rows leave the same ones out, that is subtracted once: the sums are the same."""
    rows = drawn(3, 15, 60, 500)
    rows[:4] += 20_000
    assert np.array_equal(nearest_neighbour_mixing(rows, 4), mixed_slowly(rows, 4))
    out = np.empty((15, 60), np.int32)
    assert nearest_neighbour_mixing(rows, 4, out) is out
    with pytest.raises(ValueError, match="need an array of int32"):
        nearest_neighbour_mixing(rows, 4, np.empty((15, 60), np.int16))


def test_nnm_on_the_widest_grid_does_not_overflow() -> None:
    rows = np.full((600, 3), 2**23 - 1, np.int32)
    assert (nearest_neighbour_mixing(rows, 1) == 599 * (2**23 - 1)).all()


@pytest.mark.parametrize("mixer", ["nnm", "bucketing"])
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("afa", "contra")])
def test_a_mixed_rule_is_the_rule_over_mixed_updates(mixer: str, rule: str) -> None:
    rows, f = drawn(5, 23, 80), 2
    given = Given(tuple(range(40, 63)), b"seed", Memory(centre=drawn(6, 1, 80, 300)[0]))
    if mixer == "nnm":
        mixed, times = nearest_neighbour_mixing(rows, f), 21
    else:
        mixed, times = bucketing(rows, given), 2
    scaled = Given(memory=Memory(centre=given.memory.centre.astype(np.int64) * times))  # type: ignore[union-attr]
    result = aggregate(f"{mixer}+{rule}", rows, [7] * 23, f, given)
    inner = aggregate(rule, mixed, [1] * len(mixed), f, scaled)
    assert np.array_equal(divide(result.sums, result.total), divide(inner.sums, inner.total * times))
    if rule == "centred-clipping":
        assert np.array_equal(result.memory.centre, divide(result.sums, result.total))


def test_nnm_brings_what_differs_nearer_together() -> None:
    """Honest updates of different data: the mixed ones spread less, about a mean that is where it was."""
    generator = np.random.default_rng(7)
    rows = np.rint(generator.normal(0, 1000, (20, 1)) * generator.normal(0, 1, (1, 300))).astype(np.int16)
    mixed = nearest_neighbour_mixing(rows, 4) / 16
    assert mixed.var(axis=0).sum() < rows.var(axis=0).sum()


# ---------------------------------------------------------------------------------------------------------- bucketing


def test_bucketing_depends_on_seed_and_senders_and_not_on_the_order() -> None:
    senders = tuple(range(70, 81))
    given = Given(senders, b"one")
    by_sender = {frozenset(senders[i] for i in group) for group in buckets(given, 11)}
    order = np.random.default_rng(1).permutation(11)
    moved = Given(tuple(senders[i] for i in order), b"one")
    assert {frozenset(moved.senders[i] for i in group) for group in buckets(moved, 11)} == by_sender
    other = Given(senders, b"two")
    assert {frozenset(senders[i] for i in group) for group in buckets(other, 11)} != by_sender
    assert sorted(i for group in buckets(given, 11) for i in group) == list(range(11))


def test_bucketing_halves_the_variance_of_what_it_averages() -> None:
    rows = np.rint(np.random.default_rng(2).normal(0, 1000, (400, 50))).astype(np.int16)
    ratio = (bucketing(rows, Given(seed=b"x")) / 2).var(axis=0).mean() / rows.var(axis=0).mean()
    assert 0.45 < ratio < 0.55


def test_bucketing_spreads_a_liar_to_one_bucket_only() -> None:
    honest, f = drawn(8, 20, 30, 100), 2
    rows = np.concatenate([honest, np.full((f, 30), 32767, np.int16)])
    moved = divide(*aggregate("bucketing+median", rows, [1] * 22, f, Given(seed=b"y"))[1:3])
    assert np.abs(moved).max() <= 100


def test_senders_that_are_not_one_an_update_are_refused() -> None:
    for senders in ((1, 2), (1, 1, 2)):
        with pytest.raises(ValueError, match="3 updates need 3 different senders"):
            aggregate("bucketing+mean", drawn(1, 3, 4), [1] * 3, 0, Given(senders))


@pytest.mark.parametrize("name", ["nnm+afa", "bucketing+contra", "nnm+", "+mean", "mixing+mean", "nnm+nnm+mean"])
def test_what_cannot_be_mixed_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="no rule named"):
        aggregate(name, drawn(1, 9, 4), [1] * 9, 1)
