"""How much like its original a reconstruction is: what an attacker who inverts features is measured by.

PSNR   10 log10(peak^2 / mean squared error), in decibels; 0 dB is an error as large as the range
SSIM   structural similarity over windows of 7 x 7 pixels (or 7 readings), mean over all: 1 for the original, near 0 for what
       has nothing in common with it (Wang et al. 2004, equation 13, with its constants)
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Numbers = npt.NDArray[Any]

WINDOW: Final = 7
STEADY: Final = (0.01, 0.03)  # the two constants, as shares of the range


def psnr(found: Numbers, original: Numbers, peak: float) -> float:
    """Decibels, infinity for equal ones; `peak` is the range of the values."""
    _require(found, original, peak)
    error = float(np.square(np.asarray(found, np.float64) - original).mean())
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(found: Numbers, original: Numbers, peak: float) -> float:
    """The mean over samples (n, height, width, channels) or (n, time, channels)."""
    _require(found, original, peak)
    if original.ndim not in (3, 4) or min(original.shape[1:-1]) < WINDOW:
        raise ValueError(f"samples (n, ..., channels) with axes of at least {WINDOW}, not {original.shape}")
    axes = tuple(range(1, original.ndim - 1))
    one, other = (_windows(np.asarray(values, np.float64), axes) for values in (found, original))
    inside = tuple(range(-len(axes), 0))
    mean_one, mean_other = one.mean(inside), other.mean(inside)
    variances = one.var(inside) + other.var(inside)
    together = (one * other).mean(inside) - mean_one * mean_other
    first, second = ((share * peak) ** 2 for share in STEADY)
    likeness = (2 * mean_one * mean_other + first) * (2 * together + second)
    likeness /= (mean_one**2 + mean_other**2 + first) * (variances + second)
    return float(likeness.mean())


def _windows(values: npt.NDArray[np.float64], axes: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return sliding_window_view(values, (WINDOW,) * len(axes), axes)


def _require(found: Numbers, original: Numbers, peak: float) -> None:
    if found.shape != original.shape or not peak > 0:
        raise ValueError(f"{found.shape} and {original.shape} are not of one shape, or the range {peak} is not above 0")
