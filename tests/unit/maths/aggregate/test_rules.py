from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths import aggregate as rules
from middleware.maths.aggregate import LINEAR, RULES, Given, aggregate, blocks, divide

LIMIT = 32767


def drawn(seed: int, rows: int, length: int, largest: int = LIMIT) -> np.ndarray:
    kind = np.int16 if largest <= LIMIT else np.int32
    return np.random.default_rng(seed).integers(-largest, largest + 1, (rows, length)).astype(kind)


def in_python(rule: str, rows: list[list[int]], weights: list[int], f: int) -> tuple[list[int], list[int], int]:
    """The rules again, with Python's integers and nothing clever."""
    count = len(rows)
    columns = list(zip(*rows, strict=True))
    if rule == "mean":
        return weights, [sum(w * v for w, v in zip(weights, column, strict=True)) for column in columns], sum(weights)
    if rule == "trimmed-mean":
        return [1] * count, [sum(sorted(column)[f : count - f]) for column in columns], count - 2 * f
    if rule == "median":
        middle = [(count - 1) // 2, count // 2] if count % 2 == 0 else [count // 2]
        return [1] * count, [sum(sorted(column)[i] for i in middle) for column in columns], len(middle)
    scores: list[int] = []
    for i, one in enumerate(rows):
        others = sorted(sum((a - b) ** 2 for a, b in zip(one, rows[j], strict=True)) for j in range(count) if j != i)
        scores.append(sum(others[: count - f - 2]))
    best = sorted(range(count), key=lambda i: (scores[i], i))
    chosen = best[:1] if rule == "krum" else best[: count - f]
    votes = [int(i in chosen) for i in range(count)]
    return votes, [sum(w * v for w, v in zip(votes, column, strict=True)) for column in columns], len(chosen)


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed-mean", "krum", "multi-krum"])
@pytest.mark.parametrize("largest", [3, LIMIT, 2**23 - 1])
def test_trimmed_mean_median_krum_and_multi_krum_equal_plain_python_on_random_sets(rule: str, largest: int) -> None:
    generator = np.random.default_rng(7)
    for trial in range(70):  # 210 sets for each rule
        f = int(generator.integers(0, 3))
        count = int(generator.integers(2 * f + 3, 2 * f + 9))
        rows = drawn(trial, count, int(generator.integers(1, 12)), largest)
        weights = [int(w) for w in generator.integers(1, 4097, count)]
        result = aggregate(rule, list(rows), weights, f)
        assert (list(result.weights), result.sums.tolist(), result.total) == in_python(rule, rows.tolist(), weights, f)
        assert result.sums.dtype == np.int64


NAMES = (
    *RULES,
    *(f"{mixer}+{rule}" for mixer in rules.MIXERS for rule in RULES if rule not in ("afa", "contra")),
    *(
        f"{screen}:{rule}"
        for screen in rules.SCREENS
        for rule in RULES
        if rule not in ("afa", "contra", "centred-clipping")
    ),
)


def measured(aggregate: np.ndarray) -> tuple[float, float]:
    """A stand-in for a server's data: how far from 100 the aggregate is."""
    return float((np.abs(aggregate - 100) > 5000).mean()), float(np.abs(aggregate - 100.0).mean())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("largest", [LIMIT, 2**23 - 1])
def test_blocks_and_threads_change_nothing(name: str, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weights = drawn(5, 23, 400, largest), list(range(1, 24))
    given = Given(tuple(range(20, 43)), b"seed", evaluate=measured)
    expected = aggregate(name, rows, weights, 1, given)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 17)
    monkeypatch.setattr(blocks, "LARGE", 1)
    for cut in (aggregate(name, rows, weights, 1, given), aggregate(name, list(rows), weights, 1, given)):
        assert cut.weights == expected.weights
        assert cut.total == expected.total
        assert np.array_equal(cut.sums, expected.sums)
        assert cut.sums.dtype == np.int64
        assert cut.memory.standing == expected.memory.standing


@pytest.mark.parametrize("name", NAMES)
def test_what_is_reported_as_weights_of_a_linear_rule_gives_its_sums(name: str) -> None:
    rows = drawn(15, 23, 60)
    result = aggregate(name, rows, [1] * 23, 1, Given(tuple(range(1, 24)), b"seed", evaluate=measured))
    if rules.parts_of(name).core in LINEAR:
        assert np.array_equal(result.sums, rules.weighted_sums(rows, result.weights))
        assert result.total == sum(result.weights)
    if name in LINEAR:
        assert result.weights == rules.linear_weights(name, rows, [1] * 23, 1, Given(tuple(range(1, 24)), b"seed"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("f", [0, 1, 2])
def test_the_least_number_of_updates_is_enough_and_one_less_is_refused(name: str, f: int) -> None:
    least = rules.least_updates(name, f)
    given = Given(evaluate=measured)
    assert aggregate(name, drawn(1, least, 7), [1] * least, f, given).sums.shape == (7,)
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least} updates, not {least - 1}"):
            aggregate(name, drawn(1, least - 1, 7), [1] * (least - 1), f, given)


@pytest.mark.parametrize("largest", [LIMIT, 2**23 - 1])
def test_squared_distances_are_exact_at_the_edge_of_the_grid(largest: int) -> None:
    rows = np.where(drawn(6, 5, 3000, LIMIT) >= 0, largest, -largest).astype(np.int32)
    distances = rules.squared_distances(rows)
    for i in range(5):
        for j in range(5):
            assert int(distances[i, j]) == sum((int(a) - int(b)) ** 2 for a, b in zip(rows[i], rows[j], strict=True))


def test_distances_past_64_bits_are_python_integers() -> None:
    rows = np.full((3, 1 << 16), 2**23 - 1, np.int32)
    rows[0] *= -1
    distances = rules.squared_distances(rows)
    assert distances.dtype == object
    assert distances[0, 1] == (2 * (2**23 - 1)) ** 2 << 16
    assert distances[1, 2] == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_updates_does_not_matter(name: str) -> None:
    rows, weights = drawn(8, 23, 100), [int(w) for w in np.random.default_rng(8).integers(1, 4097, 23)]
    senders = tuple(range(100, 123))
    expected = aggregate(name, rows, weights, 2, Given(senders, b"seed", evaluate=measured))
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(23)
        given = Given(tuple(senders[i] for i in order), b"seed", evaluate=measured)
        moved = aggregate(name, rows[order], [weights[i] for i in order], 2, given)
        assert np.array_equal(moved.sums, expected.sums)
        assert moved.total == expected.total
        assert moved.weights == tuple(expected.weights[i] for i in order)
        assert moved.memory.standing == expected.memory.standing


def test_of_equal_scores_the_lower_index_is_kept() -> None:
    rows = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]], np.int16)
    assert rules.multi_krum_weights(rows, [1] * 5, 1) == (1, 1, 1, 0, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_two_levels_of_mean_are_one_to_the_bit(edges: list[int], seed: int) -> None:
    count = sum(edges)
    rows, weights = drawn(seed, count, 50), [int(w) for w in np.random.default_rng(seed).integers(1, 4097, count)]
    flat = aggregate("mean", rows, weights, 0)
    sums, total, start = np.zeros(50, np.int64), 0, 0
    for size in edges:
        part = aggregate("mean", rows[start : start + size], weights[start : start + size], 0)
        sums, total, start = sums + part.sums, total + part.total, start + size
    assert np.array_equal(sums, flat.sums)
    assert np.array_equal(divide(sums, total), divide(flat.sums, flat.total))


def test_adding_one_update_after_the_other_is_the_weighted_sum() -> None:
    rows, weights = drawn(9, 6, 100_001), [1, 4096, 7, 19, 1000, 3]
    sums = np.zeros(100_001, np.int64)
    for row, weight in zip(rows, weights, strict=True):
        rules.add_weighted(sums, row, weight)
    assert np.array_equal(sums, (rows.astype(np.int64) * np.array(weights)[:, None]).sum(axis=0))
    assert np.array_equal(sums, rules.weighted_sums(rows, weights))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**61), 2**61) | st.integers(-(2**53), 2**53) | st.integers(-(2**20), 2**20), st.integers(1, 2**36)
)
def test_division_rounds_to_nearest_and_halves_up(total_sum: int, total: int) -> None:
    assert int(divide(np.array([total_sum]), total)[0]) == floor(Fraction(2 * total_sum + total, 2 * total))


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**20), 2**20), st.integers(2, 2**31), st.integers(-2, 2))
def test_division_is_exact_beside_every_half(whole: int, total: int, beside: int) -> None:
    total_sum = whole * total - total // 2 + beside
    assert int(divide(np.array([total_sum]), total)[0]) == floor(Fraction(2 * total_sum + total, 2 * total))


