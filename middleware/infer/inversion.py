"""How much of its input a tensor that leaves the device gives away: the score of an attacker who inverts it.

The attacker has samples like the user's and the front half of the network, both public here, and trains a decoder from what
crosses to the sample (He, Zhang and Lee 2019, "Model inversion attacks against collaborative inference", section 4.2, the
black-box attack). What it makes of tensors it has not seen is compared with their samples by SSIM and PSNR (`maths.likeness`),
beside the best guess that needs no tensor at all, the mean sample: an attack that is no better has learned nothing.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.infer.fitting import Fitting, Floats, fit, forward, initialised, tensor
from middleware.maths.likeness import psnr, ssim

HIDDEN: Final = 512


class Leak(NamedTuple):
    """Likeness of what the attack made to the samples, and of the mean sample to them."""

    ssim: float
    psnr: float  # decibels
    blind_ssim: float
    blind_psnr: float


def inverted(crossing: Floats, samples: Floats, seen: Floats, plan: Fitting) -> Floats:
    """What a decoder trained on tensors `crossing` (n, ...) of `samples` (n, ...) makes of the tensors `seen` (m, ...)."""
    numbers, wanted = math.prod(crossing.shape[1:]), math.prod(samples.shape[1:])
    with torch.device("meta"):
        decoder = nn.Sequential(nn.Flatten(), nn.Linear(numbers, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, wanted))
    initialised(decoder, plan.seed)
    centre, spread = crossing.mean(0), float(crossing.std()) or 1.0
    sources, targets = tensor((crossing - centre) / spread), tensor(samples.reshape(len(samples), -1))

    def loss(chunk: npt.NDArray[np.int64], drawn: torch.Generator) -> Tensor:
        return nn.functional.mse_loss(decoder(sources[chunk]), targets[chunk])

    fit(decoder.parameters(), len(samples), loss, plan)
    return forward(decoder, (seen - centre) / spread).reshape(len(seen), *samples.shape[1:])


def leak(crossing: Floats, samples: Floats, seen: Floats, secret: Floats, plan: Fitting = Fitting()) -> Leak:
    """The score of an attacker who has `crossing` and `samples`, on the tensors `seen` of the samples `secret`."""
    peak = float(samples.max() - samples.min())
    found = inverted(crossing, samples, seen, plan)
    blind = np.broadcast_to(samples.mean(0), secret.shape)
    return Leak(
        ssim(found, secret, peak), psnr(found, secret, peak), ssim(blind, secret, peak), psnr(blind, secret, peak)
    )
