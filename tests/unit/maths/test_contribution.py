from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths import contribution
from middleware.maths.contribution import NOVEL_BITS, Score, scores

Rows = list[npt.NDArray[np.int32]]


def vectors(seed: int, count: int, length: int = 50, largest: int = 32767) -> Rows:
    generator = np.random.default_rng(seed)
    return [generator.integers(-largest, largest + 1, length).astype(np.int32) for _ in range(count)]


def slow(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(int(a) * int(b) for a, b in zip(left, right, strict=True))


# ------------------------------------------------------------------------------------------------------ the closed form


def test_the_closed_form_is_the_shapley_value_of_the_quadratic_utility() -> None:
    """Against all 2**6 utilities, as fractions: not one part in anything of difference."""
    generator = np.random.default_rng(1)
    g, shares = generator.integers(-9, 10, 4), generator.integers(-9, 10, (6, 4))
    half = generator.integers(-9, 10, (4, 4))
    hessian = half + half.T

    def utility(members: frozenset[int]) -> Fraction:
        x = shares[sorted(members)].sum(axis=0) if members else np.zeros(4, int)
        return Fraction(-2 * int(g @ x) - int(x @ hessian @ x), 2)

    v = 2 * g + hessian @ shares.sum(axis=0)
    closed = {player: Fraction(-int(v @ shares[player]), 2) for player in range(6)}
    assert contribution.shapley(utility, range(6)) == closed
    assert sum(closed.values()) == utility(frozenset(range(6)))


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([127, 32767, (1 << 23) - 1]))
@settings(max_examples=30, deadline=None)
def test_inner_products_are_exact(seed: int, count: int, largest: int) -> None:
    rows, others = vectors(seed, count, 40_000 if seed % 7 == 0 else 33, largest), vectors(seed + 1, 2, 1, largest)
    others = [np.resize(other, len(rows[0])) for other in others]
    assert contribution.dots(rows, others) == [[slow(row, other) for other in others] for row in rows]


def test_products_past_64_bits_are_exact() -> None:
    largest = (1 << 23) - 1
    row = np.full(1 << 18, largest, np.int32)
    assert contribution.dots([row], [row]) == [[largest * largest << 18]]


# ------------------------------------------------------------------------------------------------------ split neutrality


