from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.maths import reward
from middleware.maths.reward import accumulate, pays


@given(st.integers(0, 2**96), st.sets(st.integers(1, 2**32 - 1), max_size=40))
def test_shares_are_equal_and_what_is_left_is_less_than_one_each(reward: int, nodes: set[int]) -> None:
    paid = pays(reward, sorted(nodes))
    assert set(paid.values()) <= {reward // max(1, len(nodes))}
    assert 0 <= reward - sum(paid.values()) < max(1, len(nodes)) or not nodes
    assert list(paid) == sorted(paid)


def test_nobody_is_paid_when_nobody_took_part_or_nothing_is_left_for_each() -> None:
    assert pays(100, []) == {}
    assert pays(2, [1, 2, 3]) == {}


def test_the_remainder_stays_in_the_pool() -> None:
    assert pays(100, [9, 4, 7]) == {4: 33, 7: 33, 9: 33}


def test_a_node_is_not_paid_twice_in_a_round() -> None:
    with pytest.raises(ValueError, match="once"):
        pays(100, [3, 3])


def test_amounts_accumulate_and_the_old_ones_stay() -> None:
    before = {7: 10, 2: 5}
    after = accumulate(before, {9: 1, 2: 1})
    assert list(after.items()) == [(2, 6), (7, 10), (9, 1)]
    assert before == {7: 10, 2: 5}


standings = st.dictionaries(
    st.integers(1, 2**32 - 1), st.tuples(st.integers(-(2**120), 2**120), st.integers(500, 1500)), max_size=30
)


@given(st.integers(0, 2**100), standings)
def test_an_epoch_never_pays_more_than_its_pool(pool: int, standing: dict[int, tuple[int, int]]) -> None:
    paid = reward.settle_epoch(pool, standing)
    earners = [node for node, (epoch, _) in standing.items() if epoch > 0]
    assert sum(paid.values()) <= pool and set(paid) <= set(earners)
    assert list(paid) == sorted(paid) and all(amount > 0 for amount in paid.values())


@given(
    st.integers(0, 2**100), st.dictionaries(st.integers(1, 99), st.integers(500, 1500), min_size=1, max_size=30),
    st.integers(1, 2**100),
)  # fmt: skip
def test_an_epoch_in_which_all_gain_alike_pays_all_but_less_than_a_unit_each(
    pool: int, reputations: dict[int, int], points: int
) -> None:
    paid = reward.settle_epoch(pool, {node: (points * 1000 // value, value) for node, value in reputations.items()})
    even = reward.settle_epoch(pool, {node: (points, 1000) for node in reputations})
    assert 0 <= pool - sum(even.values()) < len(reputations)
    assert sum(paid.values()) <= pool


def test_an_epoch_is_shared_by_points_times_reputation_and_below_zero_is_nothing() -> None:
    assert reward.settle_epoch(1000, {3: (10, 1500), 1: (30, 500)}) == {1: 500, 3: 500}
    assert reward.settle_epoch(1000, {3: (10, 1500), 1: (30, 500), 2: (-5, 1500), 4: (-1, 500)}) == {1: 500, 3: 500}
    assert reward.settle_epoch(1000, {1: (0, 1500), 2: (-5, 1500)}) == {}
    assert reward.settle_epoch(1000, {}) == {}


def test_a_node_that_lost_leaves_its_share_in_the_pool() -> None:
    assert reward.settle_epoch(900, {1: (10, 1000), 2: (10, 1000), 3: (-10, 1000)}) == {1: 300, 2: 300}


def test_a_hair_above_zero_is_no_claim_to_the_whole_pool() -> None:
    lost = {node: (-1000, 1000) for node in range(1, 8)}
    assert reward.settle_epoch(900_000, {**lost, 8: (10, 1000), 9: (1, 1000)}) == {8: 1000, 9: 100}
    gained = {node: (1000, 1000) for node in range(1, 8)}
    assert sum(reward.settle_epoch(900_000, {**gained, 8: (-(10**30), 1000)}).values()) == 7 * (900_000 // 8)


@given(st.lists(st.booleans(), max_size=200))
def test_reputation_stays_within_its_bounds(rounds: list[bool]) -> None:
    value = reward.REPUTATION_FIRST
    for counted in rounds:
        value = reward.reputation_after(value, counted)
        assert reward.REPUTATION_LEAST <= value <= reward.REPUTATION_MOST


def test_reputation_goes_an_eighth_of_the_way() -> None:
    assert reward.reputation_after(1000, True) == 1062
    assert reward.reputation_after(1000, False) == 937
