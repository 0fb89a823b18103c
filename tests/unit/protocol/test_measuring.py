from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from middleware.policy import Policy, Rule
from middleware.protocol.measuring import LARGEST_LOSS, Questions, Recorded, differs, slice_of

POLICY = Policy(
    "digits", "mlp:2-2", 4, rule=Rule("fang-lfr:mean", 1), min_updates=3, evaluation="ab" * 32, evaluation_slices=4
)


def test_what_is_asked_is_the_model_moved_by_the_aggregate_and_every_answer_is_written_down() -> None:
    seen: list[tuple[list[float], int]] = []

    def measure(model: np.ndarray, slice: int) -> tuple[float, float]:
        seen.append((model.tolist(), slice))
        return 0.25 * len(seen), (1.0, math.nan, math.inf)[len(seen) - 1]

    asked = Questions(POLICY, np.array([1, 2, 3, 4], np.float32), 3, measure)
    moved = np.array([4096, 0, -4096, 1], np.int64)
    assert [asked(moved) for _ in range(3)] == [(0.25, 1.0), (0.5, LARGEST_LOSS), (0.75, LARGEST_LOSS)]
    assert seen == [([2, 2, 2, 4 + 2**-12], 3)] * 3
    assert asked.answers == [(0.25, 1.0), (0.5, LARGEST_LOSS), (0.75, LARGEST_LOSS)]


def test_a_record_answers_in_its_order_and_no_further() -> None:
    model = np.zeros(1, np.float32)
    record = Recorded([(0.1, 1.0), (0.2, 2.0)], lambda model, slice: (0.1, 1.0))
    assert [record(model, 0), record(model, 0)] == [(0.1, 1.0), (0.2, 2.0)]
    assert record.apart == 1
    with pytest.raises(ValueError, match="more often"):
        record(model, 0)
    blind = Recorded([(0.1, 1.0)], lambda model, slice: None)
    blind(model, 0)
    assert blind.apart == 0


@pytest.mark.parametrize(
    ("told", "mine", "apart"),
    [
        ((0.5, 1.0), (0.5, 1.0), False),
        ((0.5, 1.0), (0.515, 1.005), False),
        ((0.5, 1.0), (0.53, 1.0), True),
        ((0.5, 1.0), (0.5, 1.02), True),
        ((0.0, 0.0), (0.0, 0.0009), False),
        ((0.9, LARGEST_LOSS), (0.9, 1e30), False),
    ],
)
def test_two_measurements_of_one_model_are_within_the_tolerance(
    told: tuple[float, float], mine: tuple[float, float], apart: bool
) -> None:
    assert differs(told, mine) == apart


def test_the_slice_follows_from_the_inputs() -> None:
    roots = [hashlib.sha256(bytes([number])).digest() for number in range(200)]
    chosen = [slice_of(root, 1, 2, 4) for root in roots]
    assert {chosen.count(one) > 25 for one in range(4)} == {True}
    assert slice_of(roots[0], 1, 2, 4) == chosen[0]
    assert [slice_of(root, 1, 3, 4) for root in roots] != chosen
