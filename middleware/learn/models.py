"""Models by name, so that a policy's text fixes one: its layers, its size, and from a seed its first values.

    mlp:IN-HIDDEN-...-CLASSES                           vectors, or anything flattened to IN numbers
    cnn1d:TIMExCHANNELS-FILTERS-...-CLASSES             windows (time, channels)
    cnn2d:HEIGHTxWIDTHxCHANNELS-FILTERS-...-CLASSES     images (height, width, channels)

A convolution is 5 wide with stride 2 in one dimension and 3 by 3 in two, followed by ReLU, in two dimensions then by
2 by 2 pooling; the last one's outputs are averaged over time or space before one linear layer. ReLU between linear
layers. No layer keeps state of its own (no batch normalisation), so a model is its parameters and nothing else.

First values are drawn by numpy, uniform within +-1/sqrt(fan in) (torch's own default), so that they do not depend on
the version of torch.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.policy.architecture import KINDS, Architecture, parse

HIDDEN = 256
FILTERS = {1: (16, 32), 2: (16, 32)}


def resolve(name: str, shape: tuple[int, ...], classes: int) -> str:
    """The full name for samples of `shape`: of "auto" by their shape, of a bare kind with our default layers.

    ConfigurationError when a full name does not fit the samples or their classes.
    """
    if name == "auto":
        name = {1: "mlp", 2: "cnn1d", 3: "cnn2d"}.get(len(shape), "")
        if not name:
            raise ConfigurationError(f"samples of shape {shape} are no vector, window or image: reshape them")
    if ":" in name:
        found = parse(name)
        wanted = (math.prod(shape),) if found.kind == "mlp" else shape
        if found.shape != wanted or found.classes != classes:
            raise ConfigurationError(f"model {name} does not fit samples of shape {shape} in {classes} classes")
        return name
    if name == "mlp":
        return Architecture(name, (math.prod(shape),), (HIDDEN,), classes).name
    if name not in KINDS or KINDS[name] != len(shape):
        raise ConfigurationError(f"model {name!r} does not take samples of shape {shape}: try --model auto")
    return Architecture(name, shape, FILTERS[len(shape) - 1], classes).name


class _ChannelsFirst(nn.Module):
    """(n, ..., channels) to (n, channels, ...), as torch's convolutions want it."""

    def __init__(self, sizes: int) -> None:
        """`sizes` of one sample, channels among them."""
        super().__init__()
        self.order = (0, sizes, *range(1, sizes))

    def forward(self, samples: Tensor) -> Tensor:
        return samples.permute(self.order)


class _Average(nn.Module):
    """(n, channels, ...) to (n, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).mean(2)


class _Scaled(nn.Module):
    """What a layer of fewer units gives, times a constant, so that it is as large as the whole layer's."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.scale


def build(name: str, scale: float = 1.0) -> nn.Module:
    """The module of a full name, from samples (n, *shape) to logits (n, classes); its parameters are not set.

    `scale` is what hidden layers' outputs are multiplied by: 1 over the width while a narrow model is trained (HeteroFL's
    scaler), nothing in the whole model.
    """
    kind, shape, layers, classes = parse(name)
    scaled = [] if scale == 1 else [_Scaled(scale)]
    steps: list[nn.Module]
    with torch.device("meta"):
        if kind == "mlp":
            steps, width = [nn.Flatten()], shape[0]
            for size in layers:
                steps += [nn.Linear(width, size), *scaled, nn.ReLU()]
                width = size
        else:
            steps, width = [_ChannelsFirst(len(shape))], shape[-1]
            for size in layers:
                if kind == "cnn1d":
                    steps += [nn.Conv1d(width, size, 5, stride=2, padding=2), *scaled, nn.ReLU()]
                else:
                    pool = nn.MaxPool2d(2, ceil_mode=True)
                    steps += [nn.Conv2d(width, size, 3, padding=1), *scaled, nn.ReLU(), pool]
                width = size
            steps.append(_Average())
        steps.append(nn.Linear(width, classes))
        return nn.Sequential(*steps)


def count(name: str) -> int:
    """How many numbers the model has."""
    return sum(parameter.numel() for parameter in build(name).parameters())


def initial(name: str, seed: int) -> npt.NDArray[np.float32]:
    """The model's first values, a float32 vector (count,) in the order of its parameters."""
    generator = np.random.default_rng([seed, 0])
    pieces, bound = [], 0.0
    for parameter in build(name).parameters():
        if parameter.ndim > 1:
            bound = 1 / math.sqrt(parameter[0].numel())  # a bias comes after its weights and has their fan in
        pieces.append(generator.uniform(-bound, bound, parameter.numel()).astype(np.float32))
    return np.concatenate(pieces)
