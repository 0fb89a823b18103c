from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.maths import server
from middleware.maths.server import BLOCK, VECTORS, Constants

FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)
CONSTANTS = Constants(128, 0.1, 0.9, 0.99, 1e-3)

GOLDEN = {
    "step": "cdccccbd5f7009300000803f0000204000409cc5",
    "momentum": "593934bc7e4e47b6703d5a3f0000003f0000c8c2",
    "adagrad": "5c7aa0bb7aaa1bb90fb1393ca7ce233c215d39ba",
    "adam": "f2df40bd857d1cb995ebe83d0e64cc3d3a49e8bb",
    "yogi": "cfaf40bd6eb51bb940d6e73d0c64cc3d60b4e7bb",
}


def reference(kind: str, constants: Constants, moves: list[float]) -> list[float]:
    """The formulas in float64, one number at a time, as Reddi et al. 2021 (algorithm 2) writes them; returns x over time."""
    m, v, x, out = 0.0, constants.tau**2, 0.0, []
    for d in moves:
        if kind == "step":
            x += constants.alpha / 256 * d
        elif kind == "momentum":
            m = constants.beta1 * m + d
            x += constants.rate * m
        else:
            m = constants.beta1 * m + (1 - constants.beta1) * d
            if kind == "adagrad":
                v = v + d**2
            elif kind == "adam":
                v = constants.beta2 * v + (1 - constants.beta2) * d**2
            else:
                v = v - (1 - constants.beta2) * d**2 * np.sign(v - d**2)
            x += constants.rate * m / (math.sqrt(v) + constants.tau)
        out.append(x)
    return out


@pytest.mark.parametrize("kind", VECTORS)
def test_fedopt_follows_the_papers_formulas(kind: str) -> None:
    numbers = np.random.default_rng(3)
    moves = [numbers.normal(0, 0.05, 6).astype(np.float32) for _ in range(40)]
    state, x = server.start(kind, CONSTANTS, 6), np.zeros(6)
    expected = np.array([reference(kind, CONSTANTS, [float(m[place]) for m in moves]) for place in range(6)])
    for number, move in enumerate(moves):
        state, moved = server.step(kind, CONSTANTS, state, move)
        x += moved
        assert x == pytest.approx(expected[:, number], rel=1e-4, abs=1e-6)
        assert server.sound(kind, state, 6)


@FIXED
@given(st.sampled_from(sorted(VECTORS)), st.integers(0, 2**32), st.integers(1, 5))
def test_a_number_does_not_feel_its_neighbours(kind: str, seed: int, cuts: int) -> None:
    numbers = np.random.default_rng(seed)
    move = (numbers.integers(-(2**23), 2**23, 50) * 2.0**-12).astype(np.float32)
    state, whole = server.step(kind, CONSTANTS, server.start(kind, CONSTANTS, 50), move)
    places = sorted(numbers.integers(1, 50, cuts).tolist())
    for part in np.split(np.arange(50), places):
        alone, piece = server.step(kind, CONSTANTS, server.start(kind, CONSTANTS, len(part)), move[part])
        assert piece.tobytes() == whole[part].tobytes()
        assert all(one.tobytes() == all_of[part].tobytes() for one, all_of in zip(alone, state, strict=True))


@pytest.mark.parametrize("kind", VECTORS)
def test_blocks_do_not_show(kind: str) -> None:
    move = np.random.default_rng(1).normal(size=BLOCK + 7).astype(np.float32)
    _, whole = server.step(kind, CONSTANTS, server.start(kind, CONSTANTS, move.size), move)
    _, tail = server.step(kind, CONSTANTS, server.start(kind, CONSTANTS, 20), move[-20:])
    assert whole[-20:].tobytes() == tail.tobytes()


@pytest.mark.parametrize("kind", VECTORS)
def test_arguments_stay_as_they_are(kind: str) -> None:
    move = np.array([0.5, -1, 0], np.float32)
    state = server.start(kind, CONSTANTS, 3)
    before = [one.copy() for one in (*state, move)]
    server.step(kind, CONSTANTS, state, move)
    assert all(one.tobytes() == old.tobytes() for one, old in zip((*state, move), before, strict=True))


def test_the_bits_are_the_ones_that_ieee_754_rounds_to() -> None:
    """Golden bytes: another machine, or another version of numpy, must give the same."""
    moves = [np.array([0.1, -3.3e-5, 7.25, 0, 1e4], np.float32), np.array([-0.2, 1e-9, 2, 5, -1e4], np.float32)]
    for kind in VECTORS:
        state = server.start(kind, CONSTANTS, 5)
        for move in moves:
            state, moved = server.step(kind, CONSTANTS, state, move)
        assert moved.tobytes().hex() == GOLDEN[kind]


def test_slsgd_damps_a_poisoned_round_by_exactly_alpha() -> None:
    poison = np.array([1024.0, -256.0], np.float32)
    _, moved = server.step("step", Constants(alpha=64), (), poison)
    assert moved.tolist() == [256.0, -64.0]


def test_slsgd_moves_less_the_smaller_alpha_is() -> None:
    """Around the optimum of a quadratic with noisy gradients, the trajectory's variance falls with alpha."""
    spread = []
    for alpha in (256, 128, 32):
        numbers, x, places = np.random.default_rng(5), np.zeros(50, np.float32), []
        for number in range(400):
            _, moved = server.step(
                "step", Constants(alpha=alpha), (), (numbers.normal(0, 1, 50) - x).astype(np.float32)
            )
            x = x + moved
            places.append(x[0] if number >= 100 else 0)
        spread.append(float(np.var(places[100:])))
    assert spread[0] > spread[1] > spread[2]


@pytest.mark.parametrize(
    ("kind", "state", "move"),
    [
        ("sgd", (), np.zeros(2, np.float32)),
        ("momentum", (), np.zeros(2, np.float32)),
        ("adam", (np.zeros(2, np.float32),), np.zeros(2, np.float32)),
        ("adam", (np.zeros(2, np.float32), np.array([-1, 0], np.float32)), np.zeros(2, np.float32)),
        ("momentum", (np.array([np.nan, 0], np.float32),), np.zeros(2, np.float32)),
        ("momentum", (np.zeros(3, np.float32),), np.zeros(2, np.float32)),
        ("momentum", (np.zeros(2),), np.zeros(2, np.float32)),
        ("step", (), np.zeros(2)),
    ],
)
def test_what_no_step_leaves_is_refused(kind: str, state: server.State, move: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no server step named|is not one that its steps leave"):
        server.step(kind, CONSTANTS, state, move)
