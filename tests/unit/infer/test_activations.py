"""Coarse codes of tensors: exact on symbols, small, and harmless whatever the bytes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.errors import PeerFault
from middleware.infer import activations
from middleware.maths.quantiser import information


def tensor(seed: int, count: int = 4000) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(-0.5, 1, count), 0).astype(np.float32)


@given(st.lists(st.integers(0, 15), max_size=40), st.integers(2, 16))
def test_activation_coding_packed_symbols_come_back_exactly(found: list[int], levels: int) -> None:
    symbols = np.array([one % levels for one in found], np.uint8)
    data = activations.pack(symbols, levels)
    assert len(data) == -(-len(symbols) // activations.together(levels))
    assert np.array_equal(activations.unpack(data, len(symbols), levels), symbols)


@pytest.mark.parametrize("levels", [2, 3, 4, 6, 16])
def test_activation_coding_what_decodes_are_the_values_of_the_levels(levels: int) -> None:
    code = activations.designed(tensor(0)[None], levels, 0.05)
    numbers = tensor(1).reshape(4, 25, 40)
    found = activations.decode(code, activations.encode(code, numbers), numbers.shape)
    assert np.array_equal(found, code.quantiser.values[code.quantiser.symbols(numbers)])


@pytest.mark.parametrize("count", [400, 40_000])
def test_activation_coding_is_near_the_information_of_the_symbols_in_short_tensors_too(count: int) -> None:
    code = activations.designed(tensor(0, 40_000)[None], 4, 0.15)
    tensors = tensor(1, 40_000).reshape(-1, count)
    bits = sum(8 * len(activations.encode(code, one)) for one in tensors) / tensors.size
    told = information(code.quantiser.symbols(tensors))
    assert told < 0.9 and bits < 1.05 * told + 0.02


@given(st.binary(max_size=60), st.integers(1, 60))
def test_any_bytes_decode_to_levels_or_are_refused(data: bytes, count: int) -> None:
    code = activations.designed(tensor(0)[None], 3, 0.1)
    try:
        found = activations.decode(code, data, (count,))
    except PeerFault as fault:
        assert fault.code == "malformed"
    else:
        assert found.shape == (count,) and set(found.tolist()) <= set(code.quantiser.values.tolist())


def test_what_is_no_code_is_refused() -> None:
    code = activations.designed(tensor(0)[None], 4, 0.1)
    for data in (bytes(1 << 20), b"", activations.encode(code, tensor(1, 90))):
        with pytest.raises(PeerFault, match="no symbols of shape"):
            activations.decode(code, data, (8,))
    with pytest.raises(PeerFault, match="past the last"):
        activations.unpack(bytes([255]), 1, 4)
    with pytest.raises(PeerFault, match="5 to a byte"):
        activations.unpack(bytes([243]), 1, 3)
    with pytest.raises(ValueError, match="not finite"):
        activations.encode(code, np.array([np.inf]))
