"""Rules that know their senders from round to round: AFA and CONTRA.

    afa     an update whose cosine to the aggregate lies apart from the others' is bad, again and again until none is (Munoz-
            Gonzalez, Co, Lupu 2019, algorithm 1). A sender's share is its reputation alpha / (alpha + beta), which counts good
            and bad rounds, from 3 and 3 on; it is blocked for good when Pr(reputation < 1/2) > 0.95
    contra  an update that is too much like others is suspect, since liars with one goal resemble each other more than honest
            senders with different data do (Awan, Luo, Li 2021, section 4). Its weight is by the mean of its largest cosines, and
            by a reputation that falls by a quarter in a suspect round and rises by a quarter in another

Where we depart from the papers. AFA weighs by declared samples too, which a liar chooses: here all count alike, and the liars'
samples buy nothing. CONTRA maps the similarity to a weight by a logarithm, whose last bit depends on the machine: here whoever
is at least a quarter as dissimilar as the least alike update counts in full, and whoever is less so counts in proportion and is
suspect. Each update is held against the f - 1 that it is most like: a liar has so many accomplices.

Cosines come from the exact Gram matrix; what follows is quotients, roots and `fsum`, each rounded once, so order and machine
do not matter. The standing of a sender is (alpha, beta), or (reputation of `FULL`, rounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, fsum, sqrt
from typing import Final

from middleware.maths.aggregate.distances import Products, gram
from middleware.maths.aggregate.given import NOTHING_GIVEN, Aggregate, Given, Memory, Rows, senders_of
from middleware.maths.aggregate.linear import linear

UNIT: Final = 1 << 12  # what a weight of 1 is
PRIOR: Final = (3, 3)  # AFA, section 5: alpha and beta of a sender not seen before
XI: Final = 2.0  # AFA: standard deviations that an update may lie apart in the first pass
XI_STEP: Final = 0.5  # and how many more in each pass after it
CERTAIN: Final = (95, 100)  # AFA: the probability above which a sender is blocked

FULL: Final = 4  # CONTRA: reputation in steps, so that a suspect sender is out after as many rounds
SUSPECT: Final = 0.25  # CONTRA: of the most dissimilar update's dissimilarity; who has less is suspect in this round


# ---------------------------------------------------------------------------------------------------------------- AFA


def blocked(alpha: int, beta: int) -> bool:
    """Whether Pr(p < 1/2) > 0.95 for p of the Beta distribution with these counts, which for integers is a binomial tail."""
    if alpha >= beta:  # at least half of it lies above 1/2
        return False
    trials = alpha + beta - 1
    tail = sum(comb(trials, k) for k in range(alpha, trials + 1))
    return tail * CERTAIN[1] > CERTAIN[0] << trials


def straying(products: Products, shares: Sequence[int]) -> list[int]:
    """The indices that AFA calls bad, of vectors with these inner products (n, n); those whose share is 0 take no part."""
    inner = products.tolist()
    good = [index for index, share in enumerate(shares) if share > 0]
    bad: list[int] = []
    width = XI
    while len(good) > 1:
        towards = {k: sum(shares[j] * inner[j][k] for j in good) for k in good}
        length = sum(shares[k] * towards[k] for k in good)
        cosines = {k: _cosine(towards[k], inner[k][k], length) for k in good}
        ordered = sorted(cosines.values())
        mean = fsum(ordered) / len(ordered)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        apart = width * sqrt(fsum((one - mean) ** 2 for one in ordered) / len(ordered))
        if mean < middle:
            out = [k for k in good if cosines[k] < middle - apart]
        else:
            out = [k for k in good if cosines[k] > middle + apart]
        if not out:
            break
        bad += out
        good = [k for k in good if k not in out]
        width += XI_STEP
    return sorted(bad)


def _cosine(product: int, one: int, other: int) -> float:
    return product / sqrt(one * other) if one > 0 and other > 0 else 0.0


def _afa(rows: Rows, f: int, given: Given) -> tuple[tuple[int, ...], Memory]:
    count = len(rows)
    _require_majority("afa", count, f)
    senders, standing = senders_of(given, count), dict(given.memory.standing)
    known = [standing.get(sender, PRIOR) for sender in senders]
    shares = [0 if blocked(*one) else UNIT * one[0] // (one[0] + one[1]) for one in known]
    bad = set(straying(gram(rows), shares))
    for index, (sender, (alpha, beta)) in enumerate(zip(senders, known, strict=True)):
        if shares[index]:
            standing[sender] = (alpha, beta + 1) if index in bad else (alpha + 1, beta)
    return tuple(0 if index in bad else share for index, share in enumerate(shares)), Memory(standing=standing)


def afa_weights(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> tuple[int, ...]:
    """Each sender's reputation in parts of `UNIT`; 0 for who is blocked or strays in this round."""
    return _afa(rows, f, given)[0]


def afa(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The average of those that do not stray, by reputation; total 0 when everybody is blocked. ValueError unless
    n >= 2f + 1."""
    chosen, memory = _afa(rows, f, given)
    return linear(rows, chosen)._replace(memory=memory)


# ------------------------------------------------------------------------------------------------------------- CONTRA


def dissimilarities(products: Products, nearest: int) -> list[float]:
    """For each vector 1 less the mean of its `nearest` largest cosines, which are first pardoned: an honest update that is
    like a more suspect one has that cosine reduced by the ratio of their means. From the inner products (n, n)."""
    inner = products.tolist()
    count = len(inner)
    alike = [
        [min(1.0, max(0.0, _cosine(inner[i][j], inner[i][i], inner[j][j]))) if i != j else 0.0 for j in range(count)]
        for i in range(count)
    ]
    means = [_largest(line, nearest) for line in alike]
    pardoned = [
        [one * means[i] / means[j] if means[j] > means[i] else one for j, one in enumerate(line)]
        for i, line in enumerate(alike)
    ]
    return [1 - _largest(line, nearest) for line in pardoned]


def _largest(line: Sequence[float], many: int) -> float:
    return fsum(sorted(line)[-many:]) / many


def _contra(rows: Rows, f: int, given: Given) -> tuple[tuple[int, ...], Memory]:
    count = len(rows)
    _require_majority("contra", count, f)
    senders, standing = senders_of(given, count), dict(given.memory.standing)
    found = dissimilarities(gram(rows), min(max(1, f - 1), max(1, count - 1)))
    largest = max(found)
    relative = [one / largest if largest > 0 else 1.0 for one in found]
    chosen = []
    for sender, one in zip(senders, relative, strict=True):
        reputation, rounds = standing.get(sender, (FULL, 0))
        reputation = max(0, reputation - 1) if one < SUSPECT else min(FULL, reputation + 1)
        standing[sender] = (reputation, rounds + 1)
        chosen.append(int(UNIT * min(1.0, one / SUSPECT)) * reputation // FULL)
    return tuple(chosen), Memory(standing=standing)


def contra_weights(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> tuple[int, ...]:
    """Each row's dissimilarity to the others, times its sender's reputation, in parts of `UNIT`."""
    return _contra(rows, f, given)[0]


def contra(rows: Rows, weights: Sequence[int], f: int, given: Given = NOTHING_GIVEN) -> Aggregate:
    """The average by dissimilarity and reputation; total 0 when nobody has any. ValueError unless n >= 2f + 1."""
    chosen, memory = _contra(rows, f, given)
    return linear(rows, chosen)._replace(memory=memory)


def _require_majority(rule: str, count: int, f: int) -> None:
    if count < 2 * f + 1:
        raise ValueError(f"{rule} with f={f} needs at least {2 * f + 1} updates, not {count}")
