"""Fang's defences: the server measures, on data of its own, what each update does to the aggregate, and leaves out the worst.

For each update the rule is applied to all and to all but this one. What the error rate (or the loss) is higher with it than
without is its impact (Fang, Cao, Jia, Gong 2020, section 6): large impact is large harm. The f updates of largest impact are
left out, and the rule is applied to the rest.

    fang-err:RULE    by the error rate
    fang-lfr:RULE    by the loss
    fang-union:RULE  what either of them leaves out: first what both do, then by the loss, as long as enough are left for the
                     rule's own bound

Of equal impacts the one of the higher sender id is left out first. All rests on the server's data, so without it the rules
refuse to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from middleware.maths.aggregate.given import Aggregate, Given, Integers, Rows, senders_of
from middleware.maths.aggregate.linear import divide

SCREENS: Final = ("fang-err", "fang-lfr", "fang-union")
Inner = Callable[[Rows, Sequence[int], int, Given], Aggregate]
Measure = Callable[[Integers], tuple[float, float]]


def impacts(
    inner: Inner, rows: Rows, weights: Sequence[int], f: int, given: Given, evaluate: Measure
) -> list[tuple[float, float]]:
    """By how much each row raises (error, loss) of the aggregate, as `evaluate` measures them."""
    everyone = range(len(rows))

    def measured(chosen: Sequence[int]) -> tuple[float, float]:
        return evaluate(_applied(inner, rows, weights, f, given, chosen))

    error, loss = measured(everyone)
    out = []
    for index in everyone:
        less_error, less_loss = measured([other for other in everyone if other != index])
        out.append((error - less_error, loss - less_loss))
    return out


def _among(
    inner: Inner, rows: Rows, weights: Sequence[int], f: int, given: Given, chosen: Sequence[int]
) -> Aggregate:  # fmt: skip
    senders = tuple(given.senders[index] for index in chosen) if given.senders else ()
    part = given._replace(senders=senders)
    return inner([rows[index] for index in chosen], [weights[index] for index in chosen], f, part)


def _applied(
    inner: Inner, rows: Rows, weights: Sequence[int], f: int, given: Given, chosen: Sequence[int]
) -> Integers:  # fmt: skip
    found = _among(inner, rows, weights, f, given, chosen)
    return divide(found.sums, found.total)


def left_out(screen: str, harm: Sequence[tuple[float, float]], senders: Sequence[int], f: int, most: int) -> list[int]:
    """The indices that a screen leaves out, by their impacts on (error, loss): at most `most`, the worst first."""
    by_error = sorted(range(len(harm)), key=lambda index: (harm[index][0], senders[index]), reverse=True)[:f]
    by_loss = sorted(range(len(harm)), key=lambda index: (harm[index][1], senders[index]), reverse=True)
    if screen == "fang-err":
        return by_error[:most]
    if screen == "fang-lfr":
        return by_loss[:f][:most]
    worst = set(by_loss[:f])
    union = [index for index in by_loss if index in worst or index in by_error]
    return sorted(union, key=lambda index: not (index in worst and index in by_error))[:most]


def screened_then(
    screen: str, inner: Inner, least: int, rows: Rows, weights: Sequence[int], f: int, given: Given
) -> Aggregate:  # fmt: skip
    """SCREEN:RULE, the rule being given by its function and the least number of rows that it needs."""
    if given.evaluate is None:
        raise ValueError(
            "Fang's rules measure aggregates on a server's own data: name such a data set, or another rule"
        )
    if f == 0:  # nothing to leave out
        return inner(rows, weights, f, given)
    harm = impacts(inner, rows, weights, f, given, given.evaluate)
    out = set(left_out(screen, harm, senders_of(given, len(rows)), f, len(rows) - least))
    chosen = [index for index in range(len(rows)) if index not in out]
    found = _among(inner, rows, weights, f, given, chosen)
    by_index = dict(zip(chosen, found.weights, strict=True))
    return found._replace(weights=tuple(by_index.get(index, 0) for index in range(len(rows))))
