"""Learning without one model: each peer has its own and averages it with its neighbours', in integers that add up exactly.

    Gossip-PGA   plain gossip x <- W x, and every H steps one exact global average (Chen et al. 2021, algorithm 1)
    Choco        everyone's public copy moves by the compressed difference to the model, and the models move towards the
                 copies (Koloskova et al. 2019, algorithm 1). With a codec that keeps a share of the norm it converges
                 linearly; averaging compressed models themselves does not.
    push-sum     peers send shares of (y, w) along directed links; x = y / w tends to the true average whatever the links
                 (Kempe et al. 2003; with gradients SGP: Assran et al. 2019, algorithm 1)
    GoSGD        push-sum in which a peer sends half of itself to one other (Blot et al. 2016, algorithm 1)

Everything here is integers, so that whoever repeats a step gets the same bits. What is averaged is a numerator y, int64 (n, d),
over a mass w, int64 (n,): peer i's model is y[i] / w[i]. Where links go both ways, averaging is a flow along each link,

    y[i] += f,  y[j] -= f,   f = (y[j] - y[i]) / (1 + the larger degree), rounded down,

which is W y with Metropolis weights, and whatever the rounding, nothing is made or lost. Shares of push-sum
are rounded down too, and the sender keeps the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Links = Mapping[int, Sequence[int]]  # peer -> those it sends to, itself left out

GAMMA_ONE: Final = 256

# --------------------------------------------------------------------------------------------------------------- who links


def complete(peers: int) -> dict[int, tuple[int, ...]]:
    """Everyone with everyone."""
    return {peer: tuple(other for other in range(peers) if other != peer) for peer in range(peers)}


def ring(peers: int) -> dict[int, tuple[int, ...]]:
    """Each peer and its two neighbours; two peers have each other, and one has nobody."""
    if peers < 3:
        return complete(peers)
    return {peer: ((peer - 1) % peers, (peer + 1) % peers) for peer in range(peers)}


def exponential(peers: int) -> dict[int, tuple[int, ...]]:
    """Directed: each peer sends 1, 2, 4, ... places onward (Assran et al. 2019, section 3.1)."""
    hops = [1 << power for power in range(max(1, (peers - 1).bit_length())) if 1 << power < peers]
    return {peer: tuple((peer + hop) % peers for hop in hops) for peer in range(peers)}


class _Flow(NamedTuple):
    one: int
    other: int
    parts: int  # of the difference, one flows


def _flows(links: Links) -> list[_Flow]:
    """Each link once, with Metropolis' part. ValueError where a link goes one way only: no flow on it keeps the average."""
    found = []
    for peer, others in sorted(links.items()):
        for other in others:
            if peer not in links[other]:
                raise ValueError(f"peer {peer} sends to {other}, but not back: use push-sum")
            if peer < other:
                found.append(_Flow(peer, other, 1 + max(len(others), len(links[other]))))
    return found


# ------------------------------------------------------------------------------------------------------------- both ways


def mix(values: Integers, links: Links, gamma: int = GAMMA_ONE) -> Integers:
    """One step of gossip over `values` (n, d) along links that go both ways; `gamma` of 256 parts of it."""
    return _flowed(values, values, links, gamma)


def choco(
    values: Integers, copies: Integers, links: Links, gamma: int, count: int
) -> tuple[Integers, Integers]:  # fmt: skip
    """(values, copies) after one step: each copy (n, d) moves by the `count` largest differences to its model, which is what
    its peer sends, and models move `gamma` of 256 parts of a gossip step over the copies."""
    copies = copies + np.stack([_largest(difference, count) for difference in values - copies])
    return _flowed(values, copies, links, gamma), copies


def _flowed(values: Integers, seen: Integers, links: Links, gamma: int) -> Integers:
    out = values.copy()
    for one, other, parts in _flows(links):
        flow = (seen[other] - seen[one]) * gamma // (GAMMA_ONE * parts)
        out[one] += flow
        out[other] -= flow
    return out


def _largest(difference: Integers, count: int) -> Integers:
    """The `count` largest in magnitude, the others zero; of equal ones those at lower places."""
    if count >= difference.size:
        return difference
    order = np.argsort(-np.abs(difference), kind="stable")[:count]
    kept = np.zeros_like(difference)
    kept[order] = difference[order]
    return kept


# --------------------------------------------------------------------------------------------------------------- one way


class Massed(NamedTuple):
    """A numerator (d,) and its mass: what a peer holds, and what a message carries. Their quotient is the model."""

    numerator: Integers
    mass: int

    @property
    def model(self) -> npt.NDArray[np.float64]:
        """Where the gradient of SGP is taken, and what the peer answers with."""
        return self.numerator / self.mass

    def with_(self, message: Massed) -> Massed:
        """After a message came in: both numerators and both masses, which is the average weighted by mass."""
        return Massed(self.numerator + message.numerator, self.mass + message.mass)


def shared_out(peer: Massed, receivers: int) -> tuple[Massed, Massed]:
    """(what the peer keeps, what each receiver gets): even shares among all of them and itself, and the rest stays.

    The numerator goes in proportion to the mass that goes, so that a message says its sender's model to one unit however
    little mass is left. A peer with less mass than there are shares keeps everything: a message without mass has no model.
    """
    mass = peer.mass // (receivers + 1)
    if mass == 0:
        return peer, Massed(np.zeros_like(peer.numerator), 0)
    whole, rest = np.divmod(peer.numerator, peer.mass)  # apart, for the product with a mass may pass 64 bits
    sent = Massed(whole * mass + rest * mass // peer.mass, mass)
    return Massed(peer.numerator - receivers * sent.numerator, peer.mass - receivers * sent.mass), sent


def push_sum(values: Integers, masses: Integers, links: Links) -> tuple[Integers, Integers]:
    """(values (n, d), masses (n,)) after every peer sent even shares of itself along its links."""
    kept = [Massed(value, int(mass)) for value, mass in zip(values, masses, strict=True)]
    inbox: dict[int, list[Massed]] = {peer: [] for peer in links}
    for peer, others in sorted(links.items()):
        kept[peer], sent = shared_out(kept[peer], len(others))
        for other in others:
            inbox[other].append(sent)
    for peer, messages in inbox.items():
        for message in messages:
            kept[peer] = kept[peer].with_(message)
    return np.stack([one.numerator for one in kept]), np.array([one.mass for one in kept], np.int64)


def gosgd(values: Integers, masses: Integers, receivers: Sequence[int]) -> tuple[Integers, Integers]:
    """The same after every peer sent half of itself to one other; a peer that names itself sends nothing."""
    return push_sum(values, masses, {peer: () if to == peer else (to,) for peer, to in enumerate(receivers)})


# ---------------------------------------------------------------------------------------------------------------- for all


def average(values: Integers, masses: Integers) -> Integers:
    """int64 (d,): the average weighted by mass, rounded down."""
    total = int(masses.sum())
    if total <= 0:
        raise ValueError("no mass, no average")
    return np.asarray(values.sum(axis=0) // total)
