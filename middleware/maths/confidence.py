"""When an early answer is sure enough: calibrated confidence, thresholds for exits and for a small model before a large one.

The measure is the entropy of the softmax of the logits, in nats: 0 for a certain answer, ln(classes) for a guess
(Teerapittayanon et al., "BranchyNet", 2016, section 3). Networks are surer than they are right, each exit by another factor,
so logits are first divided by a temperature that was fitted on samples nobody trained on (Guo et al. 2017, section 4.2).
Several exits stand in a row; a sample leaves at the first whose entropy is below that exit's threshold, else at the last one.
So with all thresholds at 0 everything reaches the last exit, and with infinity everything leaves at the first.

A small model asked before a large one is the same with one exit: what does not leave is escalated.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Logits = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

TEMPERATURES: Final = (0.05, 20.0)  # between which one is sought
PRECISION: Final = 1e-4  # of the temperature's logarithm
GOLDEN: Final = (math.sqrt(5) - 1) / 2
MOST_TRIED: Final = 200_000  # combinations of thresholds that are tried


def log_probabilities(logits: Logits, temperature: float = 1.0) -> Doubles:
    """(n, classes): natural logarithms of the softmax of `logits` (n, classes) over the temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    out: Doubles = scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
    return out


def entropies(logits: Logits, temperature: float = 1.0) -> Doubles:
    """(n,): the entropy of each row's probabilities, in nats."""
    logs = log_probabilities(logits, temperature)
    out: Doubles = -(np.exp(logs) * logs).sum(axis=-1)
    return np.maximum(out, 0.0)


def surprise(logits: Logits, labels: Labels, temperature: float = 1.0) -> float:
    """The mean negative log likelihood of the labels (n,), in nats."""
    return -float(log_probabilities(logits, temperature)[np.arange(len(labels)), labels].mean())


def temperature(logits: Logits, labels: Labels) -> float:
    """The temperature under which the labels (n,) are likeliest, between `TEMPERATURES`."""
    if len(logits) != len(labels) or not len(labels):
        raise ValueError(f"{len(logits)} rows of logits have {len(labels)} labels: give one each, and at least one")
    low, high = map(math.log, TEMPERATURES)
    while high - low > PRECISION:  # golden section: the surprise falls and then rises along the inverse temperature
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if surprise(logits, labels, math.exp(left)) < surprise(logits, labels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def leaving(unsure: Doubles, thresholds: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(n,): the exit at which each sample leaves: the first where `unsure` (exits, n) is below the exit's threshold, else
    the last, whose index is the number of thresholds."""
    below = unsure < np.asarray(thresholds, np.float64)[:, None]
    out: npt.NDArray[np.int64] = np.where(below.any(axis=0), below.argmax(axis=0), len(below))
    return out


class Chosen(NamedTuple):
    """Thresholds by exit, and what they gave on the samples they were chosen on: accuracy, mean cost, share leaving at each
    exit, the last one included."""

    thresholds: tuple[float, ...]
    accuracy: float
    cost: float
    shares: tuple[float, ...]


def outcome(unsure: Doubles, right: Flags, costs: npt.ArrayLike, thresholds: tuple[float, ...]) -> Chosen:
    """What these thresholds give: `unsure` (exits, n), `right` (exits + 1, n), `costs` (exits + 1,) of a sample that leaves
    there."""
    left = leaving(unsure, thresholds)
    count = right.shape[1]
    accuracy = float(right[left, np.arange(count)].mean())
    shares = np.bincount(left, minlength=len(right)) / count
    return Chosen(thresholds, accuracy, float(shares @ np.asarray(costs, np.float64)), tuple(map(float, shares)))


def cheapest(unsure: Doubles, right: Flags, costs: npt.ArrayLike, floor: float, levels: int = 41) -> Chosen:
    """The thresholds with the least mean cost whose accuracy is at least `floor`, of those at `levels` quantiles of each
    exit's entropies, 0 and infinity among them.

    Raises ValueError where no combination reaches the floor, and for shapes that do not belong together.
    """
    exits, count = unsure.shape
    if right.shape != (exits + 1, count) or np.shape(costs) != (exits + 1,) or not count:
        raise ValueError(f"{exits} exits and {count} samples need right ({exits + 1}, {count}), costs ({exits + 1},)")
    if levels**exits > MOST_TRIED:
        raise ValueError(f"{levels} levels at {exits} exits are more than {MOST_TRIED} combinations: take fewer levels")
    ladder = np.quantile(unsure, np.linspace(0, 1, levels - 1), axis=1).T
    tried = [(0.0, *map(float, row[1:]), math.inf) for row in ladder]
    found = (outcome(unsure, right, costs, combination) for combination in itertools.product(*tried))
    allowed = [one for one in found if one.accuracy >= floor]
    if not allowed:
        raise ValueError(f"no thresholds reach an accuracy of {floor:.4f} on these samples: lower the floor")
    return min(allowed, key=lambda one: (one.cost, -one.accuracy))


def escalation(unsure: Doubles, small: Flags, large: Flags, share: float = 0.8) -> Chosen:
    """The threshold of a small model in front of a large one that escalates least and keeps `share` of what the large one
    is better by. All (n,); the cost is the share of samples escalated."""
    floor = float(small.mean()) + share * max(0.0, float(large.mean()) - float(small.mean()))
    return cheapest(unsure[None], np.stack([small, large]), (0.0, 1.0), floor, levels=201)
