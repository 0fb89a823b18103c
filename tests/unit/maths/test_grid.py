from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from middleware.maths import grid


def test_rounding_is_to_nearest_even_against_fractions() -> None:
    generator = np.random.default_rng(1)
    values = np.concatenate([generator.normal(size=2000), np.arange(-9, 9) / 16 + 1 / 32]).astype(np.float32)
    integers, saturated = grid.to_grid(values, 16, -4)
    assert saturated == 0
    assert integers.dtype == np.int16
    assert [round(Fraction(float(value)) * 16) for value in values] == integers.tolist()


@pytest.mark.parametrize("bits", [8, 12, 16, 17, 24])
def test_what_is_too_large_is_cut_off_at_the_limit_and_counted(bits: int) -> None:
    largest = 2 ** (bits - 1) - 1
    values = np.array([largest, -largest, largest + 1, -largest - 1, 3e38, -3e38, 0], np.float32)
    integers, saturated = grid.to_grid(values, bits, 0)
    assert integers.tolist() == [largest, -largest, largest, -largest, largest, -largest, 0]
    assert saturated == 4
    assert integers.dtype == (np.int16 if bits <= 16 else np.int32)
    assert grid.on_grid(integers, bits)


def test_the_most_negative_integer_is_not_on_the_grid() -> None:
    assert not grid.on_grid(np.array([0, -32768], np.int16), 16)
    assert grid.on_grid(np.array([32767, -32767], np.int16), 16)
    assert not grid.on_grid(np.array([128], np.int16), 8)
    assert grid.on_grid(np.zeros(0, np.int16), 8)


def test_a_step_far_below_the_update_cuts_off_without_a_warning() -> None:
    integers, saturated = grid.to_grid(np.array([3e38, 1e-30], np.float32), 24, -60)
    assert integers.tolist() == [2**23 - 1, 0]
    assert saturated == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        grid.to_grid(np.array([0, wrong], np.float32), 16, -13)


def test_the_grid_and_back_is_the_identity_on_the_grid() -> None:
    for bits, exponent in ((16, -13), (24, -20), (8, 3)):
        largest = 2 ** (bits - 1) - 1
        integers = np.random.default_rng(2).integers(-largest, largest + 1, 200_000).astype(grid.dtype(bits))
        back, saturated = grid.to_grid(grid.from_grid(integers, exponent), bits, exponent)
        assert saturated == 0
        assert np.array_equal(back, integers)


def test_apply_is_one_float32_product_and_one_float32_sum_an_element() -> None:
    generator = np.random.default_rng(3)
    model = generator.normal(size=150_000).astype(np.float32)
    aggregate = generator.integers(-32767, 32768, model.size)
    moved = grid.apply(model, aggregate, -13)
    for index in range(0, model.size, 997):
        step = np.float32(np.float32(int(aggregate[index])) * np.float32(2.0**-13))
        assert moved[index] == np.float32(model[index] + step)
    assert moved.dtype == np.float32
    parts = [
        grid.apply(model[start : start + 7919], aggregate[start : start + 7919], -13)
        for start in range(0, model.size, 7919)
    ]
    assert moved.tobytes() == np.concatenate(parts).tobytes()


def test_a_model_of_another_type_or_length_is_not_moved() -> None:
    with pytest.raises(ValueError, match="do not move"):
        grid.apply(np.zeros(3), np.zeros(3, np.int64), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not move"):
        grid.apply(np.zeros(3, np.float32), np.zeros(4, np.int64), 0)
