"""DP-SGD: local training in which no single record shows (Abadi et al. 2016, algorithm 1), with opacus's per-sample gradients.

A step draws each record with the policy's probability, independently (Poisson sampling: what the accountant counts),
cuts each drawn record's gradient to `clip`, adds Gaussian noise of standard deviation noise * clip to their sum, divides
by the expected number of records, and takes a step of SGD with momentum by it. A step that draws nobody still adds
noise. The training loss is not told: it would say more about the records than was paid for.

Who is drawn is decided by a ChaCha20 stream of the caller's entropy. The noise is opacus's `secure_mode`, four normal numbers
for one, so that the gaps of floating point tell nothing (Holohan and Braghin 2021); its generator is seeded with the entropy.
"""

from __future__ import annotations

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.learn import vector
from middleware.learn.hardware import CPU, Hardware, placed
from middleware.learn.train import Floats, Trained
from middleware.learn.workload import Workload
from middleware.policy import NOISE_ONE, RATE_ONE, Policy, RecordPrivacy
from middleware.trust.stream import KeyStream

ENTROPY_BYTES = 32


def train_private(
    workload: Workload, policy: Policy, promise: RecordPrivacy, model: Floats, entropy: bytes, hardware: Hardware = CPU
) -> Trained:  # fmt: skip
    """Train `model` (d,) on the workload's data for the promise's steps. `entropy` is ENTROPY_BYTES that nobody knows, new
    for each call. ConfigurationError when training diverges."""
    data, plan = workload.data(), policy.training
    bound = vector.bind(workload.model(), model, hardware.device)
    features, labels = placed(data.features, hardware), placed(data.labels, hardware)
    stream = KeyStream(entropy)
    generator = torch.Generator(hardware.device).manual_seed(int(stream.words(1)[0] >> np.uint64(1)))
    module = GradSampleModule(bound.module, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=plan.learning_rate, momentum=plan.momentum),
        noise_multiplier=promise.noise / NOISE_ONE, max_grad_norm=promise.clip,
        expected_batch_size=len(data) * promise.rate / RATE_ONE, loss_reduction="mean", generator=generator, secure_mode=True,
    )  # fmt: skip
    for _ in range(promise.steps):
        drawn = np.flatnonzero((stream.words(len(data)) >> np.uint64(48)) < np.uint64(promise.rate))
        _sample_gradients(module, workload, features, labels, placed(drawn, hardware))
        optimizer.step()
        optimizer.zero_grad()
    update = bound.values.detach().cpu().numpy() - model
    if not np.isfinite(update).all():
        raise ConfigurationError(f"training diverged: lower the learning rate ({plan.learning_rate})")
    return Trained(update, len(data), promise.steps, {})


def _sample_gradients(module: nn.Module, workload: Workload, features: Tensor, labels: Tensor, drawn: Tensor) -> None:
    """Leave each drawn record's gradient with each parameter, where opacus looks for it."""
    if not len(drawn):
        for parameter in module.parameters():
            parameter.grad_sample = torch.zeros((0, *parameter.shape), device=parameter.device)  # type: ignore[attr-defined]
        return
    taken = features[drawn].requires_grad_()  # torch warns of hooks like opacus's below inputs that need no gradient
    loss = workload.loss(module(taken), labels[drawn])
    loss.backward()  # type: ignore[no-untyped-call]
