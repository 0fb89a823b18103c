"""When updates count, and for how much: the formulas of the training schedules.

    backup workers    of n + b devices the first n count (Chen et al. 2016, section 3)
    anytime           a fixed time for everyone; a gradient weighs as many samples as it saw (Ferdinand et al. 2019, section III)
    staleness-aware   an update that is t rounds late counts 1 / t of a fresh one (Zhang et al. 2015, equation 6)
    delay compensation  g + l g g (w_now - w_old): the first order of what the gradient would be now, with g g standing for the
                      diagonal of the Hessian (Zheng et al. 2017, equation 10)

What is summed over devices has integer weights: `UNIT` stands for 1, so that a weight is a whole number on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.floating[Any]]

UNIT: Final = 1 << 10


def quota(children: int, backups: int) -> int:
    """How many of `children` are waited for when `backups` of them are spare; one at least."""
    return max(1, children - backups)


def first(arrivals: Mapping[int, float], count: int) -> list[int]:
    """The `count` earliest by time of arrival; of equal times the lower number goes first."""
    return sorted(arrivals, key=lambda child: (arrivals[child], child))[:count]


def used_shares(rounds: Sequence[Sequence[int]], children: Sequence[int]) -> dict[int, float]:
    """By child, its share of all updates that counted: what backup workers cost a persistent straggler."""
    total = sum(map(len, rounds))
    return {child: sum(child in used for used in rounds) / total if total else 0.0 for child in children}


def anytime_mean(gradients: Sequence[Vector], samples: Sequence[int]) -> Vector:
    """The mean of mean gradients (d,) weighted by the samples that each finished. ValueError where nobody finished one."""
    total = sum(samples)
    if total <= 0 or min(samples) < 0:
        raise ValueError(f"{list(samples)} samples: nobody finished one")
    return np.asarray(sum(count * gradient for count, gradient in zip(samples, gradients, strict=True)) / total)


def staleness_weight(weight: int, staleness: int) -> int:
    """`weight` times UNIT over the staleness, rounded down and at least 1; UNIT times `weight` where it is 0 or 1 round late."""
    if staleness < 0:
        raise ValueError(f"an update cannot be {-staleness} rounds early")
    return max(1, weight * UNIT // max(1, staleness))


def compensated(gradient: Vector, now: Vector, then: Vector, strength: float) -> Vector:
    """The gradient taken at `then`, moved to `now`; elementwise, all (d,) of one type. Strength 0 leaves it alone."""
    if strength == 0:
        return gradient
    return np.asarray(gradient + gradient.dtype.type(strength) * gradient * gradient * (now - then))
