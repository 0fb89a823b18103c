"""Work over unlike workers: every piece once, in order, whoever falls out."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths.stealing import Stealing
from middleware.maths.tiles import even, proportional

SPEEDS = (3.0, 1.0)


def makespan(shares: dict[int, list[int]], speeds: tuple[float, ...], costs: list[float], stealing: bool) -> float:
    """When the last piece is done, on a clock of the test's own."""
    board: Stealing[int, int] = Stealing(shares)
    ready = [(0.0, worker) for worker in shares]
    ends = 0.0
    while ready:
        now, worker = heapq.heappop(ready)
        if worker in board.working:
            board.done(worker, board.working[worker])
            ends = now
        if not stealing and not board.left[worker]:
            continue
        piece = board.take(worker)
        if piece is not None:
            heapq.heappush(ready, (now + costs[piece] / speeds[worker], worker))
    assert board.in_order() == list(range(len(costs)))
    return ends


def test_stealing_over_two_unequal_workers_is_faster_than_the_faster_alone_and_near_the_bound() -> None:
    costs = list(np.random.default_rng(0).uniform(0.5, 1.5, 40))
    equal = {worker: list(range(*span)) for worker, span in enumerate(even(40, 2))}
    bound = sum(costs) / sum(SPEEDS)
    assert makespan(equal, SPEEDS, costs, stealing=True) <= 1.1 * bound
    assert makespan(equal, SPEEDS, costs, stealing=False) >= 1.4 * bound
    assert makespan(equal, SPEEDS, costs, stealing=True) < sum(costs) / max(SPEEDS)


def test_asymo_shares_in_proportion_to_speed_end_near_the_bound_and_equal_ones_do_not() -> None:
    costs = [1.0] * 100
    bound = 100 / sum(SPEEDS)
    fair = {worker: list(range(*span)) for worker, span in enumerate(proportional(100, SPEEDS))}
    equal = {worker: list(range(*span)) for worker, span in enumerate(even(100, 2))}
    assert makespan(fair, SPEEDS, costs, stealing=False) <= 1.1 * bound
    assert makespan(equal, SPEEDS, costs, stealing=False) >= 1.4 * bound


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_every_piece_is_done_once_and_in_order_whoever_is_lost(
    owners: list[int], script: list[tuple[int, int]]
) -> None:
    shares: dict[int, list[int]] = {worker: [] for worker in range(4)}
    for piece, owner in enumerate(owners):
        shares[owner].append(piece)
    board: Stealing[int, int] = Stealing(shares)
    done: list[int] = []
    for worker, dice in [*script, *[(3, 5)] * (2 * len(owners) + 2)]:
        if worker not in board.left:
            continue
        if dice == 0 and worker != 3:
            board.lost(worker)
        elif worker in board.working:
            done.append(board.working[worker])
            board.done(worker, 10 * board.working[worker])
        else:
            board.take(worker)
    for worker in [one for one in board.left if one != 3]:
        board.lost(worker)
    while not board.finished:
        if 3 in board.working:
            done.append(board.working[3])
            board.done(3, 10 * board.working[3])
        else:
            board.take(3)
    assert sorted(done) == list(range(len(owners)))
    assert board.in_order() == [10 * piece for piece in range(len(owners))]


def test_what_no_worker_may_do_is_refused() -> None:
    with pytest.raises(ValueError, match="one share"):
        Stealing({0: [0, 1], 1: [1]})
    board: Stealing[int, str] = Stealing({0: [0, 1]})
    with pytest.raises(ValueError, match="no piece"):
        board.done(0, "")
    board.take(0)
    with pytest.raises(ValueError, match="not brought"):
        board.take(0)
    with pytest.raises(ValueError, match="not done"):
        board.in_order()
    with pytest.raises(ValueError, match="last worker"):
        board.lost(0)