def test_liars_at_the_limit_cannot_move_median_or_trimmed_mean_outside_the_honest_range() -> None:
    f, honest = 3, drawn(10, 5, 2000, 1000)
    for seed in range(20):
        lies = np.where(drawn(seed, f, 2000) >= 0, LIMIT, -LIMIT).astype(np.int16)
        rows = np.concatenate([lies, honest])
        for rule in ("median", "trimmed-mean"):
            result = aggregate(rule, rows, [4096] * 3 + [1] * 5, f)
            assert (result.sums <= honest.max(axis=0).astype(np.int64) * result.total).all()
            assert (result.sums >= honest.min(axis=0).astype(np.int64) * result.total).all()
        assert (np.abs(divide(*aggregate("mean", rows, [1] * 8, 0)[1:3])) > 1000).any()


def test_multi_krum_leaves_out_exactly_the_liars_among_close_honest_updates() -> None:
    honest = 500 + drawn(11, 7, 3000, 100)
    for liars in ([0], [3], [0, 1], [2, 8]):
        rows = list(honest)
        for at in liars:
            rows.insert(at, (-10 * honest[at % 7]).astype(np.int16))
        weights = aggregate("multi-krum", rows, [100] * len(rows), len(liars)).weights
        assert [index for index, weight in enumerate(weights) if weight == 0] == liars


