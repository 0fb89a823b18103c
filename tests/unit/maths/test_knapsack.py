"""The most value within several limits: equal to trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from middleware.maths.knapsack import Option, choose, knapsack

INSTANCES = 300


def exhaustive(groups: list[list[Option]], limits: list[float]) -> float | None:
    best = None
    for picked in itertools.product(*groups):
        sizes = [sum(one.sizes[place] for one in picked) for place in range(len(limits))]
        if all(size <= limit for size, limit in zip(sizes, limits, strict=True)):
            value = sum(one.value for one in picked)
            best = value if best is None else max(best, value)
    return best


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_one_option_of_each_group_is_worth_what_the_best_of_all_choices_is(dimensions: int) -> None:
    generator = np.random.default_rng(dimensions)
    for _ in range(INSTANCES):
        limits = [float(generator.integers(5, 40)) for _ in range(dimensions)]
        groups = [
            [
                Option(int(generator.integers(0, 30)), tuple(map(float, generator.integers(0, 15, dimensions))))
                for _ in range(int(generator.integers(1, 5)))
            ]
            for _ in range(int(generator.integers(1, 6)))
        ]
        found = choose(groups, limits)
        assert (found.value if found else None) == exhaustive(groups, limits)
        if found:
            picked = [group[pick] for group, pick in zip(groups, found.picks, strict=True)]
            assert sum(one.value for one in picked) == found.value
            for place, limit in enumerate(limits):
                assert sum(one.sizes[place] for one in picked) <= limit


def test_a_knapsack_takes_what_the_best_subset_takes() -> None:
    generator = np.random.default_rng(7)
    for _ in range(INSTANCES):
        count = int(generator.integers(1, 11))
        values, sizes = generator.random(count), generator.random((count, 2))
        taken = knapsack(values, sizes, [1.5, 1.0])
        subsets = itertools.product((False, True), repeat=count)
        fitting = [np.array(one) for one in subsets if (sizes[np.array(one)].sum(axis=0) <= [1.5, 1.0]).all()]
        assert values[list(taken)].sum() == pytest.approx(max(values[one].sum() for one in fitting))


def test_a_size_below_zero_or_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="none below 0"):
        choose([[Option(1, (-1.0,))]], [1])
    with pytest.raises(ValueError, match="1 sizes"):
        choose([[Option(1, (1.0, 2.0))]], [1])
    assert choose([[Option(1, (2.0,))]], [1]) is None
