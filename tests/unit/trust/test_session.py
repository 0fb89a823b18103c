"""The sealed channel of a session, and the two messages that open it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust.session import Half, SealedChannel, transcript_of
from middleware.wire import session as wire
from middleware.wire.session import Busy, Close, Course, Data, Degraded, Open, Pay, Probe, Replan, Result, Terms

FIXED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
COURSE = Course(2, 4, "u8")
RECORDS = (
    Open(COURSE, bytes(32)), Replan(COURSE), Data(b"tensor"), Result(b"logits", 1.0, 2.0, 3.0, 0.0, 7, bytes(32)),
    Pay(b"voucher"), Busy("overloaded", "later", 20.0), Degraded("gone"), Close(3, 9, bytes(32)), Probe(b"x"),
)  # fmt: skip
LARGEST = 1 << 16


def pair(session: int = 5) -> tuple[SealedChannel, SealedChannel]:
    """(client, server)"""
    halves = [Half(bytes([number]) * 32) for number in (1, 2)]
    transcript = transcript_of(b"hello", b"terms")
    up, down = halves[0].agree(halves[1].public, transcript)
    assert (up, down) == halves[1].agree(halves[0].public, transcript) and up != down
    return SealedChannel(session, up, down, LARGEST), SealedChannel(session, down, up, LARGEST)


def test_every_record_comes_out_as_it_went_in() -> None:
    client, server = pair()
    assert {one.kind for one in RECORDS} == set(wire.KINDS)
    for number, record in enumerate(RECORDS):
        assert server.open(client.seal(record, number)) == (number, record)
        assert client.open(server.seal(record, number)) == (number, record)


@FIXED
@given(st.sampled_from(RECORDS), st.data())
def test_a_changed_frame_is_refused_and_the_next_good_one_is_not(record: wire.Record, data: st.DataObject) -> None:
    client, server = pair()
    good = client.seal(record, 3)
    frame = bytearray(good)
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerFault) as fault:
        server.open(bytes(frame))
    assert fault.value.code in {"malformed", "too-large", "replayed", "forged"}
    assert server.open(good) == (3, record)


def test_frames_that_are_repeated_reordered_reflected_or_of_another_session_are_refused() -> None:
    client, server = pair()
    first, second = client.seal(Data(b"1"), 1), client.seal(Data(b"2"), 2)
    with pytest.raises(PeerFault, match="replayed"):
        server.open(second)
    server.open(first)
    with pytest.raises(PeerFault, match="replayed"):
        server.open(first)
    with pytest.raises(PeerFault, match="forged"):
        client.open(pair()[0].seal(Data(b"1")))
    with pytest.raises(PeerFault, match="session 6"):
        server.open(pair(6)[0].seal(Data(b"2")))


def test_another_transcript_gives_other_keys() -> None:
    ours, theirs = Half(b"1" * 32), Half(b"2" * 32)
    assert ours.agree(theirs.public, b"a" * 32) != ours.agree(theirs.public, b"b" * 32)
    with pytest.raises(PeerFault, match="small order"):
        ours.agree(bytes(32), b"a" * 32)


def test_only_tensors_may_be_long_and_none_longer_than_the_model_has() -> None:
    client, server = pair()
    with pytest.raises(PeerFault, match="too-large"):
        server.open(client.seal(Data(bytes(LARGEST))))
    client, server = pair()
    with pytest.raises(PeerFault, match="too-large"):
        server.open(client.seal(Pay(bytes(2000))))


def test_impossible_terms_and_courses_cannot_be_built() -> None:
    good = dict(
        sender=1, sequence=1, hello=bytes(32), exchange=bytes(32), session=1, price=1, window=8, allowance=64, queue_ms=0.0,
        times=((0, 1, 2.0),),
    )  # fmt: skip
    assert Terms(**good).window == 8  # type: ignore[arg-type]
    for name, value in (
        ("window", 65),
        ("window", 0),
        ("queue_ms", float("nan")),
        ("times", ((1, 1, 0.0),)),
        ("price", -1),
    ):
        with pytest.raises(ConfigurationError):
            Terms(**{**good, name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="never down"):
        Course(3, 2, "u8")
