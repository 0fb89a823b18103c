"""Edges as peers: the models that each of them has, carried from round to round and mixed by the policy's schedule.

An edge's model is the anchored one plus value / mass units of the grid (`wire.state.Peer`): the anchored model is the average
of all, weighted by mass, rounded down to the grid, and the values hold what is left. In a round

1. each edge's value moves by the mean of its own devices' updates, times its mass;
2. the edges that reported exchange by the schedule; one that is missing stands still and keeps its mass;
3. the average moves the anchored model, and is taken off every value.

In a global round everyone gets the average, and nothing is left to carry. An edge that is not known yet starts from the
anchored model. A hierarchical average weighs each edge by the samples that its devices declared since the last one, which
is FedAvg over tiers; the others weigh by mass.

Everything is integers, so nothing is made or lost by an exchange, and whoever repeats a round gets the same bits. The edges
meet here, at the cloud, which records them: that is the schedule's arithmetic, not its saving in traffic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from middleware.errors import ConfigurationError, PeerFault
from middleware.maths import gossip
from middleware.maths.aggregate import divide
from middleware.policy import MOST_PEERS, Peers, Policy
from middleware.protocol.sums import Summed
from middleware.protocol.update import Floats, Integers
from middleware.wire import tensors
from middleware.wire.message import Offer
from middleware.wire.state import Peer

MASS: Final = 1 << 16  # of an edge that joins
MOST_VALUE: Final = 1 << 42  # in magnitude: times the weights of an average it stays below 2**63
MOST_WEIGHT: Final = 1 << 20  # of an edge in an average: larger weights are scaled down together
PURPOSE: Final = b"drystone/peer/1"
LINKS: Final = {"ring": gossip.ring, "complete": gossip.complete, "exponential": gossip.exponential}

Known = Mapping[int, Peer]  # by edge


def is_global(policy: Policy, round: int) -> bool:
    """Whether everyone gets the average in this round."""
    peers = policy.peers
    return peers is not None and (round == policy.rounds or (peers.every is not None and round % peers.every == 0))


def model_of(model: Floats, peer: Peer | None, exponent: int) -> Floats:
    """float32 (d,): an edge's model, from the anchored one. An edge without a row has the anchored one itself."""
    if peer is None:
        return model
    own: Floats = (model.astype(np.float64) + peer.value / peer.mass * 2.0**exponent).astype(np.float32)
    return own


def models_below(policy: Policy, model: Floats, known: Known) -> tuple[tuple[int, bytes], ...]:
    """(edge, SHA-256) of the models that an offer names besides the anchored one, ascending; empty where there are none."""
    exponent = policy.grid.exponent
    return tuple(
        (edge, hashlib.sha256(tensors.encode_model(model_of(model, peer, exponent))).digest())
        for edge, peer in sorted(known.items())
    )


def require_one_model(policy: Policy, offer: Offer) -> None:
    """PeerFault("mismatch") for an offer that shows some edge another model in a task whose edges have one together."""
    if policy.peers is None and offer.models:
        edges = ", ".join(str(edge) for edge, _ in offer.models)
        raise PeerFault(
            "mismatch", f"the offer has other models for edges {edges}, and this task has one for everybody"
        )


def advance(
    policy: Policy, known: Known, moved: Mapping[int, Summed], round: int, seed: bytes
) -> tuple[Integers, dict[int, Peer]]:
    """(by how much the anchored model moves, on the grid; what each edge carries on) after a round that was not void.

    `moved` has the sums of each edge that reported; `seed` is what receivers are drawn by. ConfigurationError where an edge
    has left the range that its model is kept in.
    """
    peers = policy.peers
    if peers is None:
        raise ConfigurationError("this task's edges have one model together")
    rows = {edge: known.get(edge, new_peer(policy.parameters)) for edge in sorted({*known, *moved})}
    if len(rows) > MOST_PEERS:
        raise ConfigurationError(
            f"{len(rows)} edges with a model each: at most {MOST_PEERS} fit what a round carries on"
        )
    for edge, summed in moved.items():
        if summed.vector is not None:
            rows[edge] = _moved(rows[edge], summed)
    if is_global(policy, round):
        return _average(peers, rows), {}
    rows |= _exchanged(peers, {edge: rows[edge] for edge in sorted(moved)}, policy, round, seed)
    average = _average(peers, rows)
    return average, {edge: _away(peer, average) for edge, peer in rows.items()}


