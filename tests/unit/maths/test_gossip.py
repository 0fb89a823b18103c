"""Gossip: GoSGD, Choco, Gossip-PGA, push-sum SGP (catalogue, training 1.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from middleware.maths import gossip
from middleware.maths.gossip import Massed, Pushed, Vector

PEERS = 16


def start(generator: np.random.Generator, dimension: int = 100, peers: int = PEERS) -> Vector:
    return np.asarray(generator.normal(size=(peers, dimension)))


def line_fit(values: list[float]) -> tuple[float, float]:
    """(slope, R squared) of the logarithm against the step."""
    steps, logs = np.arange(len(values)), np.log(values)
    slope = float(np.polyfit(steps, logs, 1)[0])
    return slope, float(np.corrcoef(steps, logs)[0, 1] ** 2)


def spread(vectors: Vector) -> float:
    return float(np.linalg.norm(vectors - vectors.mean(axis=0)))


# ------------------------------------------------------------------------------------------------------------------ GoSGD


def test_gosgd_mass_and_weighted_model_are_kept_whatever_is_late_or_out_of_order() -> None:
    generator = np.random.default_rng(1)
    peers = [Massed(vector, 1 / PEERS) for vector in start(generator)]
    truth = sum(peer.mass * peer.vector for peer in peers)
    under_way: list[tuple[int, Massed]] = []
    for _ in range(400):
        sender, receiver = generator.choice(PEERS, 2, replace=False)
        peers[sender], message = gossip.gosgd_push(peers[sender])  # one message a step at most, by construction
        under_way.append((receiver, message))
        while under_way and generator.random() < 0.5:
            to, late = under_way.pop(int(generator.integers(len(under_way))))
            peers[to] = gossip.gosgd_receive(peers[to], late)
        everything = [*peers, *(message for _, message in under_way)]
        assert sum(one.mass for one in everything) == pytest.approx(1, rel=1e-9)
        np.testing.assert_allclose(sum(one.mass * one.vector for one in everything), truth, rtol=1e-9, atol=1e-12)


def test_gosgd_spread_falls_exponentially_without_gradients() -> None:
    generator = np.random.default_rng(2)
    peers = [Massed(vector, 1 / PEERS) for vector in start(generator)]
    spreads = []
    for step in range(2000):
        sender, receiver = generator.choice(PEERS, 2, replace=False)
        peers[sender], message = gossip.gosgd_push(peers[sender])
        peers[receiver] = gossip.gosgd_receive(peers[receiver], message)
        if step % 20 == 0:
            spreads.append(spread(np.stack([peer.vector for peer in peers])))
    slope, fit = line_fit(spreads)
    assert slope < 0
    assert fit > 0.98


# ------------------------------------------------------------------------------------------------------------------ Choco


def top(share: float) -> Callable[[Vector], Vector]:
    def compress(vector: Vector) -> Vector:
        count = max(1, round(share * vector.size))
        places = np.argpartition(np.abs(vector), vector.size - count)[vector.size - count :]
        kept = np.zeros_like(vector)
        kept[places] = vector[places]
        return kept

    return compress


class ChocoRing:
    """Peers on a ring, in lock step."""

    def __init__(self, vectors: Vector, gamma: float, compress: Callable[[Vector], Vector]) -> None:
        self.links, self.gamma, self.compress = gossip.ring(len(vectors)), gamma, compress
        self.weights = gossip.metropolis(self.links)
        self.peers = [gossip.choco_start(vectors[i].copy(), i, others) for i, others in self.links.items()]

    def step(self) -> None:
        sent = [gossip.choco_difference(peer, i, self.compress) for i, peer in enumerate(self.peers)]
        for i, others in self.links.items():
            for sender in (i, *others):
                self.peers[i] = gossip.choco_hear(self.peers[i], sender, sent[sender])
        self.peers = [
            gossip.choco_mix(peer, i, {other: self.weights[i, other] for other in self.links[i]}, self.gamma)
            for i, peer in enumerate(self.peers)
        ]

    @property
    def vectors(self) -> Vector:
        return np.stack([peer.vector for peer in self.peers])


@pytest.mark.slow
def test_choco_error_falls_on_a_line_at_one_per_cent_while_compressed_models_stall() -> None:
    vectors = start(np.random.default_rng(3))
    world, mean, errors = ChocoRing(vectors, 0.04, top(0.01)), vectors.mean(axis=0), []
    for step in range(11_500):
        if step % 100 == 0:
            errors.append(float(np.linalg.norm(world.vectors - mean)))
        world.step()
    slope, fit = line_fit(errors)
    assert errors[-1] < 1e-8
    assert slope < 0
    assert fit > 0.99
    np.testing.assert_allclose(world.vectors.mean(axis=0), mean, rtol=1e-9, atol=1e-12)
    weights, compress, stalled = gossip.metropolis(gossip.ring(PEERS)), top(0.01), vectors
    for _ in range(2_000):
        stalled = gossip.gossip_mix(np.stack([compress(vector) for vector in stalled]), weights)
    assert np.linalg.norm(stalled - mean) > 1e-2


def test_choco_without_compression_and_gamma_one_is_plain_gossip() -> None:
    vectors = start(np.random.default_rng(4))
    world, weights = ChocoRing(vectors, 1.0, lambda vector: vector), gossip.metropolis(gossip.ring(PEERS))
    for _ in range(50):
        world.step()
        vectors = gossip.gossip_mix(vectors, weights)
    np.testing.assert_allclose(world.vectors, vectors, rtol=1e-9, atol=1e-12)


def test_choco_hears_neighbours_only() -> None:
    peer = gossip.choco_start(np.zeros(3), 0, (1, 15))
    with pytest.raises(KeyError):
        gossip.choco_hear(peer, 7, np.ones(3))


# ------------------------------------------------------------------------------------------------------------- Gossip-PGA


def descent(period: int, weights: gossip.Matrix, steps: int = 60) -> Vector:
    """Each peer descends to a target of its own from one start, and gossips after each step."""
    generator = np.random.default_rng(5)
    targets, vectors = start(generator, 20), np.zeros((PEERS, 20))
    for step in range(1, steps + 1):
        vectors = gossip.gossip_pga(vectors - 0.1 * (vectors - targets), weights, step, period)
    return vectors


def test_gossip_pga_every_step_is_sync_sgd_and_never_is_gossip_sgd() -> None:
    weights = gossip.metropolis(gossip.ring(PEERS))
    targets = start(np.random.default_rng(5), 20)
    synchronous, plain = np.zeros(20), np.zeros((PEERS, 20))
    for _ in range(60):
        synchronous = synchronous - 0.1 * (synchronous - targets).mean(axis=0)
        plain = gossip.gossip_mix(plain - 0.1 * (plain - targets), weights)
    np.testing.assert_allclose(descent(1, weights), np.broadcast_to(synchronous, (PEERS, 20)), rtol=1e-9)
    np.testing.assert_array_equal(descent(0, weights), plain)


def test_gossip_pga_leaves_no_spread_after_an_average() -> None:
    weights = gossip.metropolis(gossip.ring(PEERS))
    assert np.ptp(descent(6, weights, 60), axis=0).max() == 0
    assert spread(descent(6, weights, 61)) > 0


# --------------------------------------------------------------------------------------------------------------- push-sum


def lopsided(peers: int) -> dict[int, tuple[int, ...]]:
    """A directed ring in which peer 0 also sends to everyone: strongly connected, and far from balanced."""
    return {peer: tuple(range(1, peers)) if peer == 0 else ((peer + 1) % peers,) for peer in range(peers)}


def push_sum(links: dict[int, tuple[int, ...]], vectors: Vector, steps: int, paused: int = -1) -> list[Pushed]:
    """In lock step; a paused peer receives all the time and sends every tenth step only."""
    peers = [Pushed(vector, 1.0) for vector in vectors]
    weights = gossip.column_stochastic(links)
    for step in range(steps):
        inbox: list[list[Pushed]] = [[] for _ in peers]
        for i, peer in enumerate(peers):
            if i == paused and step % 10:
                inbox[i].append(peer)
                continue
            column = {to: float(weights[to, i]) for to in (i, *links[i])}
            for to, share in gossip.push_sum_shares(peer, column).items():
                inbox[to].append(share)
        peers = [gossip.push_sum_gather(messages) for messages in inbox]
        assert sum(peer.weight for peer in peers) == pytest.approx(len(peers), rel=1e-9)
    return peers


def test_sgp_push_sum_reaches_the_true_mean_on_an_unbalanced_directed_graph() -> None:
    vectors = start(np.random.default_rng(6), 10, 8)
    peers = push_sum(lopsided(8), vectors, 400)
    mean = vectors.mean(axis=0)
    assert max(float(np.abs(peer.model - mean).max()) for peer in peers) < 1e-6
    assert max(float(np.abs(peer.numerator - mean).max()) for peer in peers) > 1e-2


def test_sgp_push_sum_goes_on_while_one_peer_is_paused() -> None:
    vectors = start(np.random.default_rng(7), 10, 8)
    links = gossip.exponential(8)
    early, late = (push_sum(links, vectors, steps, paused=3) for steps in (40, 400))
    error = [max(float(np.abs(p.model - vectors.mean(axis=0)).max()) for p in peers) for peers in (early, late)]
    assert error[1] < 1e-6 < error[0]


def test_push_sum_refuses_shares_that_make_mass() -> None:
    with pytest.raises(ValueError, match="made or lost"):
        gossip.push_sum_shares(Pushed(np.ones(2), 1.0), {0: 0.6, 1: 0.6})


# --------------------------------------------------------------------------------------------------------------- topology


def test_metropolis_weights_keep_the_average_and_refuse_one_way_links() -> None:
    weights = gossip.metropolis({0: (1,), 1: (0, 2, 3), 2: (1,), 3: (1,)})
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_array_equal(weights, weights.T)
    with pytest.raises(ValueError, match="use push-sum"):
        gossip.metropolis({0: (1,), 1: ()})


def test_exponential_links_reach_everyone_in_logarithmic_time() -> None:
    assert gossip.exponential(8)[5] == (6, 7, 1)
    with pytest.raises(ValueError, match="at least 3"):
        gossip.ring(2)
