from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths import grid
from middleware.maths.compress import CODECS, decode, encode, expected_size, payload_limit, sparse
from middleware.maths.compress.feedback import with_feedback

BITS = (8, 9, 12, 16, 17, 24)
STABLE = (
    "none",
    "int8",
    "int4",
    "topk",
    "topk+int8",
    "topk+int4",
    "dgc",
)  # what they decoded to they encode without loss
BUDGET = 1 << 20


def packed(codec: str, integers: np.ndarray, bits: int, density: float = 1.0, seed: int = 0) -> bytes:
    return encode(codec, integers, bits, density, np.random.default_rng(seed), BUDGET)


def drawn(seed: int, length: int, bits: int, zeros: float = 0.0) -> np.ndarray:
    generator, largest = np.random.default_rng(seed), grid.limit(bits)
    integers = generator.integers(-largest, largest + 1, length).astype(grid.dtype(bits))
    integers[generator.random(length) < zeros] = 0
    return integers


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("length", [1, 7, 8, 9, 1000])
def test_none_and_dense_topk_lose_nothing(bits: int, length: int) -> None:
    for zeros in (0.0, 0.5, 0.99, 1.0):
        integers = drawn(length, length, bits, zeros)
        for codec in ("none", "topk"):
            payload = encode(codec, integers, bits, 1.0)
            back = decode(codec, payload, length, bits)
            assert np.array_equal(back, integers)
            assert back.dtype == integers.dtype
            assert len(payload) <= payload_limit(codec, length, bits)


@pytest.mark.parametrize(("bits", "width"), [(8, 1), (9, 2), (16, 2), (17, 4), (24, 4)])
def test_none_is_as_wide_as_the_grid_needs_and_little_endian(bits: int, width: int) -> None:
    assert encode("none", np.array([-2, 3], grid.dtype(bits)), bits) == (-2).to_bytes(width, "little", signed=True) + (
        3
    ).to_bytes(width, "little")


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5])
def test_topk_keeps_the_largest_and_nothing_else(density: float) -> None:
    integers = np.random.default_rng(4).permutation(np.arange(-2000, 2000)).astype(np.int16)
    back = decode("topk", encode("topk", integers, 16, density), 4000, 16)
    kept = np.flatnonzero(back)
    assert len(kept) == max(1, int(density * 4000))
    assert np.array_equal(back[kept], integers[kept])
    assert np.abs(integers[kept]).min() >= np.abs(np.delete(integers, kept)).max()


@pytest.mark.parametrize("bits", BITS)
def test_int8_errs_by_at_most_half_a_shifted_step_but_where_it_is_cut_off(bits: int) -> None:
    for seed in range(30):
        largest = int(np.random.default_rng(seed).integers(1, grid.limit(bits) + 1))
        integers = np.random.default_rng(seed).integers(-largest, largest + 1, 500).astype(grid.dtype(bits))
        payload = encode("int8", integers, bits)
        shift = payload[0]
        back = decode("int8", payload, 500, bits).astype(np.int64)
        assert shift == min(s for s in range(32) if int(np.abs(integers).max()) >> s <= 127)
        cut = np.abs(np.rint(integers / 2**shift)) > 127
        assert (np.abs(back - integers)[~cut] <= 2**shift / 2).all()
        assert (np.abs(back - integers)[cut] < 2**shift).all()
        assert grid.on_grid(back, bits)


def test_int8_cannot_leave_the_grid_at_its_limit() -> None:
    for bits in BITS:
        ends = np.array([grid.limit(bits), -grid.limit(bits)], grid.dtype(bits))
        assert grid.on_grid(decode("int8", encode("int8", ends, bits), 2, bits), bits)


def test_topk_int8_at_one_per_cent_of_the_digits_model_is_about_two_bytes_a_number() -> None:
    update = np.random.default_rng(5).laplace(size=19_210) * 300
    integers = update.clip(-32767, 32767).astype(np.int16)
    payload = encode("topk+int8", integers, 16, 0.01)
    assert len(np.flatnonzero(decode("topk+int8", payload, 19_210, 16))) == 192
    assert len(payload) < 192 * 2.4
    assert len(payload) < 0.012 * len(encode("none", integers, 16))


