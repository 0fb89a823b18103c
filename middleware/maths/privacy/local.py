"""Randomisers at the client: each report is epsilon-private by itself, whoever collects it.

Randomised response over k values tells the truth with probability e^eps / (e^eps + k - 1), else each other value alike
(Warner 1965; Kairouz, Bonawitz, Ramage 2016, section 2). The Laplace mechanism adds discrete Laplace noise of the L1
sensitivity over epsilon (Dwork et al. 2006; on the integers, Ghosh et al. 2009).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from middleware.maths.privacy.noise import Longs, Words, discrete_laplace, uniform


def truth(epsilon: float, values: int) -> float:
    """The probability with which randomised response over `values` values tells the truth."""
    if epsilon <= 0 or values < 2:
        raise ValueError("an epsilon above 0, and at least two values")
    return 1 / (1 + (values - 1) * math.exp(-epsilon))


def randomised_response(answers: Longs, epsilon: float, values: int, words: Words) -> Longs:
    """int64 (n,): each of `answers` (n,), 0 to values - 1, as its client reports it.

    The probability of the truth is rounded down to a multiple of 2**-53, so epsilon is never passed.
    """
    if answers.size and not 0 <= int(answers.min()) <= int(answers.max()) < values:
        raise ValueError(f"an answer is 0 to {values - 1}")
    honest = (words(answers.size) >> np.uint64(11)) < np.uint64(math.floor(truth(epsilon, values) * 2.0**53))
    shift = 1 + uniform(values - 1, answers.size, words)
    return np.where(honest, answers, (answers + shift) % values).astype(np.int64)


def frequencies(reports: Longs, epsilon: float, values: int) -> npt.NDArray[np.float64]:
    """float64 (values,): unbiased estimates of each value's share among the answers behind `reports` (n,)."""
    if reports.size == 0:
        raise ValueError("no report, no estimate")
    honest = truth(epsilon, values)
    other = (1 - honest) / (values - 1)
    observed = np.bincount(reports, minlength=values) / reports.size
    estimate: npt.NDArray[np.float64] = (observed - other) / (honest - other)
    return estimate


def laplace(integers: Longs, sensitivity: int, epsilon: Fraction, words: Words) -> Longs:
    """int64 (d,): `integers` (d,) with discrete Laplace noise of a scale of at least sensitivity/epsilon."""
    if sensitivity <= 0 or epsilon <= 0:
        raise ValueError("a sensitivity and an epsilon above 0")
    return integers + discrete_laplace(math.ceil(sensitivity / epsilon), integers.size, words)
