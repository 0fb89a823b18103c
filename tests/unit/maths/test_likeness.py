"""Likeness of a reconstruction to its original."""

from __future__ import annotations

import math

import numpy as np
import pytest

from middleware.maths.likeness import psnr, ssim


def test_the_original_is_wholly_like_itself_and_noise_is_not() -> None:
    generator = np.random.default_rng(0)
    for shape in ((3, 16, 12, 2), (3, 40, 6)):
        original, noise = generator.random(shape), generator.random(shape)
        assert ssim(original, original, 1.0) == pytest.approx(1) and psnr(original, original, 1.0) == math.inf
        assert abs(ssim(noise, original, 1.0)) < 0.1
        slightly = original + 0.05 * noise
        assert ssim(noise, original, 1.0) < ssim(slightly, original, 1.0) < 1


def test_psnr_is_twenty_decibels_at_a_tenth_of_the_range() -> None:
    original = np.zeros((1, 8, 8, 1))
    assert psnr(original + 0.1, original, 1.0) == pytest.approx(20)
    assert psnr(original + 1.0, original, 10.0) == pytest.approx(20)


def test_ssim_of_one_window_is_the_formula() -> None:
    one, other = np.arange(49.0).reshape(1, 7, 7, 1) / 49, np.arange(49.0)[::-1].reshape(1, 7, 7, 1) / 49
    mean, variance = one.mean(), one.var()
    together = (one * other).mean() - mean * other.mean()
    wanted = (2 * mean * other.mean() + 1e-4) * (2 * together + 9e-4)
    wanted /= (mean**2 + other.mean() ** 2 + 1e-4) * (variance + other.var() + 9e-4)
    assert ssim(one, other, 1.0) == pytest.approx(wanted)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(np.zeros(3), np.zeros(4), 1)
    with pytest.raises(ValueError, match="at least 7"):
        ssim(np.zeros((1, 6, 9, 1)), np.zeros((1, 6, 9, 1)), 1)
