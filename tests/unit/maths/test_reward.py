from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
