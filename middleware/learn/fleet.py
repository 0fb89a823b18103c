"""Local training of many devices at once: the same steps as `learn.train`, batched over devices of one model.

A small model on one device is a chain of small products, and most of its time goes into starting them. Devices that
share an architecture take their steps side by side instead: their models are the rows of one matrix, and `torch.func`
turns one device's gradient into everyone's (`vmap` of `grad`). Each device keeps its own order of batches, drawn by the
generator that `learn.train` draws it with, so that its update is the one that it would have made alone, up to the last
bits of float32: batched products add in another order.

Shards are of any size. Devices are grouped by the number of their samples; within a group a shorter batch is filled up
with samples of weight 0, and a device that has finished its epochs stands still while the others go on.

Memory is bounded by the number of devices that train at once: `chunk_for` derives it from the model's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from middleware.errors import ConfigurationError
from middleware.learn import models as architectures
from middleware.learn.workload import Samples
from middleware.policy import Training

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Seed = int | Sequence[int]
SampleLoss = Callable[[Tensor, Tensor], Tensor]  # logits (n, classes), labels (n,) -> losses (n,)

WORKING_BYTES: Final = 64 << 20  # of models, velocities and gradients that are worked on at once
MOST_AT_ONCE: Final = 256  # devices; beyond, batching gains nothing and the matrices leave the cache
VECTORS_A_DEVICE: Final = 4  # model, velocity, gradient and what a step allocates


class Taught(NamedTuple):
    """What some devices of a fleet learned: `places` (k,) in the fleet, `updates` (k, d), `losses` (k,), mean of the last
    epoch's batches."""

    places: Indices
    updates: Floats
    losses: Floats


