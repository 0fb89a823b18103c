"""What an update was worth to a round, in integers, so that anyone who recomputes it gets the same to the bit.

**The value.** An update's share of the round's move is x_i = w_i q_i / W (weight, integers on the grid, total weight). The
utility of a set S of updates is what it takes off the evaluation loss, to second order at the model the round starts from:

    U(S) = -g . x_S - 1/2 x_S . H x_S,   x_S = sum of x_i over S

Its Shapley value (Shapley 1953) has a closed form: a linear game gives each its own term, and the pairs' terms
-x_i . H x_j are split evenly, so

    phi_i = -g . x_i - 1/2 x_i . H x_N = -1/2 v . x_i,   v = 2 g + H x_N                        (N: everybody)

(In-Run Data Shapley; Wang, Mittal, Song and Jia 2024, arXiv 2406.11011). With v published as integers, the raw
score of update i is the integer

    raw_i = -w_i (v . q_i)            phi_i = raw_i * 2**(exponent of v + exponent of the grid) / (2 W)

It is linear in w_i q_i, so a device that is split in several whose weighted sum is the same has the same score in sum,
exactly; and but for the rounding of v, the scores of a round add up to U(N).

**What was known already counts for nothing.** The moves of earlier rounds are public, and the next move resembles them, so
a device that learns nothing and sends back the last move (plain, noisy, or a mixture of several) has a good raw score
(delta weights: Lin, Du and Liu 2019, arXiv 1911.12560; Fraboni, Vidal and Lorenzi 2021, arXiv 2006.11901). What counts is
the value of what is new: v is made orthogonal to the last `REMEMBERED` moves d_k before it is applied,

    u = 2**s v - sum of c_k d_k,   c_k = round(2**s a_k),   a the exact least-squares solution (D D^T) a = D v
    counted_i = -w_i (u . q_i)

so that any combination of those moves scores nothing but the rounding of c_k, and noise upon it scores like noise. It
is linear too: counted scores are as split-neutral as raw ones.

**Copies and echoes.** Of equal integer vectors the first in the committed order keeps its score, the others' count zero. An
update whose cosine to one of the remembered moves is above `ECHO` counts zero; the comparison is of integers.

**Exact Shapley values** of any utility, by enumeration, are here for audits and small groups: one level (2**n utilities) and two
levels (the Owen value; Owen 1977), for which coalitions of other groups act as a whole.

Speed: inner products are float64 matrix products in blocks whose sums stay below 2**53, where they are exact.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]
Doubles = npt.NDArray[np.float64]
Utility = Callable[[frozenset[int]], Fraction]
T = TypeVar("T")

IMPORTANCE_BITS: Final = 16
LEAST_EXPONENT, LARGEST_EXPONENT = -100, 0  # of a published v: one unit is worth 2**exponent
NOVEL_BITS: Final = 24  # s: bits by which v is widened before known moves are taken out of it
REMEMBERED: Final = 3  # rounds whose moves are taken to be known
MOVE_LIMIT: Final = (1 << 23) - 1  # largest magnitude of a move's integers: that of the widest grid
MACHINES: Final = 0.01  # relative difference between two machines' floating point that is believed
ECHO: Final = (19, 20)  # the cosine 0.95, as a fraction
POINT_BITS: Final = 40  # counted scores add up over rounds in units of 2**-40 of the loss
BLOCK: Final = 1 << 15  # columns worked on at once
PLAYERS: Final = 12  # a level of exact Shapley values

COPY: Final = "copy"
ECHOED: Final = "echo"


class Score(NamedTuple):
    """One update's integers: `raw`, what of it counts (widened by 2**NOVEL_BITS), and why it does not, or ""."""

    raw: int
    counted: int
    reason: str


# ----------------------------------------------------------------------------------------------------------- integers


