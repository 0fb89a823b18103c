"""Few levels: TernGrad, QSGD, signSGD; and digital SGD (catalogue, training 1.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths import aggregate
from middleware.maths.compress import decode, digital, encode, symbols

LENGTH = 1024
SCALES = b"\1\0\0\0" * -(-1_000_000 // symbols.BUCKET)  # of terngrad, for a million coordinates


def update(seed: int = 1, length: int = LENGTH) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, 300, length)).astype(np.int16)


def back(codec: str, integers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return decode(codec, encode(codec, integers, 16, generator=generator), integers.size, 16)


@pytest.mark.parametrize("codec", ["terngrad", "qsgd"])
def test_terngrad_and_qsgd_are_unbiased_in_every_coordinate(codec: str) -> None:
    integers, generator, draws = update(), np.random.default_rng(2), 10_000
    total, squares = np.zeros(LENGTH), np.zeros(LENGTH)
    for _ in range(draws):
        values = back(codec, integers, generator).astype(np.float64)
        total += values
        squares += values**2
    mean = total / draws
    error = np.sqrt(np.maximum(squares / draws - mean**2, 1e-9) / draws)
    assert np.abs((mean - integers) / error).max() < 5


def test_terngrad_has_three_values_a_bucket_and_less_than_two_bits_each() -> None:
    integers = update(length=100_000)
    payload = encode("terngrad", integers, 16, generator=np.random.default_rng(0))
    values = decode("terngrad", payload, integers.size, 16)
    for start in range(0, integers.size, symbols.BUCKET):
        bucket = slice(start, start + symbols.BUCKET)
        largest = int(np.abs(integers[bucket]).max())
        assert set(np.unique(values[bucket])) <= {-largest, 0, largest}
    assert 8 * len(payload) / integers.size < math.log2(3) + 32 / symbols.BUCKET + 0.02


def test_terngrad_has_a_scale_a_bucket_so_that_one_large_value_is_felt_in_its_own_alone() -> None:
    integers = update(length=10_000)
    integers[700] = 30_000
    values = np.abs(back("terngrad", integers, np.random.default_rng(0)))
    assert values[700] == 30_000
    others = np.r_[0 : symbols.BUCKET, 2 * symbols.BUCKET : 10_000]
    assert values[others].max() == np.abs(integers[others]).max()


def test_qsgd_variance_is_below_the_papers_bound() -> None:
    """E||Q(v) - v||^2 <= min(n / s^2, sqrt(n) / s) ||v||^2 in each bucket; ours has a step of ceil(norm / s) units."""
    integers, generator = update(3, symbols.BUCKET), np.random.default_rng(4)
    norm = float(np.linalg.norm(integers.astype(np.float64)))
    lost = [float(((back("qsgd", integers, generator).astype(np.float64) - integers) ** 2).sum()) for _ in range(2000)]
    step = math.ceil(norm / symbols.LEVELS) / (norm / symbols.LEVELS)
    bound = min(symbols.BUCKET / symbols.LEVELS**2, math.sqrt(symbols.BUCKET) / symbols.LEVELS) * norm**2
    assert np.mean(lost) <= bound * step**2


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 99), st.sampled_from(["terngrad", "qsgd", "sign"]))
def test_symbols_survive_packing(length: int, seed: int, codec: str) -> None:
    integers = update(seed, length)
    payload = encode(codec, integers, 16, generator=np.random.default_rng(seed))
    assert len(payload) <= symbols.size(codec, length)
    assert decode(codec, payload, length, 16).shape == (length,)


def test_a_million_symbols_survive_packing() -> None:
    generator = np.random.default_rng(5)
    trits = generator.integers(-1, 2, 1_000_003).astype(np.int8)
    packed = symbols._pack_trits(trits)
    np.testing.assert_array_equal(symbols._TRITS_OF[packed].reshape(-1)[: trits.size], trits)
    levels = generator.integers(-7, 8, 1_000_003).astype(np.int8)
    np.testing.assert_array_equal(symbols.unpack_nibbles(symbols.pack_nibbles(levels))[: levels.size], levels)


def test_signsgd_takes_one_bit_and_the_mean_magnitude() -> None:
    integers = update(length=80_000)
    payload = encode("sign", integers, 16)
    assert 8 * len(payload) <= integers.size + 8 * 5
    values = decode("sign", payload, integers.size, 16)
    assert set(np.unique(np.abs(values))) == {round(float(np.abs(integers.astype(np.int64)).mean()))}
    assert ((values > 0) == (integers >= 0)).all()


def test_signsgd_majority_of_2f_plus_1_is_not_changed_by_f_liars() -> None:
    honest = decode("sign", encode("sign", update(), 16), LENGTH, 16)
    rows = [honest] * 4 + [-honest] * 3
    voted = aggregate.aggregate("sign-majority", rows, [1] * 7, 3)
    moved = aggregate.divide(voted.sums, voted.total)
    assert (np.sign(moved) == np.sign(honest)).all()


@pytest.mark.parametrize(("length", "budget"), [(1000, 200), (10_000, 5000), (250_000, 20_000), (1000, 33)])
def test_digital_q_is_the_largest_within_the_channels_bits(length: int, budget: int) -> None:
    count = digital.most_entries(length, budget)
    exact = math.log2(math.comb(length, count)) if count else 0
    assert exact + 33 <= budget or count == 0
    if count < length // 2:
        assert math.log2(math.comb(length, count + 1)) + 33 > budget


def test_digital_sends_one_mean_for_the_stronger_sign_and_stays_within_its_bits() -> None:
    integers = update(6, 5000)
    for budget in (200, 1000, 5000):
        payload = digital.encode(integers, budget)
        assert 8 * len(payload) <= budget
        values = digital.decode(memoryview(payload), 5000, 16)
        kept = values != 0
        mean = int(values[kept][0])
        assert (values[kept] == mean).all()
        lowest, highest = np.sort(integers)[: kept.sum()].mean(), np.sort(integers)[-kept.sum() :].mean()
        assert abs(mean - (highest if highest > -lowest else lowest)) <= 0.5


def test_digital_refuses_a_budget_that_holds_nothing() -> None:
    with pytest.raises(ValueError, match="holds no entry: give at least"):
        digital.encode(update(), 40)


def test_a_codec_that_draws_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="qsgd draws at random"):
        encode("qsgd", update(), 16)


@pytest.mark.parametrize(
    ("codec", "payload", "words"),
    [
        ("terngrad", b"\0\x80\0\0\0\0", "leaves the 16-bit grid"),
        ("terngrad", b"\1\0\0\0\0\xff", "0 to 242"),
        ("terngrad", b"\1\0\0\0\2\0", "stage 2"),
        ("terngrad", b"\1\0\0\0\0", "0 bytes of symbols, not 1"),
        ("terngrad", b"\1\0\0\0\1\0", "do not inflate"),
        ("terngrad", b"\1\0\0\0\0\x00", "past the last"),
        ("qsgd", b"\xff\x7f\0\0\0\x0f\x8f", "outside the 16-bit grid|levels go|past the last"),
        ("sign", b"\1\0\0\0\0\xff", "past the last"),
        ("sign", b"", "ends in its head"),
    ],
)
def test_each_way_to_lie_in_symbols_has_its_own_text(codec: str, payload: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(codec, payload, 4 if codec != "qsgd" else 3, 16)


def test_what_would_inflate_past_the_vector_is_not_inflated() -> None:
    bomb = SCALES + b"\1" + zstandard.ZstdCompressor(level=1).compress(bytes(50_000_000))
    with pytest.raises(ValueError, match="bytes of symbols|at most"):
        decode("terngrad", bomb, 1_000_000, 16)


def test_a_frame_that_inflates_to_more_than_it_says_is_refused() -> None:
    frame = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(1 << 20)))
    size = zstandard.get_frame_parameters(bytes(frame)).content_size
    place = bytes(frame).index(size.to_bytes(4, "little"))
    frame[place : place + 4] = (200_000).to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(frame)).content_size == 200_000
    with pytest.raises(ValueError, match="do not inflate"):
        decode("terngrad", SCALES + b"\1" + bytes(frame), 1_000_000, 16)


def test_bytes_after_a_frame_are_refused() -> None:
    payload = encode("terngrad", update(length=100_000), 16, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="do not inflate"):
        decode("terngrad", payload + b"\0", 100_000, 16)


class AlmostOne:
    """A generator that draws the largest float below 1."""

    def random(self, size: int, dtype: type) -> np.ndarray:
        return np.full(size, np.nextafter(np.float32(1), np.float32(0)), dtype)


def test_terngrad_keeps_the_largest_value_whatever_is_drawn() -> None:
    integers = np.array([300, -300, 300, 0, 300], np.int16)
    payload = symbols.encode("terngrad", integers, 16, AlmostOne())  # type: ignore[arg-type]
    assert np.abs(symbols.decode("terngrad", memoryview(payload), 5, 16)).max() == 300
