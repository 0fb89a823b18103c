from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import seal
from middleware.trust.keys import NetworkKey

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
KEY = bytes(range(32))
CONTEXT = seal.leaf_context(1, 2, 3)
SEGMENT = seal.SEGMENT_BYTES
SEALED_SEGMENT = SEGMENT + seal.TAG_BYTES
LONG = bytes(range(256)) * (SEGMENT // 256) * 2 + b"the end"  # three segments
SEALED_LONG = seal.seal(KEY, LONG, CONTEXT)


@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 5])
def test_opening_undoes_sealing_at_every_segment_edge(size: int) -> None:
    plain = LONG[:size]
    sealed = seal.seal(KEY, plain, CONTEXT)
    assert len(sealed) == seal.sealed_size(size)
    assert seal.open_sealed(KEY, sealed, CONTEXT) == plain
    assert seal.seal(KEY, [plain[:10], memoryview(plain)[10:]], CONTEXT) == sealed


@pytest.mark.parametrize("size", [0, 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 5])
@pytest.mark.parametrize("step", [100_003, SEGMENT, SEALED_SEGMENT, 3 * SEGMENT])
def test_piece_by_piece_is_the_same_as_at_once(size: int, step: int) -> None:
    plain = LONG[:size]
    sealer, opener = seal.Sealer(KEY, CONTEXT), seal.Opener(KEY, CONTEXT)
    sealed = b"".join(sealer.feed(plain[start : start + step]) for start in range(0, size, step)) + sealer.finish()
    assert sealed == seal.seal(KEY, plain, CONTEXT)
    opened = b"".join(opener.feed(sealed[start : start + step]) for start in range(0, len(sealed), step))
    assert opened + opener.finish() == plain


def refused(sealed: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> None:
    with pytest.raises(PeerFault) as caught:
        seal.open_sealed(key, sealed, context)
    assert caught.value.code == "mismatch"
    opener = seal.Opener(key, context)
    with pytest.raises(PeerFault) as caught:
        opener.feed(sealed)
        opener.finish()
    assert caught.value.code == "mismatch"


@FIXED
@given(st.binary(max_size=200), st.data())
def test_a_flipped_bit_never_opens(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal.seal(KEY, plain, CONTEXT))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    refused(bytes(sealed))


@FIXED
@given(st.binary(max_size=100))
def test_any_bytes_are_a_mismatch(sealed: bytes) -> None:
    refused(sealed)


@pytest.mark.parametrize("cut", [0, 1, 16, SEALED_SEGMENT, 2 * SEALED_SEGMENT, len(SEALED_LONG) - 1])
def test_a_cut_body_never_opens(cut: int) -> None:
    refused(SEALED_LONG[:cut])


def test_an_extended_body_never_opens() -> None:
    refused(SEALED_LONG + b"\0")
    refused(SEALED_LONG + SEALED_LONG[-23:])
    whole = seal.seal(KEY, LONG[:SEGMENT], CONTEXT)  # ends exactly at a segment's end
    refused(whole + seal.seal(KEY, b"", CONTEXT))


def test_reordered_dropped_and_doubled_segments_never_open() -> None:
    first, second, last = (
        SEALED_LONG[:SEALED_SEGMENT],
        SEALED_LONG[SEALED_SEGMENT : 2 * SEALED_SEGMENT],
        SEALED_LONG[2 * SEALED_SEGMENT :],
    )
    for forged in (
        second + first + last,
        second + last,
        first + last,
        first + first + last,
        first + second + second + last,
    ):
        refused(forged)


def test_a_body_opens_under_no_other_key_or_place() -> None:
    sealed = seal.seal(KEY, b"update", CONTEXT)
    refused(sealed, key=bytes(32))
    with pytest.raises(PeerFault, match="mismatch"):
        seal.open_sealed(b"short", sealed, CONTEXT)
    with pytest.raises(PeerFault, match="mismatch"):
        seal.Opener(b"short", CONTEXT)
    for place in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        refused(sealed, context=seal.leaf_context(*place))


def test_a_wrapped_key_opens_for_its_reader_and_for_nobody_else() -> None:
    reader, other = NetworkKey(bytes(range(32))), NetworkKey(bytes(range(1, 33)))
    wrapped = seal.wrap(KEY, reader.public)
    assert len(wrapped) == 80
    assert seal.unwrap(wrapped, reader) == KEY
    bent = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    for sealed, key in (
        (wrapped, other),
        (bent, reader),
        (b"", reader),
        (wrapped[:-1], reader),
        (wrapped + b"\0", reader),
    ):
        with pytest.raises(PeerFault) as caught:
            seal.unwrap(sealed, key)
        assert caught.value.code == "mismatch"


def test_a_network_key_that_is_no_point_is_its_owners_fault() -> None:
    for reader in (bytes(32), b"\xff" * 32, b"\x02" + bytes(31)):
        with pytest.raises(PeerFault) as caught:
            seal.wrap(KEY, reader)
        assert caught.value.code == "malformed"


def test_wrong_sizes_of_our_own_are_our_fault() -> None:
    attempts: tuple[Callable[[], object], ...] = (
        lambda: seal.wrap(b"short", bytes(32)),
        lambda: seal.wrap(KEY, bytes(31)),
        lambda: seal.leaf_context(-1, 0, 0),
        lambda: seal.leaf_context(0, 0, 1 << 32),
    )
    for call in attempts:
        with pytest.raises(ConfigurationError):
            call()


def test_the_content_key_comes_from_the_given_generator() -> None:
    assert seal.new_content_key(lambda n: b"\7" * n) == b"\7" * 32