@pytest.mark.parametrize("layout", [sparse.VARINTS, sparse.BITMAP, sparse.DENSE])
def test_the_shortest_layout_is_chosen(layout: int) -> None:
    zeros = {sparse.VARINTS: 0.99, sparse.BITMAP: 0.5, sparse.DENSE: 0.0}[layout]
    assert encode("topk", drawn(6, 4000, 16, zeros), 16, 1.0)[0] == layout


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CODECS), st.sampled_from(BITS), st.integers(1, 300), st.floats(0.001, 1.0), st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_decoding_is_the_inverse_of_encoding_what_was_decoded(
    codec: str, bits: int, length: int, density: float, zeros: float, seed: int
) -> None:
    payload = packed(codec, drawn(seed, length, bits, zeros), bits, density)
    once = decode(codec, payload, length, bits)
    if codec in STABLE:
        assert np.array_equal(decode(codec, packed(codec, once, bits, density), length, bits), once)
    assert len(payload) <= payload_limit(codec, length, bits)
    assert decode(codec, memoryview(bytearray(payload)), length, bits).tobytes() == once.tobytes()


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(CODECS), st.sampled_from(BITS), st.integers(1, 40), st.binary(max_size=90))
def test_any_bytes_decode_onto_the_grid_or_raise_value_error(codec: str, bits: int, length: int, data: bytes) -> None:
    try:
        integers = decode(codec, data, length, bits)
    except ValueError:
        return
    assert integers.shape == (length,)
    assert integers.dtype == grid.dtype(bits)
    assert grid.on_grid(integers, bits)


def test_mutated_payloads_decode_onto_the_grid_or_raise_value_error() -> None:
    generator = np.random.default_rng(7)
    outcomes = set()
    for codec in CODECS:
        for zeros in (0.0, 0.6, 0.97):
            payload = packed(codec, drawn(7, 300, 16, zeros), 16, 0.9)
            for _ in range(400):
                mutated = bytearray(payload)
                for place in generator.integers(0, len(mutated), generator.integers(1, 4)):
                    mutated[place] = generator.integers(256)
                cut = int(generator.integers(len(mutated) + 1)) if generator.random() < 0.2 else len(mutated)
                try:
                    outcomes.add(grid.on_grid(decode(codec, mutated[:cut], 300, 16), 16))
                except ValueError as error:
                    outcomes.add(type(error).__name__)
    assert outcomes == {True, "ValueError"}


@pytest.mark.parametrize(
    ("codec", "payload", "message"),
    [
        ("none", b"\0" * 7, "do not hold 4 values"),
        ("none", b"\0" * 9, "at most 8"),
        ("none", b"\0\x80" * 4, "outside the 16-bit grid"),
        ("int8", b"\x09" + bytes(4), "leaves the 16-bit grid"),
        ("int8", b"\x08\x80\0\0\0", "-127"),
        ("int8", b"", "ends in its head"),
        ("topk", b"", "ends in its head"),
        ("topk", b"\x03", "layout 3"),
        ("topk", b"\0\xff\xff\xff\xff", "do not hold 4294967295"),
        ("topk", b"\0\x01\0\0", "ends in its head"),
        ("topk", b"\0\x01\0\0\0\x04\x01\0", "past the last"),
        ("topk", b"\0\x01\0\0\0\x80\x01\x01", "do not hold 1|not 1 numbers"),
        ("topk", b"\0\x01\0\0\0\x80\0\x01\0", "shortest spelling"),
        ("topk", b"\x01\x10\x01\0", "past the last"),
        ("topk", b"\x01", "ends in its bitmap"),
        ("topk+int8", b"\x01", "ends in its head"),
    ],
)
def test_each_way_to_lie_in_a_payload_has_its_own_text(codec: str, payload: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(codec, payload, 4, 16)


def test_an_unknown_codec_and_a_value_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="no codec named"):
        encode("zip", np.zeros(3, np.int16), 16)
    with pytest.raises(ValueError, match="no codec named"):
        decode("zip", b"", 3, 16)
    with pytest.raises(ValueError, match="outside the 16-bit grid"):
        encode("none", np.array([-32768], np.int16), 16)


