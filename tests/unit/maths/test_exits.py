"""Exits by bandit, and exits through an outage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from middleware.maths.exits import Frame, greedy, schedule, take, taken, unpulled

REWARDS = np.array([0.35, 0.8, 0.82, 0.85])  # of each exit, on average
DURATIONS = np.array([0.3, 0.4, 0.7, 1.0])
PULLS = 8000


def regrets(seed: int, uniform: bool) -> np.ndarray:
    """The cumulative regret after each pull: what the time of a pull would have earned at the best rate, less its mean."""
    random = np.random.default_rng(seed)
    rates = REWARDS / DURATIONS
    lost, pulls = [], unpulled(4)
    for _ in range(PULLS):
        arm = int(random.integers(4)) if uniform else take(pulls, 0.1, 1.2)
        reward = float(random.random() < REWARDS[arm])
        duration = float(DURATIONS[arm] * random.uniform(0.8, 1.2))
        pulls = taken(pulls, arm, reward, duration)
        lost.append(rates.max() * DURATIONS[arm] - REWARDS[arm])
    return np.cumsum(lost)


@pytest.mark.parametrize("seed", range(3))
def test_lee_regret_grows_slower_than_the_run_and_is_under_half_of_uniform(seed: int) -> None:
    learnt, blind = regrets(seed, uniform=False), regrets(seed, uniform=True)
    late = np.arange(PULLS // 8, PULLS)
    slope = np.polyfit(np.log(late + 1), np.log(learnt[late]), 1)[0]
    assert slope < 0.8
    assert learnt[-1] < 0.5 * blind[-1]


def test_lee_each_exit_is_tried_once_before_any_twice() -> None:
    pulls = unpulled(3)
    order = []
    for _ in range(3):
        order.append(take(pulls, 1.0, 2.0))
        pulls = taken(pulls, order[-1], 0.5, 1.5)
    assert order == [0, 1, 2] and pulls.times == (1, 1, 1) and pulls.duration == (1.5, 1.5, 1.5)


def waiting(random: np.random.Generator, count: int, exits: int) -> list[Frame]:
    arrivals = np.sort(random.integers(0, 4 * count, count))
    deadlines = np.maximum.accumulate(arrivals + random.integers(2, 14, count))
    return [
        Frame(float(arrival), float(deadline), tuple(map(float, np.sort(random.uniform(0.2, 1, exits)))))
        for arrival, deadline in zip(arrivals, deadlines, strict=True)
    ]


def earned(
    frames: list[Frame], times: tuple[float, ...], chosen: tuple[int | None, ...], order: tuple[int, ...]
) -> float:
    """What a schedule earns by definition, -inf where a frame that was not dropped is late."""
    free = total = 0.0
    for place in order:
        leaves = chosen[place]
        if leaves is not None:
            free = max(free, frames[place].arrival) + times[leaves]
            if free > frames[place].deadline:
                return -math.inf
            total += frames[place].utilities[leaves]
    return total


TIMES = (1.0, 3.0, 4.0, 7.0)


@pytest.mark.parametrize(("count", "seed"), [(count, seed) for count in (1, 3, 5, 6) for seed in range(5)])
def test_see_the_dynamic_programme_earns_what_the_best_of_all_choices_earns(count: int, seed: int) -> None:
    frames = waiting(np.random.default_rng(seed), count, 4)
    found = schedule(frames, TIMES)
    inorder = tuple(range(count))
    every = itertools.product((None, 0, 1, 2, 3), repeat=count)
    assert found.utility == pytest.approx(max(earned(frames, TIMES, chosen, inorder) for chosen in every))
    assert earned(frames, TIMES, found.exits, inorder) == pytest.approx(found.utility)
    assert found.utility >= greedy(frames, TIMES).utility


@pytest.mark.slow
def test_see_the_dynamic_programme_earns_the_best_of_eight_frames() -> None:
    frames = waiting(np.random.default_rng(8), 8, 4)
    every = itertools.product((None, 0, 1, 2, 3), repeat=8)
    best = max(earned(frames, TIMES, chosen, tuple(range(8))) for chosen in every)
    assert schedule(frames, TIMES).utility == pytest.approx(best)


@pytest.mark.parametrize("seed", range(10))
def test_see_no_other_order_earns_more(seed: int) -> None:
    frames = waiting(np.random.default_rng(100 + seed), 4, 2)
    times = (2.0, 5.0)
    best = max(
        earned(frames, times, chosen, order)
        for chosen in itertools.product((None, 0, 1), repeat=4)
        for order in itertools.permutations(range(4))
    )
    assert schedule(frames, times).utility == pytest.approx(best)


def test_see_beats_greedy_where_one_long_exit_costs_two_frames() -> None:
    frames = [Frame(0.0, 6.0, (0.6, 1.0)), Frame(0.0, 6.0, (0.6, 1.0)), Frame(0.0, 6.0, (0.6, 1.0))]
    assert schedule(frames, (2.0, 6.0)).utility == pytest.approx(1.8)
    assert greedy(frames, (2.0, 6.0)).utility == 1.0


@pytest.mark.parametrize("exits", [2, 4, 8])
def test_see_steps_grow_with_the_square_of_the_frames_and_the_exits(exits: int) -> None:
    times = tuple(float(2 * place + 2) for place in range(exits))
    random = np.random.default_rng(9)
    for count in (20, 40, 80):
        frames = [Frame(0.0, 1e9, tuple(map(float, random.uniform(0, 1, exits)))) for _ in range(count)]
        late = exits + 1  # in ticks of 2: what a frame can add to the delay, and the pair that drops it
        assert schedule(frames, times).steps <= count * count * late * exits


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        lambda: unpulled(0),
        lambda: take(unpulled(2), 0.0, 1.0),
        lambda: taken(unpulled(2), 0, 1.5, 1.0),
        lambda: schedule([], ()),
        lambda: schedule([Frame(0, 1, (1.0,))], (1.0, 2.0)),
        lambda: greedy([Frame(1, 2, (1.0,)), Frame(0, 2, (1.0,))], (1.0,)),
    ):
        with pytest.raises(ValueError, match=r"exits|durations|reward|order"):
            wrong()
