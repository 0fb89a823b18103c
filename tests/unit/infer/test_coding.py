"""Codes of what crosses a border: exact sizes, bounded error, and no bytes that do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from middleware.errors import PeerFault
from middleware.infer import coding
from middleware.wire.model import CODECS

TENSORS = arrays.arrays(
    np.float32, arrays.array_shapes(max_dims=4, max_side=7), elements=st.floats(-1e4, 1e4, width=32)
)


@given(TENSORS, st.sampled_from(CODECS))
def test_activation_coding_what_decodes_is_within_half_a_step(tensor: np.ndarray, codec: str) -> None:
    data = coding.encode(codec, tensor)
    assert len(data) == coding.size(codec, tensor.size)
    found = coding.decode(codec, data, tensor.shape)
    steps = {"f32": np.inf, "f16": 1024, **{name: levels - 1 for name, levels in coding.LEVELS.items()}}[codec]
    spread = float(np.ptp(tensor)) if codec in coding.LEVELS else float(np.abs(tensor).max())
    least = 2.0**-25 if codec == "f16" else 1e-36  # half of float16's smallest step; spreads that float32 cannot divide
    assert np.abs(found - tensor).max() <= 0.5001 * spread / steps + 1e-6 * np.abs(tensor).max() + least


def test_activation_coding_below_half_the_smallest_step_of_float16_is_zero() -> None:
    tensor = np.array([1.02e-20, 2.0**-24, -1.0], np.float32)
    assert coding.decode("f16", coding.encode("f16", tensor), (3,)).tolist() == [0.0, 2.0**-24, -1.0]


@given(st.binary(max_size=80), st.sampled_from(CODECS), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_any_bytes_decode_to_finite_numbers_or_are_refused(data: bytes, codec: str, shape: list[int]) -> None:
    try:
        found = coding.decode(codec, data, tuple(shape))
    except PeerFault as fault:
        assert fault.code == "malformed"
    else:
        assert np.isfinite(found).all() and found.shape == tuple(shape)


def test_levels_are_exact_where_the_values_are_levels() -> None:
    for codec, count in coding.LEVELS.items():
        tensor = np.arange(count, dtype=np.float32) * 0.5 - 3
        assert np.array_equal(coding.decode(codec, coding.encode(codec, tensor), tensor.shape), tensor)
    flat = np.full(5, 2.5, np.float32)
    assert np.array_equal(coding.decode("u4", coding.encode("u4", flat), (5,)), flat)


def test_what_has_no_code_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        coding.encode("u8", np.array([1, np.nan], np.float32))
    with pytest.raises(ValueError, match="no codec 'u3'"):
        coding.encode("u3", np.zeros(1, np.float32))
    with pytest.raises(PeerFault, match="no codec"):
        coding.decode("u3", b"", (1,))