def test_gaps_of_every_length_of_varint_survive() -> None:
    length = 1 << 22
    integers = np.zeros(length, np.int16)
    places = np.cumsum([0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_152])
    integers[places] = np.arange(1, len(places) + 1)
    payload = encode("topk", integers, 16, 1.0)
    assert payload[0] == sparse.VARINTS
    assert np.array_equal(decode("topk", payload, length, 16), integers)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in ("terngrad", "qsgd")])
def test_what_was_sent_and_what_is_kept_add_up_over_a_thousand_steps_and_a_restart(codec: str) -> None:
    generator = np.random.default_rng(8)
    learned, sent, residual = np.zeros(50), np.zeros(50), None
    for step in range(1000):
        update = generator.normal(size=50) * 0.01
        result = with_feedback(update, residual, codec, 16, -13, 0.1, generator, 200)
        learned += update
        sent += grid.from_grid(result.integers, -13)
        residual = np.frombuffer(result.residual.tobytes()) if step == 500 else result.residual
        assert result.saturated == 0
    assert residual is not None
    assert np.abs(sent + residual - learned).max() < 1e-9 * np.abs(learned).max()
    assert np.abs(residual).max() > 0


def test_in_float32_what_was_sent_and_kept_adds_up_to_rounding() -> None:
    generator = np.random.default_rng(9)
    learned, sent = np.zeros(500), np.zeros(500)
    residual = None
    for _ in range(1000):
        update = (generator.normal(size=500) * 0.01).astype(np.float32)
        result = with_feedback(update, residual, "topk+int8", 16, -13, 0.05)
        learned, sent, residual = learned + update, sent + grid.from_grid(result.integers, -13), result.residual
    assert residual is not None
    assert residual.dtype == np.float32
    assert np.linalg.norm(sent + residual - learned) < 1e-5 * np.linalg.norm(learned)


def test_what_the_grid_cut_off_is_kept_too() -> None:
    result = with_feedback(np.array([6.0, 1.0], np.float32), None, "none", 16, -13)
    assert result.saturated == 1
    assert result.residual.tolist() == [6.0 - 32767 / 8192, 0.0]


@pytest.mark.parametrize("codec", ["topk", "randomk", "topk+int8", "randomk+int4", "dgc"])
@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5])
def test_sent_bytes_are_those_of_index_and_value_within_one_per_cent(codec: str, density: float) -> None:
    length = 400_000
    integers = np.random.default_rng(4).normal(0, 3000, length).round().clip(-32767, 32767).astype(np.int16)
    sent = len(encode(codec, integers, 16, density, np.random.default_rng(5)))
    if codec != "randomk+int4":  # where many of the values that it draws round to zero, and are not sent
        assert sent == pytest.approx(expected_size(codec, length, 16, density), rel=0.01)
    assert sent <= 1.01 * expected_size(codec, length, 16, density)


@pytest.mark.parametrize("codec", ["none", "int8", "int4", "sign", "digital", "terngrad", "qsgd"])
def test_the_expected_size_of_a_dense_codec_is_what_it_sends_at_most(codec: str) -> None:
    integers = np.random.default_rng(6).normal(0, 3000, 10_001).round().clip(-32767, 32767).astype(np.int16)
    sent = len(encode(codec, integers, 16, 1.0, np.random.default_rng(7), 8000))
    expected = expected_size(codec, 10_001, 16, 1.0, 8000)
    assert sent <= expected
    if codec in ("none", "int8", "int4"):
        assert sent == expected
