from __future__ import annotations

import hashlib

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.wire import tensors

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)


@pytest.mark.parametrize("parameters", [1, 7, 9, 10, 99, 100, 1000, 19_210, 100_000])
def test_a_blob_is_what_safetensors_writes_and_reads(parameters: int) -> None:
    vector = np.random.default_rng(parameters).normal(size=parameters).astype(np.float32)
    blob = tensors.encode_model(vector)
    assert blob == safetensors.numpy.save({"parameters": vector})
    assert np.array_equal(safetensors.numpy.load(blob)["parameters"], vector)
    assert len(blob) == tensors.blob_length(parameters)
    assert tensors.model_hash(blob) == hashlib.sha256(blob).digest()
    decoded = tensors.decode_model(blob, parameters)
    assert decoded.dtype == np.float32 and np.array_equal(decoded, vector)
    assert not decoded.flags.writeable


def test_bits_survive_also_where_floats_do_not_compare() -> None:
    vector = np.array([np.nan, -0.0, np.inf, 1e-45], dtype=np.float32)
    decoded = tensors.decode_model(tensors.encode_model(vector), 4)
    assert decoded.tobytes() == vector.tobytes()


def test_another_spelling_of_the_same_tensor_is_malformed() -> None:
    vector = np.arange(10, dtype=np.float32)
    blob = tensors.encode_model(vector)
    others = [
        safetensors.numpy.save({"parameters": vector}, metadata={"a": "b"}),
        safetensors.numpy.save({"weights": vector}),
        safetensors.numpy.save({"parameters": vector.astype(np.float16)}),
        safetensors.numpy.save({"parameters": vector.reshape(2, 5)}),
        safetensors.numpy.save({"parameters": vector.view(np.int32)}),
        blob[:-1],
        blob + b"\0",
        b"\xff" * len(blob),
        b"",
    ]
    for other in others:
        with pytest.raises(PeerFault) as caught:
            tensors.decode_model(other, 10)
        assert caught.value.code in {"malformed", "too-large"}


def test_a_header_that_promises_terabytes_allocates_nothing() -> None:
    blob = (2**40).to_bytes(8, "little") + b'{"parameters":'
    with pytest.raises(PeerFault, match="malformed"):
        tensors.decode_model(blob, 10)


@FIXED
@given(st.binary(max_size=200), st.integers(1, 30))
def test_any_bytes_are_a_model_or_the_peers_fault(data: bytes, parameters: int) -> None:
    try:
        tensors.decode_model(data, parameters)
    except PeerFault as fault:
        assert fault.code in {"malformed", "too-large"}
    else:
        assert len(data) == tensors.blob_length(parameters)


@pytest.mark.parametrize("vector", [np.zeros(3), np.zeros((3, 1), np.float32), np.zeros(0, np.float32)])
def test_only_one_float32_vector_is_a_model(vector: np.ndarray) -> None:
    with pytest.raises(ConfigurationError):
        tensors.encode_model(vector)


def test_a_vector_with_gaps_in_memory_is_encoded_as_its_values() -> None:
    vector = np.arange(20, dtype=np.float32)[::2]
    assert np.array_equal(tensors.decode_model(tensors.encode_model(vector), 10), vector)
    assert np.array_equal(tensors.decode_sums(tensors.encode_sums(np.arange(20)[::-2]), 10), np.arange(20)[::-2])


@FIXED
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_sums_survive_in_the_narrowest_width(values: list[int]) -> None:
    data = tensors.encode_sums(np.array(values, dtype=np.int64))
    fits = all(-(2**31) <= value < 2**31 for value in values)
    assert data[0] == (4 if fits else 8)
    assert tensors.decode_sums(data, len(values)).tolist() == values


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_the_width_depends_on_the_values_and_not_on_the_array(dtype: type[np.signedinteger]) -> None:
    assert tensors.encode_sums(np.array([1, -2], dtype=dtype)) == b"\4\1\0\0\0\xfe\xff\xff\xff"


@FIXED
@given(st.binary(max_size=60), st.integers(1, 8))
def test_any_bytes_are_sums_or_malformed(data: bytes, parameters: int) -> None:
    for attempt in (data, b"\4" + data, b"\x08" + data):
        try:
            sums = tensors.decode_sums(attempt, parameters)
        except PeerFault as fault:
            assert fault.code == "malformed"
        else:
            assert tensors.encode_sums(sums) == attempt


def test_sums_in_a_width_too_wide_are_malformed() -> None:
    with pytest.raises(PeerFault, match="malformed"):
        tensors.decode_sums(b"\x08" + np.array([1, 2], "<i8").tobytes(), 2)
    with pytest.raises(ConfigurationError):
        tensors.encode_sums(np.zeros(3, np.float32))
