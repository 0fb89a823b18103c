"""Prefix codes: what is coded comes back, near the entropy, and other bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.maths import prefix


def counts(seed: int, steep: float) -> np.ndarray:
    return (1e6 * steep ** np.arange(256)).astype(np.int64)[np.random.default_rng(seed).permutation(256)]


@given(st.binary(max_size=200), st.integers(0, 20), st.floats(0.3, 1))
def test_what_was_coded_comes_back_whatever_was_expected(data: bytes, seed: int, steep: float) -> None:
    lengths = prefix.lengths_of(counts(seed, steep))
    assert lengths.max() <= prefix.LONGEST and np.sum(0.5 ** lengths.astype(float)) == 1  # Kraft: complete
    read = np.frombuffer(data, np.uint8)
    assert np.array_equal(prefix.decode(lengths, prefix.encode(lengths, read), len(read)), read)


def test_a_code_is_within_a_bit_of_the_entropy_and_usually_near() -> None:
    generator = np.random.default_rng(0)
    shares = np.sort(generator.dirichlet(np.full(256, 0.1)))
    data = generator.choice(256, 20_000, p=shares).astype(np.uint8)
    lengths = prefix.lengths_of(np.bincount(generator.choice(256, 20_000, p=shares), minlength=256))
    entropy = -float((shares[shares > 0] * np.log2(shares[shares > 0])).sum())
    assert entropy < 8 * len(prefix.encode(lengths, data)) / len(data) < 1.1 * entropy


def test_the_steepest_counts_give_no_word_that_is_too_long() -> None:
    steep = np.array([1.618**n for n in range(256)])
    lengths = prefix.lengths_of((steep / steep[-1] * 1e15).astype(np.int64))
    assert prefix.LONGEST >= lengths.max() > 8 and lengths[255] == lengths.min() <= 2


@given(st.binary(max_size=60), st.integers(0, 80))
def test_any_bytes_are_the_one_code_of_what_they_decode_to_or_are_refused(data: bytes, count: int) -> None:
    lengths = prefix.lengths_of(counts(1, 0.9))
    try:
        found = prefix.decode(lengths, data, count)
    except ValueError:
        return
    assert prefix.encode(lengths, found) == data


def test_a_code_cut_short_or_drawn_out_is_refused() -> None:
    lengths = prefix.lengths_of(counts(2, 0.8))
    data = prefix.encode(lengths, np.arange(100, dtype=np.uint8))
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(ValueError, match="code"):
            prefix.decode(lengths, wrong, 100)
    with pytest.raises(ValueError, match="256 counts"):
        prefix.lengths_of(np.ones(3, np.int64))
