"""The rule by which a device chooses its codec, and what the other side makes of the choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from middleware.errors import ConfigurationError
from middleware.maths import grid
from middleware.policy import CodecSpec, Policy
from middleware.policy.codec import AUTO
from middleware.protocol import choice
from middleware.protocol import update as updates
from middleware.protocol.choice import Transfer

SIZE = 5000
LADDER = (
    CodecSpec("topk+int8", 0.01), CodecSpec("none"), CodecSpec("sign"), CodecSpec("int8"), CodecSpec("topk+int8", 0.1),
)  # fmt: skip


def policy(seconds: float = 2.0, choices: tuple[CodecSpec, ...] = LADDER) -> Policy:
    return Policy("digits", "mlp", SIZE, codec=CodecSpec(AUTO, choices=choices, upload_seconds=seconds))


def test_the_first_upload_is_the_longest_whatever_the_order_of_the_choices() -> None:
    for order in itertools.permutations(LADDER):
        assert order[choice.choose(policy(choices=order), None)].name == "none"


@pytest.mark.parametrize(
    ("rate", "place"), [(5000, 1), (4999, 3), (2000, 4), (400, 2), (300, 0)]
)  # fmt: skip
def test_a_link_gets_the_longest_payload_that_passes_in_time(rate: float, place: int) -> None:
    assert choice.choose(policy(), rate) == place
    fits = [
        choice.expected_bytes(spec, policy()) for spec in LADDER if choice.expected_bytes(spec, policy()) <= 2 * rate
    ]
    assert choice.expected_bytes(LADDER[place], policy()) == max(fits)


def test_where_none_passes_in_time_the_shortest_is_taken() -> None:
    assert choice.choose(policy(), 1) == choice.choose(policy(), 0.001) == 0


def test_a_faster_link_never_gets_a_shorter_payload() -> None:
    sizes = [choice.expected_bytes(LADDER[choice.choose(policy(), rate)], policy()) for rate in range(1, 6000, 7)]
    assert sizes == sorted(sizes)


def test_a_codec_of_its_own_is_the_only_choice() -> None:
    assert choice.choose(Policy("digits", "mlp", SIZE, codec=CodecSpec("topk")), 1.0) == 0


def test_one_upload_that_the_weather_held_up_changes_nothing() -> None:
    usual = [Transfer(1000, 0.1)] * 3
    assert choice.rate(usual) == pytest.approx(10_000)
    assert choice.rate([*usual, Transfer(1000, 60.0)]) == pytest.approx(10_000)
    assert choice.rate([*usual, Transfer(1000, 60.0), Transfer(1000, 50.0)]) == pytest.approx(20)
    assert choice.rate([Transfer(1000, 1.0), Transfer(1000, 0.1)]) == pytest.approx(1000)
    assert choice.rate([]) is None
    with pytest.raises(ConfigurationError):
        Transfer(0, 1.0)


def test_what_one_codec_left_out_is_sent_by_the_next() -> None:
    made, generator, exponent = policy(), np.random.default_rng(3), Policy("digits", "mlp", 1).grid.exponent
    residual, learned, arrived = None, np.zeros(SIZE), np.zeros(SIZE)
    for round, number in enumerate((0, 4, 2, 3, 0, 1), start=1):
        update = generator.normal(0, 0.01, SIZE).astype(np.float32)
        packed = updates.pack(update, residual, made, round, generator, number)
        codec, integers = updates.unpack(packed.payload, made)
        assert codec == LADDER[number]
        np.testing.assert_array_equal(integers, packed.integers)
        residual = packed.residual
        learned, arrived = learned + update, arrived + grid.from_grid(integers, exponent)
    assert residual is not None
    np.testing.assert_allclose(arrived + residual, learned, atol=1e-6)
    assert np.abs(residual).max() <= 0.5 * 2.0**exponent + 1e-7  # the last was dense: only rounding is left


@pytest.mark.parametrize("payload", [b"", bytes([len(LADDER)]), bytes([255, 0, 0]), bytes([1])])
def test_a_codec_outside_the_policy_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="codec number|bytes"):
        updates.unpack(payload, policy())


def test_the_longest_body_is_that_of_the_longest_choice() -> None:
    made = policy()
    dense = Policy("digits", "mlp", SIZE, codec=CodecSpec("none"))
    assert updates.body_limit(made) >= updates.body_limit(dense) + 1
    packed = updates.pack(np.ones(SIZE, np.float32), None, made, 1, np.random.default_rng(1), 1)
    assert len(packed.payload) == 1 + 2 * SIZE
