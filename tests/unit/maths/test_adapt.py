"""Learning what a prediction misses, on a simulated link and edge."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths.adapt import Settings, choose, expected, interval, observe, start

HEAD = np.array([2.0, 10.0, 30.0, 60.0])  # of four arms: upload, two splits, all on the device
FEATURES = np.array([[20.0, 12.0], [8.0, 8.0], [2.0, 5.0], [0.0, 0.0]])  # link, edge
PREDICTED = HEAD + FEATURES.sum(axis=1)
PHASES = ((1.0, 1.0), (8.0, 1.0), (8.0, 4.0), (1.0, 1.0))  # link slower by, edge slower by
FRAMES = 200  # a phase


def truth(factors: tuple[float, float]) -> np.ndarray:
    return HEAD + FEATURES @ np.array(factors)


def played(settings: Settings, seed: int = 0, noise: float = 0.05) -> list[np.ndarray]:
    """By phase the regret of each frame, as a share of the best arm's cost in hindsight."""
    random = np.random.default_rng(seed)
    learnt, frame, out = start(2, settings), 0, []
    for factors in PHASES:
        costs, regrets = truth(factors), []
        for _ in range(FRAMES):
            arm = choose(learnt, PREDICTED, FEATURES, frame, settings)
            regrets.append(costs[arm] / costs.min() - 1)
            observed = HEAD[arm] + float(FEATURES[arm] @ np.array(factors)) * float(np.exp(random.normal(0, noise)))
            learnt = observe(learnt, PREDICTED[arm], FEATURES[arm], observed, settings)
            frame += 1
        out.append(np.array(regrets))
    return out


@pytest.mark.parametrize("seed", range(5))
def test_autodidactic_neurosurgeon_regret_is_below_a_tenth_within_100_frames_of_each_change(seed: int) -> None:
    for regrets in played(Settings(), seed):
        assert regrets[100:].mean() < 0.10


@pytest.mark.parametrize("seed", range(5))
def test_autodidactic_neurosurgeon_without_forced_samples_stays_on_the_device_for_good(seed: int) -> None:
    recovered = played(Settings(every=0), seed)[-1]
    assert recovered[100:].mean() > 0.5
    assert np.all(recovered == truth(PHASES[-1])[3] / truth(PHASES[-1]).min() - 1)


def test_a_cold_start_is_the_optimum_of_the_cost_model() -> None:
    assert choose(start(2), PREDICTED, FEATURES, 0) == int(np.argmin(PREDICTED))
    assert np.array_equal(expected(start(2), PREDICTED, FEATURES), PREDICTED)


@pytest.mark.parametrize("seed", range(10))
def test_edgent_the_plan_changes_within_three_requests_of_a_step_in_bandwidth(seed: int) -> None:
    random = np.random.default_rng(seed)
    learnt, settings = start(2), Settings()
    arms = []
    for frame in range(33):
        slow = 8.0 if frame >= 30 else 1.0
        arm = choose(learnt, PREDICTED, FEATURES, frame, settings)
        arms.append(arm)
        observed = HEAD[arm] + float(FEATURES[arm] @ (slow, 1.0)) * float(np.exp(random.normal(0, 0.05)))
        learnt = observe(learnt, PREDICTED[arm], FEATURES[arm], observed, settings)
    after = choose(learnt, PREDICTED, FEATURES, 33, settings)
    assert learnt.changes >= 1
    assert arms[30] == int(np.argmin(PREDICTED)) and after != arms[30]
    assert truth((8.0, 1.0))[after] < truth((8.0, 1.0))[arms[30]]


def test_noise_alone_raises_no_alarm_and_a_change_does() -> None:
    random = np.random.default_rng(3)
    learnt = start(2)
    for _ in range(500):
        observed = HEAD[0] + float(FEATURES[0].sum() * np.exp(random.normal(0, 0.05)))
        learnt = observe(learnt, PREDICTED[0], FEATURES[0], observed)
    assert learnt.changes == 0
    assert observe(learnt, PREDICTED[0], FEATURES[0], HEAD[0] + FEATURES[0].sum() * 4).changes == 1


def test_what_is_learnt_are_the_factors_of_each_part() -> None:
    random = np.random.default_rng(4)
    learnt = start(2)
    for _ in range(300):
        arm = int(random.integers(3))
        learnt = observe(learnt, PREDICTED[arm], FEATURES[arm], float(truth((3.0, 1.5))[arm]))
    assert learnt.theta == pytest.approx([2.0, 0.5], abs=0.1)  # the ridge draws it towards 0


def test_what_was_learnt_does_not_change_where_nothing_was_sent() -> None:
    learnt = start(2)
    assert observe(learnt, PREDICTED[3], FEATURES[3], 500.0) is learnt


def test_key_frames_try_out_less() -> None:
    predicted, features = [100.0, 101.0], [[0.0, 0.0], [50.0, 0.0]]
    assert choose(start(2), predicted, features, 0) == 1  # the bonus, 2.5, is worth more than the difference
    assert choose(start(2), predicted, features, 0, key=0.9) == 0


def test_forced_samples_come_at_intervals_of_a_power_of_the_horizon() -> None:
    assert interval(10_000, 0.25) == 10
    taught = [choose(start(2), [1.0, 50.0], [[0.0, 0.0], [5.0, 5.0]], frame) for frame in range(40)]
    assert [frame for frame, arm in enumerate(taught) if arm == 1] == [19, 39]


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        lambda: start(0),
        lambda: interval(0, 0.2),
        lambda: interval(9, 0.7),
        lambda: choose(start(2), PREDICTED, FEATURES[:, :1], 0),
        lambda: choose(start(2), PREDICTED, -FEATURES, 0),
        lambda: choose(start(2), PREDICTED, FEATURES, 0, key=1.0),
        lambda: observe(start(2), 1.0, [1.0, 1.0], float("nan")),
    ):
        with pytest.raises(ValueError, match=r"\d|finite"):
            wrong()
