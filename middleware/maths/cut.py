"""Where a network is cut between machines: exact solutions for chains, for graphs, and for three tiers.

A network is a directed graph of n operations, numbered so that every edge goes from a lower number to a higher one. `front[u]`
is what operation u costs on the machine in front (the device), `back[u]` on the one behind (the edge), and `crossing[u]`
what it costs to carry u's output over, once, however many read it. Costs are any one number, such as milliseconds, or
milliseconds plus a price for joules and bytes; infinity forbids. What is cut off is always a set that holds, with an
operation, everything that comes before it (a downset): nothing travels back.

    chain       Kang et al., "Neurosurgeon", ASPLOS 2017, algorithm 1: the least of n + 1 sums
    split       Hu, Bao, Wang and Liu, "Dynamic adaptive DNN surgery", INFOCOM 2019: a minimum cut
    two_cuts    three tiers in a row, by one pass of dynamic programming

`split` first finds the operations that every path passes through. The border of any downset lies between two neighbouring ones
of these, so the graph falls into stretches that are cut on their own, and most of them not at all: a bound rules them out (the
idea of Zhang et al., "QDMP", 2020). The answer is the minimum over the whole graph all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import networkx
import numpy as np
import numpy.typing as npt

Costs = Sequence[float] | npt.NDArray[np.float64]
Edges = Sequence[tuple[int, int]]

ENUMERATED = (
    10  # operations between two neighbouring bottlenecks up to which trying every downset is quicker than a flow
)


class Cut(NamedTuple):
    """Its cost, and the operations that stay in front."""

    cost: float
    front: frozenset[int]


class TwoCuts(NamedTuple):
    """Operations [0, first) run on the first tier, [first, second) on the second, the rest on the third."""

    cost: float
    first: int
    second: int


def chain(front: Costs, back: Costs, crossing: Costs) -> tuple[float, int]:
    """(cost, k): the first k of n operations stay in front. `crossing` (n + 1,) is by k: at 0 the input is carried over, at
    n nothing or the result is. The least k of equal costs."""
    ahead, behind = np.asarray(front, np.float64), np.asarray(back, np.float64)
    border = np.asarray(crossing, np.float64)
    if not len(ahead) == len(behind) == len(border) - 1:
        raise ValueError(
            f"{len(ahead)} and {len(behind)} operations need {len(ahead) + 1} crossings, not {len(border)}"
        )
    total = _before(ahead) + _after(behind) + border
    best = int(np.argmin(total))
    return float(total[best]), best


def two_cuts(first: Costs, second: Costs, third: Costs, up: Costs, further: Costs) -> TwoCuts:
    """The best places on a chain of n operations for three tiers; `up` and `further` (n + 1,) are the crossings to the second
    and on to the third tier. What goes to the third passes through the second. The least places of equal costs."""
    ahead, middle, behind = (np.asarray(costs, np.float64) for costs in (first, second, third))
    up, further = np.asarray(up, np.float64), np.asarray(further, np.float64)
    if not len(ahead) == len(middle) == len(behind) == len(up) - 1 == len(further) - 1:
        raise ValueError("three tiers need costs of the same n operations, and n + 1 crossings twice")
    tail = _after(behind) + further
    best = TwoCuts(math.inf, 0, 0)
    for place in range(len(ahead), -1, -1):  # from the back: the best second place for each first one
        run = np.concatenate([[0.0], np.cumsum(middle[place:])]) + tail[place:]
        end = int(np.argmin(run))
        cost = float(np.sum(ahead[:place]) + up[place] + run[end])
        if cost <= best.cost:
            best = TwoCuts(cost, place, place + end)
    return best


def split(front: Costs, back: Costs, crossing: Costs, edges: Edges) -> Cut:
    """The downset of least cost of the graph; `crossing` (n,) is of each operation's output. Operation 0 is the input, which
    is always in front, so its crossing is what uploading it costs. What nobody reads is an output, and carries nothing."""
    count = len(front)
    if not 0 < count == len(back) == len(crossing):
        raise ValueError(f"{count} operations need as many costs behind ({len(back)}) and crossings ({len(crossing)})")
    readers = _readers(count, edges)
    ahead, behind = _before(np.asarray(front, np.float64)), _after(np.asarray(back, np.float64))
    least = np.minimum(front, back)
    best = Cut(math.inf, frozenset())
    for start, end in pairwise([*_passed_by_none(readers), count]):
        bound = float(ahead[start + 1] + least[start + 1 : end].sum() + behind[end])
        if bound >= best.cost:
            continue
        found = _inside(range(start + 1, end), front, back, crossing, readers)
        cost = float(ahead[start + 1] + behind[end]) + found.cost
        if cost < best.cost:
            best = Cut(cost, frozenset(range(start + 1)) | found.front)
    return best


def downsets(inside: range, readers: Sequence[Sequence[int]]) -> Iterator[frozenset[int]]:
    """Every subset of the operations `inside` that holds, with one, all operations inside that come before it."""
    sources: dict[int, list[int]] = {u: [] for u in inside}
    for u in inside:
        for reader in readers[u]:
            if reader in sources:
                sources[reader].append(u)
    chosen = [frozenset[int]()]
    for u in inside:
        chosen += [one | {u} for one in chosen if one.issuperset(sources[u])]
    yield from chosen


def cost_of(
    chosen: frozenset[int], inside: range, front: Costs, back: Costs, crossing: Costs, readers: Sequence[Sequence[int]]
) -> float:  # fmt: skip
    """What a downset of the operations `inside` costs, the one before them being in front and those after them behind."""
    inner = sum(front[u] if u in chosen else back[u] for u in inside)
    held = chosen | {inside.start - 1}
    return float(inner + sum(crossing[u] for u in held if any(reader not in held for reader in readers[u])))


def _inside(inside: range, front: Costs, back: Costs, crossing: Costs, readers: Sequence[Sequence[int]]) -> Cut:
    """The best border between two neighbouring bottlenecks, without what lies before and after them."""
    if len(inside) <= ENUMERATED:
        tried = ((cost_of(one, inside, front, back, crossing, readers), one) for one in downsets(inside, readers))
        cost, chosen = min(tried, key=lambda found: found[0])
        return Cut(cost, chosen)
    chosen = _least_flow(inside, front, back, crossing, readers)
    return Cut(cost_of(chosen, inside, front, back, crossing, readers), chosen)


def _least_flow(
    inside: range, front: Costs, back: Costs, crossing: Costs, readers: Sequence[Sequence[int]]
) -> frozenset[int]:  # fmt: skip
    """The same as a minimum cut: the source's side is in front. Between an operation and its readers stands a hub, so that an
    output with several readers is paid for once; an edge back without a bound keeps anything from travelling back."""
    graph = networkx.DiGraph()
    first = inside.start - 1
    graph.add_edge("front", first)  # an edge without a capacity has no bound
    for u in (first, *inside):
        if u != first:
            _bounded(graph, u, "back", front[u])
            _bounded(graph, "front", u, back[u])
        if readers[u]:
            _bounded(graph, u, ("hub", u), crossing[u])
        for reader in readers[u]:
            inner = reader if reader in inside else "back"
            graph.add_edge(("hub", u), inner)
            if inner != "back":
                graph.add_edge(reader, u)
    if "back" not in graph:
        return frozenset(inside)
    _, (ahead, _) = networkx.minimum_cut(graph, "front", "back")
    return frozenset(u for u in inside if u in ahead)


def _bounded(graph: networkx.DiGraph, tail: object, head: object, capacity: float) -> None:
    if math.isinf(capacity):
        graph.add_edge(tail, head)
    else:
        graph.add_edge(tail, head, capacity=capacity)


def _readers(count: int, edges: Edges) -> list[list[int]]:
    readers: list[list[int]] = [[] for _ in range(count)]
    read = [False] * count
    for tail, head in edges:
        if not 0 <= tail < head < count:
            raise ValueError(f"edge ({tail}, {head}): edges go from a lower to a higher number below {count}")
        readers[tail].append(head)
        read[head] = True
    if not all(read[1:]):
        raise ValueError(f"operation {read.index(False, 1)} reads nothing: everything but the input reads something")
    return readers


def bottlenecks(count: int, edges: Edges) -> list[int]:
    """The operations behind which a cut carries the output of that one alone, the input and the result among them."""
    return _passed_by_none(_readers(count, edges))


def _passed_by_none(readers: Sequence[Sequence[int]]) -> list[int]:
    """The operations that no edge passes by: outputs are edges to beyond the end."""
    count = len(readers)
    furthest, found = 0, []
    for u in range(count):
        if u >= furthest:
            found.append(u)
        furthest = max([furthest, count] if not readers[u] else [furthest, *readers[u]])
    return found


def _before(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n + 1,): the sum of the first k."""
    return np.concatenate([[0.0], np.cumsum(costs)])


def _after(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n + 1,): the sum of all but the first k. Summed from the back, so that a forbidden operation forbids only what holds
    it."""
    return np.concatenate([np.cumsum(costs[::-1])[::-1], [0.0]])
