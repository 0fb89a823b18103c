"""Krum and its kin: the updates that have the nearest neighbours.

An update's score is the sum of its squared distances to its n - f - 2 nearest others (Blanchard et al. 2017, section 4);
of equal scores the lower index goes first. The bound, n >= 2f + 3, is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from middleware.maths.aggregate.distances import Products, squared_distances
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Rows
from middleware.maths.aggregate.linear import linear


def krum_scores(rows: Rows, f: int) -> list[int]:
    """Each row's sum of squared distances to its n - f - 2 nearest others. ValueError unless n >= 2f + 3."""
    if len(rows) < 2 * f + 3:
        raise ValueError(f"Krum's score with f={f} needs at least {2 * f + 3} updates, not {len(rows)}")
    return _scores(squared_distances(rows), len(rows) - f - 2)


def _scores(distances: Products, neighbours: int) -> list[int]:
    ascending = np.sort(distances, axis=1)
    nearest = ascending[:, 1 : neighbours + 1]  # column 0 is the row itself, at distance 0
    return [int(score) for score in nearest.sum(axis=1)]


def multi_krum_weights(
    rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN
) -> tuple[int, ...]:  # fmt: skip
    """1 for each of the n - f rows that score best, 0 for the f others."""
    return _best(krum_scores(rows, f), len(rows) - f)


def krum_weights(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> tuple[int, ...]:
    """1 for the row that scores best, 0 for all others."""
    return _best(krum_scores(rows, f), 1)


def _best(scores: Sequence[int], many: int) -> tuple[int, ...]:
    chosen = set(sorted(range(len(scores)), key=lambda index: (scores[index], index))[:many])
    return tuple(int(index in chosen) for index in range(len(scores)))


def multi_krum(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The average of the n - f rows that Krum scores best. ValueError unless n >= 2f + 3."""
    return linear(rows, multi_krum_weights(rows, weights, f))


def krum(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The row that Krum scores best. ValueError unless n >= 2f + 3."""
    return linear(rows, krum_weights(rows, weights, f))


def krum_again_and_again(distances: Products, f: int, many: int) -> list[int]:
    """The indices of `many` rows: the one that Krum chooses, then the one that it chooses of the others, and so on.

    The first stage of Bulyan (El Mhamdi et al. 2018, section 4). Among m rows that are left a score counts m - f - 2
    neighbours, and at least one. Two that are each other's nearest then tie by necessity: of equal scores that row goes first
    which is nearest to all rows together, and only then the lower index.
    """
    left, chosen = list(range(len(distances))), []
    far = [sum(line) for line in distances.tolist()]
    for _ in range(many):
        among = distances[np.ix_(left, left)]
        scores = _scores(among, max(1, len(left) - f - 2))
        best = min(range(len(left)), key=lambda at: (scores[at], far[left[at]], left[at]))
        chosen.append(left.pop(best))
    return sorted(chosen)
