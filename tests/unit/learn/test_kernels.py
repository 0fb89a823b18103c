"""The same integers from any device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.learn import kernels
from middleware.maths import aggregate

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return str(request.param)


def rows_of(count: int, length: int, seed: int, bits: int = 16) -> np.ndarray:
    limit = (1 << (bits - 1)) - 1
    dtype = np.int16 if bits <= 16 else np.int32
    return np.random.default_rng(seed).integers(-limit, limit, (count, length), dtype, endpoint=True)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 9), length=st.integers(1, 700), bits=st.sampled_from([8, 16, 24]), seed=st.integers(0, 99))
def test_kernels_equal_the_library_to_the_bit(count: int, length: int, bits: int, seed: int) -> None:
    rows = rows_of(count, length, seed, bits)
    weights = np.random.default_rng(seed).integers(0, 4096, count).tolist()
    np.testing.assert_array_equal(kernels.weighted_sums(rows, weights, "cpu"), aggregate.weighted_sums(rows, weights))
    np.testing.assert_array_equal(kernels.gram(rows, "cpu"), aggregate.gram(rows).astype(np.int64))


def test_kernels_agree_across_blocks(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_BYTES", 7 * 2 * 1000)
    rows = rows_of(7, 10_500, 3)
    for low, high in ((3, 4), (2, 5), (0, 7)):
        expected = np.sort(rows, axis=0)[low:high].sum(axis=0, dtype=np.int64)
        np.testing.assert_array_equal(kernels.middle(rows, low, high, device), expected)
    np.testing.assert_array_equal(kernels.gram(rows, device), aggregate.gram(rows))
    weights = [1, 0, 5, 4096, 2, 3, 1]
    np.testing.assert_array_equal(kernels.weighted_sums(rows, weights, device), aggregate.weighted_sums(rows, weights))


def test_inner_products_that_could_overflow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.lib.stride_tricks.as_strided(np.array([1 << 23], np.int32), (1 << 18,), (0,))
    with pytest.raises(ValueError, match="do not fit 64 bits"):
        kernels.gram([row], "cpu")
