from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.policy import Policy, Rule
from middleware.types import Limits
from middleware.wire.policy import decode_policy, encode_policy, policy_hash

FIXED = settings(derandomize=True, deadline=None, max_examples=300, database=None)
POLICY = Policy("digits", "mlp:64-256-10", 19_210)
DATA = encode_policy(POLICY)


def test_a_policy_is_sorted_json_without_spaces_and_with_every_field() -> None:
    value = json.loads(DATA)
    assert json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == DATA
    scores = {"pay", "epoch_rounds", "evaluation", "evaluation_slices"}
    unused = {name for name in Policy.__struct_fields__ if getattr(POLICY, name) is None}
    assert set(value) == set(Policy.__struct_fields__) - scores - unused
    scored = msgspec.structs.replace(
        POLICY, pay="scores", rule=Rule("mean", 0), epoch_rounds=5, evaluation="ab" * 32, evaluation_slices=4
    )
    assert set(json.loads(encode_policy(scored))) == set(Policy.__struct_fields__) - unused
    assert decode_policy(encode_policy(scored)) == scored
    assert policy_hash(DATA) == hashlib.sha256(DATA).digest()


@FIXED
@given(st.integers(1, 10**6), st.integers(1, 4096), st.floats(1e-3, 1e6), st.booleans())
def test_decoding_undoes_encoding(parameters: int, cap: int, seconds: float, hidden: bool) -> None:
    policy = Policy(
        "digits", "mlp", parameters, samples_cap=cap, round_seconds=seconds, rule=Rule("mean", 0), min_updates=1,
        readers="auditors" if hidden else "public", auditors=("ab" * 32,) if hidden else (),
    )  # fmt: skip
    assert decode_policy(encode_policy(policy)) == policy


@FIXED
@given(st.binary(max_size=80), st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_any_bytes_decode_or_are_malformed(noise: bytes, start: int, end: int) -> None:
    for attempt in (noise, DATA[:start] + noise + DATA[end:]):
        try:
            policy = decode_policy(attempt)
        except PeerFault as fault:
            assert fault.code == "malformed"
        else:
            assert encode_policy(policy) == attempt


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"rounds":20', b'"rounds": 20'),
        (b'"rounds":20', b'"rounds":20,"surprise":1'),
        (b'"rounds":20', b'"rounds":20,"rounds":20'),
        (b'"rounds":20,', b""),
        (b'"rounds":20', b'"rounds":0'),
        (b'"rounds":20', b'"rounds":' + b"9" * 400),
        (b'"rounds":20', b'"rounds":2e1'),
        (b'"min_updates":5', b'"min_updates":4'),
        (b'"readers":"public"', b'"readers":"auditors"'),
        (b'"round_seconds":30.0', b'"round_seconds":30'),
        (b'"f":1', b'"f":' + b"[" * 5000),
    ],
)
def test_another_spelling_or_a_policy_that_cannot_hold_is_malformed(old: bytes, new: bytes) -> None:
    assert old in DATA
    with pytest.raises(PeerFault) as caught:
        decode_policy(DATA.replace(old, new))
    assert caught.value.code == "malformed"


def test_a_policy_past_the_limit_is_refused_both_ways() -> None:
    large = msgspec.structs.replace(POLICY, auditors=tuple(f"{number:064x}" for number in range(200)))
    with pytest.raises(ConfigurationError):
        encode_policy(large)
    with pytest.raises(PeerFault) as caught:
        decode_policy(DATA, Limits(policy_bytes=len(DATA) - 1))
    assert caught.value.code == "too-large"
