"""Local training: SGD with momentum on one device's samples, and the central run that it is compared with.

    velocity <- momentum * velocity + gradient;  model <- model - learning_rate * velocity       (torch.optim.SGD)

With a fixed time instead of epochs (anytime minibatch) a device goes on until its clock says that the time is over, and
declares the samples that it got through. The clock is an argument: middleware has none.

Under FedProx the gradient has mu * (model - model of the round) added to it.

The velocity starts at zero in every round, so that a device keeps no state but the residual of its codec. Batches are
drawn without replacement, epoch by epoch, by a generator seeded with (task seed, round, node): a device that was killed
trains to the same update again, unless time decides when it ends. The caller sets the number of torch's threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from middleware.errors import ConfigurationError
from middleware.learn import models, vector
from middleware.learn.hardware import CPU, Hardware, autocast, placed, replayed
from middleware.learn.workload import Samples, Workload
from middleware.policy import Policy, Training

Floats = npt.NDArray[np.float32]
Clock = Callable[[], float]  # seconds since any moment
Step = Callable[[Tensor, Tensor], Tensor]  # one step on a batch's features and labels; its loss

EVALUATION_BATCH = 1024  # samples
LARGEST_LOSS = 1e9  # what is reported for a model whose loss has no finite value


class Trained(NamedTuple):
    """new - old (d,) after `steps` gradient steps on `samples` samples (with a fixed time: as many as were gone through);
    `metrics` has the last epoch's mean loss."""

    update: Floats
    samples: int
    steps: int
    metrics: dict[str, float]


def train(
    workload: Workload, policy: Policy, model: Floats, round: int, node: int, hardware: Hardware = CPU,
    clock: Clock | None = None,
) -> Trained:  # fmt: skip
    """Train `model` (d,) on the workload's data for the policy's epochs, or for its seconds on `clock`.

    ConfigurationError when training diverges: a vector that is not finite has no place on the grid; and for a fixed time
    without a clock.
    """
    data, plan = workload.data(), policy.training
    bound = vector.bind(workload.model(), model, hardware.device)
    step = _stepper(bound, workload, plan, hardware)
    batches = _batches(data, plan.batch, np.random.default_rng([policy.seed, round, node]), hardware)
    per_epoch = math.ceil(len(data) / plan.batch)
    if plan.seconds is None:
        losses, seen = [step(*batch) for batch in islice(batches, plan.epochs * per_epoch)], len(data)
    else:
        losses, seen = _until(step, batches, plan.seconds, clock)
    update = bound.values.cpu().numpy() - model
    loss = float(torch.stack(losses[-per_epoch:]).mean())
    if not np.isfinite(update).all() or not math.isfinite(loss):
        raise ConfigurationError(f"training diverged in round {round}: lower the learning rate ({plan.learning_rate})")
    return Trained(update, seen, len(losses), {"loss": loss})


def _until(
    step: Step, batches: Iterator[tuple[Tensor, Tensor]], seconds: float, clock: Clock | None
) -> tuple[list[Tensor], int]:
    """(each batch's loss, samples that were gone through) of one step at least, until `seconds` have passed."""
    if clock is None:
        raise ConfigurationError("this task's devices train for a fixed time: a clock must be given")
    end, losses, seen = clock() + seconds, list[Tensor](), 0
    for features, labels in batches:
        losses.append(step(features, labels))
        losses[-1].item()  # an accelerator is waited for: what is only queued has not been computed
        seen += len(labels)
        if clock() >= end:
            break
    return losses, seen


def evaluate(
    workload: Workload, model: Floats, device: str = "cpu", samples: Samples | None = None
) -> tuple[float, float]:
    """(accuracy as a fraction, mean loss) of `model` (d,) on these samples, by default the workload's test part.

    The loss is capped at `LARGEST_LOSS`, also where it is not a number, so that a ruined model has a number to report.
    """
    bound = vector.bind(workload.model(), model, device)
    data = workload.test() if samples is None else samples
    features, labels = placed(data.features, Hardware(device)), placed(data.labels, Hardware(device))
    right, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(data), EVALUATION_BATCH):
            logits = bound.module(features[start : start + EVALUATION_BATCH])
            wanted = labels[start : start + EVALUATION_BATCH]
            right += int((logits.argmax(1) == wanted).sum())
            loss += float(workload.loss(logits, wanted)) * len(wanted)
    mean = loss / len(data)
    return right / len(data), mean if math.isfinite(mean) else LARGEST_LOSS


def central(workload: Workload, policy: Policy, steps: Sequence[int], device: str = "cpu") -> list[float]:
    """Accuracy after each round's worth of central training, `steps[i]` gradient steps for round i.

    The first model, batch size, learning rate and momentum are those of the federated task, the data is pooled, and
    nothing is reset between rounds.
    """
    plan, data = policy.training, workload.data()
    bound = vector.bind(workload.model(), models.initial(policy.model, policy.seed), device)
    step = _stepper(bound, workload, plan, Hardware(device))
    batches = _batches(data, plan.batch, np.random.default_rng([policy.seed, 0, 0]), Hardware(device))
    curve = []
    for number in steps:
        for features, labels in islice(batches, number):
            step(features, labels)
        curve.append(evaluate(workload, bound.values.cpu().numpy(), device)[0])
    return curve


def _batches(
    data: Samples, size: int, generator: np.random.Generator, hardware: Hardware
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Features and labels without end, epoch after epoch; the last batch of an epoch may be smaller."""
    features, labels = placed(data.features, hardware), placed(data.labels, hardware)
    while True:
        order = placed(generator.permutation(len(data)), hardware)
        yield from zip(torch.split(features[order], size), torch.split(labels[order], size), strict=True)


def _stepper(
    bound: vector.Bound, workload: Workload, plan: Training, hardware: Hardware
) -> Step:  # fmt: skip
    """One step of SGD on one batch; returns the batch's loss as a tensor, so that nobody waits for an accelerator."""
    velocity, start = torch.zeros_like(bound.values), bound.values.clone()

    def step(features: Tensor, labels: Tensor) -> Tensor:
        bound.gradients.zero_()
        with autocast(hardware):
            loss = workload.loss(bound.module(features), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if plan.proximal is not None:
                bound.gradients.add_(bound.values - start, alpha=plan.proximal)
            velocity.mul_(plan.momentum).add_(bound.gradients)
            bound.values.add_(velocity, alpha=-plan.learning_rate)
        return loss.detach()

    return replayed(step, (bound.values, bound.gradients, velocity), hardware)
