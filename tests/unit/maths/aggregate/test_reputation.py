from __future__ import annotations

from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from middleware.maths.aggregate import Given, Memory, aggregate, gram, linear_weights
from middleware.maths.aggregate.reputation import FULL, PRIOR, UNIT, blocked, dissimilarities, straying


def around(seed: int, count: int, length: int, spread: float) -> np.ndarray:
    """Updates about one direction."""
    generator = np.random.default_rng(seed)
    return np.rint(1000 * generator.normal(0, 1, length) + generator.normal(0, spread, (count, length))).astype(
        np.int16
    )


# ---------------------------------------------------------------------------------------------------------------- AFA


def test_afa_five_clients_worked_by_hand() -> None:
    """Four of (1, e) and one of (-1, 0), scaled by 1000, all shares equal.

    The weighted sum is (3000, 0); the cosines to it are 1, 1, 1, 1 for e = 0 and -1 for the fifth: mean 0.6, median 1,
    standard deviation 0.8. The mean is below the median, so what lies below 1 - 2 * 0.8 = -0.6 is bad: the fifth. In the
    second pass all cosines are 1, none lies apart, and it ends.
    """
    rows = np.array([[1000, 0]] * 4 + [[-1000, 0]], np.int16)
    assert straying(gram(rows), [UNIT // 2] * 5) == [4]
    result = aggregate("afa", rows, [9] * 5, 1, Given((11, 12, 13, 14, 15)))
    assert result.weights == (2048, 2048, 2048, 2048, 0)
    assert result.sums.tolist() == [4 * 2048 * 1000, 0]
    assert result.total == 4 * 2048
    assert result.memory.standing == {11: (4, 3), 12: (4, 3), 13: (4, 3), 14: (4, 3), 15: (3, 4)}


def test_afa_a_second_pass_is_stricter_about_what_is_left_and_wider_in_its_margin() -> None:
    """Ten honest, one opposite liar that hides a milder one: the first pass sees only the first."""
    angles = [0.0] * 12 + [np.pi, 1.369]
    rows = np.array([[1000 * np.cos(angle), 1000 * np.sin(angle)] for angle in angles]).round().astype(np.int16)
    cosines = [np.cos(angle) for angle in angles]
    first = [index for index in range(14) if cosines[index] < 1 - 2 * np.std(cosines)]
    assert first == [12]
    assert straying(gram(rows), [1] * 14) == [12, 13]


def test_afa_above_the_median_is_apart_too_when_the_mean_is() -> None:
    """Cosines low for most and high for one: the mean is above the median, and the one above is bad."""
    rows = np.zeros((12, 12), np.int16)
    rows[np.arange(11), np.arange(11)] = 100
    rows[11, :11] = 3000
    assert straying(gram(rows), [1] * 12) == [11]


def test_afa_blocking_is_the_tail_of_the_beta_distribution() -> None:
    for alpha in range(1, 40):
        for beta in range(1, 40):
            probability = stats.beta.cdf(0.5, alpha, beta)
            if abs(probability - 0.95) > 1e-9:
                assert blocked(alpha, beta) == (probability > 0.95)


def test_afa_blocks_an_always_bad_client_within_six_rounds_for_good() -> None:
    memory, rounds = Memory(), []
    for number in range(12):
        rows = around(number, 7, 30, 300)
        rows[2] = -rows[2]
        result = aggregate("afa", rows, [1] * 7, 2, Given(tuple(range(1, 8)), memory=memory))
        memory = result.memory
        rounds.append(blocked(*memory.standing[3]))
        assert result.weights[2] == 0
    assert rounds.index(True) == 5  # Pr(p < 1/2) is 0.945 for Beta(3, 8) and 0.967 for Beta(3, 9)
    rows = around(99, 7, 30, 300)  # it turns honest: too late
    again = aggregate("afa", rows, [1] * 7, 2, Given(tuple(range(1, 8)), memory=memory))
    assert again.weights[2] == 0
    assert again.memory.standing[3] == memory.standing[3]


def test_afa_never_blocks_an_honest_client_in_10000_rounds() -> None:
    generator, memory = np.random.default_rng(5), Memory()
    senders = tuple(range(1, 8))
    for _ in range(10_000):
        rows = np.rint(1000 * generator.normal(0, 1, 20) + generator.normal(0, 400, (7, 20))).astype(np.int16)
        memory = aggregate("afa", rows, [1] * 7, 2, Given(senders, memory=memory)).memory
        assert not any(blocked(*standing) for standing in memory.standing.values() if standing[1] > standing[0])
    assert all(alpha > beta for alpha, beta in memory.standing.values())


def test_afa_with_everybody_blocked_uses_nobody() -> None:
    standing = dict.fromkeys(range(3), (3, 30))
    result = aggregate("afa", around(1, 3, 5, 10), [1] * 3, 1, Given(memory=Memory(standing=standing)))
    assert (result.weights, result.total) == ((0, 0, 0), 0)
    assert not result.sums.any()
    assert result.memory.standing == standing


def test_afa_weighs_by_reputation_and_not_by_declared_samples() -> None:
    standing = {1: (9, 3), 2: (3, 3)}
    given = Given((1, 2, 3), memory=Memory(standing=standing))
    rows = around(2, 3, 40, 50)
    weights = linear_weights("afa", rows, [1, 4000, 1], 1, given)
    assert weights == tuple(int(UNIT * Fraction(a, a + b)) for a, b in ((9, 3), (3, 3), PRIOR))


# ------------------------------------------------------------------------------------------------------------- CONTRA


def dirichlet_updates(seed: int, clients: int, classes: int = 10, length: int = 40) -> np.ndarray:
    """Each client pushes towards its own classes, in the shares that Dirichlet(0.1) deals."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(0, 1, (classes, length))
    shares = generator.dirichlet([0.1] * classes, clients)
    return np.rint(500 * shares @ directions + generator.normal(0, 60, (clients, length))).astype(np.int16)


@pytest.mark.parametrize("seed", range(5))
def test_contra_identical_updates_of_three_sybils_weigh_nothing_within_five_rounds(seed: int) -> None:
    memory, senders = Memory(), tuple(range(1, 14))
    for number in range(5):
        rows = dirichlet_updates(100 * seed + number, 13)
        rows[10:] = rows[10]
        result = aggregate("contra", rows, [1] * 13, 3, Given(senders, memory=memory))
        memory = result.memory
    assert result.weights[10:] == (0, 0, 0)
    assert all(memory.standing[sender][0] == 0 for sender in (11, 12, 13))


def test_contra_honest_clients_of_dirichlet_data_keep_more_than_four_fifths() -> None:
    """In the mean over honest clients and rounds; their reputation stays full."""
    memory, senders, kept = Memory(), tuple(range(1, 14)), []
    for number in range(20):
        rows = dirichlet_updates(number, 13)
        rows[10:] = rows[10]
        result = aggregate("contra", rows, [1] * 13, 3, Given(senders, memory=memory))
        memory = result.memory
        kept.append(np.mean(result.weights[:10]) / UNIT)
    assert np.mean(kept) > 0.8


def test_contra_is_symmetric_under_client_order() -> None:
    rows, senders = dirichlet_updates(3, 9), tuple(range(1, 10))
    expected = aggregate("contra", rows, [1] * 9, 3, Given(senders))
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(9)
        moved = aggregate("contra", rows[order], [1] * 9, 3, Given(tuple(senders[i] for i in order)))
        assert moved.weights == tuple(expected.weights[i] for i in order)
        assert moved.memory.standing == expected.memory.standing


def test_contra_pardons_who_is_like_a_liar_by_chance() -> None:
    """Two twins and one that is at 60 degrees to them: its cosine 1/2 is reduced by (1/2) / 1."""
    rows = np.array([[1000, 0, 0], [1000, 0, 0], [500, 866, 0], [0, 0, 1000]], np.int16)
    found = dissimilarities(gram(rows), 1)
    cosine = 500 / sqrt(500**2 + 866**2)
    np.testing.assert_allclose(found, [0, 0, 1 - cosine**2, 1], atol=1e-12)


def test_contra_a_reputation_falls_by_a_quarter_and_comes_back() -> None:
    given = Given((1, 2, 3, 4), memory=Memory(standing={1: (2, 7)}))
    rows = np.array([[1000, 0, 0], [0, 1000, 0], [0, 0, 1000], [0, 0, 999]], np.int16)
    standing = aggregate("contra", rows, [1] * 4, 1, given).memory.standing
    assert standing == {1: (3, 8), 2: (FULL, 1), 3: (FULL - 1, 1), 4: (FULL - 1, 1)}


def test_contra_where_all_are_the_same_nobody_is_suspect() -> None:
    rows = np.tile(np.array([[3, 4, 5]], np.int16), (5, 1))
    assert aggregate("contra", rows, [1] * 5, 2, Given()).total > 0
    assert aggregate("contra", np.zeros((5, 4), np.int16), [1] * 5, 2, Given()).weights == (UNIT,) * 5
