"""DP-SGD on a device: what a step is, how much noise it has, and how far one record can move it (catalogue 1.9, DP-SGD)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import models
from middleware.learn.private import ENTROPY_BYTES, train_private
from middleware.learn.train import Floats, Trained
from middleware.learn.workload import Classification, Samples
from middleware.policy import MICRO, NOISE_ONE, RATE_ONE, Policy, RecordPrivacy, Rule, Training

MODEL, WINDOWS = "mlp:12-8-3", "cnn1d:16x2-4-3"
SHAPES = {MODEL: (12,), WINDOWS: (16, 2)}
ENTROPY = bytes(range(ENTROPY_BYTES))
RATE = 0.5  # of learning
LEAST = 1 / NOISE_ONE  # the least noise that a policy can name


def samples(count: int, model: str = MODEL) -> Samples:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(count, *SHAPES[model])).astype(np.float32)
    return Samples(features, generator.integers(0, 3, count).astype(np.int64))


def promise(noise: float, clip: float, rate: float = 1.0, steps: int = 1) -> RecordPrivacy:
    return RecordPrivacy(8 * MICRO, round(noise * NOISE_ONE), clip, round(rate * RATE_ONE), steps)


def learned(held: Samples, made: RecordPrivacy, entropy: bytes = ENTROPY, model: str = MODEL) -> Trained:
    policy = Policy(
        "digits", model, models.count(model), rule=Rule("mean", 0), min_updates=1, records=made,
        training=Training(learning_rate=RATE, momentum=0.0),
    )  # fmt: skip
    return train_private(Classification(model, held, held), policy, made, models.initial(model, 1), entropy)


def descended(held: Samples, steps: int, model: str) -> Floats:
    """What full-batch gradient descent learns, by torch's own means."""
    start = models.initial(model, 1)
    module = models.build(model).to_empty(device="cpu")
    torch.nn.utils.vector_to_parameters(torch.tensor(start), module.parameters())
    descent = torch.optim.SGD(module.parameters(), lr=RATE)
    for _ in range(steps):
        descent.zero_grad()
        logits = module(torch.tensor(held.features))
        torch.nn.functional.cross_entropy(logits, torch.tensor(held.labels)).backward()
        descent.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy() - start


@pytest.mark.parametrize("model", [MODEL, WINDOWS])
def test_dp_sgd_that_cuts_nothing_and_adds_next_to_no_noise_is_gradient_descent(model: str) -> None:
    held, clip = samples(40, model), 20.0
    given = learned(held, promise(LEAST, clip, steps=3), model=model)
    wanted = descended(held, 3, model)
    noise = RATE * LEAST * clip / 40 * np.sqrt(3)
    assert np.abs(given.update - wanted).max() < 6 * noise < np.abs(wanted).max()
    assert given.steps == 3
    assert given.metrics == {}, "the loss would tell of the records"


def test_dp_sgd_the_noise_has_the_deviation_that_the_accountant_counts() -> None:
    held, clip, noise = samples(40, WINDOWS), 1e-3, 2.0
    moved = np.concatenate(
        [learned(held, promise(noise, clip), bytes([seed]) * ENTROPY_BYTES, WINDOWS).update for seed in range(60)]
    )
    # gradients are cut to a length of 1e-3 in all, which is little beside noise of 2e-3 a coordinate
    assert np.std(moved) == pytest.approx(RATE * noise * clip / 40, rel=0.05)


def test_dp_sgd_one_record_moves_a_step_by_no_more_than_the_bound() -> None:
    held, clip = samples(40), 0.05
    wild = Samples(held.features.copy(), held.labels.copy())
    wild.features[7] *= 1e4
    one, other = (learned(data, promise(LEAST, clip)).update for data in (held, wild))
    moved = float(np.linalg.norm(one - other))  # the same entropy: the noise falls away
    assert 0 < moved <= 2 * RATE * clip / 40 * 1.001
    assert np.linalg.norm(descended(wild, 1, MODEL)) > 100 * moved


def test_dp_sgd_a_step_that_draws_nobody_still_adds_noise() -> None:
    made = RecordPrivacy(8 * MICRO, NOISE_ONE, 1.0, 1, 1)  # each of 4 records is drawn once in 65,536 steps
    assert np.std(learned(samples(4), made).update) > 0


def test_dp_sgd_records_are_drawn_by_chance_and_not_by_the_tasks_seed() -> None:
    held = samples(40)
    updates = [learned(held, promise(LEAST, 20.0, rate=0.2), bytes([seed]) * ENTROPY_BYTES).update for seed in range(3)]
    assert np.array_equal(updates[0], learned(held, promise(LEAST, 20.0, rate=0.2), bytes(ENTROPY_BYTES)).update)
    assert all(np.linalg.norm(updates[0] - other) > 1e-2 for other in updates[1:])


def test_training_that_diverges_is_one_clear_line() -> None:
    wild = samples(8)
    wild.features[:] = np.nan
    with pytest.raises(ConfigurationError, match="diverged"):
        learned(wild, promise(LEAST, 1.0))
