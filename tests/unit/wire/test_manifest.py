from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.types import Limits
from middleware.wire.manifest import (
    Manifest,
    ManifestEdge,
    ManifestScore,
    ManifestUpdate,
    Scoring,
    decode_manifest,
    encode_manifest,
)

FIXED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
EDGE = ManifestEdge(
    b"report", (ManifestUpdate(b"frame", 0, 1, b"k" * 32), ManifestUpdate(b"frame", 1, 0, refused="off-grid"))
)
MANIFEST = Manifest(
    1, 2, 31337, bytes(20), 5, -13, False, bytes(32), bytes(32), (EDGE,), (), 7, ((3, 1 << 100), (4, 0)), b"{}"
)


@FIXED
@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1)), max_size=5, unique_by=lambda e: e[0]),
    st.integers(0, 4),
    st.booleans(),
)
def test_decoding_undoes_encoding(rewards: list[tuple[int, int]], edges: int, void: bool) -> None:
    value = msgspec.structs.replace(MANIFEST, rewards=tuple(sorted(rewards)), edges=(EDGE,) * edges, void=void)
    assert decode_manifest(encode_manifest(value)) == value


WIDE = st.integers(-(2**127), 2**127 - 1)
SCORES = st.lists(
    st.builds(
        ManifestScore, st.integers(0, 2**32 - 1), WIDE, st.just(0), WIDE, st.integers(0, 1500),
        st.sampled_from(["", "copy", "echo"]),
    ),
    max_size=5, unique_by=lambda one: one.node,
)  # fmt: skip
STATED = msgspec.structs.replace(MANIFEST, state=b"s" * 32)
SCORED = msgspec.structs.replace(MANIFEST, scoring=Scoring(bytes(32), -17, 2, 5, (ManifestScore(3, -5, -7, 9, 1000),)))


@FIXED
@given(SCORES, st.integers(-128, 0), st.integers(0, 2**128 - 1))
def test_decoding_undoes_encoding_of_scores(scores: list[ManifestScore], exponent: int, pool: int) -> None:
    value = msgspec.structs.replace(MANIFEST, scoring=Scoring(bytes(32), exponent, 0, pool, tuple(scores)))
    assert decode_manifest(encode_manifest(value)) == value


@pytest.mark.parametrize(
    "build",
    [
        lambda: ManifestScore(3, 1 << 127, 0, 0, 1000),
        lambda: ManifestScore(3, 0, 0, -(1 << 127) - 1, 1000),
        lambda: ManifestScore(3, 0, 0, 0, -1),
        lambda: ManifestScore(3, 0, 0, 0, 1000, "late"),
        lambda: ManifestScore(3, 5, 5, 0, 1000, "copy"),
        lambda: Scoring(bytes(31), 0, 0, 0, ()),
        lambda: Scoring(bytes(32), 1, 0, 0, ()),
        lambda: Scoring(bytes(32), 0, 0, 1 << 128, ()),
        lambda: Scoring(bytes(32), 0, 0, 0, (ManifestScore(3, 0, 0, 0, 0), ManifestScore(3, 0, 0, 0, 0))),
    ],
)
def test_impossible_scores_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        build()


@FIXED
@given(st.binary(max_size=100), st.integers(0, 300), st.integers(0, 300))
def test_any_bytes_decode_or_are_malformed(noise: bytes, start: int, end: int) -> None:
    whole = [encode_manifest(manifest) for manifest in (MANIFEST, SCORED, STATED)]
    for attempt in (noise, *(data[:start] + noise + data[end:] for data in whole)):
        try:
            value = decode_manifest(attempt)
        except PeerFault as fault:
            assert fault.code in {"malformed", "too-large"}
        else:
            assert encode_manifest(value) == attempt


def test_the_bytes_end_with_the_last_feature_that_is_used() -> None:
    both = msgspec.structs.replace(SCORED, state=b"s" * 32)
    plain, stated = encode_manifest(MANIFEST), encode_manifest(STATED)
    assert [encode_manifest(one)[:3] for one in (STATED, both)] == [b"\xdc\x00\x10"] * 2
    assert (plain[:1], encode_manifest(SCORED)[:1]) == (b"\x9e", b"\x9f")
    assert stated[3:] == plain[1:] + b"\xc0\xc4\x20" + b"s" * 32  # without scores, nil stands in their place
    assert decode_manifest(stated) == STATED and decode_manifest(encode_manifest(both)) == both
    for empty in (stated[:-32] + bytes(32), b"\xdc\x00\x0f" + plain[1:] + b"\xc0", b"\x9f" + plain[1:] + b"\xc0"):
        with pytest.raises(PeerFault, match="malformed"):
            decode_manifest(empty)


@pytest.mark.parametrize(
    "changes",
    [
        {"rewards": ((4, 1), (3, 1))},
        {"rewards": ((4, 1), (4, 1))},
        {"rewards": ((4, 1 << 128),)},
        {"rewards": ((1 << 32, 1),)},
        {"ledger": bytes(21)},
        {"model_in": b""},
        {"state": b""},
        {"task": -1},
    ],
)
def test_an_impossible_manifest_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        msgspec.structs.replace(MANIFEST, **changes)


def test_a_refused_update_has_a_known_code_and_no_weight() -> None:
    for weight, refused in ((1, "off-grid"), (0, "nonsense")):
        with pytest.raises(ConfigurationError):
            ManifestUpdate(b"", 0, weight, refused=refused)


def test_updates_stand_in_index_order_without_gaps() -> None:
    for indices in ((1,), (0, 2), (0, 0), (1, 0)):
        with pytest.raises(ConfigurationError):
            ManifestEdge(b"", tuple(ManifestUpdate(b"", index, 0) for index in indices))


def test_metrics_in_another_spelling_make_the_manifest_malformed() -> None:
    data = encode_manifest(msgspec.structs.replace(MANIFEST, metrics=b"{ }"))
    with pytest.raises(PeerFault, match="malformed"):
        decode_manifest(data)


def test_a_manifest_past_the_limit_is_too_large() -> None:
    with pytest.raises(PeerFault) as caught:
        decode_manifest(encode_manifest(MANIFEST), Limits(blob_bytes=10))
    assert caught.value.code == "too-large"
