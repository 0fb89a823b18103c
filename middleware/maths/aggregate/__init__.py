"""How the updates of a round become one, in integers, so that the result is the same to the bit anywhere.

Every rule takes n integer rows (d,) and returns undivided sums, the total that divides them, and one integer weight a row (0 =
not used); `divide` is applied once, at the top. Only the mean believes declared samples: a liar chooses that number too, and
the bounds of the robust rules are about updates that count alike. The rules by module:

    linear       mean
    selection    krum, multi-krum
    coordinates  median, trimmed-mean (and SLSGD), bulyan, sign-majority
    centres      geometric-median, centred-clipping, norm-clipping
    reputation   afa, contra
    mixing       nnm+RULE, bucketing+RULE      a step before a rule, except afa and contra, which must know whose update is whose
    screening    fang-err:RULE, fang-lfr:RULE, fang-union:RULE      around a rule that does not remember

`LINEAR` are the rules whose result is integer weights times the rows. What the rules need from outside is in `Given`, what they
carry from round to round in `Memory`. No result depends on the order of the updates, but where two of them have equal scores:
then the lower index goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from middleware.maths.aggregate.centres import (
    centred_clipping,
    geometric_median,
    geometric_median_weights,
    norm_clipping,
)
from middleware.maths.aggregate.coordinates import bulyan, median, sign_majority, slsgd, trimmed_mean
from middleware.maths.aggregate.distances import gram, squared_distances
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Integers, Memory, Rows, Sums
from middleware.maths.aggregate.linear import add_weighted, divide, mean, mean_weights, weighted_sums
from middleware.maths.aggregate.mixing import BUCKET, bucketed_then, bucketing, mixed_then, nearest_neighbour_mixing
from middleware.maths.aggregate.reputation import afa, afa_weights, contra, contra_weights
from middleware.maths.aggregate.screening import SCREENS, screened_then
from middleware.maths.aggregate.selection import (
    krum,
    krum_scores,
    krum_weights,
    multi_krum,
    multi_krum_weights,
)

__all__ = [
    "LINEAR",
    "MIXERS",
    "RULES",
    "SCREENS",
    "Aggregate",
    "Given",
    "Integers",
    "Memory",
    "Rows",
    "Sums",
    "add_weighted",
    "aggregate",
    "bucketing",
    "divide",
    "gram",
    "krum_scores",
    "least_updates",
    "linear_weights",
    "multi_krum_weights",
    "nearest_neighbour_mixing",
    "slsgd",
    "squared_distances",
    "weighted_sums",
]

RULES: Final[dict[str, Callable[[Rows, Sequence[int], int, Given], Aggregate]]] = {
    "mean": mean,
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "multi-krum": multi_krum,
    "bulyan": bulyan,
    "geometric-median": geometric_median,
    "centred-clipping": centred_clipping,
    "norm-clipping": norm_clipping,
    "afa": afa,
    "contra": contra,
    "sign-majority": sign_majority,
}

LINEAR: Final[dict[str, Callable[[Rows, Sequence[int], int, Given], tuple[int, ...]]]] = {
    "mean": mean_weights,
    "krum": krum_weights,
    "multi-krum": multi_krum_weights,
    "geometric-median": geometric_median_weights,
    "afa": afa_weights,
    "contra": contra_weights,
}

MIXERS: Final = ("nnm", "bucketing")
_BOUNDS: Final = {"mean": (0, 1), "norm-clipping": (0, 1), "krum": (2, 3), "multi-krum": (2, 3), "bulyan": (4, 3)}
_UNMIXED: Final = ("afa", "contra")
_REMEMBERING: Final = ("afa", "contra", "centred-clipping")


class Parts(NamedTuple):
    """A rule's name taken apart: at most one of `mixer` and `screen` is not empty."""

    mixer: str
    screen: str
    core: str


def parts_of(rule: str) -> Parts:
    """The parts of a rule's name. ValueError for a name that no rule has."""
    mixer, plus, core = rule.rpartition("+")
    screen, colon, screened = rule.partition(":")
    if colon:
        parts = Parts("", screen, screened)
        known = screen in SCREENS and screened in RULES and screened not in _REMEMBERING
    else:
        parts = Parts(mixer, "", core)
        known = core in RULES and (not plus or (mixer in MIXERS and core not in _UNMIXED))
    if not known:
        raise ValueError(
            f"no rule named {rule!r}: choose one of {', '.join(RULES)}, or one behind {', '.join(f'{m}+' for m in MIXERS)} "
            f"or {', '.join(f'{s}:' for s in SCREENS)}"
        )
    return parts


def least_updates(rule: str, f: int) -> int:
    """The fewest updates for which the rule's bound holds against f liars. ValueError for an unknown rule."""
    mixer, screen, core = parts_of(rule)
    slope, least = _BOUNDS.get(core, (2, 1))
    fewest = slope * f + least
    if mixer == "nnm":
        return max(fewest, 2 * f + 1)
    if mixer == "bucketing":
        return BUCKET * (fewest - 1) + 1
    if screen:
        return max(fewest + f, 2 * f + 1)
    return fewest


def aggregate(rule: str, rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """Apply the rule of this name to n integer rows (d,) of one width and their n declared weights.

    ValueError for an unknown rule, no rows, rows of different length or not of signed integers, a weight that is not
    positive, a negative f, fewer rows than the rule's bound needs, or a rule that measures without a measure.
    """
    mixer, screen, core = _require_rows(rule, rows, weights, f)
    if mixer == "nnm":
        return mixed_then(core, RULES[core], LINEAR.get(core), rows, f, given)
    if mixer == "bucketing":
        return bucketed_then(core, RULES[core], LINEAR.get(core), rows, f, given)
    if screen:
        return screened_then(screen, RULES[core], least_updates(core, f), rows, weights, f, given)
    return RULES[core](rows, weights, f, given)


def linear_weights(
    rule: str, rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN
) -> tuple[int, ...]:
    """The integer weight of each row under a rule whose sums are weighted sums (`LINEAR`). ValueError as `aggregate`."""
    _require_rows(rule, rows, weights, f)
    if rule not in LINEAR:
        raise ValueError(f"{rule} has no weight a row: choose one of {', '.join(LINEAR)}")
    return LINEAR[rule](rows, weights, f, given)


def _require_rows(rule: str, rows: Rows, weights: Sequence[int], f: int) -> Parts:
    parts = parts_of(rule)
    if len(rows) == 0 or len(rows) != len(weights):
        raise ValueError(f"{len(rows)} updates with {len(weights)} weights")
    if any(row.dtype.kind != "i" or row.ndim != 1 or len(row) != len(rows[0]) for row in rows):
        raise ValueError("updates are vectors of signed integers of one length")
    if f < 0 or any(weight <= 0 for weight in weights):
        raise ValueError("f cannot be negative, and every declared weight is at least 1")
    if len(rows) < least_updates(rule, f):
        raise ValueError(f"{rule} with f={f} needs at least {least_updates(rule, f)} updates, not {len(rows)}")
    return parts
