"""Training of what is added to a network when it is published: heads at exits, pairs of coders, decoders of an attack.

Adam with a rate that falls to nothing along half a cosine. Everything random comes from a seed: first values, the order of
samples, and what a loss draws from the generator that it is given. Samples are numpy arrays, so that who asks needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError, require

Floats = npt.NDArray[np.float32]
Layers = TypeVar("Layers", bound=nn.Module)
Loss = Callable[[npt.NDArray[np.int64], torch.Generator], Tensor]  # of the samples of these indices

FORWARD_BATCH = 256  # samples


class Fitting(msgspec.Struct, frozen=True):
    """How long and how fast."""

    epochs: int = 10
    batch: int = 32
    rate: float = 2e-3  # Adam's step at the start
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.epochs > 0 and self.batch > 0 and self.rate > 0, "epochs, batch and rate are above 0")


def fit(parameters: Iterable[nn.Parameter], count: int, loss: Loss, plan: Fitting) -> float:
    """Train on `count` samples; the last epoch's mean loss. ConfigurationError when it has no finite value."""
    trained = list(parameters)
    order, drawn = np.random.default_rng(plan.seed), torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.Adam(trained, plan.rate)
    steps = plan.epochs * math.ceil(count / plan.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    mean = math.inf
    for _ in range(plan.epochs):
        losses = []
        for chunk in np.array_split(order.permutation(count), math.ceil(count / plan.batch)):
            optimizer.zero_grad()
            value = loss(chunk, drawn)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(value.item())
        mean = sum(losses) / len(losses)
    if not math.isfinite(mean):
        raise ConfigurationError(f"training diverged: lower the rate ({plan.rate})")
    return mean


def initialised(module: Layers, seed: int) -> Layers:
    """The module with its parameters drawn anew, uniform within +-1/sqrt(fan in). For modules without running statistics."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1.0
    module.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                bound = 1 / math.sqrt(parameter[0].numel())  # a bias comes after its weights and has their fan in
            parameter.uniform_(-bound, bound, generator=generator)
    return module


def forward(module: nn.Module, samples: npt.NDArray[Any]) -> Floats:
    """What a module in evaluation mode gives for samples (n, ...)."""
    module.eval()
    with torch.inference_mode():
        pieces = [module(chunk).numpy() for chunk in torch.split(tensor(samples), FORWARD_BATCH)]
    return np.concatenate(pieces)


def tensor(samples: npt.NDArray[Any]) -> Tensor:
    """float32 of the same shape."""
    return torch.from_numpy(np.ascontiguousarray(samples, np.float32))
