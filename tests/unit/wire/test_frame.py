from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import Limits
from middleware.wire import frame

FIXED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
SIGNATURE = bytes(range(64))


@FIXED
@given(st.integers(0, 255), st.binary(max_size=200), st.binary(max_size=200))
def test_a_whole_frame_splits_into_what_it_was_made_of(code: int, header: bytes, body: bytes) -> None:
    data = frame.encode_frame(code, header, SIGNATURE, body)
    assert frame.split_whole(data) == (frame.FrameHead(code, len(header), len(body)), header, SIGNATURE, body)


@FIXED
@given(st.integers(0, 255), st.binary(max_size=200), st.binary(min_size=1, max_size=200))
def test_a_stored_frame_is_the_whole_frame_cut_before_its_body(code: int, header: bytes, body: bytes) -> None:
    whole = frame.encode_frame(code, header, SIGNATURE, body)
    stored = frame.encode_frame(code, header, SIGNATURE, body_bytes=len(body))
    assert stored == whole[: -len(body)]
    head, got, signature = frame.split_stored(stored)
    assert (head.body_bytes, got, signature) == (len(body), header, SIGNATURE)


@FIXED
@given(st.binary(max_size=120))
def test_any_bytes_split_or_are_the_peers_fault(data: bytes) -> None:
    for split in (frame.split_whole, frame.split_stored, frame.parse_head):
        for attempt in (data, frame.MAGIC + data):
            try:
                split(attempt)
            except PeerFault as fault:
                assert fault.code in {"malformed", "too-large"}


def test_every_cut_and_every_extension_is_malformed() -> None:
    data = frame.encode_frame(3, b"header", SIGNATURE, b"body")
    for length in range(len(data)):
        with pytest.raises(PeerFault, match="malformed"):
            frame.split_whole(data[:length])
    with pytest.raises(PeerFault, match="malformed"):
        frame.split_whole(data + b"\0")
    with pytest.raises(PeerFault, match="malformed"):
        frame.split_stored(data)


def test_the_head_alone_shows_a_header_or_body_past_the_limits() -> None:
    limits = Limits(header_bytes=10, body_bytes=20)
    at_limit = frame.encode_frame(1, bytes(10), SIGNATURE, body_bytes=20)[: frame.HEAD_BYTES]
    assert frame.parse_head(at_limit, limits).rest_bytes == 74
    for header, body in ((11, 0), (0, 21)):
        head = frame.encode_frame(1, bytes(header), SIGNATURE, body_bytes=body)[: frame.HEAD_BYTES]
        with pytest.raises(PeerFault) as caught:
            frame.parse_head(head, limits)
        assert caught.value.code == "too-large"


def test_we_do_not_write_a_frame_that_contradicts_itself() -> None:
    with pytest.raises(ConfigurationError):
        frame.encode_frame(1, b"", SIGNATURE, b"body", body_bytes=5)
    with pytest.raises(ConfigurationError):
        frame.encode_frame(1, b"", SIGNATURE[:-1])