def quantise(vector: Doubles) -> tuple[npt.NDArray[np.int16], int]:
    """(integers (d,), exponent): the finest power of two at which `vector` (d,) fits 16 bits, and its rounding there.

    What is too small for the least exponent becomes zero, and what is too large for the largest is cut off. ValueError
    when an element is not finite.
    """
    if not np.isfinite(vector).all():
        raise ValueError("a vector that is not finite has no place on a grid")
    limit = (1 << (IMPORTANCE_BITS - 1)) - 1
    largest = float(np.abs(vector).max(initial=0.0))
    exponent = LEAST_EXPONENT
    if largest > 0:
        exponent = math.frexp(largest / limit)[1]
        exponent -= largest <= math.ldexp(limit, exponent - 1)
    exponent = min(max(exponent, LEAST_EXPONENT), LARGEST_EXPONENT)
    scaled = np.rint(np.ldexp(vector, -exponent))
    return np.clip(scaled, -limit, limit).astype(np.int16), exponent


def differs(integers: Integers, exponent: int, vector: Doubles) -> bool:
    """Whether published integers (d,) are another vector than `vector` (d,), beyond what machines and rounding explain.

    Allowed is 1 % of its length, and half a unit a coordinate; and one step of the exponent, whose choice may tip over.
    """
    mine = quantise(vector)[1]
    if abs(mine - exponent) > 1:
        return bool(vector.any()) or bool(integers.any())
    exact = np.ldexp(vector, -exponent)
    distance = float(np.linalg.norm(integers.astype(np.float64) - exact))
    return distance > MACHINES * float(np.linalg.norm(exact)) + math.sqrt(len(vector)) / 2


def move_between(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], exponent: int
) -> npt.NDArray[np.int32]:
    """The move (d,) of a model on the grid, from the two models that everybody has; what is not finite counts as zero."""
    with np.errstate(all="ignore"):
        moved = np.rint((after.astype(np.float64) - before.astype(np.float64)) * 2.0**-exponent)
    return np.asarray(np.clip(np.nan_to_num(moved, nan=0.0), -MOVE_LIMIT, MOVE_LIMIT).astype(np.int32))


def dots(rows: Sequence[Integers], vectors: Sequence[Integers]) -> list[list[int]]:
    """The inner products of n rows (d,) with m vectors (d,), exact, as Python integers: n lists of m."""
    found = [[0] * len(vectors) for _ in rows]
    if not rows or not vectors:
        return found
    largest = _largest(rows) * _largest(vectors)
    columns = max(1, min(BLOCK, (1 << 53) // largest - 1))
    if largest >= 1 << 52:
        raise ValueError("integers this large have no exact product in blocks")
    for start in range(0, len(rows[0]), columns):
        right = np.stack([vector[start : start + columns] for vector in vectors]).astype(np.float64)
        for place, row in enumerate(rows):
            part = right @ row[start : start + columns].astype(np.float64)
            found[place] = [total + int(value) for total, value in zip(found[place], part, strict=True)]
    return found


def _largest(rows: Sequence[Integers]) -> int:
    return max(1, max(max(int(row.max(initial=0)), -int(row.min(initial=0))) for row in rows))


# ------------------------------------------------------------------------------------------------------------- scores


def novelty(importance: Integers, moves: Sequence[Integers]) -> list[int]:
    """The coefficients c_k, one for each of the moves (d,), that take them out of 2**NOVEL_BITS * importance (d,).

    A move that follows from the ones before it (or is zero) gets the coefficient 0.
    """
    products = dots(moves, [*moves, importance])
    count = len(moves)
    rows = [[Fraction(value) for value in line] for line in products]
    used: list[int] = []
    for pivot in range(count):  # symmetric elimination: a zero on the diagonal is a move that follows from others
        if rows[pivot][pivot] == 0:
            continue
        used.append(pivot)
        for other in range(count):
            if other != pivot and rows[other][pivot] != 0:
                factor = rows[other][pivot] / rows[pivot][pivot]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[pivot], strict=True)]
    solved = {pivot: rows[pivot][count] / rows[pivot][pivot] for pivot in used}
    return [round(solved.get(place, Fraction(0)) * (1 << NOVEL_BITS)) for place in range(count)]


