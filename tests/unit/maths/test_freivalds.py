"""Checks of linear layers (catalogue of inference, 1.10: a changed entry is caught with probability 1 - 2**-k)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.freivalds import float_check, float_holds, integer_check, integer_holds, tolerance

TRIES = 2000


def integers(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.integers(-128, 128, shape, dtype=np.int64)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(1, 40), st.integers(0, 1000))
def test_freivalds_an_honest_integer_layer_passes(inner: int, outer: int, batch: int, bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights, taken = integers(generator, inner, outer), integers(generator, batch, inner)
    assert integer_holds(integer_check(weights, 128, bits, generator), taken, taken @ weights)


def test_freivalds_a_changed_entry_passes_no_more_often_than_is_promised() -> None:
    generator = np.random.default_rng(0)
    weights, taken = integers(generator, 16, 12), integers(generator, 4, 16)
    for bits in (1, 2, 3):
        passed = 0
        for _ in range(TRIES):
            wrong = taken @ weights
            wrong[generator.integers(4), generator.integers(12)] += int(generator.choice([-1, 1, 64]))
            passed += integer_holds(integer_check(weights, 128, bits, generator), taken, wrong)
        promised = 2.0**-bits
        assert passed / TRIES <= promised + 3 * np.sqrt(promised * (1 - promised) / TRIES)
        assert passed  # the promise is tight, and this test could see it broken


def test_freivalds_forty_bits_catch_every_change_that_was_tried() -> None:
    generator = np.random.default_rng(1)
    weights, taken = integers(generator, 256, 128), integers(generator, 3, 256)
    check = integer_check(weights, 128, 40, generator)
    for _ in range(300):
        wrong = taken @ weights
        wrong[generator.integers(3), generator.integers(128)] += 1
        assert not integer_holds(check, taken, wrong)


def test_freivalds_outputs_beyond_any_honest_one_are_refused_without_a_sum() -> None:
    generator = np.random.default_rng(2)
    weights, taken = integers(generator, 8, 8), integers(generator, 2, 8)
    check = integer_check(weights, 128, 8, generator)
    assert not integer_holds(check, taken, np.full((2, 8), 2**62))
    assert not integer_holds(check, taken, np.full((2, 8), np.nan))


def test_freivalds_what_cannot_be_checked_is_said() -> None:
    generator = np.random.default_rng(3)
    with pytest.raises(ValueError, match="integers"):
        integer_check(np.zeros((2, 2)), 1, 8, generator)
    with pytest.raises(ValueError, match="summed exactly"):
        integer_check(np.full((64, 64), 2**40), 2**20, 8, generator)
    check = integer_check(np.ones((2, 2), np.int64), 4, 8, generator)
    with pytest.raises(ValueError, match="above 4"):
        integer_holds(check, np.full((1, 2), 5), np.full((1, 2), 10))
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        integer_holds(check, np.ones((1, 3), np.int64), np.ones((1, 2), np.int64))


@pytest.mark.parametrize(("inner", "outer"), [(32, 10), (512, 512), (1280, 1000)])
def test_freivalds_an_honest_float_layer_passes_and_one_wrong_beyond_the_tolerance_does_not(
    inner: int, outer: int
) -> None:
    generator = np.random.default_rng(inner)
    weights = generator.normal(0, inner**-0.5, (inner, outer)).astype(np.float32)
    bias = generator.normal(0, 1, outer).astype(np.float32)
    check = float_check(weights, 20, generator, bias)
    for scale in (1e-3, 1.0, 1e3):
        taken = (scale * generator.normal(0, 1, (8, inner))).astype(np.float32)
        given_out = taken @ weights + bias
        assert float_holds(check, taken, given_out)
        allowed = tolerance(check, taken, given_out)
        for row in range(8):
            wrong = given_out.copy()
            wrong[row, generator.integers(outer)] += 2.5 * allowed[row]
            assert not float_holds(check, taken, wrong)
        assert allowed.max() <= 0.02 * np.abs(given_out).max()  # what it would take to change a label


def test_freivalds_what_is_no_number_fails() -> None:
    generator = np.random.default_rng(4)
    check = float_check(np.ones((4, 4), np.float32), 3, generator)
    assert not float_holds(check, np.ones((1, 4), np.float32), np.full((1, 4), np.nan, np.float32))
    assert not float_holds(check, np.ones((1, 4), np.float32), np.full((1, 4), np.inf, np.float32))
