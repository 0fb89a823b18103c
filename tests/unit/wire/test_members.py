from __future__ import annotations

import pytest
from eth_abi.packed import encode_packed
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import Limits
from middleware.wire.members import Member, decode_members, encode_members, member_data

FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)
members = st.builds(
    Member, st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20), st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1),
    st.binary(min_size=65, max_size=65), st.binary(min_size=64, max_size=64),
)  # fmt: skip
ONE = Member(b"k" * 32, b"a" * 20, 7, b"n" * 32, b"m" * 32, 99, b"s" * 65, b"p" * 64)


@FIXED
@given(st.lists(members, min_size=1, max_size=4))
def test_decoding_undoes_encoding(some: list[Member]) -> None:
    assert decode_members(encode_members(some)) == tuple(some)


@FIXED
@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 300))
def test_any_bytes_decode_or_are_refused(noise: bytes, start: int, end: int) -> None:
    data = encode_members([ONE])
    for attempt in (noise, data[:start] + noise + data[end:]):
        try:
            assert encode_members(decode_members(attempt)) == attempt
        except PeerFault as fault:
            assert fault.code == "malformed"


def test_a_member_is_what_solidity_packs() -> None:
    assert member_data(ONE) == encode_packed(
        ["string", "bytes32", "address", "uint32", "bytes32", "bytes32"],
        ["drystone/member/1", ONE.net_key, ONE.account, 7, ONE.name, ONE.meta_hash],
    )


def test_an_empty_list_and_one_past_the_limit_are_refused() -> None:
    with pytest.raises(PeerFault, match="malformed"):
        decode_members(encode_members([]))
    with pytest.raises(PeerFault, match="too-large"):
        decode_members(encode_members([ONE]), Limits(blob_bytes=10))


def test_a_member_of_the_wrong_width_cannot_be_built() -> None:
    with pytest.raises(ConfigurationError):
        Member(b"k" * 31, b"a" * 20, 7, b"n" * 32, b"m" * 32, 99, b"s" * 65, b"p" * 64)
