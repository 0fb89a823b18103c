"""How the updates of a round become one, in integers, so that the result is the same to the bit anywhere.

Every rule returns the pair (sums, total) undivided, and one integer weight an update (0 = not used):

    mean          sums = sum w_i q_i, total = sum w_i, w_i the declared samples (FedAvg; McMahan et al. 2017,
                  algorithm 1)
    multi-krum    the n - f updates with the smallest scores, one vote each; an update's score is the sum of its squared
                  distances to its n - f - 2 nearest others (Blanchard et al. 2017, section 4); of equal scores the
                  lower index goes first
    median        coordinatewise: the middle value and total 1, or the sum of the two middle ones and total 2
    trimmed-mean  coordinatewise: the sum of what is left without the f largest and the f smallest, total n - 2f
                  (both Yin et al. 2018, definitions 1 and 2)

Only the mean believes declared samples: a liar chooses that number too, and the bounds of the robust rules are about
updates that count alike. In the coordinatewise rules a weight of 1 says that the update took part in every coordinate.

Undivided sums add up, so two levels equal one exactly; `divide` is applied once, at the top. Sums stay below 2**63:
at most 2**16 updates, of weight at most 2**20, on a grid of at most 24 bits.

Distances come from one Gram matrix at BLAS speed: a float64 product of integers is exact while every partial sum stays
below 2**53, so the columns are cut into blocks that keep it there, and the blocks are added as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]
Sums = npt.NDArray[np.int64]
Rows = Sequence[Integers] | Integers

BLOCK: Final = 1 << 15  # columns worked on at once: their int64 form stays in the cache


class Memory(NamedTuple):
    """What a rule carries from round to round: a centre (d,) on the grid, and two integers by sender."""

    centre: Integers | None = None
    standing: Mapping[int, tuple[int, int]] = {}


class Given(NamedTuple):
    """What a rule may need besides the updates: who sent them, a seed, its memory, and a measure (error, loss) of an
    aggregate on the grid."""

    senders: tuple[int, ...] = ()
    seed: bytes = b""
    memory: Memory = Memory()
    evaluate: Callable[[Integers], tuple[float, float]] | None = None


class Aggregate(NamedTuple):
    """One integer weight an update (0 = not used), undivided sums (d,), and what `divide` divides them by."""

    weights: tuple[int, ...]
    sums: Sums
    total: int
    memory: Memory = Memory()


NOTHING_GIVEN: Final = Given()


# ----------------------------------------------------------------------------------------------------------- the mean


def add_weighted(sums: Sums, integers: Integers, weight: int) -> None:
    """sums += weight * integers, in place, (d,) each; needs no second vector of that length."""
    if sums.shape != integers.shape:
        raise ValueError(f"{integers.shape} numbers do not add to {sums.shape}")
    product = np.empty(min(BLOCK, sums.size), np.int64)
    for start in range(0, sums.size, BLOCK):
        part = sums[start : start + BLOCK]
        np.multiply(integers[start : start + BLOCK], weight, out=product[: part.size], dtype=np.int64)
        part += product[: part.size]


def weighted_sums(rows: Rows, weights: Sequence[int]) -> Sums:
    """The int64 sums (d,) of n integer rows (d,) times n weights; rows of weight 0 are not touched."""
    sums: Sums = np.zeros(len(rows[0]), np.int64)
    for row, weight in zip(rows, weights, strict=True):
        if weight:
            add_weighted(sums, row, weight)
    return sums


def divide(sums: Sums, total: int) -> Sums:
    """The aggregate (d,): sums / total rounded to nearest, halves up, as floor((2 sums + total) / (2 total))."""
    if total <= 0:
        raise ValueError(f"nothing to divide by: the weights add up to {total}")
    quotients = np.empty_like(sums)
    for start in range(0, sums.size, BLOCK):
        part = slice(start, start + BLOCK)
        np.floor_divide(2 * sums[part] + total, 2 * total, out=quotients[part])
    return quotients


def mean(rows: Rows, weights: Sequence[int], f: int = 0) -> Aggregate:
    """The mean weighted by declared samples; `f` has no meaning here, since one liar is enough."""
    return Aggregate(tuple(weights), weighted_sums(rows, weights), sum(weights))


# --------------------------------------------------------------------------------------------------------- multi-krum


def gram(rows: Rows) -> npt.NDArray[Any]:
    """All inner products (n, n) of n integer rows, exact: int64, or Python integers where 64 bits may not do."""
    length = len(rows[0])
    largest = max(1, max(max(int(row.max()), -int(row.min())) for row in rows)) if length else 1
    fits = 4 * largest * largest * length * len(rows) < 1 << 63  # four times: a difference is 2 * largest at most
    products = np.zeros((len(rows), len(rows)), np.int64 if fits else object)
    columns = max(1, min(BLOCK, (1 << 53) // (largest * largest) - 1))
    for start in range(0, length, columns):
        block = np.stack([row[start : start + columns] for row in rows]).astype(np.float64)
        part = (block @ block.T).astype(np.int64)
        products += part if fits else part.astype(object)
    return products


def squared_distances(rows: Rows) -> npt.NDArray[Any]:
    """||row_i - row_j||**2 for all pairs (n, n), exact, by way of the Gram matrix."""
    products = gram(rows)
    norms = np.diagonal(products)
    return np.asarray(norms[:, None] + norms[None, :] - 2 * products)


def krum_scores(rows: Rows, f: int) -> list[int]:
    """Each row's sum of squared distances to its n - f - 2 nearest others. ValueError unless n >= 2f + 3."""
    count = len(rows)
    if count < 2 * f + 3:
        raise ValueError(f"multi-krum with f={f} needs at least {2 * f + 3} updates, not {count}")
    ascending = np.sort(squared_distances(rows), axis=1)
    nearest = ascending[:, 1 : count - f - 1]  # column 0 is the row itself, at distance 0
    return [int(score) for score in nearest.sum(axis=1)]


