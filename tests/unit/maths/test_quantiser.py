"""Quantisers of few levels: borders, levels, and less information for a little more error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.maths import quantiser


def rectified(seed: int) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(0, 1, 20_000), 0).astype(np.float32)


@given(st.integers(0, 50), st.integers(2, 16), st.floats(0, 2))
def test_activation_coding_values_ascend_and_borders_lie_between_them(seed: int, levels: int, weight: float) -> None:
    made = quantiser.designed(rectified(seed), levels, weight)
    assert (np.diff(made.values) >= 0).all() and (np.diff(made.borders) >= 0).all()
    assert made.borders[0] >= made.values[0] and made.borders[-1] <= made.values[-1]
    assert made.symbols(rectified(seed + 1)).max() < levels == made.levels


def test_activation_coding_more_weight_on_bits_gives_fewer_bits_and_more_error() -> None:
    numbers = rectified(0)
    told = []
    for weight in (0.0, 0.05, 0.2):
        made = quantiser.designed(numbers, 4, weight)
        symbols = made.symbols(numbers)
        told.append((quantiser.information(symbols), float(np.square(made.values[symbols] - numbers).mean())))
    assert told == sorted(told, key=lambda one: -one[0]) == sorted(told, key=lambda one: one[1])
    assert told[-1][0] < 0.8 * told[0][0]


def test_without_weight_two_neighbours_of_a_number_are_told_by_their_middle() -> None:
    made = quantiser.designed(rectified(1), 8, 0.0)
    assert made.borders == pytest.approx((made.values[1:] + made.values[:-1]) / 2, rel=1e-5)


def test_information_of_even_shares_is_their_logarithm() -> None:
    assert quantiser.information(np.array([0, 1, 2, 3], np.uint8)) == pytest.approx(2)
    assert quantiser.information(np.zeros(5, np.uint8)) == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="2 to 16"):
        quantiser.designed(rectified(0), 1, 0)
    with pytest.raises(ValueError, match="all alike"):
        quantiser.designed(np.ones(9), 4, 0)
