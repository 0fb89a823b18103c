"""What a prediction misses, learnt while it is used: a linear bandit on the residual of a cost model.

Each frame, one of n arms is run. A cost model predicts what arm i costs: `predicted[i]`, of which the parts `features[i]` (d,)
may be wrong, each by a factor that is the same for all arms: a link eight times slower makes every transfer eight times
longer. So what is observed is predicted + features . theta + noise, and theta is 0 while the model is right. Arms without
features (all on the device) teach nothing when they are run.

    choose     the least of predicted + features . theta - bonus x sqrt(features' A^-1 features)    (optimism: LinUCB)
    forced     every few frames the arms that teach nothing are left out, or an arm that has become good is never found
    reset      CUSUM of log(observed / expected): once it passes a bound, what was learnt before the change is forgotten

Zhang, Chen and Xu, "Autodidactic Neurosurgeon", WWW 2021 (mu-LinUCB: forced samples at intervals of T^mu, a smaller bonus on
key frames). They learn the whole delay; here theta starts at 0 with a firm prior, so a cold start is the model's own optimum.
Page 1954 for the CUSUM; Li et al. 2018 (Edgent) for the change of plan that follows it.

Each sample is divided by the sum of its features: noise is taken to be relative, and the bonus is relative to the same sum.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

MOST_SINCE: Final = 32  # samples kept since a suspected change began


class Settings(NamedTuple):
    """How fast to believe."""

    bonus: float = 0.05  # of an arm's uncertain part, for each unit of uncertainty
    firm: float = 1.0  # ridge at the start: how many samples the cost model is worth
    weak: float = 0.05  # ridge after a change
    memory: float = 0.95  # what a sample counts one sample later
    slack: float = 0.15  # of a log ratio, that no alarm counts
    alarm: float = 0.5  # sum of log ratios beyond the slack
    every: int = 20  # frames between forced samples; 0: none are forced


class Learnt(NamedTuple):
    """What the samples so far say. `gram` (d, d) and `moment` (d,) are of the ridge regression; `up` and `down` the two sums
    of the CUSUM; `since` the samples (features, residual) from where either left 0; `changes` how often it raised the alarm."""

    gram: Doubles
    moment: Doubles
    up: float = 0.0
    down: float = 0.0
    since: tuple[tuple[Doubles, float], ...] = ()
    changes: int = 0

    @property
    def theta(self) -> Doubles:
        """(d,): by how much of itself each part is longer than predicted."""
        out: Doubles = np.linalg.solve(self.gram, self.moment).astype(np.float64)
        return out


def start(parts: int, settings: Settings = Settings()) -> Learnt:
    """Nothing learnt yet about so many parts."""
    if parts < 1:
        raise ValueError(f"{parts} parts: there is at least one to learn")
    return Learnt(settings.firm * np.eye(parts), np.zeros(parts))


def interval(frames: int, mu: float) -> int:
    """Frames between forced samples for a run of so many: frames^mu, rounded up (ANS)."""
    if frames < 1 or not 0 < mu < 0.5:
        raise ValueError(f"{frames} frames with mu {mu}: at least one, and mu above 0 and below 0.5")
    return math.ceil(math.pow(frames, mu))


def forced(frame: int, settings: Settings) -> bool:
    """Whether this frame must teach something."""
    return settings.every > 0 and frame % settings.every == settings.every - 1


def expected(learnt: Learnt, predicted: npt.ArrayLike, features: npt.ArrayLike) -> Doubles:
    """(n,): the predictions (n,) corrected by what was learnt, at least 0; features are (n, d)."""
    costs, parts = _checked(learnt, predicted, features)
    out: Doubles = np.maximum(0.0, costs + parts @ learnt.theta)
    return out


def choose(
    learnt: Learnt, predicted: npt.ArrayLike, features: npt.ArrayLike, frame: int,
    settings: Settings = Settings(), key: float = 0.0,
) -> int:  # fmt: skip
    """The arm to run; `key` in [0, 1) is how much this frame matters: the more, the less is tried out on it."""
    if not 0 <= key < 1:
        raise ValueError(f"key {key}: at least 0 and below 1")
    costs, parts = _checked(learnt, predicted, features)
    spread = np.einsum("nd,de,ne->n", parts, np.linalg.inv(learnt.gram), parts)
    hoped = costs + parts @ learnt.theta - settings.bonus * math.sqrt(1 - key) * np.sqrt(np.maximum(0.0, spread))
    teaches = parts.any(axis=1)
    if forced(frame, settings) and teaches.any():
        hoped = np.where(teaches, hoped, math.inf)
    return int(np.asarray(hoped).argmin())


def observe(
    learnt: Learnt, predicted: float, features: npt.ArrayLike, observed: float, settings: Settings = Settings()
) -> Learnt:
    """After an arm's cost was observed. An arm without features changes nothing. ValueError for a cost below 0 or not finite."""
    if not (math.isfinite(observed) and observed >= 0):
        raise ValueError(f"observed cost {observed}: finite and at least 0")
    costs, parts = _checked(learnt, [predicted], [np.asarray(features, np.float64)])
    part, whole = parts[0], float(parts[0].sum())
    if whole <= 0:
        return learnt
    residual = (observed - float(costs[0])) / whole
    told = 1.0 + float(part @ learnt.theta) / whole  # of the uncertain part: what it should have been, and was
    ratio = math.log(max(1.0 + residual, 1e-3) / max(told, 1e-3))
    up, down = (max(0.0, side + sign * ratio - settings.slack) for side, sign in ((learnt.up, 1), (learnt.down, -1)))
    sample = (part / whole, residual)
    since = (*learnt.since, sample)[-MOST_SINCE:] if max(up, down) > 0 else ()
    if max(up, down) > settings.alarm:
        fresh = Learnt(settings.weak * np.eye(len(part)), np.zeros(len(part)), changes=learnt.changes + 1)
        for shares, missed in since:
            fresh = _added(fresh, shares, missed, settings.memory, settings.weak)
        return fresh
    added = _added(learnt, *sample, settings.memory, settings.weak)
    return added._replace(up=up, down=down, since=since)


def _added(learnt: Learnt, shares: Doubles, residual: float, memory: float, ridge: float) -> Learnt:
    """One sample more; the ridge does not fade below `ridge`, so the regression stays solvable."""
    gram = memory * learnt.gram + (1 - memory) * ridge * np.eye(len(shares)) + np.outer(shares, shares)
    return learnt._replace(gram=gram, moment=memory * learnt.moment + residual * shares)


def _checked(learnt: Learnt, predicted: npt.ArrayLike, features: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    costs, parts = np.asarray(predicted, np.float64), np.asarray(features, np.float64)
    if costs.ndim != 1 or not len(costs) or parts.shape != (len(costs), len(learnt.moment)):
        raise ValueError(f"predictions {costs.shape} need features (n, {len(learnt.moment)}), not {parts.shape}")
    if not (np.isfinite(costs).all() and np.isfinite(parts).all() and (parts >= 0).all()):
        raise ValueError("predictions and features must be finite, and features at least 0")
    return costs, parts
