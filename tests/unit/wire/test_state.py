from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import Limits
from middleware.wire.state import State, decode_state, encode_state, narrow

FIXED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
WIDE = st.integers(-(2**63), 2**63 - 1)
STANDING = st.dictionaries(st.integers(1, 2**32 - 1), st.tuples(WIDE, WIDE), max_size=5)
STATE = State(
    {3: (-1, 5), 70_000: (2, 0)}, np.array([1, -2], np.int32), (np.array([0.5, -4], np.float32),) * 2, ((0.25, 1.5),)
)


def same(left: State, right: State) -> bool:
    arrays = [(left.centre, right.centre), *zip(left.vectors, right.vectors, strict=True)]
    return (dict(left.standing), left.measured) == (dict(right.standing), right.measured) and all(
        one is other or (one is not None and other is not None and one.tobytes() == other.tobytes())
        for one, other in arrays
    )


@FIXED
@given(STANDING, st.booleans(), st.integers(0, 2), st.integers(1, 9), st.integers(0, 2**32))
def test_decoding_undoes_encoding(
    standing: dict[int, tuple[int, int]], centre: bool, vectors: int, length: int, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    state = State(
        standing,
        numbers.integers(-(2**31) + 1, 2**31, length).astype(np.int32) if centre else None,
        tuple(numbers.normal(size=length).astype(np.float32) for _ in range(vectors)),
        tuple((float(numbers.random()), float(numbers.normal())) for _ in range(vectors)),
    )
    blob = encode_state(state)
    assert same(decode_state(blob, length), state)
    assert encode_state(decode_state(blob, length)) == blob


def test_the_order_in_which_nodes_were_met_does_not_show() -> None:
    assert encode_state(State({4: (1, 2), 3: (5, 6)})) == encode_state(State({3: (5, 6), 4: (1, 2)}))


@FIXED
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_bytes_decode_or_are_malformed(noise: bytes, start: int, end: int) -> None:
    whole = encode_state(STATE)
    for attempt in (noise, whole[:start] + noise + whole[end:]):
        try:
            state = decode_state(attempt, 2)
        except PeerFault as fault:
            assert fault.code == "malformed"
        else:
            assert encode_state(state) == attempt


@pytest.mark.parametrize(
    "blob",
    [
        b"\x94\x92\x93\x03\x00\x00\x93\x03\x00\x00\xc4\x00\x90\x90",  # a node twice
        b"\x94\x91\x93\x00\x00\x00\xc4\x00\x90\x90",  # node 0
        b"\x94\x90\xc4\x00\x90\x91\x92\x01\x00",  # integers in the place of floats
        encode_state(State(measured=((1.5, 0.0),))),
        encode_state(State(measured=((0.5, float("nan")),))),
        encode_state(State(vectors=(np.zeros(3, np.float32),))),  # another model's length
        encode_state(State(centre=np.zeros(1, np.int32))),
    ],
)
def test_a_state_that_cannot_be_is_malformed(blob: bytes) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        decode_state(blob, 2)


def test_a_state_past_the_limit_is_too_large() -> None:
    with pytest.raises(PeerFault, match="too-large"):
        decode_state(encode_state(STATE), 2, Limits(blob_bytes=5))


def test_a_centre_keeps_its_numbers_or_is_refused() -> None:
    assert narrow(np.array([2**31 - 1, 1 - 2**31])).tolist() == [2**31 - 1, 1 - 2**31]
    for value in (2**31, -(2**31)):
        with pytest.raises(ConfigurationError, match="32 bits"):
            narrow(np.array([value]))
