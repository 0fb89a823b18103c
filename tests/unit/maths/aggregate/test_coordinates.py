from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.aggregate import RULES, Given, aggregate, coordinates, divide, slsgd
from middleware.maths.aggregate.coordinates import nearest_to_median, network, ranks

LIMIT = 32767


def drawn(seed: int, rows: int, length: int, largest: int = LIMIT) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (rows, length)).astype(np.int16)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.data())
def test_the_network_brings_the_wanted_ranks_to_their_places(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(first + 1, count))
    largest = data.draw(st.sampled_from([1, 5, LIMIT]))  # few values: many are equal
    block = drawn(data.draw(st.integers(0, 99)), count, 33, largest)
    expected = np.sort(block, axis=0)[first:end]
    assert np.array_equal(ranks(block.copy(), np.empty(33, np.int16), first, end, True), expected)
    together = ranks(block.copy(), np.empty(33, np.int16), first, end, False)
    assert np.array_equal(np.sort(together, axis=0), expected)


@pytest.mark.parametrize("count", range(1, 12))
def test_the_network_sorts_every_row_of_zeros_and_ones(count: int) -> None:
    """By the zero-one principle it then sorts anything (Knuth, volume 3, 5.3.4, theorem Z)."""
    block = ((np.arange(1 << count) >> np.arange(count)[:, None]) & 1).astype(np.int16)
    assert np.array_equal(ranks(block.copy(), np.empty(1 << count, np.int16), 0, count, True), np.sort(block, axis=0))


def test_what_no_wanted_value_depends_on_is_left_out() -> None:
    assert len(network(50, 24, 26, False)) < len(network(50, 0, 50, True))
    assert network(50, 0, 50, False) == ()  # the sum of all needs no order


def test_more_rows_than_a_network_is_made_for_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(3, 23, 200)
    expected = {rule: aggregate(rule, rows, [1] * 23, 5) for rule in ("median", "trimmed-mean", "bulyan")}
    monkeypatch.setattr(coordinates, "NETWORK_ROWS", 4)
    for rule, result in expected.items():
        assert np.array_equal(aggregate(rule, rows, [1] * 23, 5).sums, result.sums)


def test_trimmed_mean_and_median_stay_in_the_honest_range_whatever_f_liars_send() -> None:
    f, honest = 3, drawn(10, 5, 2000, 1000)
    for extreme in (LIMIT, -LIMIT):
        rows = np.concatenate([np.full((f, 2000), extreme, np.int16), honest])
        for rule in ("median", "trimmed-mean"):
            moved = divide(*aggregate(rule, rows, [1] * 8, f)[1:3])
            assert (moved <= honest.max(axis=0)).all()
            assert (moved >= honest.min(axis=0)).all()


def test_trimmed_mean_of_one_coordinate_worked_by_hand() -> None:
    rows = np.array([[1], [2], [3], [100], [-100]], np.int16)
    assert aggregate("trimmed-mean", rows, [1] * 5, 1)[1:3] == (np.array([6]), 3)
    assert aggregate("median", rows[:4], [1] * 4, 1)[1:3] == (np.array([5]), 2)


# -------------------------------------------------------------------------------------------------------------- SLSGD


def test_slsgd_with_alpha_one_and_no_trimming_is_fedavg() -> None:
    rows = drawn(4, 9, 500)
    fedavg = aggregate("mean", rows, [1] * 9, 0)
    assert np.array_equal(divide(*slsgd(rows, 0, 256)[1:3]), divide(*fedavg[1:3]))


@pytest.mark.parametrize("alpha", [1, 64, 200])
def test_slsgd_damps_the_poison_of_one_round_by_exactly_alpha(alpha: int) -> None:
    rows = drawn(5, 9, 500, 1000)
    poisoned = rows.copy()
    poisoned[:3] = LIMIT
    whole = [slsgd(one, 1, 256) for one in (rows, poisoned)]
    damped = [slsgd(one, 1, alpha) for one in (rows, poisoned)]
    pull = whole[1].sums - whole[0].sums
    assert (pull != 0).any()
    assert damped[0].total == whole[0].total
    assert np.array_equal((damped[1].sums - damped[0].sums) * 256, pull * alpha)