def multi_krum_weights(rows: Rows, weights: Sequence[int], f: int) -> tuple[int, ...]:
    """1 for each of the n - f rows that score best, 0 for the f others."""
    scores = krum_scores(rows, f)
    chosen = set(sorted(range(len(rows)), key=lambda index: (scores[index], index))[: len(rows) - f])
    return tuple(int(index in chosen) for index in range(len(rows)))


def multi_krum(rows: Rows, weights: Sequence[int], f: int) -> Aggregate:
    """The average of the n - f rows that Krum scores best. ValueError unless n >= 2f + 3."""
    chosen = multi_krum_weights(rows, weights, f)
    return Aggregate(chosen, weighted_sums(rows, chosen), sum(chosen))


# ------------------------------------------------------------------------------------------- coordinate by coordinate


def _middle(rows: Rows, low: int, high: int) -> Sums:
    """For each coordinate, the sum of its sorted values number low to high - 1."""
    sums: Sums = np.empty(len(rows[0]), np.int64)
    for start in range(0, sums.size, BLOCK):
        block = np.sort(np.stack([row[start : start + BLOCK] for row in rows]), axis=0)
        sums[start : start + BLOCK] = block[low:high].sum(axis=0, dtype=np.int64)
    return sums


def median(rows: Rows, weights: Sequence[int], f: int = 0) -> Aggregate:
    """The coordinatewise median; with an even number of rows the mean of the two middle values."""
    count = len(rows)
    low, high = (count - 1) // 2, count // 2 + 1
    return Aggregate((1,) * count, _middle(rows, low, high), high - low)


def trimmed_mean(rows: Rows, weights: Sequence[int], f: int) -> Aggregate:
    """The coordinatewise mean without the f largest and f smallest. ValueError unless n >= 2f + 1."""
    count = len(rows)
    if count < 2 * f + 1:
        raise ValueError(f"trimmed-mean with f={f} needs at least {2 * f + 1} updates, not {count}")
    return Aggregate((1,) * count, _middle(rows, f, count - f), count - 2 * f)


LINEAR: Final[dict[str, Callable[[Rows, Sequence[int], int], tuple[int, ...]]]] = {
    "mean": lambda rows, weights, f: tuple(weights),
    "multi-krum": multi_krum_weights,
}

RULES: Final[dict[str, Callable[[Rows, Sequence[int], int], Aggregate]]] = {
    "mean": mean,
    "median": median,
    "trimmed-mean": trimmed_mean,
    "multi-krum": multi_krum,
}


def aggregate(rule: str, rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """Apply the rule of this name to n integer rows (d,) of one width and their n declared weights.

    ValueError for an unknown rule, no rows, rows of different length or not of signed integers, a weight that is not
    positive, a negative f, or fewer rows than the rule's bound needs.
    """
    _require_rows(rule, rows, weights, f)
    return RULES[rule](rows, weights, f)


def linear_weights(
    rule: str, rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN
) -> tuple[int, ...]:
    """The integer weight of each row under a rule whose sums are weighted sums (`LINEAR`). ValueError as `aggregate`."""
    _require_rows(rule, rows, weights, f)
    return LINEAR[rule](rows, weights, f)


def _require_rows(rule: str, rows: Rows, weights: Sequence[int], f: int) -> None:
    if rule not in RULES:
        raise ValueError(f"no rule named {rule!r}: choose one of {', '.join(RULES)}")
    if len(rows) == 0 or len(rows) != len(weights):
        raise ValueError(f"{len(rows)} updates with {len(weights)} weights")
    if any(row.dtype.kind != "i" or row.ndim != 1 or len(row) != len(rows[0]) for row in rows):
        raise ValueError("updates are vectors of signed integers of one length")
    if f < 0 or any(weight <= 0 for weight in weights):
        raise ValueError("f cannot be negative, and every declared weight is at least 1")
