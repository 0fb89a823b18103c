"""When updates count, and for how much: the formulas of the training schedules.

    backup workers    of n + b devices the first n count (Chen et al. 2016, section 3)
    anytime           a fixed time for everyone; a gradient weighs as many samples as it saw (Ferdinand et al. 2019, section III)
    arrivals          a step after K updates (Nguyen et al. 2022, FedBuff, algorithm 1); K = 1 is asynchronous SGD
    staleness-aware   an update that is t rounds late counts 1 / t of a fresh one (Zhang et al. 2015, equation 6), or
                      1 / sqrt(1 + t) of it (Nguyen et al. 2022, section 5)
    delay compensation  g + l g g (w_now - w_old): the first order of what the gradient would be now, with g g standing for the
                      diagonal of the Hessian (Zheng et al. 2017, equation 10)

What is summed over devices has integer weights: `UNIT` stands for 1, so that a weight is a whole number on any machine.
The move of a step is sum(w_i u_i) / (UNIT sum(n_i)), n_i the samples and w_i the weights below: updates are averaged by their
samples, and each one's rate is that of its own staleness. Divided by sum(w_i), staleness would cancel out where K is 1.
"""

from __future__ import annotations

import math
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


def staleness_weight(weight: int, staleness: int, kind: str = "inverse") -> int:
    """`weight` times the factor of an update that is `staleness` rounds late, in 1 / UNIT, rounded down and at least 1.

    The factor is 1 for "" (each counts alike), 1 / max(1, t) for "inverse", 1 / sqrt(1 + t) for "polynomial", which is rounded
    down to whole units first. ValueError for another kind, and for an update that would be early.
    """
    if staleness < 0:
        raise ValueError(f"an update cannot be {-staleness} rounds early")
    match kind:
        case "":
            return weight * UNIT
        case "inverse":
            return max(1, weight * UNIT // max(1, staleness))
        case "polynomial":
            return max(1, weight * math.isqrt(UNIT * UNIT // (1 + staleness)))
    raise ValueError(f"no staleness weight named {kind!r}: choose inverse or polynomial")


def total_rate(learning_rate: float, momentum: float, steps: int) -> float:
    """The sum of the rates with which `steps` steps of SGD with momentum applied their gradients.

    The k-th gradient from the end counts learning_rate (1 - m^k) / (1 - m); without momentum it is learning_rate a step. An
    update divided by minus this is a weighted mean of the gradients on its way.
    """
    if steps < 1 or not 0 <= momentum < 1 or learning_rate <= 0:
        raise ValueError(f"{steps} steps with rate {learning_rate} and momentum {momentum} are no training")
    left = 1 - momentum
    return learning_rate * (steps - momentum * (1 - momentum**steps) / left) / left


def compensated_update(update: Vector, rate: float, now: Vector, then: Vector, strength: float) -> Vector:
    """A local update (d,) made from `then`, as DC-ASGD would have it at `now`: its mean gradient -update / rate is moved
    (`compensated`) and applied with the same rate. Strength 0 leaves it alone."""
    if strength == 0:
        return update
    kind = update.dtype.type
    return np.asarray(compensated(-update / kind(rate), now, then, strength) * kind(-rate))


def compensated(gradient: Vector, now: Vector, then: Vector, strength: float) -> Vector:
    """The gradient taken at `then`, moved to `now`; elementwise, all (d,) of one type. Strength 0 leaves it alone."""
    if strength == 0:
        return gradient
    return np.asarray(gradient + gradient.dtype.type(strength) * gradient * gradient * (now - then))
