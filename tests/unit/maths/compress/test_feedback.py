"""Deep gradient compression (catalogue, training 1.3)."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths import grid
from middleware.maths.compress import feedback

DIMENSION, BITS, EXPONENT = 400, 24, -20


def descend(density: float, momentum: float, steps: int, corrected: bool = True) -> np.ndarray:
    """Steps on an ill-conditioned quadratic; where it is not corrected, momentum is applied to what was sent."""
    scale = np.logspace(0, -2, DIMENSION)
    model, kept, velocity, residual = np.ones(DIMENSION), None, np.zeros(DIMENSION), None
    for _ in range(steps):
        gradient = scale * model
        if corrected:
            made = feedback.with_momentum(gradient, kept, momentum, BITS, EXPONENT, density)
            kept, moved = (made.momentum, made.residual), grid.from_grid(made.integers, EXPONENT)
        else:
            sent = feedback.with_feedback(gradient, residual, "topk", BITS, EXPONENT, density)
            residual, velocity = sent.residual, momentum * velocity + grid.from_grid(sent.integers, EXPONENT)
            moved = velocity
        model = model - 0.05 * moved
    return np.asarray(scale * model**2)


def test_dgc_with_everything_sent_is_momentum_sgd() -> None:
    generator, velocity, kept = np.random.default_rng(1), np.zeros(50), None
    sent, learned = np.zeros(50), np.zeros(50)
    for _ in range(100):
        gradient = generator.normal(0, 0.01, 50)
        made = feedback.with_momentum(gradient, kept, 0.9, BITS, EXPONENT, 1.0)
        kept = (made.momentum, made.residual)
        velocity = 0.9 * velocity + gradient
        learned += velocity
        sent += grid.from_grid(made.integers, EXPONENT)
        np.testing.assert_allclose(made.momentum, velocity, rtol=1e-12)
    np.testing.assert_allclose(sent + kept[1], learned, rtol=1e-9, atol=1e-12)
    assert np.abs(kept[1]).max() <= 0.5 * 2.0**EXPONENT


def test_dgc_masks_the_momentum_of_what_was_sent_and_of_nothing_else() -> None:
    gradient = np.linspace(-1, 1, 100)
    made = feedback.with_momentum(gradient, None, 0.9, BITS, EXPONENT, 0.1)
    sent = made.integers != 0
    assert sent.sum() == 10
    assert not made.momentum[sent].any()
    np.testing.assert_array_equal(made.momentum[~sent], gradient[~sent])
    np.testing.assert_allclose(made.residual, gradient - grid.from_grid(made.integers, EXPONENT))


def test_dgc_momentum_correction_beats_momentum_on_what_was_sent() -> None:
    assert descend(0.01, 0.9, 1500).sum() < descend(0.01, 0.9, 1500, corrected=False).sum()


def test_dgc_warm_up_falls_to_the_density() -> None:
    assert [feedback.warm_up(0.001, round) for round in range(1, 7)] == [0.25, 0.0625, 0.015625, 0.004, 0.001, 0.001]
    assert feedback.warm_up(0.5, 1) == 0.5


@pytest.mark.parametrize("length", [0.5, 30.0])
def test_dgc_clipping_bounds_the_length_and_keeps_the_direction(length: float) -> None:
    update = np.full(100, length / 10, np.float32)
    clipped = feedback.clipped(update, 8.0, 16)
    assert np.linalg.norm(clipped) == pytest.approx(min(length, 2.0), rel=1e-5)
    np.testing.assert_allclose(clipped / np.linalg.norm(clipped), update / np.linalg.norm(update), rtol=1e-5)
