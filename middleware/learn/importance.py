"""What a round's updates are measured with: v = 2 g + H x_N of the evaluation loss, and the slices it is measured on.

The loss L of a slice is expanded around the model m that the round starts from. For a set S of updates that moves the
model by x_S = sum of the members' shares x_i, its utility is what it takes off the loss, to second order:

    U(S) = L(m) - L(m + x_S) = -g . x_S - 1/2 x_S . H x_S          (g the gradient, H the Hessian of L at m)

The Shapley value of member i is then phi_i = -1/2 (2 g + H x_N) . x_i with x_N the move of all (In-Run Data Shapley;
Wang et al. 2024, arXiv 2406.11011; see `maths.contribution`). So one vector v = 2 g + H x_N scores everyone,
at the price of one gradient and one product of the Hessian with a vector, both over one slice.

H x is the derivative of the gradient in the direction of x, taken by automatic differentiation, not by a difference
(Pearlmutter 1994). A ReLU's second derivative is zero where it is defined, which is what automatic differentiation says.

Floating point differs between machines in the last bits, so v is computed once, by the cloud, published as integers and
committed; everything after it is exact. An auditor with the data computes v again and compares
(`maths.contribution.differs`).

The evaluation set is the workload's test part cut into slices by position; a policy commits to their hashes, and which
slice a round is measured on follows from the round's own inputs, when nobody can change those any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call

from middleware.errors import ConfigurationError
from middleware.learn import vector
from middleware.learn.workload import Samples, Workload
from middleware.maths import aggregate, grid

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]


def importance(workload: Workload, model: Floats, move: Doubles, samples: Samples, device: str = "cpu") -> Doubles:
    """v = 2 g + H move (d,) of the workload's loss on `samples` at `model` (d,), in float64 on a torch device.

    ConfigurationError when the loss has no finite derivatives there: the model is ruined, and nothing can be scored.
    """
    module = workload.model().to_empty(device=device).to(torch.float64)
    shapes = [(name, parameter.shape, parameter.numel()) for name, parameter in module.named_parameters()]
    at = torch.tensor(model, dtype=torch.float64, device=device).requires_grad_()
    direction = torch.tensor(move, dtype=torch.float64, device=device)
    features = torch.as_tensor(samples.features, device=device).to(torch.float64)
    labels = torch.as_tensor(samples.labels, device=device)
    pieces = torch.split(at, [size for _, _, size in shapes])
    parameters = {name: piece.view(shape) for (name, shape, _), piece in zip(shapes, pieces, strict=True)}
    logits = cast(Tensor, functional_call(module, parameters, (features,)))
    (gradient,) = torch.autograd.grad(workload.loss(logits, labels), at, create_graph=True)
    (product,) = torch.autograd.grad(gradient, at, grad_outputs=direction)
    found: Doubles = (2 * gradient.detach() + product).cpu().numpy()
    if not np.isfinite(found).all():
        raise ConfigurationError(
            "the evaluation loss has no finite derivatives at this model: its rounds cannot be scored"
        )
    return found


def slices(samples: Samples, count: int) -> list[Samples]:
    """The evaluation set cut into `count` parts of nearly equal size: sample i is in slice i mod count."""
    if not 0 < count <= len(samples):
        raise ConfigurationError(f"{len(samples)} evaluation samples cannot be cut into {count} slices")
    return [Samples(samples.features[part::count], samples.labels[part::count]) for part in range(count)]


def slice_hash(samples: Samples) -> bytes:
    """SHA-256 of a slice: its shape, then its features as little-endian float32 and its labels as int64."""
    head = f"drystone/evaluation/1:{'x'.join(map(str, samples.features.shape))}:".encode()
    features = np.ascontiguousarray(samples.features, "<f4").tobytes()
    return hashlib.sha256(head + features + np.ascontiguousarray(samples.labels, "<i8").tobytes()).digest()


def slice_hashes(samples: Samples, count: int) -> Sequence[bytes]:
    """The leaf data of the tree whose root a policy names as `evaluation`."""
    return [slice_hash(part) for part in slices(samples, count)]


def reconstruction(
    workload: Workload, samples: Samples, model: Floats, rows: Sequence[Integers], weights: Sequence[int], exponent: int
) -> Callable[[frozenset[int]], Fraction]:
    """The utility of a set of a round's updates by rebuilding the model that they alone would have made.

    What `maths.contribution.shapley_two_level` wants: set of places in `rows` -> loss at `model` (d,) less loss at the
    rebuilt model, on `samples`; one evaluation a set. The empty set has moved nothing.
    """
    bound = vector.bind(workload.model(), model)
    features, labels = torch.as_tensor(samples.features), torch.as_tensor(samples.labels)

    def loss(at: Floats) -> Fraction:
        bound.values.copy_(torch.as_tensor(at))
        with torch.inference_mode():
            return Fraction(float(workload.loss(bound.module(features), labels)))

    before = loss(model)

    def utility(members: frozenset[int]) -> Fraction:
        total = sum(weights[member] for member in members)
        if not total:
            return Fraction(0)
        chosen = sorted(members)
        sums = aggregate.weighted_sums([rows[member] for member in chosen], [weights[member] for member in chosen])
        return before - loss(grid.apply(model, aggregate.divide(sums, total), exponent))

    return utility