@given(st.integers(0, 2**32), st.integers(0, 3), st.lists(st.integers(1, 50), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_split_device_scores_the_same_in_sum(seed: int, known: int, parts: list[int]) -> None:
    """Devices whose weighted sum is that of one device: raw and counted scores add up to its own, exactly."""
    pieces, moves = vectors(seed, len(parts), largest=400), vectors(seed + 1, known, largest=400)
    (v,) = vectors(seed + 2, 1)
    whole = sum(weight * piece for weight, piece in zip(parts, pieces, strict=True))
    one = scores([whole], [1], v, moves)[0]
    split = scores(pieces, parts, v, moves)
    assert sum(score.raw for score in split) == one.raw
    if all(not score.reason for score in (*split, one)):
        assert sum(score.counted for score in split) == one.counted


@given(st.integers(0, 2**32), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_raw_scores_add_up_to_the_score_of_the_sums(seed: int, count: int) -> None:
    rows, (v,) = vectors(seed, count), vectors(seed + 1, 1)
    weights = [1 + place for place in range(count)]
    together = sum(weight * row.astype(object) for weight, row in zip(weights, rows, strict=True))
    assert sum(score.raw for score in scores(rows, weights, v, [])) == -slow(list(together), list(v))


# ------------------------------------------------------------------------------------------------------ copies and echoes


def test_the_first_of_equal_updates_keeps_its_score_and_the_others_count_nothing() -> None:
    (row, other), (v,) = vectors(3, 2), vectors(4, 1)
    found = scores([row, other, row.copy(), row.astype(np.int32)], [5, 1, 5, 9], v, [])
    assert [score.reason for score in found] == ["", "", contribution.COPY, contribution.COPY]
    assert found[0].counted == found[0].raw << NOVEL_BITS != 0
    assert (found[2].raw, found[2].counted) == (found[0].raw, 0)


def test_an_update_that_was_not_used_scores_nothing_and_is_nobodys_original() -> None:
    (row,), (v,) = vectors(3, 1), vectors(4, 1)
    assert scores([row, row], [0, 1], v, [])[0] == Score(0, 0, "")
    assert scores([row, row], [0, 1], v, [])[1].reason == ""


def test_an_echo_of_a_known_move_counts_nothing_and_the_bound_is_exact() -> None:
    """3-4-5 in whole numbers: cosine exactly 0.95 is allowed, a hair above is not."""
    move = np.array([1, 0], np.int32)
    v = np.array([-3, -5], np.int16)
    # (19, b) with 19**2 + b**2 = 20**2 has no whole b, so the bound lies between b = 6 (0.9536) and b = 7 (0.9383)
    above, below = np.array([19, 6], np.int32), np.array([19, 7], np.int32)
    assert [score.reason for score in scores([above, below, -above], [1, 1, 1], v, [move])] == ["echo", "", ""]
    exact = np.array([19 * 19, 0, 0, 0], np.int32), np.array([19, 6, 1, 1], np.int32)  # cosine 19 / sqrt(399)
    assert scores([exact[1]], [1], np.ones(4, np.int16), [exact[0]])[0].reason == "echo"
    exactly = np.array([19, 6, 1, 1, 1], np.int32)  # 361 + 39 = 400: the cosine to the first axis is 19 / 20
    axis = np.array([1, 0, 0, 0, 0], np.int32)
    assert scores([exactly], [1], np.ones(5, np.int16), [axis])[0].reason == ""


@given(st.integers(0, 2**32), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_mixture_of_known_moves_counts_next_to_nothing(seed: int, mixture: list[int]) -> None:
    """What counts of it is the rounding of the coefficients: at most half a unit for each move's square."""
    moves, (v,) = vectors(seed, 3, largest=1000), vectors(seed + 1, 1)
    row = sum(c * move for c, move in zip(mixture, moves, strict=True))
    found = scores([np.asarray(row, np.int32)], [1], v, moves)[0]
    rounding = sum(abs(slow(move, row)) for move in moves)
    assert 2 * abs(found.counted) <= rounding


def test_an_honest_direction_keeps_its_value_beside_known_moves() -> None:
    v = np.array([-100, -100, 0], np.int16)
    known, new = np.array([8, 0, 0], np.int32), np.array([0, 5, 3], np.int32)
    found = scores([known + new, new], [1, 1], v, [known])
    assert found[0].counted == found[1].counted == 500 << NOVEL_BITS
    assert found[0].raw == 1300


def test_moves_that_repeat_or_are_zero_take_nothing_twice() -> None:
    (move, row), (v,) = vectors(5, 2), vectors(6, 1)
    once = scores([row], [1], v, [move])[0].counted
    assert abs(scores([row], [1], v, [move, move, 0 * move])[0].counted - once) <= 2 * abs(slow(row, move))
    assert contribution.novelty(v, [0 * move]) == [0]


# -------------------------------------------------------------------------------------------------------------- numbers


@given(st.lists(st.floats(-1e20, 1e20), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_quantising_is_as_fine_as_sixteen_bits_allow(values: list[float]) -> None:
    vector = np.array(values)
    integers, exponent = contribution.quantise(vector)
    assert integers.dtype == np.int16 and contribution.LEAST_EXPONENT <= exponent <= contribution.LARGEST_EXPONENT
    inside = np.abs(vector) <= 32767 * 2.0**exponent
    assert (np.abs(integers * 2.0**exponent - vector)[inside] <= 2.0**exponent / 2).all()
    assert not integers.any() or exponent in (-100, 0) or int(np.abs(integers.astype(int)).max()) >= 1 << 14


def test_a_vector_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        contribution.quantise(np.array([1.0, np.nan]))


def test_points_are_the_shapley_value_in_fixed_point() -> None:
    """phi = raw * 2**(e_v + e_grid) / (2 W), in units of 2**-40, to nearest with halves up."""
    raw, total, exponent = -12345, 7, -30
    exact = Fraction(raw, 2 * total) * Fraction(2) ** (exponent + 40)
    assert contribution.points(raw << NOVEL_BITS, total, exponent) == (2 * exact + 1) // 2
    assert contribution.points(1, 1, NOVEL_BITS - 40) == 1 and contribution.points(-1, 1, NOVEL_BITS - 40) == 0
    with pytest.raises(ValueError, match="add up to 0"):
        contribution.points(1, 0, 0)


def test_a_published_vector_is_told_from_another_but_not_from_its_rounding() -> None:
    vector = np.random.default_rng(0).standard_normal(1000) * 1e-3
    integers, exponent = contribution.quantise(vector)
    assert not contribution.differs(integers, exponent, vector)
    assert not contribution.differs(integers, exponent, vector * (1 + 1e-6))
    assert contribution.differs(integers, exponent, vector * 1.03)
    assert contribution.differs(integers, exponent + 1, vector)
    assert contribution.differs(integers, exponent + 40, vector)
    assert contribution.differs(np.zeros(1000, np.int16), contribution.LARGEST_EXPONENT, vector)
    assert not contribution.differs(np.zeros(1000, np.int16), contribution.LEAST_EXPONENT, np.zeros(1000))


def test_a_move_is_read_off_two_models() -> None:
    before = np.array([1.5, -2.0, 0.0, np.inf], np.float32)
    after = np.array([1.75, -2.5, np.nan, np.inf], np.float32)
    assert contribution.move_between(before, after, -2).tolist() == [1, -2, 0, 0]
    far = contribution.move_between(np.zeros(1, np.float32), np.full(1, 3e38, np.float32), -12)
    assert far.tolist() == [contribution.MOVE_LIMIT]


# -------------------------------------------------------------------------------------------------------- exact, small


def by_orders(utility: contribution.Utility, groups: list[list[int]]) -> dict[int, Fraction]:
    """The Owen value by its definition: the mean over every order in which no group is interrupted."""
    value = {player: Fraction(0) for group in groups for player in group}
    orders = 0
    for outer in permutations(groups):
        inner: list[list[int]] = [[]]
        for group in outer:
            inner = [start + list(order) for start in inner for order in permutations(group)]
        for order in inner:
            orders += 1
            for place, player in enumerate(order):
                after, before = frozenset(order[: place + 1]), frozenset(order[:place])
                value[player] += utility(after) - utility(before)
    return {player: amount / orders for player, amount in value.items()}


@pytest.mark.parametrize("groups", [[[0, 1, 2], [3, 4]], [[5], [0], [9]], [[1, 2, 3, 4]], [[0, 1], [2, 3], [4]]])
def test_two_level_values_are_the_mean_over_all_orders(groups: list[list[int]]) -> None:
    table: dict[frozenset[int], Fraction] = {frozenset(): Fraction(0)}
    generator = np.random.default_rng(8)

    def utility(members: frozenset[int]) -> Fraction:
        if members not in table:
            table[members] = Fraction(int(generator.integers(-100, 100)), 7)
        return table[members]

    found = contribution.shapley_two_level(utility, groups)
    assert found == by_orders(utility, groups)
    assert sum(found.values()) == utility(frozenset(player for group in groups for player in group))


def test_exact_values_are_for_small_groups() -> None:
    with pytest.raises(ValueError, match="at most 12"):
        contribution.shapley(lambda members: Fraction(0), range(13))
    with pytest.raises(ValueError, match="once"):
        contribution.shapley_two_level(lambda members: Fraction(0), [[1, 2], [2]])
