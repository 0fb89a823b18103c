from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import importance, models, train
from middleware.learn.workload import Classification, Samples, load_workload

torch.set_num_threads(1)
Doubles = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def digits() -> Classification:
    return load_workload("digits", "mlp:64-8-10", of=4)


def losses(workload: Classification, samples: Samples, model: Doubles) -> float:
    """The mean loss of a model without hidden layers in float64, by a forward pass alone: smooth, as a ReLU is not."""
    matrix, offset = torch.tensor(model[:640].reshape(10, 64)), torch.tensor(model[640:])
    logits = torch.as_tensor(samples.features).double() @ matrix.T + offset
    return float(workload.loss(logits, torch.as_tensor(samples.labels)))


def test_v_predicts_what_a_small_move_takes_off_the_loss() -> None:
    """-1/2 v . x is the second-order loss drop of x_N = x: its error shrinks with the third power of the step."""
    workload = load_workload("digits", "mlp:64-10", of=4)
    model = models.initial("mlp:64-10", 3)
    samples = importance.slices(workload.test(), 4)[1]
    direction = np.random.default_rng(0).standard_normal(len(model))
    errors = []
    for size in (0.01, 0.005, 0.0025):
        move = size * direction
        v = importance.importance(workload, model, move, samples)
        drop = losses(workload, samples, model.astype(np.float64)) - losses(workload, samples, model + move)
        errors.append(abs(-0.5 * float(v @ move) - drop))
    assert errors[0] / errors[1] > 6 and errors[1] / errors[2] > 6  # 8 for a third-order rest, 4 for a second-order one


def test_a_move_of_zero_leaves_twice_the_gradient() -> None:
    workload = load_workload("digits", "mlp:64-10", of=4)
    model = models.initial("mlp:64-10", 3)
    samples = importance.slices(workload.test(), 1)[0]
    v = importance.importance(workload, model, np.zeros(len(model)), samples)
    step = np.zeros(len(model))
    step[20] = 1e-5
    slope = (losses(workload, samples, model + step) - losses(workload, samples, model - step)) / 2e-5
    assert v[20] == pytest.approx(2 * slope, rel=1e-5)


def test_a_convolution_has_a_hessian_too() -> None:
    name = "cnn2d:8x8x1-4-3"
    generator = np.random.default_rng(0)
    data = Samples(generator.standard_normal((6, 8, 8, 1)).astype(np.float32), np.arange(6) % 3)
    workload = Classification(name, data, data)
    model = models.initial(name, 0)
    move = 0.01 * generator.standard_normal(len(model))
    with_move = importance.importance(workload, model, move, data)
    without = importance.importance(workload, model, np.zeros(len(model)), data)
    assert float((with_move - without) @ move) != 0.0


def test_a_ruined_model_is_refused(digits: Classification) -> None:
    model = np.full(models.count("mlp:64-8-10"), np.inf, np.float32)
    with pytest.raises(ConfigurationError, match="finite"):
        importance.importance(digits, model, np.zeros(len(model)), digits.test())


def test_slices_are_every_sample_once_and_their_hashes_name_them(digits: Classification) -> None:
    test = digits.test()
    parts = importance.slices(test, 4)
    assert sum(len(part) for part in parts) == len(test)
    assert np.array_equal(parts[2].features[0], test.features[2])
    names = importance.slice_hashes(test, 4)
    assert len(set(names)) == 4 and all(len(name) == 32 for name in names)
    changed = Samples(parts[0].features.copy(), parts[0].labels)
    changed.features[0, 0] += 1
    assert importance.slice_hash(changed) != names[0] == importance.slice_hash(parts[0])
    with pytest.raises(ConfigurationError, match="cannot be cut"):
        importance.slices(test, len(test) + 1)


def test_the_value_of_a_reconstructed_set_is_what_it_takes_off_the_loss(digits: Classification) -> None:
    model = models.initial("mlp:64-8-10", 3)
    rows = [np.random.default_rng(seed).integers(-40, 41, len(model)).astype(np.int16) for seed in (1, 2)]
    utility = importance.reconstruction(digits, digits.test(), model, rows, [3, 1], -12)
    base = train.evaluate(digits, model)[1]
    step = np.floor((3 * rows[0].astype(int) + rows[1]) / 4 + 0.5).astype(np.float32) * np.float32(2**-12)
    moved = train.evaluate(digits, model + step)[1]
    assert utility(frozenset()) == 0
    assert float(utility(frozenset({0, 1}))) == pytest.approx(base - moved, abs=1e-5)