def scores(
    rows: Sequence[Integers], weights: Sequence[int], importance: Integers, moves: Sequence[Integers]
) -> list[Score]:
    """The score of each of n used updates (d,), in the committed order; `moves` (d,) newest first.

    An update of weight 0 was not used and scores zero.
    """
    if len(rows) != len(weights):
        raise ValueError(f"{len(rows)} updates with {len(weights)} weights")
    known = list(moves[:REMEMBERED])
    coefficients = novelty(importance, known)
    lengths = [line[place] for place, line in enumerate(dots(known, known))]
    first: set[bytes] = set()
    found = []
    for row, weight in zip(rows, weights, strict=True):
        if not weight:
            found.append(Score(0, 0, ""))
            continue
        products = dots([row], [importance, *known])[0]
        value, along = products[0], products[1:]
        new = (value << NOVEL_BITS) - sum(c * product for c, product in zip(coefficients, along, strict=True))
        name = hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()
        reason = COPY if name in first else ECHOED if _echoes(row, along, lengths) else ""
        first.add(name)
        found.append(Score(-weight * value, 0 if reason else -weight * new, reason))
    return found


def _echoes(row: Integers, along: Sequence[int], lengths: Sequence[int]) -> bool:
    """Whether the row's cosine to a move is above ECHO: its products with the moves are `along`, their squares `lengths`."""
    (square,) = dots([row], [row])[0]
    over, under = ECHO
    return any(
        product > 0 and (under * product) ** 2 > over * over * square * length
        for product, length in zip(along, lengths, strict=True)
    )


def points(counted: int, total: int, exponent: int) -> int:
    """A counted score in units of 2**-POINT_BITS of the loss, to nearest, halves up.

    `total` is the round's total weight, `exponent` that of v plus that of the grid.
    """
    if total <= 0:
        raise ValueError(f"nothing to divide by: the weights add up to {total}")
    shift = exponent - NOVEL_BITS - 1 + POINT_BITS
    top, bottom = (counted << shift, total) if shift >= 0 else (counted, total << -shift)
    return (2 * top + bottom) // (2 * bottom)


# ------------------------------------------------------------------------------------------ exact values, small groups


def shapley(utility: Utility, players: Sequence[int]) -> dict[int, Fraction]:
    """The Shapley value of each player, from all 2**n utilities. ValueError past PLAYERS players."""
    return shapley_two_level(utility, [[player] for player in players])


def shapley_two_level(utility: Utility, groups: Sequence[Sequence[int]]) -> dict[int, Fraction]:
    """The Owen value of each player: edges are the groups, devices their members.

    The value of i in group B is its mean contribution over the orders in which no group is interrupted: first a set T of
    other groups, whole, then a set S of members of B,

        sum over T, S of  1 / (m C(m-1, |T|)) * 1 / (b C(b-1, |S|)) * (U(T + S + i) - U(T + S))

    with m groups and b members. Each set is evaluated once, at most 2**(m-1) * (sum of 2**b) in all. ValueError past
    PLAYERS groups or members of one, or for a player that stands twice.
    """
    everyone = [player for group in groups for player in group]
    if len(set(everyone)) != len(everyone):
        raise ValueError("a player stands in one group, once")
    if len(groups) > PLAYERS or any(len(group) > PLAYERS for group in groups):
        raise ValueError(f"exact values take at most {PLAYERS} groups of at most {PLAYERS} players")
    known: dict[frozenset[int], Fraction] = {}

    def worth(members: frozenset[int]) -> Fraction:
        if members not in known:
            known[members] = utility(members)
        return known[members]

    value = {player: Fraction(0) for player in everyone}
    for place, group in enumerate(groups):
        others = [frozenset(other) for number, other in enumerate(groups) if number != place]
        for outside in _subsets(others):
            before: frozenset[int] = frozenset().union(*outside)
            outer = Fraction(1, len(groups) * math.comb(len(groups) - 1, len(outside)))
            for player in group:
                for inside in _subsets([member for member in group if member != player]):
                    base = before | frozenset(inside)
                    share = outer / (len(group) * math.comb(len(group) - 1, len(inside)))
                    value[player] += share * (worth(base | {player}) - worth(base))
    return value


def _subsets(items: Sequence[T]) -> list[tuple[T, ...]]:
    return [chosen for size in range(len(items) + 1) for chosen in combinations(items, size)]
