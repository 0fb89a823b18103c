"""Schedules: backup workers, anytime minibatch, staleness-aware, delay compensation (catalogue, training 1.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from middleware.maths import schedule

Vector = schedule.Vector


# --------------------------------------------------------------------------------------------------------- backup workers


def test_backup_workers_round_ends_with_the_nth_arrival() -> None:
    arrivals = {1: 4.0, 2: 1.0, 3: 9.0, 4: 2.0, 5: 3.0}
    used = schedule.first(arrivals, schedule.quota(5, 2))
    assert used == [2, 4, 5]
    assert max(arrivals[child] for child in used) == sorted(arrivals.values())[2]


def test_backup_workers_show_a_persistent_stragglers_share_going_to_zero() -> None:
    generator = np.random.default_rng(1)
    rounds = [
        schedule.first({child: float(generator.random()) + (10 if child == 5 else 0) for child in range(1, 6)}, 4)
        for _ in range(50)
    ]
    shares = schedule.used_shares(rounds, range(1, 6))
    assert shares[5] == 0
    assert sum(shares.values()) == pytest.approx(1)


def test_at_least_one_child_is_waited_for() -> None:
    assert [schedule.quota(*pair) for pair in ((8, 2), (1, 1), (2, 5))] == [6, 1, 1]


# ----------------------------------------------------------------------------------------------------------- anytime


def test_anytime_minibatch_weights_are_the_samples_and_equal_the_gradient_over_the_union() -> None:
    generator = np.random.default_rng(2)
    features, labels, model = generator.normal(size=(70, 5)), generator.normal(size=70), generator.normal(size=5)

    def gradient(part: slice) -> Vector:
        return np.asarray(features[part].T @ (features[part] @ model - labels[part]) / len(labels[part]))

    parts, samples = [slice(0, 10), slice(10, 30), slice(30, 70)], [10, 20, 40]  # speeds 1 : 2 : 4
    np.testing.assert_allclose(
        schedule.anytime_mean([gradient(part) for part in parts], samples), gradient(slice(0, 70)), rtol=1e-9
    )
    ones = np.eye(3)
    np.testing.assert_allclose(schedule.anytime_mean(list(ones), samples), [1 / 7, 2 / 7, 4 / 7], rtol=1e-12)


def test_anytime_without_a_finished_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody finished"):
        schedule.anytime_mean([np.ones(2)], [0])


# --------------------------------------------------------------------------------------------------------- asynchronous


def asynchronous(workers: int, steps: int, rate: Callable[[int], float], seed: int = 3) -> tuple[Vector, list[int]]:
    """Least squares in four dimensions: in each step one worker, in turn, applies the gradient of the model that it last saw."""
    generator = np.random.default_rng(seed)
    target, model = generator.normal(size=4), np.zeros(4)
    seen = [(model, 0)] * workers
    staleness = []
    for step in range(steps):
        worker = step % workers
        taken_at, since = seen[worker]
        staleness.append(step - since)
        model = model - rate(step - since) * (taken_at - target)
        seen[worker] = (model, step + 1)
    return model - target, staleness


def test_async_sgd_with_one_worker_is_sgd() -> None:
    error, staleness = asynchronous(1, 50, lambda late: 0.3)
    generator = np.random.default_rng(3)
    target, model = generator.normal(size=4), np.zeros(4)
    for _ in range(50):
        model = model - 0.3 * (model - target)
    np.testing.assert_array_equal(error, model - target)
    assert set(staleness) == {0}


def test_async_sgd_staleness_of_equal_workers_is_their_number_less_one() -> None:
    _, staleness = asynchronous(9, 900, lambda late: 0.01)
    assert np.mean(staleness) == pytest.approx(8, abs=0.1)


def test_staleness_aware_async_converges_where_plain_async_diverges() -> None:
    """Seventeen workers, and a rate of 0.8 of what descent is safe with: one over the curvature, which is 1."""
    plain, _ = asynchronous(17, 1700, lambda late: 0.8)
    aware, staleness = asynchronous(17, 1700, lambda late: 0.8 * schedule.staleness_weight(1, late) / schedule.UNIT)
    assert max(staleness) == 16
    assert np.linalg.norm(plain) > 1e3
    assert np.linalg.norm(aware) < 1e-2


def test_staleness_weights_are_whole_and_fall_as_one_over_the_staleness() -> None:
    assert [schedule.staleness_weight(100, late) for late in (0, 1, 2, 3)] == [102_400, 102_400, 51_200, 34_133]
    assert schedule.staleness_weight(1, 10_000) == 1
    with pytest.raises(ValueError, match="2 rounds early"):
        schedule.staleness_weight(1, -2)


def test_polynomial_staleness_weights_fall_as_one_over_the_root() -> None:
    assert [schedule.staleness_weight(100, late, "polynomial") for late in (0, 1, 3, 8)] == [
        102_400,
        72_400,
        51_200,
        34_100,
    ]
    assert schedule.staleness_weight(100, 7, "") == 102_400
    with pytest.raises(ValueError, match="choose inverse or polynomial"):
        schedule.staleness_weight(1, 1, "linear")


# -------------------------------------------------------------------------------------------------- delay compensation


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_total_rate_is_what_steps_with_momentum_applied_of_a_constant_gradient(momentum: float) -> None:
    model, velocity = 0.0, 0.0
    for _ in range(7):
        velocity = momentum * velocity + 1.0
        model -= 0.1 * velocity
    assert schedule.total_rate(0.1, momentum, 7) == pytest.approx(-model, rel=1e-12)
    with pytest.raises(ValueError, match="no training"):
        schedule.total_rate(0.1, momentum, 0)


def test_dc_asgd_of_an_update_is_that_of_its_mean_gradient() -> None:
    generator = np.random.default_rng(5)
    gradient, now, then = generator.normal(size=(3, 20))
    wanted = -0.3 * schedule.compensated(gradient, now, then, 2.0)
    np.testing.assert_allclose(schedule.compensated_update(-0.3 * gradient, 0.3, now, then, 2.0), wanted, rtol=1e-12)
    update = gradient.astype(np.float32)
    assert schedule.compensated_update(update, 0.3, now, then, 0.0).tobytes() == update.tobytes()


def test_dc_asgd_with_strength_zero_is_async_to_the_bit() -> None:
    gradient = np.random.default_rng(4).normal(size=50).astype(np.float32)
    assert schedule.compensated(gradient, gradient + 1, gradient, 0.0).tobytes() == gradient.tobytes()


def test_dc_asgd_is_nearer_the_gradient_of_now_in_nine_of_ten_draws() -> None:
    """Logistic loss of one sample with one active feature, as words are: the diagonal then is the whole Hessian. With two dense
    features the same count is about 790, with eight 560: the diagonal stand-in is what it is called."""
    generator, nearer = np.random.default_rng(5), 0
    for _ in range(1000):
        sample, label = np.zeros(20), generator.choice([-1.0, 1.0])
        sample[generator.integers(20)] = generator.normal()
        then = generator.normal(size=20) * 0.1
        now = then + generator.normal(size=20) * 0.02

        def gradient(model: Vector, sample: Vector = sample, label: float = label) -> Vector:
            return np.asarray(-label * sample / (1 + np.exp(label * (sample @ model))))

        moved = schedule.compensated(gradient(then), now, then, 1.0)
        better = np.abs(moved - gradient(now)).sum() < np.abs(gradient(then) - gradient(now)).sum()
        nearer += bool(better)
    assert nearer >= 900
