"""How many rows of a layer's map each of several peers computes: least energy within a deadline, or least time.

Peer k takes `fixed_ms` and then `ms` for each row (computing and moving it), and spends `joules` for each row. With x_k rows,

    minimise  sum joules_k x_k    subject to    sum x_k = rows,    fixed_k + ms_k x_k <= deadline,    x_k >= 0

Zeng et al., "CoEdge", 2020. In this linear programme every peer has its own bound and they share one sum, so filling up the
peers in the order of their joules is optimal, and in whole rows too: bounds are rounded down first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Peer(NamedTuple):
    """What rows cost on it."""

    ms: float  # a row, computed and moved
    joules: float = 0.0  # a row, computed and moved
    fixed_ms: float = 0.0  # before its first row


class Shares(NamedTuple):
    """Rows by peer, the time until the last one is done, the joules of all."""

    rows: tuple[int, ...]
    ms: float
    joules: float


def thriftiest(peers: Sequence[Peer], rows: int, deadline_ms: float) -> Shares | None:
    """The split of least energy within the deadline; of peers with equal joules the quicker first. None if no split is in
    time."""
    _require(peers, rows)
    bounds = [_most(peer, deadline_ms, rows) for peer in peers]
    given, left = [0] * len(peers), rows
    for place in sorted(range(len(peers)), key=lambda place: (peers[place].joules, peers[place].ms)):
        given[place] = min(bounds[place], left)
        left -= given[place]
    return None if left else _shares(peers, given)


def fastest(peers: Sequence[Peer], rows: int) -> Shares:
    """The split that is done first: row by row to whoever would be done with it first."""
    _require(peers, rows)
    given = [0] * len(peers)
    for _ in range(rows):
        place = min(range(len(peers)), key=lambda place: _time(peers[place], given[place] + 1))
        given[place] += 1
    return _shares(peers, given)


def _most(peer: Peer, deadline_ms: float, rows: int) -> int:
    if peer.fixed_ms > deadline_ms:
        return 0
    most = min(rows, math.floor((deadline_ms - peer.fixed_ms) / peer.ms) + 1)
    return most if _time(peer, most) <= deadline_ms else most - 1  # the quotient may be rounded


def _time(peer: Peer, rows: int) -> float:
    return peer.fixed_ms + peer.ms * rows if rows else 0.0


def _shares(peers: Sequence[Peer], given: Sequence[int]) -> Shares:
    both = list(zip(peers, given, strict=True))
    ms = max(_time(peer, rows) for peer, rows in both)
    return Shares(tuple(given), ms, math.fsum(peer.joules * rows for peer, rows in both))


def _require(peers: Sequence[Peer], rows: int) -> None:
    if not peers or rows < 0:
        raise ValueError(f"{len(peers)} peers for {rows} rows: at least one peer, and no negative count")
    for peer in peers:
        if not (0 < peer.ms < math.inf and peer.joules >= 0 and peer.fixed_ms >= 0):
            raise ValueError(f"{peer}: a row takes time, and nothing is negative")
