from __future__ import annotations

import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import models, vector


@pytest.mark.parametrize(
    ("name", "shape", "classes", "full"),
    [
        ("auto", (64,), 10, "mlp:64-256-10"),
        ("auto", (128, 6), 6, "cnn1d:128x6-16-32-6"),
        ("auto", (28, 28, 1), 10, "cnn2d:28x28x1-16-32-10"),
        ("mlp", (128, 6), 6, "mlp:768-256-6"),
        ("cnn1d", (128, 6), 6, "cnn1d:128x6-16-32-6"),
        ("cnn2d", (8, 9, 3), 2, "cnn2d:8x9x3-16-32-2"),
        ("mlp:64-10", (64,), 10, "mlp:64-10"),
        ("mlp:64-5-6-10", (8, 8, 1), 10, "mlp:64-5-6-10"),
        ("cnn1d:50x3-4-2", (50, 3), 2, "cnn1d:50x3-4-2"),
    ],
)
def test_a_name_resolves_to_a_model_of_that_shape(name: str, shape: tuple[int, ...], classes: int, full: str) -> None:
    assert models.resolve(name, shape, classes) == full
    bound = vector.bind(models.build(full), models.initial(full, 0))
    assert bound.module(torch.zeros(3, *shape)).shape == (3, classes)
    assert bound.values.shape == (models.count(full),)


def test_the_default_model_has_its_known_size() -> None:
    assert models.count("mlp:64-256-10") == 64 * 256 + 256 + 256 * 10 + 10 == 18_954 + 256


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mlp",
        "mlp:",
        "mlp:64",
        "mlp:64-1",
        "mlp:64-0-10",
        "mlp:8x8-10",
        "mlp:a-b",
        "cnn1d:128x6-6",
        "cnn3d:1x1-2-2",
        "mlp:-64-10",
    ],
)
def test_a_name_that_is_no_model_says_how_to_write_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        models.parse(name)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp:63-10", (64,)),
        ("mlp:64-9", (64,)),
        ("cnn1d", (64,)),
        ("resnet", (64,)),
        ("auto", (1, 2, 3, 4)),
        ("cnn1d:64x2-4-10", (64, 3)),
    ],
)
def test_a_model_that_does_not_fit_the_samples_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError):
        models.resolve(name, shape, 10)


def test_first_values_depend_on_the_seed_alone_and_stay_within_the_fan_in() -> None:
    first, again, other = (models.initial("mlp:64-256-10", seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.dtype == np.float32
    hidden, out = first[: 64 * 256 + 256], first[64 * 256 + 256 :]
    assert 0.124 < np.abs(hidden).max() <= 1 / 8
    assert 0.062 < np.abs(out).max() <= 1 / 16
    assert abs(float(hidden.std()) - 1 / 8 / 3**0.5) < 0.001


@pytest.mark.parametrize("name", ["mlp:6-5-3", "cnn1d:9x2-3-4-2", "cnn2d:5x6x1-2-3-4"])
def test_a_vector_goes_into_a_model_and_comes_out_in_the_same_order(name: str) -> None:
    values = np.arange(models.count(name), dtype=np.float32)
    bound = vector.bind(models.build(name), values)
    assert np.array_equal(vector.flatten(bound.module), values)
    at = 0
    for parameter in bound.module.parameters():
        assert np.array_equal(parameter.detach().numpy().ravel(), values[at : at + parameter.numel()])
        at += parameter.numel()


def test_the_flat_tensors_are_the_model_and_its_gradients() -> None:
    bound = vector.bind(models.build("mlp:6-5-3"), models.initial("mlp:6-5-3", 0))
    bound.module(torch.ones(2, 6)).sum().backward()
    gradients = torch.cat([parameter.grad.reshape(-1) for parameter in bound.module.parameters()])
    assert torch.equal(gradients, bound.gradients)
    assert float(bound.gradients.abs().sum()) > 0
    bound.values.zero_()
    assert float(bound.module(torch.ones(2, 6)).detach().abs().sum()) == 0


def test_binding_copies_the_vector() -> None:
    values = models.initial("mlp:6-5-3", 0)
    bound = vector.bind(models.build("mlp:6-5-3"), values)
    bound.values.add_(1)
    assert values.tobytes() == models.initial("mlp:6-5-3", 0).tobytes()


def test_a_vector_of_another_length_does_not_bind() -> None:
    with pytest.raises(ConfigurationError, match="53 numbers"):
        vector.bind(models.build("mlp:6-5-3"), np.zeros(52, np.float32))
