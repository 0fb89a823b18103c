"""Early answers: how sure they are, and the thresholds below which they count."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.maths import confidence


def drawn(seed: int, exits: int = 2, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """(unsure (exits, n), right (exits + 1, n)): later exits are right more often, and who is sure is right more often."""
    generator = np.random.default_rng(seed)
    unsure = generator.uniform(0, math.log(6), (exits, count))
    chance = np.concatenate([0.95 - 0.3 * unsure, np.full((1, count), 0.95)])
    return unsure, generator.random(chance.shape) < chance


def test_entropy_is_nothing_for_a_certain_answer_and_ln_classes_for_a_guess() -> None:
    logits = np.array([[1000.0, 0, 0, 0], [0, 0, 0, 0]])
    assert confidence.entropies(logits) == pytest.approx([0, math.log(4)])


@given(st.floats(0.2, 8), st.integers(0, 99))
def test_the_temperature_that_labels_were_drawn_at_is_found_again(wanted: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, (4000, 5))
    labels = (true + generator.gumbel(size=true.shape)).argmax(1)  # drawn from the softmax of `true`
    found = confidence.temperature(true * wanted, labels)
    assert found == pytest.approx(wanted, rel=0.15)
    assert confidence.surprise(true * wanted, labels, found) <= confidence.surprise(true * wanted, labels)


def test_branchynet_at_threshold_0_all_reach_the_last_exit_and_at_infinity_all_leave_at_the_first() -> None:
    unsure, _ = drawn(0)
    assert set(confidence.leaving(unsure, [0, 0])) == {2}
    assert set(confidence.leaving(unsure, [math.inf, 0])) == {0}


@given(st.integers(0, 99), st.floats(0, 2), st.floats(0, 2))
def test_branchynet_who_raises_a_threshold_never_pays_more(seed: int, one: float, other: float) -> None:
    unsure, right = drawn(seed)
    low, high = sorted((one, other))
    costs = (1.0, 3.0, 9.0)
    cheap, dear = (confidence.outcome(unsure, right, costs, (value, value)) for value in (high, low))
    assert cheap.cost <= dear.cost


def test_thresholds_are_the_cheapest_of_all_that_keep_the_floor() -> None:
    unsure, right = drawn(3, count=40)
    costs = (1.0, 3.0, 9.0)
    floor = float(right[-1].mean()) - 0.05
    found = confidence.cheapest(unsure, right, costs, floor, levels=43)  # every sample's own entropy is a level
    every = [sorted({0.0, *row, math.inf}) for row in unsure]
    best = min(
        one.cost
        for pair in itertools.product(*every)
        if (one := confidence.outcome(unsure, right, costs, pair)).accuracy >= floor
    )
    assert found.accuracy >= floor and found.cost <= best + 9 / 40
    assert found == confidence.outcome(unsure, right, costs, found.thresholds)
    assert math.isclose(sum(found.shares), 1)


def test_cascade_threshold_keeps_the_gain_and_escalates_less_than_all() -> None:
    unsure, right = drawn(5, exits=1, count=4000)
    half = slice(0, 2000)
    found = confidence.escalation(unsure[0, half], right[0, half], right[1, half])
    wanted = right[0, half].mean() + 0.8 * (right[1, half].mean() - right[0, half].mean())
    assert found.accuracy >= wanted and found.cost == found.shares[1] < 0.8


def test_what_cannot_be_is_refused() -> None:
    unsure, right = drawn(1)
    with pytest.raises(ValueError, match="lower the floor"):
        confidence.cheapest(unsure, right, (1, 2, 3), 1.01)
    with pytest.raises(ValueError, match="fewer levels"):
        confidence.cheapest(unsure, right, (1, 2, 3), 0.5, levels=1000)
    with pytest.raises(ValueError, match="need right"):
        confidence.cheapest(unsure, right[:2], (1, 2, 3), 0.5)
    with pytest.raises(ValueError, match="one each"):
        confidence.temperature(np.zeros((2, 3)), np.zeros(1, int))