def new_peer(parameters: int) -> Peer:
    """An edge that joins: the anchored model, a whole mass, nothing learned."""
    return Peer(MASS, 0, np.zeros(parameters, np.int64), None)


def _moved(peer: Peer, summed: Summed) -> Peer:
    if summed.vector is None:
        return peer
    value = peer.value + peer.mass * divide(summed.vector, summed.weight).astype(np.int64)
    return msgspec.structs.replace(peer, value=_bounded(value), weight=peer.weight + summed.weight)


def _bounded(value: Integers) -> Integers:
    if value.size and int(np.abs(value).max()) > MOST_VALUE:
        raise ConfigurationError("an edge's model has left the range it is kept in: lower the learning rate")
    return value


def _average(peers: Peers, rows: Known) -> Integers:
    """The average of all edges, on the grid: weighted by mass, or under a hierarchy by the samples since the last one."""
    values = np.stack([peer.value for peer in rows.values()])
    masses = np.array([peer.mass for peer in rows.values()], np.int64)
    if peers.kind != "hierarchical":
        return gossip.average(values, masses)
    weights = [peer.weight for peer in rows.values()]
    down = max(0, sum(weights).bit_length() - MOST_WEIGHT.bit_length() + 1)
    scaled = np.array([weight >> down for weight in weights], np.int64)
    if not scaled.any():
        return np.zeros(values.shape[1], np.int64)
    return gossip.average(values * scaled[:, None], masses * scaled)


def _away(peer: Peer, average: Integers) -> Peer:
    """The same model, said from an anchored one that moved by `average`."""
    copy = None if peer.copy is None else peer.copy - peer.mass * average
    return msgspec.structs.replace(peer, value=peer.value - peer.mass * average, copy=copy)


def _exchanged(peers: Peers, rows: Known, policy: Policy, round: int, seed: bytes) -> dict[int, Peer]:
    """The rows of those that are here after they have exchanged."""
    if peers.kind == "hierarchical" or len(rows) < 2:
        return dict(rows)
    values = np.stack([peer.value for peer in rows.values()])
    masses = np.array([peer.mass for peer in rows.values()], np.int64)
    copies = np.stack([peer.value * 0 if peer.copy is None else peer.copy for peer in rows.values()])
    links = LINKS[peers.links](len(rows)) if peers.links is not None else {}
    if peers.kind == "gossip":
        values = gossip.mix(values, links)
    elif peers.kind == "choco":
        count = sent_by(policy.parameters, peers)
        values, copies = gossip.choco(values, copies, links, peers.gamma or gossip.GAMMA_ONE, count)
    elif peers.kind == "push-sum":
        values, masses = gossip.push_sum(values, masses, links)
    else:
        values, masses = gossip.gosgd(values, masses, receivers(seed, round, len(rows)))
    kept = copies if peers.kind == "choco" else [None] * len(rows)
    return {
        edge: Peer(int(mass), peer.weight, _bounded(value), copy)
        for (edge, peer), mass, value, copy in zip(rows.items(), masses, values, kept, strict=True)
    }


def sent_by(parameters: int, peers: Peers) -> int:
    """How many coordinates an edge would send to each neighbour in an exchange."""
    return max(1, int(parameters * (peers.density or 1.0) + 0.5))


def receivers(seed: bytes, round: int, count: int) -> list[int]:
    """Whom each of `count` peers sends to: any other, by a hash of the round's inputs, so that nobody knows it before."""
    drawn = []
    for peer in range(count):
        place = round.to_bytes(8, "big") + peer.to_bytes(8, "big")
        number = int.from_bytes(hashlib.sha256(PURPOSE + seed + place).digest(), "big") % (count - 1)
        drawn.append(number + (number >= peer))
    return drawn


def by_edge(sums: Sequence[tuple[int, Summed]]) -> dict[int, Summed]:
    """The sums of each edge: what was forced through the ledger counts with the edge below which its device stands."""
    found: dict[int, Summed] = {}
    for edge, summed in sums:
        before = found.get(edge)
        if before is None or before.vector is None:
            found[edge] = summed
        elif summed.vector is not None:
            found[edge] = msgspec.structs.replace(
                before, vector=before.vector + summed.vector, weight=before.weight + summed.weight
            )
    return found
