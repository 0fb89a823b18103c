"""The inverting attacker finds what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import torch

from middleware.infer.fitting import Fitting
from middleware.infer.inversion import leak
from tests.unit.infer.learned_world import images

PLAN = Fitting(epochs=15, rate=2e-3)


def test_privacy_the_attack_recovers_samples_from_all_of_them_and_learns_nothing_from_noise() -> None:
    torch.set_num_threads(1)
    samples, secret = images(800, 0)[0], images(100, 1)[0]
    whole = leak(samples, samples, secret, secret, PLAN)
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(900, 8)).astype(np.float32)
    nothing = leak(noise[:800], samples, noise[800:], secret, PLAN)
    assert whole.psnr > whole.blind_psnr + 3 and whole.ssim > whole.blind_ssim + 0.3
    assert nothing.psnr < nothing.blind_psnr + 0.3 and nothing.ssim < nothing.blind_ssim + 0.05


def test_privacy_fewer_numbers_give_less_away() -> None:
    torch.set_num_threads(1)
    samples, secret = images(800, 0)[0], images(100, 1)[0]
    pooled = [one.reshape(-1, 3, 4, 3, 4).mean((2, 4)) for one in (samples, secret)]
    whole = leak(samples, samples, secret, secret, PLAN)
    coarse = leak(pooled[0], samples, pooled[1], secret, PLAN)
    assert coarse.blind_psnr < coarse.psnr < whole.psnr and coarse.ssim < whole.ssim
