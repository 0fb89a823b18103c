"""SLSGD and FedOpt as a task runs them: the rule's aggregate on the grid, then the server's step."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths import aggregate, grid
from middleware.policy import Policy, Rule, Server
from middleware.protocol import memory
from middleware.wire.state import State, encode_state

MODEL = np.random.default_rng(1).normal(0, 1, 500).astype(np.float32)


def policy(rule: Rule, server: Server | None = None) -> Policy:
    return Policy("digits", "mlp:2-2", MODEL.size, rule=rule, min_updates=rule.least_updates, server=server)


def moved(made: Policy, rows: np.ndarray, carried: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """The new model when every device declares the same number of samples."""
    result = aggregate.aggregate(made.rule.name, list(rows), [7] * len(rows), made.rule.f)
    return memory.move(made, MODEL, aggregate.divide(result.sums, result.total), carried)[0]


def drawn(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, (count, MODEL.size)).astype(np.int16)


def test_slsgd_with_alpha_1_and_b_0_equals_fedavg_to_the_bit() -> None:
    rows = drawn(2)
    fedavg = moved(policy(Rule("mean", 0)), rows)
    assert moved(policy(Rule("trimmed-mean", 0)), rows).tobytes() == fedavg.tobytes()
    integers = aggregate.divide(rows.astype(np.int64).sum(axis=0), len(rows))
    assert grid.apply(MODEL, integers, -12).tobytes() == fedavg.tobytes()


@pytest.mark.parametrize("alpha", [32, 128, 255])
def test_slsgd_is_the_moving_average_of_the_old_model_and_the_trimmed_mean(alpha: int) -> None:
    rows, rule = drawn(3), Rule("trimmed-mean", 2)
    whole = moved(policy(rule), rows).astype(np.float64)
    share = alpha / 256
    slsgd = moved(policy(rule, Server("step", alpha=alpha)), rows)
    assert slsgd == pytest.approx((1 - share) * MODEL + share * whole, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("alpha", [32, 128, 255])
def test_slsgd_on_the_grid_and_as_a_server_step_are_one_step_apart_at_most(alpha: int) -> None:
    rows, rule = drawn(6), Rule("trimmed-mean", 2)
    stepped = moved(policy(rule, Server("step", alpha=alpha)), rows)
    found = aggregate.slsgd(list(rows), 2, alpha)
    on_grid = grid.apply(MODEL, aggregate.divide(found.sums, found.total), -12)
    assert np.abs(stepped.astype(np.float64) - on_grid).max() <= 1.01 * 2.0**-12  # each is half a step from the truth


def test_slsgd_damps_a_round_that_is_all_poison_by_alpha() -> None:
    poison = np.full((6, MODEL.size), 32_000, np.int16)
    whole = moved(policy(Rule("trimmed-mean", 2)), poison) - MODEL
    damped = moved(policy(Rule("trimmed-mean", 2), Server("step", alpha=64)), poison) - MODEL
    assert damped == pytest.approx(whole / 4, abs=1e-6)


def test_a_state_that_is_given_and_one_that_was_written_move_the_model_alike() -> None:
    made, rows = policy(Rule("mean", 0), Server("adam", rate=0.1)), drawn(4)
    applied = aggregate.divide(rows.astype(np.int64).sum(axis=0), len(rows))
    _, vectors = memory.move(made, MODEL, applied, ())
    written = memory.read(made, encode_state(State(vectors=vectors)))
    here, there = (memory.move(made, MODEL, applied, one) for one in (vectors, written.vectors))
    assert here[0].tobytes() == there[0].tobytes()
    assert [one.tobytes() for one in here[1]] == [one.tobytes() for one in there[1]]


def test_only_tasks_that_carry_something_leave_a_state() -> None:
    assert memory.blob_of(policy(Rule("mean", 0)), State()) == b""
    assert memory.blob_of(policy(Rule("mean", 0), Server("step", alpha=9)), State()) == b""
    for made in (
        policy(Rule("mean", 0), Server("momentum")),
        policy(Rule("centred-clipping", 1)),
        policy(Rule("afa", 1)),
    ):
        assert memory.carries(made) and memory.blob_of(made, State()) == encode_state(State())
