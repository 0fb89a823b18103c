from __future__ import annotations

from math import isqrt

import numpy as np
import pytest

from middleware.maths.aggregate import Given, Memory, aggregate, divide, squared_distances
from middleware.maths.aggregate.centres import UNIT, factor, weiszfeld
from middleware.maths.aggregate.linear import squared_lengths


def drawn(seed: int, rows: int, length: int, largest: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (rows, length)).astype(np.int16)


def norm(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


@pytest.mark.parametrize("largest", [3, 32767, 2**23 - 1])
def test_squared_lengths_are_exact(largest: int) -> None:
    generator = np.random.default_rng(2)
    rows = generator.integers(-largest, largest + 1, (4, 3000)).astype(np.int32)
    centre = generator.integers(-largest, largest + 1, 3000)
    assert squared_lengths(rows) == [sum(value * value for value in row) for row in rows.tolist()]
    assert squared_lengths(rows, centre) == [
        sum((one - other) ** 2 for one, other in zip(row, centre.tolist(), strict=True)) for row in rows.tolist()
    ]


# --------------------------------------------------------------------------------------------------- geometric median


def slowly(points: np.ndarray, steps: int = 2000) -> np.ndarray:
    """The geometric median in the space of the points themselves, by as many steps as it takes."""
    centre = points.mean(axis=0)
    for _ in range(steps):
        nearness = 1 / np.maximum(1.0, np.linalg.norm(points - centre, axis=1))
        centre = nearness @ points / nearness.sum()
    return centre


@pytest.mark.parametrize("seed", range(8))
def test_geometric_median_on_the_gram_matrix_is_the_point_of_least_distances(seed: int) -> None:
    rows = drawn(seed, 11, 300)
    rows[:3] = rows[:3] * 5 + 2000
    expected = slowly(rows.astype(np.float64))
    by_weights = np.array(weiszfeld(squared_distances(rows))) @ rows
    assert norm(by_weights - expected) < 1e-6 * norm(expected)
    moved = divide(*aggregate("geometric-median", rows, [1] * 11, 3)[1:3])
    assert norm(moved - expected) < 0.01 * norm(rows.mean(axis=0) - expected)


def test_geometric_median_fixed_points_hold() -> None:
    """It is where more than half of the points are, and in the middle of what is symmetrical about it."""
    rows = np.concatenate([np.full((4, 50), 700), drawn(3, 3, 50, 32767)]).astype(np.int16)
    assert np.abs(divide(*aggregate("geometric-median", rows, [1] * 7, 3)[1:3]) - 700).max() <= 10
    half = drawn(4, 5, 50)
    around = np.concatenate([half, -half])
    assert (divide(*aggregate("geometric-median", around, [1] * 10, 4)[1:3]) == 0).all()


def test_geometric_median_weights_are_integers_of_a_known_sum() -> None:
    for count in (3, 50, 300):
        result = aggregate("geometric-median", drawn(5, count, 20), [9] * count, 1)
        assert max(UNIT, 64 * count) - count <= result.total <= max(UNIT, 64 * count)
        assert result.total == sum(result.weights)


def test_geometric_median_of_updates_that_are_all_the_same_is_that_update() -> None:
    rows = np.tile(drawn(6, 1, 30), (5, 1))
    assert np.array_equal(divide(*aggregate("geometric-median", rows, [1] * 5, 2)[1:3]), rows[0])


# --------------------------------------------------------------------------------------------------- centred clipping


def test_centred_clipping_equals_the_formula() -> None:
    rows, centre = drawn(7, 9, 400), drawn(8, 1, 400, 300)[0]
    result = aggregate("centred-clipping", rows, [1] * 9, 4, Given(memory=Memory(centre=centre)))
    away = rows.astype(np.float64) - centre
    lengths = np.linalg.norm(away, axis=1)
    radius = np.sort(lengths)[4]
    expected = centre + (np.minimum(1, radius / lengths)[:, None] * away).mean(axis=0)
    assert np.abs(result.sums / result.total - expected).max() < 0.5
    assert np.array_equal(result.memory.centre, divide(result.sums, result.total))


def test_centred_clipping_fixed_point_is_what_all_send() -> None:
    rows = np.tile(drawn(9, 1, 30), (5, 1))
    memory = Memory()
    for _ in range(3):
        result = aggregate("centred-clipping", rows, [1] * 5, 2, Given(memory=memory))
        memory = result.memory
        assert np.array_equal(memory.centre, rows[0])


def test_centred_clipping_holds_against_liars_that_move_the_mean_at_will() -> None:
    generator = np.random.default_rng(10)
    memory, honest_mean = Memory(), np.full(500, 200.0)
    for _ in range(10):
        honest = np.rint(honest_mean + generator.normal(0, 100, (8, 500))).astype(np.int16)
        rows = np.concatenate([honest, np.full((3, 500), -32767, np.int16)])
        result = aggregate("centred-clipping", rows, [1] * 11, 3, Given(memory=memory))
        memory = result.memory
    assert memory.centre is not None
    assert norm(memory.centre - honest_mean) < norm(honest_mean)
    assert norm(rows.mean(axis=0) - honest_mean) > 10 * norm(honest_mean)


def test_centred_clipping_refuses_the_centre_of_another_model() -> None:
    with pytest.raises(ValueError, match="is not one of updates of 5"):
        aggregate("centred-clipping", drawn(1, 3, 5), [1] * 3, 1, Given(memory=Memory(centre=np.zeros(4, np.int16))))


# ------------------------------------------------------------------------------------------------------ norm clipping


def test_norm_clipping_bounds_every_update_and_keeps_its_direction() -> None:
    rows = drawn(11, 7, 200)
    rows[2] = np.clip(rows[2].astype(np.int32) * 20, -32767, 32767)
    result = aggregate("norm-clipping", rows, [1] * 7, 0)
    bound = sorted(norm(row) for row in rows)[3]
    for row, weight in zip(rows, result.weights, strict=True):
        assert norm(row) * weight / UNIT <= bound * (1 + 1e-12)
        assert weight == UNIT or weight + 1 > UNIT * bound / norm(row) * (1 - 1e-12)
    assert norm(result.sums / result.total) <= bound
    assert result.total == 7 * UNIT


def test_norm_clipping_a_scaled_replacement_loses_its_factor_exactly() -> None:
    """An update gamma times as long as the bound allows counts as much as one that is just as long."""
    bound = drawn(12, 1, 100, 300)[0].astype(np.int64)
    length = int(bound @ bound)
    for gamma in (2, 8, 64):
        assert factor(length, gamma * gamma * length) * gamma == UNIT
    for gamma in (3, 10, 23):
        assert UNIT - gamma < factor(length, gamma * gamma * length) * gamma <= UNIT
    assert factor(length, length) == factor(length, 1) == UNIT
    assert factor(0, 5) == 0
    assert factor(10, 11) == isqrt(UNIT * UNIT * 10 // 11)


@pytest.mark.parametrize("rule", ["geometric-median", "centred-clipping", "norm-clipping"])
def test_updates_of_nothing_but_zeros_move_nothing(rule: str) -> None:
    result = aggregate(rule, np.zeros((3, 6), np.int16), [1] * 3, 1)
    assert (divide(result.sums, result.total) == 0).all()
