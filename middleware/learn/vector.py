"""A model as one vector: every parameter is a view of one flat tensor, and every gradient a view of another.

So an optimiser's step is a few operations on vectors whatever the number of layers, and moving a model in or out is one
copy. The order is that of `Module.parameters()`, each parameter in C order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError

Floats = npt.NDArray[np.float32]


class Bound(NamedTuple):
    """A module and the two flat tensors (d,) that its parameters and their gradients are views of."""

    module: nn.Module
    values: Tensor
    gradients: Tensor


def bind(module: nn.Module, vector: Floats, device: str = "cpu") -> Bound:
    """Give `module` the values of `vector` (d,) on a torch device, as views. ConfigurationError for another length."""
    length = sum(parameter.numel() for parameter in module.parameters())
    if vector.shape != (length,):
        raise ConfigurationError(f"a model of {length} numbers does not take a vector of shape {vector.shape}")
    values = torch.tensor(vector, dtype=torch.float32, device=device)
    gradients = torch.zeros_like(values)
    at = 0
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            end = at + parameter.numel()
            bound = nn.Parameter(values[at:end].view(parameter.shape))
            bound.grad = gradients[at:end].view(parameter.shape)
            owner.register_parameter(name, bound)
            at = end
    return Bound(module, values, gradients)


def flatten(module: nn.Module) -> Floats:
    """The parameters of any module as one new float32 vector (d,)."""
    pieces = [parameter.detach().reshape(-1) for parameter in module.parameters()]
    flat = torch.cat(pieces).to("cpu", torch.float32).numpy()
    return np.array(flat, np.float32)
