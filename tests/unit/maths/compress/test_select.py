"""Selections: top-k, random-k, Gaussian-k, SIDCo (catalogue, training 1.3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.compress import select

LENGTH = 400_000
DRAWS = {
    "normal": lambda generator: generator.normal(0, 1, LENGTH),
    "laplace": lambda generator: generator.laplace(0, 1, LENGTH),
    "gamma": lambda generator: generator.gamma(0.5, 1, LENGTH) * generator.choice([-1, 1], LENGTH),
    "pareto": lambda generator: generator.pareto(4, LENGTH) * generator.choice([-1, 1], LENGTH),
}


def on_grid(kind: str, seed: int = 1) -> np.ndarray:
    values = DRAWS[kind](np.random.default_rng(seed))
    return np.clip(np.rint(values * 1500), -32767, 32767).astype(np.int16)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 70), st.sampled_from([1, 500_000]))
def test_topk_keeps_the_largest_and_of_equal_ones_the_first(values: list[int], count: int, unit: int) -> None:
    magnitudes = unit * np.array(values, np.int32)
    places = select.topk(magnitudes, count)
    wanted = sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
    assert places.tolist() == sorted(wanted)


@pytest.mark.parametrize("count", [1, 40, 400, 4000, 100_000, LENGTH - 1, LENGTH])
@pytest.mark.parametrize("kind", [*DRAWS, "few values", "sorted", "constant", "nearly empty", "at every sixth place"])
def test_topk_and_dgc_of_a_sample_and_then_of_what_it_left_are_those_of_one_pass(kind: str, count: int) -> None:
    if kind in DRAWS:
        magnitudes = np.abs(on_grid(kind))
    else:
        magnitudes = np.zeros(LENGTH, np.int16)
        if kind == "few values":
            magnitudes[:] = np.random.default_rng(1).integers(0, 4, LENGTH)
        elif kind == "sorted":
            magnitudes[:] = np.arange(LENGTH) // 13
        elif kind == "nearly empty":
            magnitudes[123_456::50_000] = 7
        elif kind == "at every sixth place":  # what the sample looks at, and nothing else
            magnitudes[:: LENGTH // select.SAMPLE] = np.arange(-(-LENGTH // 6)) % 30_000
    places = select.topk(magnitudes, count)
    np.testing.assert_array_equal(places, select._largest(magnitudes, count))
    assert len(places) == count


def test_topk_of_a_sample_leaves_few_candidates() -> None:
    magnitudes, count = np.abs(on_grid("laplace")), LENGTH // 100
    candidates = select._candidates(magnitudes, count)
    assert candidates is not None and count <= len(candidates) < 1.5 * count


@pytest.mark.parametrize("kind", ["normal", "laplace", "gamma"])
@pytest.mark.parametrize("name", ["gaussiank", "sidco"])
def test_gaussian_k_and_sidco_keep_what_was_asked_for_within_five_per_cent(name: str, kind: str) -> None:
    integers, count = on_grid(kind), LENGTH // 100
    places = select.SELECTIONS[name](integers, count, np.random.default_rng(0))
    assert 0.95 <= len(places) / count <= 1.05
    kept = np.abs(integers)[places]
    assert kept.min() >= np.delete(np.abs(integers), places).max()


@pytest.mark.parametrize("kind", sorted(DRAWS))
def test_sidco_at_a_thousandth_keeps_within_a_quarter(kind: str) -> None:
    integers, count = on_grid(kind), LENGTH // 1000
    assert 0.8 <= len(select.sidco(np.abs(integers), count)) / count <= 1.25


def test_sidco_two_stages_alone_come_within_a_tenth_on_laplace() -> None:
    """Without the correction: the fit is the technique, the correction is the belt."""
    magnitudes = np.abs(on_grid("laplace")).astype(np.float64)
    threshold, tail = 0.0, magnitudes
    for kept in (0.1, 0.1):
        tail = tail[tail >= threshold]
        threshold += float((tail - threshold).mean()) * np.log(1 / kept)
    assert np.count_nonzero(magnitudes >= threshold) / (LENGTH / 100) == pytest.approx(1, abs=0.1)


def test_gaussian_k_bound_on_what_is_lost_holds_on_bell_shaped_draws() -> None:
    """||u - Top_k(u)||^2 <= (1 - k/d)^2 ||u||^2 (Shi et al. 2019, theorem 1)."""
    generator = np.random.default_rng(3)
    for _ in range(1000):
        values = np.rint(generator.normal(0, 3000, 1000)).astype(np.int32)
        count = int(generator.integers(1, 500))
        lost = np.delete(values, select.topk(np.abs(values), count)).astype(np.float64)
        whole = float((values.astype(np.float64) ** 2).sum())
        assert float((lost**2).sum()) <= (1 - count / 1000) ** 2 * whole


def test_random_k_takes_each_coordinate_as_often() -> None:
    generator = np.random.default_rng(4)
    seen = np.zeros(50)
    for _ in range(4000):
        places = select.randomk(50, 5, generator)
        assert len(set(places.tolist())) == 5
        seen[places] += 1
    assert np.abs(seen - 400).max() < 5 * np.sqrt(400)


@pytest.mark.parametrize("name", ["gaussiank", "sidco", "topk"])
@pytest.mark.parametrize("values", [[0, 0, 0, 0], [7, 7, 7, 7], [1, 0, 0, 0], [32767, -32767, 1, 0]])
def test_a_selection_of_a_coarse_vector_is_not_empty_where_there_is_something(name: str, values: list[int]) -> None:
    integers = np.array(values, np.int16)
    places = select.SELECTIONS[name](integers, 2, np.random.default_rng(0))
    assert np.abs(integers)[places].max(initial=0) == np.abs(integers).max()
