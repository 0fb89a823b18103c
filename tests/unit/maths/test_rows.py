"""Rows of a map over unequal peers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize

from middleware.maths.rows import Peer, fastest, thriftiest


def some(seed: int, count: int) -> list[Peer]:
    random = np.random.default_rng(seed)
    return [Peer(*map(float, random.uniform((0.5, 0.1, 0.0), (4.0, 2.0, 5.0)))) for _ in range(count)]


def grid(peers: list[Peer], rows: int) -> list[tuple[float, float]]:
    """(ms, joules) of every split."""
    splits = (one for one in itertools.product(range(rows + 1), repeat=len(peers)) if sum(one) == rows)
    return [
        (
            max(peer.fixed_ms + peer.ms * given if given else 0.0 for peer, given in zip(peers, split, strict=True)),
            sum(peer.joules * given for peer, given in zip(peers, split, strict=True)),
        )
        for split in splits
    ]


@pytest.mark.parametrize("seed", range(20))
def test_coedge_the_split_costs_what_the_best_of_a_grid_search_costs(seed: int) -> None:
    peers, rows = some(seed, 3), 14
    every = grid(peers, rows)
    assert fastest(peers, rows).ms == pytest.approx(min(ms for ms, _ in every))
    for deadline in (10.0, 15.0, 25.0, 60.0):
        found = thriftiest(peers, rows, deadline)
        in_time = [joules for ms, joules in every if ms <= deadline]
        if found is None:
            assert not in_time
        else:
            assert found.ms <= deadline and sum(found.rows) == rows
            assert found.joules == pytest.approx(min(in_time))


@pytest.mark.parametrize("seed", range(20))
def test_coedge_whole_rows_cost_at_most_one_row_a_peer_more_than_the_linear_programme(seed: int) -> None:
    peers, rows, deadline = some(seed, 5), 224, 180.0
    bounds = [(0, (deadline - peer.fixed_ms) / peer.ms) for peer in peers]
    joules = [peer.joules for peer in peers]
    solved = optimize.linprog(joules, A_eq=[[1.0] * 5], b_eq=[rows], bounds=bounds)
    found = thriftiest(peers, rows, deadline)
    assert solved.success and found is not None
    assert solved.fun - 1e-9 <= found.joules <= solved.fun + sum(joules)


def test_coedge_a_slow_peer_gets_proportionally_fewer_rows() -> None:
    found = fastest([Peer(1.0), Peer(2.0), Peer(4.0)], 70)
    assert found.rows == (40, 20, 10) and found.ms == 40.0


def test_coedge_a_peer_that_begins_too_late_gets_nothing() -> None:
    assert thriftiest([Peer(1.0, 5.0), Peer(1.0, 0.0, 100.0)], 10, 20.0) == ((10, 0), 10.0, 50.0)
    assert thriftiest([Peer(1.0)], 10, 9.9) is None


def test_a_deadline_met_exactly_is_met() -> None:
    found = thriftiest([Peer(0.1)], 3, 0.1 * 3)
    assert found is not None and found.rows == (3,)


def test_what_makes_no_sense_is_refused() -> None:
    for peers, rows in (([], 1), ([Peer(0.0)], 1), ([Peer(1.0, -1.0)], 1), ([Peer(math.inf)], 1), ([Peer(1.0)], -1)):
        with pytest.raises(ValueError, match=r"peer|row"):
            fastest(peers, rows)
