"""Training on what a node has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from middleware.errors import ConfigurationError
from middleware.learn.hardware import Hardware, autocast, placed, replayed


def test_a_device_that_is_not_here_is_named_with_the_remedy() -> None:
    Hardware("cpu").require()
    with pytest.raises(ConfigurationError, match=r'device = "quantum" cannot be used.*set device = "cpu"'):
        Hardware("quantum").require()


def test_bfloat16_multiplies_matrices_and_leaves_parameters_alone() -> None:
    weights, samples = torch.ones(4, 4), torch.ones(2, 4)
    with autocast(Hardware(precision="bfloat16")):
        assert (samples @ weights).dtype == torch.bfloat16
    with autocast(Hardware()):
        assert (samples @ weights).dtype == torch.float32
    assert weights.dtype == torch.float32


def descent(hardware: Hardware) -> tuple[np.ndarray, list[float]]:
    """Ten steps of least squares, batches of two sizes."""
    weights = torch.zeros(3, device=hardware.device)

    def step(features: Tensor, labels: Tensor) -> Tensor:
        wrong = features @ weights - labels
        weights.sub_(features.T @ wrong, alpha=0.05)
        return (wrong**2).mean()

    run, losses = replayed(step, [weights], hardware), []
    generator = np.random.default_rng(1)
    for size in (8, 8, 8, 5, 8, 8, 5, 8, 8, 8):
        features = generator.normal(size=(size, 3)).astype(np.float32)
        losses.append(run(placed(features, hardware), placed(features.sum(axis=1), hardware)))
    return weights.cpu().numpy(), [float(loss) for loss in losses]


def test_without_a_gpu_a_step_is_itself() -> None:
    weights, losses = descent(Hardware())
    assert losses[-1] < losses[0] / 10
    assert np.abs(weights - 1).max() < 0.2


@pytest.mark.cuda
def test_a_replayed_step_learns_what_an_eager_one_learns() -> None:
    replay, eager = descent(Hardware("cuda")), descent(Hardware("cuda", graphs=False))
    np.testing.assert_allclose(replay[0], eager[0], rtol=1e-5)
    np.testing.assert_allclose(replay[1], eager[1], rtol=1e-5)
