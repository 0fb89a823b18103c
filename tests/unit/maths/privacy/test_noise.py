"""Exact noise: against the formula, against a second sampler, and the same on any machine."""

from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from middleware.maths.privacy import noise


def words(seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    return lambda count: generator.integers(0, 1 << 64, count, dtype=np.uint64)


def expected(variance, edge):
    support = np.arange(-edge, edge + 1)
    mass = np.exp(-(support**2) / (2 * variance))
    return support, mass / mass.sum()


@pytest.mark.parametrize("variance", [1, 2, 30, 1000])
def test_central_dp_the_noise_has_the_frequencies_of_the_exact_discrete_gaussian(variance):
    drawn = noise.discrete_gaussian(variance, 200_000, words(7))
    support, mass = expected(variance, int(12 * variance**0.5) + 2)
    counts = np.bincount(drawn + support[-1], minlength=support.size)
    usual = mass * drawn.size >= 5
    seen = np.append(counts[usual], counts[~usual].sum())
    chances = np.append(mass[usual], mass[~usual].sum()) * drawn.size
    keep = chances > 1e-9
    assert stats.chisquare(seen[keep], chances[keep] * seen[keep].sum() / chances[keep].sum()).pvalue > 1e-3


def test_central_dp_the_noise_has_the_claimed_deviation_within_one_percent_over_a_million_draws():
    drawn = noise.discrete_gaussian(4096**2, 1_000_000, words(1))
    assert abs(drawn.std() / 4096 - 1) < 0.01
    assert abs(drawn.mean()) < 5 * 4096 / 1000


def test_the_laplace_has_its_frequencies():
    drawn = noise.discrete_laplace(3, 200_000, words(3))
    support = np.arange(-20, 21)
    mass = np.exp(-np.abs(support) / 3) * (1 - np.exp(-1 / 3)) / (1 + np.exp(-1 / 3))
    counts = np.array([(drawn == value).sum() for value in support])
    inside = mass / mass.sum() * counts.sum()
    assert stats.chisquare(counts, inside).pvalue > 1e-3


def test_an_exponential_chance_is_what_it_says():
    for numerator, denominator in ((0, 1), (1, 3), (1, 1), (5, 2)):
        share = noise.happens(numerator, denominator, 200_000, words(5)).mean()
        chance = np.exp(-numerator / denominator)
        assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 200_000) + 1e-12


def test_near_decisions_are_made_in_decimal_digits():
    """A number whose first 53 bits are those of exp(-1) is decided by the bits behind them."""
    first = int(Decimal(-1).exp() * 2**53) << 11

    def script(*numbers):
        left = list(numbers)
        return lambda count: np.array([left.pop(0) for _ in range(count)], dtype=np.uint64)

    assert noise.happens(1, 1, 1, script(first, 0, 0))[0]
    assert not noise.happens(1, 1, 1, script(first + (1 << 11), (1 << 64) - 1, 0))[0]


def test_the_same_words_give_the_same_noise():
    once, again = (noise.discrete_gaussian(10**6, 1000, words(9)) for _ in range(2))
    assert (once == again).all()
    assert (once != noise.discrete_gaussian(10**6, 1000, words(10))).any()


@pytest.mark.parametrize("variance", [0, -1, (1 << 48) + 1])
def test_a_variance_that_cannot_be_drawn_is_refused(variance):
    with pytest.raises(ValueError, match="variance"):
        noise.discrete_gaussian(variance, 1, words(0))