def test_a_declared_weight_buys_nothing_in_a_robust_rule() -> None:
    rows = drawn(12, 9, 100)
    for rule in ("median", "trimmed-mean", "multi-krum"):
        assert np.array_equal(aggregate(rule, rows, [1] * 9, 1).sums, aggregate(rule, rows, [4096] + [1] * 8, 1).sums)


def test_what_a_rule_cannot_hold_is_refused() -> None:
    rows = drawn(13, 4, 5)
    with pytest.raises(ValueError, match="at least 5 updates, not 4"):
        aggregate("multi-krum", rows, [1] * 4, 1)
    with pytest.raises(ValueError, match="at least 5 updates, not 4"):
        aggregate("trimmed-mean", rows, [1] * 4, 2)
    with pytest.raises(ValueError, match="no rule named"):
        aggregate("kraum", rows, [1] * 4, 0)
    with pytest.raises(ValueError, match="0 updates"):
        aggregate("mean", [], [], 0)
    with pytest.raises(ValueError, match="4 updates with 3 weights"):
        aggregate("mean", rows, [1] * 3, 0)
    with pytest.raises(ValueError, match="at least 1"):
        aggregate("mean", rows, [1, 1, 1, 0], 0)
    with pytest.raises(ValueError, match="signed integers"):
        aggregate("mean", rows.astype(np.float32), [1] * 4, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one length"):
        aggregate("mean", [rows[0], rows[1][:3]], [1, 1], 0)
    with pytest.raises(ValueError, match="nothing to divide by"):
        divide(np.zeros(2, np.int64), 0)
    with pytest.raises(ValueError, match="do not add"):
        rules.add_weighted(np.zeros(3, np.int64), rows[0], 1)
