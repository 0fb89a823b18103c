"""Gossip: GoSGD, Choco, Gossip-PGA, push-sum SGP (catalogue, training 1.1)."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths import gossip
from middleware.maths.gossip import GAMMA_ONE, Integers, Massed

PEERS = 16
UNIT = 1 << 30  # the masses that peers start with


def start(generator: np.random.Generator, dimension: int = 100, peers: int = PEERS, unit: int = UNIT) -> Integers:
    """Numerators of models that are normal with a deviation of 1,000."""
    return np.rint(generator.normal(0, 1000, size=(peers, dimension)) * unit).astype(np.int64)


def line_fit(values: list[float]) -> tuple[float, float]:
    """(slope, R squared) of the logarithm against the step."""
    steps, logs = np.arange(len(values)), np.log(values)
    slope = float(np.polyfit(steps, logs, 1)[0])
    return slope, float(np.corrcoef(steps, logs)[0, 1] ** 2)


def spread(models: np.ndarray) -> float:
    return float(np.linalg.norm(models - models.mean(axis=0)))


# ------------------------------------------------------------------------------------------------------------------ GoSGD


def test_gosgd_mass_and_weighted_model_are_kept_whatever_is_late_or_out_of_order() -> None:
    generator = np.random.default_rng(1)
    peers = [Massed(vector, UNIT) for vector in start(generator)]
    truth = sum(peer.numerator for peer in peers)
    under_way: list[tuple[int, Massed]] = []
    for _ in range(400):
        sender, receiver = generator.choice(PEERS, 2, replace=False)
        peers[sender], message = gossip.shared_out(peers[sender], 1)  # one message a step at most, by construction
        under_way.append((receiver, message))
        while under_way and generator.random() < 0.5:
            to, late = under_way.pop(int(generator.integers(len(under_way))))
            peers[to] = peers[to].with_(late)
        everything = [*peers, *(message for _, message in under_way)]
        assert sum(one.mass for one in everything) == PEERS * UNIT
        assert np.array_equal(sum(one.numerator for one in everything), truth)


def test_gosgd_spread_falls_exponentially_without_gradients() -> None:
    generator = np.random.default_rng(2)
    values, masses = start(generator), np.full(PEERS, UNIT)
    spreads = []
    for _ in range(60):
        values, masses = gossip.gosgd(values, masses, [int(generator.integers(PEERS)) for _ in range(PEERS)])
        spreads.append(spread(values / masses[:, None]))
    slope, fit = line_fit(spreads[:40])
    assert slope < 0
    assert fit > 0.98
    assert masses.sum() == PEERS * UNIT


def test_gosgd_a_peer_that_names_itself_sends_nothing_and_one_without_mass_to_share_keeps_it() -> None:
    values, masses = start(np.random.default_rng(3), 3, 2), np.array([UNIT, UNIT])
    kept, weights = gossip.gosgd(values, masses, [0, 1])
    assert np.array_equal(kept, values)
    assert np.array_equal(weights, masses)
    poor = Massed(np.array([5]), 1)
    assert gossip.shared_out(poor, 1)[0] == poor


# ------------------------------------------------------------------------------------------------------------------ Choco


@pytest.mark.slow
def test_choco_error_falls_on_a_line_at_one_per_cent_while_compressed_models_stall() -> None:
    values = start(np.random.default_rng(3), unit=1 << 36)
    links, mean, errors = gossip.ring(PEERS), values.mean(axis=0), []
    first, total, copies = values, values.sum(axis=0), np.zeros_like(values)
    for step in range(10_000):
        if step % 100 == 0:
            errors.append(float(np.linalg.norm(values - mean) / np.linalg.norm(first - mean)))
        values, copies = gossip.choco(values, copies, links, 10, 1)
    slope, fit = line_fit(errors)
    assert errors[-1] < 1e-8
    assert slope < 0
    assert fit > 0.99
    assert np.array_equal(values.sum(axis=0), total)
    stalled = first
    for _ in range(2_000):
        stalled = gossip.mix(np.stack([gossip._largest(vector, 1) for vector in stalled]), links)
    assert np.linalg.norm(stalled - mean) / np.linalg.norm(first - mean) > 1e-2


def test_choco_without_compression_and_gamma_one_is_plain_gossip() -> None:
    values = start(np.random.default_rng(4))
    links, plain, copies = gossip.ring(PEERS), values, np.zeros_like(values)
    for _ in range(50):
        values, copies = gossip.choco(values, copies, links, GAMMA_ONE, values.shape[1])
        plain = gossip.mix(plain, links)
    assert np.array_equal(values, plain)


# ------------------------------------------------------------------------------------------------------------- Gossip-PGA


def test_gossip_is_metropolis_weights_times_the_models_and_keeps_their_sum_exactly() -> None:
    values, links = start(np.random.default_rng(5)), gossip.ring(PEERS)
    weights = np.zeros((PEERS, PEERS))
    for peer, others in links.items():
        weights[peer, list(others)] = 1 / 3
        weights[peer, peer] = 1 / 3
    mixed = gossip.mix(values, links)
    assert np.abs(mixed - weights @ values).max() <= 2  # a flow is rounded once, and a peer of a ring has two
    assert np.array_equal(mixed.sum(axis=0), values.sum(axis=0))


def test_gossip_spread_falls_exponentially_and_a_full_graph_agrees_at_once() -> None:
    values, spreads = start(np.random.default_rng(6)), []
    assert np.ptp(gossip.mix(values, gossip.complete(PEERS)), axis=0).max() <= 2 * PEERS  # roundings
    for _ in range(100):
        values = gossip.mix(values, gossip.ring(PEERS))
        spreads.append(spread(values))
    slope, fit = line_fit(spreads[20:])
    assert slope < 0
    assert fit > 0.98


def test_links_that_go_one_way_only_are_refused_where_the_average_would_move() -> None:
    with pytest.raises(ValueError, match="use push-sum"):
        gossip.mix(start(np.random.default_rng(7), 3, 8), gossip.exponential(8))


@pytest.mark.parametrize("mass", [2, 3, 5, 17, 1001, 1 << 22])
@pytest.mark.parametrize("receivers", [1, 2, 6])
def test_push_sum_shares_say_their_senders_model_to_one_unit_however_little_mass_it_has(
    mass: int, receivers: int
) -> None:
    peer = Massed(np.array([-(1 << 42), -70_001, -1, 0, 1, 999_983, 1 << 42], np.int64), mass)
    kept, sent = gossip.shared_out(peer, receivers)
    assert kept.mass + receivers * sent.mass == mass
    assert np.array_equal(kept.numerator + receivers * sent.numerator, peer.numerator)
    if sent.mass:
        assert np.abs(sent.model - peer.model).max() <= 1
        assert np.abs(kept.model - peer.model).max() <= receivers
    else:
        assert mass <= receivers


# --------------------------------------------------------------------------------------------------------------- push-sum


def lopsided(peers: int) -> dict[int, tuple[int, ...]]:
    """A directed ring in which peer 0 also sends to everyone: strongly connected, and far from balanced."""
    return {peer: tuple(range(1, peers)) if peer == 0 else ((peer + 1) % peers,) for peer in range(peers)}


def pushed(
    links: dict[int, tuple[int, ...]], values: Integers, steps: int, paused: int = -1
) -> tuple[Integers, Integers]:
    """In lock step; a paused peer receives all the time and sends every tenth step only."""
    masses = np.full(len(values), UNIT)
    for step in range(steps):
        now = {peer: () if peer == paused and step % 10 else others for peer, others in links.items()}
        values, masses = gossip.push_sum(values, masses, now)
        assert masses.sum() == len(values) * UNIT
    return values, masses


def test_sgp_push_sum_reaches_the_true_mean_on_an_unbalanced_directed_graph() -> None:
    values = start(np.random.default_rng(6), 10, 8)
    found, masses = pushed(lopsided(8), values, 400)
    mean = values.mean(axis=0)
    relative = np.linalg.norm(mean)
    assert np.abs(found / masses[:, None] * UNIT - mean).max() / relative < 1e-6
    assert np.abs(found - mean).max() / relative > 1e-2
    assert np.array_equal(found.sum(axis=0), values.sum(axis=0))


def test_sgp_push_sum_goes_on_while_one_peer_is_paused() -> None:
    values = start(np.random.default_rng(7), 10, 8)
    links, mean = gossip.exponential(8), values.mean(axis=0)
    error = []
    for steps in (8, 400):
        found, masses = pushed(links, values, steps, paused=3)
        error.append(float(np.abs(found / masses[:, None] * UNIT - mean).max() / np.linalg.norm(mean)))
    assert error[1] < 1e-6 < error[0]


def test_the_average_is_weighted_by_mass() -> None:
    assert gossip.average(np.array([[8, -3], [4, 0]]), np.array([1, 3])).tolist() == [3, -1]
    with pytest.raises(ValueError, match="no mass"):
        gossip.average(np.zeros((1, 2), np.int64), np.zeros(1, np.int64))


# --------------------------------------------------------------------------------------------------------------- topology


def test_exponential_links_reach_everyone_in_logarithmic_time() -> None:
    assert gossip.exponential(8)[5] == (6, 7, 1)
    assert gossip.exponential(2) == {0: (1,), 1: (0,)}
    assert gossip.exponential(1) == {0: ()}


def test_two_peers_have_each_other() -> None:
    assert gossip.ring(2) == gossip.complete(2) == {0: (1,), 1: (0,)}
    assert gossip.ring(1) == {0: ()}
