"""Which node takes which of the requests that wait, and which are refused with the time to come back.

n requests, m nodes: request i costs `costs[i, j]` on node j (infinity: never there), takes `demands[i, j]` of the `free[j]`
slots there, and costs `refusals[i]` if nobody takes it. The generalised assignment problem with admission,

    minimise  sum costs_ij x_ij + sum refusals_i r_i
    subject to  sum_j x_ij + r_i = 1,    sum_i demands_ij x_ij <= free_j,    x, r in {0, 1}

is NP-hard. With a price p_j >= 0 on the slots of each node the requests no longer compete, and

    bound(p) = sum_i min(refusals_i, min_j costs_ij + p_j demands_ij) - sum_j p_j free_j

is below every assignment's cost; its maximum over p is the optimum of the relaxation in which requests may be divided (Fisher,
"The Lagrangian relaxation method", 1981). Prices climb by subgradients. Under each price the requests that lose most by their
second choice choose first; then single requests move and pairs trade places as long as that pays. The answer comes with the best
bound that was found, so everybody sees how far from the optimum it can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.int64]

ROUNDS: Final = 150  # of prices
TOLERANCE: Final = 1e-9  # of slots, and of what a move must gain


class Assigned(NamedTuple):
    """The node of each request, None where it is refused; what all cost; what no assignment can cost less than."""

    nodes: tuple[int | None, ...]
    cost: float
    bound: float


class Running(NamedTuple):
    """What a node works on: so many slots until then."""

    ends: float
    slots: float


def assign(costs: npt.ArrayLike, demands: npt.ArrayLike, free: npt.ArrayLike, refusals: npt.ArrayLike) -> Assigned:
    """A cheap assignment and a bound: `costs` and `demands` (n, m), `free` (m,), `refusals` (n,)."""
    cost, demand = np.asarray(costs, np.float64), np.asarray(demands, np.float64)
    room, refused = np.asarray(free, np.float64), np.asarray(refusals, np.float64)
    if cost.ndim != 2 or demand.shape != cost.shape or room.shape != cost.shape[1:] or refused.shape != cost.shape[:1]:
        raise ValueError(f"costs {cost.shape} need demands alike, a room for each node and a refusal for each request")
    if np.isnan(cost).any() or not ((demand >= 0).all() and (room >= 0).all() and np.isfinite(refused).all()):
        raise ValueError("costs are numbers, demands and rooms at least 0, refusals finite")
    count, nodes = cost.shape
    # Refusal is one more node, with room for all.
    table = np.column_stack([np.where(demand <= room, cost, math.inf), refused])
    takes = np.column_stack([demand, np.zeros(count)])
    slots = np.append(room, math.inf)
    best, bound = np.full(count, nodes), -math.inf
    least, prices = _cost(table, best), np.zeros(nodes + 1)
    for step in range(ROUNDS):
        priced = table + prices * takes
        relaxed = priced.argmin(axis=1)
        bound = max(bound, float(priced.min(axis=1).sum() - prices[:-1] @ room))
        found = _improved(table, takes, slots, _in_turn(priced, takes, slots))
        if _cost(table, found) < least:
            best, least = found, _cost(table, found)
        over = np.array([takes[relaxed == node, node].sum() for node in range(nodes)]) - room
        over[(prices[:-1] == 0) & (over < 0)] = 0.0  # a price cannot fall below 0
        if least - bound <= TOLERANCE or not over.any():
            break
        prices[:-1] = np.maximum(0.0, prices[:-1] + (least - bound) / (1 + step / 10) * over / (over @ over))
    return Assigned(tuple(int(node) if node < nodes else None for node in best), least, min(bound, least))


def _in_turn(priced: Doubles, takes: Doubles, slots: Doubles) -> Chosen:
    """Each request to its cheapest node with room, those first that lose most by their second choice."""
    two = np.sort(priced, axis=1)[:, :2]
    finite = np.where(np.isfinite(two), two, np.finfo(np.float64).max / 4)
    left, chosen = slots.copy(), np.zeros(len(priced), np.int64)
    for place in np.argsort(finite[:, 0] - finite[:, -1], kind="stable"):
        fits = takes[place] <= left + TOLERANCE
        chosen[place] = np.where(fits, priced[place], math.inf).argmin()
        left[chosen[place]] -= takes[place, chosen[place]]
    return chosen


def _improved(table: Doubles, takes: Doubles, slots: Doubles, chosen: Chosen) -> Chosen:
    """No request can move, and no two can trade places, for less."""
    chosen, places = chosen.copy(), np.arange(len(chosen))
    while len(chosen):
        used = np.bincount(chosen, takes[places, chosen], minlength=len(slots))
        left, now, taken = slots - used + TOLERANCE, table[places, chosen], takes[places, chosen]
        gain = np.where(takes <= left, now[:, None] - table, -math.inf)
        gain[places, chosen] = -math.inf
        there = takes[:, chosen]  # (n, n): what each takes at the node of each
        fits = there <= (left[chosen] + taken)[None, :]
        trade = (now[:, None] - table[:, chosen]) + (now[:, None] - table[:, chosen]).T
        trade = np.where(fits & fits.T, trade, -math.inf)
        move, pair = int(gain.argmax()), int(trade.argmax())
        if max(gain.flat[move], trade.flat[pair]) <= TOLERANCE:
            break
        if gain.flat[move] >= trade.flat[pair]:
            chosen[move // len(slots)] = move % len(slots)
        else:
            left_one, right_one = divmod(pair, len(chosen))
            chosen[[left_one, right_one]] = chosen[[right_one, left_one]]
    return chosen


def _cost(table: Doubles, chosen: Chosen) -> float:
    return float(table[np.arange(len(chosen)), chosen].sum())


def retry_after(
    now: float, running: Sequence[Sequence[Running]], slots: Sequence[float], demands: Sequence[float]
) -> float:
    """How long until some node has the room that a request demands there, if nothing else is taken on: by node what runs, its
    slots in all, and the demand. Infinity where no node is ever large enough."""
    if not len(running) == len(slots) == len(demands):
        raise ValueError(
            f"{len(running)} nodes run something, {len(slots)} have slots, {len(demands)} demands: as many of each"
        )
    return min((_room_at(now, *one) for one in zip(running, slots, demands, strict=True)), default=math.inf) - now


def _room_at(now: float, running: Sequence[Running], slots: float, demand: float) -> float:
    if demand > slots:
        return math.inf
    left = sorted(one for one in running if one.ends > now)
    moment = now
    while sum(one.slots for one in left) + demand > slots:
        moment = left.pop(0).ends
    return moment
