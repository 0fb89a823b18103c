from __future__ import annotations

import numpy as np
import pytest

from middleware.maths.aggregate import SCREENS, Given, aggregate, divide
from middleware.maths.aggregate.linear import mean
from middleware.maths.aggregate.screening import impacts, left_out

TRUTH = 500
LENGTH = 40


def measured(moved: np.ndarray) -> tuple[float, float]:
    """A server's data as the tests need it: the truth is 500 everywhere; the error is how many coordinates are off by 100."""
    return float((np.abs(moved - TRUTH) > 100).mean()), float(((moved - TRUTH) ** 2.0).mean())


def honest(seed: int, count: int) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(TRUTH, 60, (count, LENGTH))).astype(np.int16)


def with_liar(seed: int) -> np.ndarray:
    rows = honest(seed, 9)
    rows[4] = -8000
    return rows


@pytest.mark.parametrize(
    ("screen", "rule"),
    [
        ("fang-err", "mean"),
        *((screen, rule) for screen in SCREENS[1:] for rule in ("mean", "trimmed-mean", "geometric-median")),
    ],
)
def test_fang_err_lfr_and_union_leave_the_planted_bad_client_out(screen: str, rule: str) -> None:
    result = aggregate(f"{screen}:{rule}", with_liar(1), [1] * 9, 1, Given(evaluate=measured))
    assert result.weights[4] == 0
    assert np.abs(divide(result.sums, result.total) - TRUTH).max() < 100


def test_fang_planted_bad_client_has_the_highest_impact() -> None:
    harm = impacts(mean, with_liar(2), [1] * 9, 1, Given(), measured)
    assert max(range(9), key=lambda index: harm[index][1]) == 4
    assert max(range(9), key=lambda index: harm[index][0]) == 4


def test_fang_lfr_equals_recomputing_it_by_brute_force() -> None:
    rows, f = with_liar(3), 2
    losses = []
    for index in range(9):
        rest = np.delete(rows, index, axis=0).astype(np.int64)
        losses.append(measured(np.floor_divide(2 * rest.sum(axis=0) + 8, 16))[1])
    out = sorted(range(9), key=lambda index: losses[index])[:f]  # the lower the loss without it, the more harm it does
    result = aggregate("fang-lfr:mean", rows, [1] * 9, f, Given(evaluate=measured))
    assert [index for index, weight in enumerate(result.weights) if weight == 0] == sorted(out)


def test_fang_union_leaves_out_what_either_does_as_long_as_enough_are_left() -> None:
    harm = [(0.5, 0.0), (0.4, 9.0), (0.0, 8.0), (0.1, 0.1), (0.0, 0.0)]
    senders = (1, 2, 3, 4, 5)
    assert left_out("fang-err", harm, senders, 2, 9) == [0, 1]
    assert left_out("fang-lfr", harm, senders, 2, 9) == [1, 2]
    assert sorted(left_out("fang-union", harm, senders, 2, 9)) == [0, 1, 2]
    assert left_out("fang-union", harm, senders, 2, 2) == [1, 2]  # what both leave out goes first, then by the loss
    assert left_out("fang-err", [(0.0, 0.0)] * 3, (8, 9, 7), 1, 9) == [1]  # of equal harm the higher id


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("f", [0, 1])
def test_fang_refuses_without_a_server_set(screen: str, f: int) -> None:
    with pytest.raises(ValueError, match="on a server's own data"):
        aggregate(f"{screen}:median", honest(4, 9), [1] * 9, f)


def test_fang_without_liars_to_tolerate_is_the_rule_itself() -> None:
    rows = honest(5, 5)
    plain = aggregate("median", rows, [1] * 5, 0)
    assert np.array_equal(aggregate("fang-err:median", rows, [1] * 5, 0, Given(evaluate=measured)).sums, plain.sums)


@pytest.mark.parametrize(
    "name", ["fang-err:afa", "fang-lfr:contra", "fang-union:centred-clipping", "fang:mean", "fang-err:"]
)
def test_fang_around_what_remembers_or_is_no_rule_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="no rule named"):
        aggregate(name, honest(6, 9), [1] * 9, 1, Given(evaluate=measured))
