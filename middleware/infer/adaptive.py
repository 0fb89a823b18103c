"""Plans that learn: the planner predicts, `middleware/maths/adapt.py` learns by how much it is wrong, and corrects its choice.

What may be wrong is what the device cannot measure by itself: the time on the links and the time at the tiers behind them. Only
ways that no constraint forbids are chosen from, whatever was learnt; the deadline alone is judged anew, by corrected times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from middleware.infer.plan import PARTS, Considered, Predicted
from middleware.maths.adapt import Learnt, Settings, choose, expected

LEARNT: Final = 2  # parts: links, tiers behind them


def features(predicted: Predicted) -> tuple[float, float]:
    """Milliseconds on links, and at the tiers behind them."""
    part = dict(zip(PARTS, predicted.parts, strict=True))
    return part["transfer"] + part["back"], part["queue"] + part["tail"]


def best(
    considered: Sequence[Considered], learnt: Learnt, frame: int, settings: Settings = Settings(),
    deadline_ms: float = math.inf, key: float = 0.0,
) -> Considered:  # fmt: skip
    """The way to run this frame. Of the ways in time by what was learnt, if there are any; else of all that are allowed.

    ValueError where every way is forbidden: the planner calls that `Infeasible`.
    """
    allowed = [one for one in considered if not one.refused]
    if not allowed:
        raise ValueError("every way is forbidden: ask the planner why")
    costs, parts, times = _table(allowed)
    in_time = expected(learnt, times, parts) <= deadline_ms
    kept = np.flatnonzero(in_time) if in_time.any() else np.arange(len(allowed))
    return allowed[int(kept[choose(learnt, costs[kept], parts[kept], frame, settings, key)])]


def most_accurate(considered: Sequence[Considered]) -> Considered | None:
    """Of the allowed ways whose accuracy was measured the most accurate, the cheapest of equals; None if there is none.

    With a deadline among the constraints this is Edgent's choice of (exit, cut): Li et al. 2018, algorithm 1.
    """
    told = [one for one in considered if not one.refused and one.predicted.accuracy is not None]
    return max(told, key=lambda one: (one.predicted.accuracy or 0.0, -one.cost), default=None)


def _table(allowed: Sequence[Considered]) -> tuple[npt.NDArray[np.float64], ...]:
    """Costs (n,), features (n, `LEARNT`) and milliseconds (n,)."""
    costs = np.array([one.cost for one in allowed])
    parts = np.array([features(one.predicted) for one in allowed])
    return costs, parts, np.array([one.predicted.ms for one in allowed])
