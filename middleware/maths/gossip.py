"""Learning without a centre: each peer has a model of its own and averages it with its neighbours'.

    GoSGD        a peer sends its model and half of its mass to one other; who receives takes the average weighted by
                 mass (Blot et al. 2016, algorithm 1). Mass moves and is never made, so the average weighted by mass,
                 what is under way included, never changes.
    Choco        everyone keeps a public copy of itself and of its neighbours, sends only the compressed difference
                 to its own, and moves towards the copies (Koloskova et al. 2019, algorithm 1). With a codec that keeps
                 a share of the norm it converges linearly; averaging compressed models themselves does not.
    Gossip-PGA   plain gossip x <- W x, and every H steps one exact global average (Chen et al. 2021, algorithm 1)
    push-sum     peers send shares of (x, w) along directed links; z = x / w tends to the true average whatever the links
                 (Kempe et al. 2003; with gradients SGP: Assran et al. 2019, algorithm 1)

Every function is one peer's move on values: nothing here knows how messages travel, how late, or in which order. Vectors
are float64 or float32 (d,). Mixing weights W (n, n) have rows and columns that add up to 1 where links go both ways
(`metropolis`); along directed links only the columns do (`column_stochastic`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Links = Mapping[int, Sequence[int]]  # peer -> those it sends to, itself left out

# --------------------------------------------------------------------------------------------------------------- who links


def ring(peers: int) -> dict[int, tuple[int, ...]]:
    """Each peer and its two neighbours."""
    if peers < 3:
        raise ValueError(f"a ring needs at least 3 peers, not {peers}")
    return {peer: ((peer - 1) % peers, (peer + 1) % peers) for peer in range(peers)}


def exponential(peers: int) -> dict[int, tuple[int, ...]]:
    """Directed: each peer sends 1, 2, 4, ... places onward (Assran et al. 2019, section 3.1)."""
    hops = [1 << power for power in range(max(1, (peers - 1).bit_length())) if 1 << power < peers]
    return {peer: tuple((peer + hop) % peers for hop in hops) for peer in range(peers)}


def metropolis(links: Links) -> Matrix:
    """Symmetric mixing weights (n, n): 1 / (1 + the larger degree) on each link, the rest at home.

    ValueError where a link goes one way only: no weights on it could keep the average.
    """
    weights = np.zeros((len(links), len(links)))
    for peer, others in links.items():
        for other in others:
            if peer not in links[other]:
                raise ValueError(f"peer {peer} sends to {other}, but not back: use push-sum")
            weights[peer, other] = 1 / (1 + max(len(others), len(links[other])))
    np.fill_diagonal(weights, 1 - weights.sum(axis=1))
    return weights


def column_stochastic(links: Links) -> Matrix:
    """Push-sum's weights (n, n): column j says how peer j shares itself out, evenly with those it sends to and itself."""
    weights = np.zeros((len(links), len(links)))
    for peer, others in links.items():
        weights[[peer, *others], peer] = 1 / (1 + len(others))
    return weights


# ------------------------------------------------------------------------------------------------------------------ GoSGD


class Massed(NamedTuple):
    """A model and its mass: what a peer holds, and what a message carries."""

    vector: Vector
    mass: float


def gosgd_push(peer: Massed) -> tuple[Massed, Massed]:
    """(what the peer keeps, what it sends): the same model, half of the mass each."""
    half = Massed(peer.vector, peer.mass / 2)
    return half, half


def gosgd_receive(peer: Massed, message: Massed) -> Massed:
    """The average of both models weighted by mass, and both masses."""
    mass = peer.mass + message.mass
    return Massed((peer.mass * peer.vector + message.mass * message.vector) / mass, mass)


# ------------------------------------------------------------------------------------------------------------------ Choco


class Public(NamedTuple):
    """A peer's model and the public copies that it keeps: of itself and of each neighbour, by peer."""

    vector: Vector
    copies: dict[int, Vector]


def choco_start(vector: Vector, itself: int, neighbours: Sequence[int]) -> Public:
    """Everyone's copies start at zero, so that all who keep one keep the same."""
    return Public(vector, {peer: np.zeros_like(vector) for peer in (itself, *neighbours)})


def choco_difference(peer: Public, itself: int, compress: Callable[[Vector], Vector]) -> Vector:
    """What the peer sends to all neighbours, and hears itself: the compressed way from its public copy to its model."""
    return compress(peer.vector - peer.copies[itself])


def choco_hear(peer: Public, sender: int, difference: Vector) -> Public:
    """The sender's copy, moved by what it sent. KeyError for somebody who is no neighbour."""
    return Public(peer.vector, peer.copies | {sender: peer.copies[sender] + difference})


def choco_mix(peer: Public, itself: int, weights: Mapping[int, float], gamma: float) -> Public:
    """Move towards the neighbours' copies: x + gamma * sum_j w_j (copy_j - own copy); `weights` by neighbour."""
    own, moved = peer.copies[itself], peer.vector.copy()
    for other, weight in weights.items():
        moved += gamma * weight * (peer.copies[other] - own)
    return Public(moved, peer.copies)


# ------------------------------------------------------------------------------------------------------------- Gossip-PGA


def gossip_mix(vectors: Vector, weights: Matrix) -> Vector:
    """W x for all peers at once, vectors (n, d)."""
    return np.asarray(weights @ vectors)


def gossip_pga(vectors: Vector, weights: Matrix, step: int, period: int) -> Vector:
    """Step number `step`, from 1: the exact average for everyone if `period` divides it, else one mixing. 0: never."""
    if period and step % period == 0:
        return np.broadcast_to(vectors.mean(axis=0), vectors.shape).copy()
    return gossip_mix(vectors, weights)


# --------------------------------------------------------------------------------------------------------------- push-sum


class Pushed(NamedTuple):
    """A numerator (d,) and a denominator: what a peer holds, and what a message carries. Their quotient is the model."""

    numerator: Vector
    weight: float

    @property
    def model(self) -> Vector:
        """z = x / w: where the gradient of SGP is taken, and what the peer answers with."""
        return np.asarray(self.numerator / self.weight)


def push_sum_shares(peer: Pushed, column: Mapping[int, float]) -> dict[int, Pushed]:
    """What goes to whom, itself included, by the peer's column of the weights. ValueError unless it adds up to 1."""
    if abs(sum(column.values()) - 1) > 1e-12:
        raise ValueError(f"shares add up to {sum(column.values())}: mass would be made or lost")
    return {to: Pushed(share * peer.numerator, share * peer.weight) for to, share in column.items()}


def push_sum_gather(messages: Sequence[Pushed]) -> Pushed:
    """The sum of what came in, a peer's own share among it."""
    return Pushed(
        np.asarray(sum(message.numerator for message in messages)), sum(message.weight for message in messages)
    )