def cross_entropy_each(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each sample (n,)."""
    return cross_entropy(logits, labels, reduction="none")


def chunk_for(parameters: int) -> int:
    """How many devices with models of so many numbers train at once within `WORKING_BYTES`."""
    return max(1, min(MOST_AT_ONCE, WORKING_BYTES // (4 * VECTORS_A_DEVICE * parameters)))


def use_threads(count: int) -> None:
    """How many threads torch may use in this process. For steps this small a second one often only waits."""
    if count < 1:
        raise ConfigurationError(f"threads {count}: give at least 1")
    torch.set_num_threads(count)


def train_fleet(
    model_name: str, models: Floats, features: Floats, labels: npt.NDArray[np.int64], counts: Sequence[int],
    training: Training, seeds: Sequence[Seed], loss: SampleLoss = cross_entropy_each, device: str = "cpu",
) -> tuple[Floats, Floats]:  # fmt: skip
    """(updates (m, d), losses (m,)) of m devices that start from `models`, (d,) for all or (m, d).

    Device i trains on the first `counts[i]` of `features[i]` (s, ...) and `labels[i]` (s,), in the order that a generator
    seeded with `seeds[i]` draws; `loss` gives one loss a sample. ConfigurationError names the devices that diverged.
    """
    count, most = labels.shape
    if features.shape[:2] != labels.shape or len(counts) != count or not all(0 < held <= most for held in counts):
        raise ConfigurationError(
            f"features {features.shape}, labels {labels.shape} and {len(counts)} counts are no {count} shards: "
            "give (m, s, ...), (m, s) and m counts of 1 to s"
        )
    pool = Samples(features.reshape(-1, *features.shape[2:]), labels.reshape(-1))
    shares = [np.arange(place * most, place * most + held) for place, held in enumerate(counts)]
    updates = np.empty((count, architectures.count(model_name)), np.float32)
    losses = np.empty(count, np.float32)
    for taught in teach(model_name, models, pool, shares, training, seeds, loss, device):
        updates[taught.places], losses[taught.places] = taught.updates, taught.losses
    return updates, losses


def teach(
    model_name: str, models: Floats, pool: Samples, shares: Sequence[Indices], training: Training, seeds: Sequence[Seed],
    loss: SampleLoss = cross_entropy_each, device: str = "cpu",
) -> Iterator[Taught]:  # fmt: skip
    """`train_fleet` as a stream, for fleets whose updates do not fit memory together.

    Device i holds the samples `shares[i]` of one pool; devices may share samples. Yields every device once, those with
    few samples first.
    """
    parameters = architectures.count(model_name)
    if training.seconds is not None:
        raise ConfigurationError("devices that train side by side have one clock: give epochs instead of seconds")
    if models.shape not in ((parameters,), (len(shares), parameters)) or len(seeds) != len(shares):
        raise ConfigurationError(
            f"models {models.shape} and {len(seeds)} seeds do not fit {len(shares)} devices of {parameters} numbers"
        )
    if not all(len(share) for share in shares):
        raise ConfigurationError("every device needs at least one sample")
    features = torch.as_tensor(pool.features, device=device)
    labels = torch.as_tensor(pool.labels, device=device)
    gradients = _gradients(model_name, loss)
    order = np.argsort([len(share) for share in shares], kind="stable")
    size = chunk_for(parameters)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        first = models[places] if models.ndim == 2 else np.broadcast_to(models, (len(places), parameters))
        plan = _plan([shares[place] for place in places], [seeds[place] for place in places], training)
        updates, losses = _run(gradients, first, features, labels, plan, training, device)
        fine = np.isfinite(updates).all(axis=1) & np.isfinite(losses)
        if not fine.all():
            named = ", ".join(str(place) for place in places[~fine][:8])
            raise ConfigurationError(
                f"training diverged on {int((~fine).sum())} devices (number {named}): "
                f"lower the learning rate ({training.learning_rate})"
            )
        yield Taught(places, updates, losses)


class _Plan(NamedTuple):
    """Which samples are in each step: `samples` (steps, k, batch), their `weights` (0 fills up; else 1 / batch size), who
    takes the step (steps, k), and which steps are of the last epoch (steps, k)."""

    samples: Indices
    weights: Floats
    active: npt.NDArray[np.bool_]
    last: npt.NDArray[np.bool_]


def _plan(shares: Sequence[Indices], seeds: Sequence[Seed], training: Training) -> _Plan:
    per_epoch = [math.ceil(len(share) / training.batch) for share in shares]
    shape = (training.epochs * max(per_epoch), len(shares), min(training.batch, max(map(len, shares))))
    samples, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    active, last = np.zeros(shape[:2], np.bool_), np.zeros(shape[:2], np.bool_)
    for place, (share, seed) in enumerate(zip(shares, seeds, strict=True)):
        generator = np.random.default_rng(seed)
        step, samples[:, place] = 0, share[0]
        for _ in range(training.epochs):
            drawn = share[generator.permutation(len(share))]
            for start in range(0, len(share), training.batch):
                batch = drawn[start : start + training.batch]
                samples[step, place, : len(batch)] = batch
                weights[step, place, : len(batch)] = 1 / len(batch)
                step += 1
        active[:step, place] = True
        last[step - per_epoch[place] : step, place] = True
    return _Plan(samples, weights, active, last)


Gradients = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _gradients(model_name: str, loss: SampleLoss) -> Gradients:
    """(models (k, d), features (k, b, ...), labels (k, b), weights (k, b)) -> (gradients (k, d), losses (k,))."""
    module = architectures.build(model_name)
    named = [(name, parameter.shape) for name, parameter in module.named_parameters()]
    sizes = [math.prod(shape) for _, shape in named]

    def one(flat: Tensor, features: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        pieces = torch.split(flat, sizes)
        parameters = {name: piece.view(shape) for (name, shape), piece in zip(named, pieces, strict=True)}
        logits = cast(Tensor, functional_call(module, parameters, (features,)))
        return (loss(logits, labels) * weights).sum()

    return cast(Gradients, vmap(grad_and_value(one)))


def _run(
    gradients: Gradients, first: npt.NDArray[Any], features: Tensor, labels: Tensor, plan: _Plan, training: Training,
    device: str,
) -> tuple[Floats, Floats]:  # fmt: skip
    values = torch.tensor(first, dtype=torch.float32, device=device)
    velocity, start = torch.zeros_like(values), values.clone()
    total = torch.zeros(len(values), device=device)
    samples, weights = torch.as_tensor(plan.samples, device=device), torch.as_tensor(plan.weights, device=device)
    last = torch.as_tensor(plan.last, device=device).to(torch.float32)
    for step, chosen in enumerate(samples):
        moves, losses = gradients(values, features[chosen], labels[chosen], weights[step])
        total += losses * last[step]
        if training.proximal is not None:
            moves = moves + training.proximal * (values - start)
        velocity.mul_(training.momentum).add_(moves)
        if plan.active[step].all():
            values.add_(velocity, alpha=-training.learning_rate)
        else:  # those that have finished stand still
            stands = torch.as_tensor(plan.active[step], device=device)
            values.addcmul_(velocity, stands[:, None].to(torch.float32), value=-training.learning_rate)
    updates = values.cpu().numpy() - first
    return updates, (total / last.sum(0)).cpu().numpy()