def test_slsgd_varies_less_the_smaller_alpha_is() -> None:
    generator = np.random.default_rng(6)
    spreads = []
    for alpha in (256, 128, 32):
        model, path = np.zeros(40), []
        for _ in range(400):
            target = 1000 + 300 * generator.standard_normal((7, 40))
            rows = np.rint(target - model).astype(np.int16)
            model = model + divide(*slsgd(rows, 1, alpha)[1:3])
            path.append(model)
        spreads.append(np.var(np.array(path[200:]), axis=0).mean())
    assert spreads[0] > 1.5 * spreads[1] > 3 * spreads[2]


def test_slsgd_refuses_an_alpha_that_is_no_share() -> None:
    for alpha in (0, 257):
        with pytest.raises(ValueError, match="numerator of 256"):
            slsgd(drawn(1, 3, 3), 1, alpha)


# ------------------------------------------------------------------------------------------------------------- Bulyan


def in_python(rows: list[list[int]], f: int) -> tuple[list[int], list[int]]:
    """Bulyan again: (the rows chosen, the sums), with Python's integers and no distances kept."""
    count = len(rows)
    apart = [[sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    left, chosen = list(range(count)), []
    while len(chosen) < count - 2 * f:
        neighbours = max(1, len(left) - f - 2)
        scored = [(sum(sorted(apart[i][j] for j in left if j != i)[:neighbours]), sum(apart[i]), i) for i in left]
        chosen.append(min(scored)[2])
        left.remove(chosen[-1])
    sums = []
    for column in zip(*(rows[i] for i in chosen), strict=True):
        ordered = sorted(column)
        twice = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
        sums.append(sum(sorted(ordered, key=lambda value: (abs(2 * value - twice), value))[: count - 4 * f]))
    return sorted(chosen), sums


@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_bulyan_equals_a_slow_reference(f: int) -> None:
    for seed in range(40):
        count = 4 * f + 3 + seed % 4
        rows = drawn(seed, count, 9, [3, 50, LIMIT][seed % 3])
        result = aggregate("bulyan", rows, [1] * count, f)
        chosen, sums = in_python(rows.tolist(), f)
        assert [index for index, weight in enumerate(result.weights) if weight] == chosen
        assert result.sums.tolist() == sums
        assert result.total == count - 4 * f


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), st.data())
def test_bulyans_nearest_to_the_median_are_those_of_the_definition(count: int, data: st.DataObject) -> None:
    many = data.draw(st.integers(1, count))
    rows = drawn(data.draw(st.integers(0, 99)), count, 20, data.draw(st.sampled_from([2, LIMIT])))
    expected = []
    for column in rows.T.tolist():
        ordered = sorted(column)
        twice = ordered[(count - 1) // 2] + ordered[count // 2]
        expected.append(sum(sorted(ordered, key=lambda value: (abs(2 * value - twice), value))[:many]))
    assert nearest_to_median(rows, many).tolist() == expected


def test_bulyan_removes_one_huge_coordinate_that_krum_lets_through() -> None:
    """Most of an update's distance to others is noise, so a liar that is nearest in all other coordinates can hide one."""
    generator = np.random.default_rng(8)
    honest = generator.integers(-1000, 1001, (8, 4000)).astype(np.int16)
    liar = np.rint(honest.mean(axis=0)).astype(np.int16)
    liar[17] = 20_000
    rows = np.concatenate([honest, liar[None]])
    assert aggregate("krum", rows, [1] * 9, 1).weights[8] == 1
    bulyan = aggregate("bulyan", rows, [1] * 9, 1)
    assert bulyan.weights[8] == 1
    assert abs(divide(*bulyan[1:3])[17]) <= 1000


# -------------------------------------------------------------------------------------------------------- sign-majority


def test_a_majority_of_signs_does_not_change_under_f_liars_of_two_f_plus_one() -> None:
    honest = np.tile(np.where(drawn(9, 1, 300) >= 0, 40, -40).astype(np.int16), (4, 1))
    for seed in range(5):
        rows = np.concatenate([honest, drawn(seed, 3, 300)])
        result = aggregate("sign-majority", rows, [1] * 7, 3)
        assert np.array_equal(result.sums, honest[0])
        assert result.total == 1


def test_sign_majority_takes_no_step_on_a_tie() -> None:
    rows = np.array([[5, 5, 0], [-5, 5, 0]], np.int16)
    assert RULES["sign-majority"](rows, [1, 1], 0, Given()).sums.tolist() == [0, 4, 0]
