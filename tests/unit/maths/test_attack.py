"""Lies: label flip aside (tests/unit/learn/test_poison.py), every attack of the catalogue (training 1.6) that is a vector."""

from __future__ import annotations

import numpy as np
import pytest

from devnet.bench.byzfl import byzfl
from middleware.maths import aggregate, attack, grid
from middleware.maths.attack import ATTACKS, Seen, parse

DIMENSION = 200


def seen(honest: int = 8, liars: int = 2, seed: int = 1, last: bool = True) -> Seen:
    generator = np.random.default_rng(seed)
    updates = (generator.normal(0.3, 1, (honest, DIMENSION))).astype(np.float32)
    return Seen(updates[0], updates, generator, updates[1] if last else None, liars)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_lie_is_a_vector_of_the_same_kind_and_leaves_what_it_saw_alone(name: str) -> None:
    world = seen()
    before = world.honest.copy()
    lie = parse(name).tell(world)
    assert (lie.shape, lie.dtype) == (world.own.shape, np.float32)
    assert np.isfinite(lie).all()
    np.testing.assert_array_equal(world.honest, before)


@pytest.mark.parametrize(
    ("name", "theirs", "arguments"),
    [
        ("sign-flip", "SignFlipping", {}),
        ("ipm:2", "InnerProductManipulation", {"tau": 2.0}),
        ("ipm", "InnerProductManipulation", {"tau": 10.0}),
        ("mimic:3", "Mimic", {"epsilon": 3}),
    ],
)
def test_byzantine_attacks_equal_byzfls_formulas(name: str, theirs: str, arguments: dict[str, float]) -> None:
    crafted = getattr(byzfl("attacks"), theirs)(**arguments)
    world = seen()
    np.testing.assert_array_equal(parse(name).tell(world), np.asarray(crafted(world.honest), np.float32))


def test_alie_equals_byzfls_formula_with_the_sign_and_the_divisor_of_its_paper() -> None:
    """ByzFL adds tau times the deviation over m - 1; the paper subtracts z times that over m."""
    crafted = byzfl("attacks").ALittleIsEnough(tau=-1.5)
    world = seen()
    lie, count = parse("alie:1.5").tell(world), len(world.honest)
    theirs = np.asarray(crafted(world.honest.astype(np.float64)))
    mean = world.honest.mean(axis=0, dtype=np.float64)
    deviation = 1.5 * world.honest.astype(np.float64).std(axis=0)
    np.testing.assert_allclose(lie, mean - deviation, rtol=1e-4, atol=1e-5)
    ratio = np.median((theirs - mean) / -deviation)
    assert ratio == pytest.approx(1, rel=1e-3) or ratio == pytest.approx(np.sqrt(count / (count - 1)), rel=1e-3)


@pytest.mark.parametrize(("number", "turned"), [(3.9, False), (4.1, True)])
def test_ipm_turns_the_mean_around_above_n_minus_f_over_f_and_not_below(number: float, turned: bool) -> None:
    world = seen(honest=16, liars=4)
    lie = parse(f"ipm:{number}").tell(world)
    mean = np.concatenate([world.honest, np.stack([lie] * 4)]).mean(axis=0)
    assert bool(mean @ world.mean < 0) is turned


def test_gaussian_noise_is_as_large_as_the_update() -> None:
    world = seen()
    lie = parse("gaussian").tell(Seen(np.tile(world.own, 500), world.honest, np.random.default_rng(1)))
    assert lie.std() == pytest.approx(np.sqrt((world.own.astype(np.float64) ** 2).mean()), rel=0.02)
    assert abs(lie.mean()) < 0.02


def test_fang_krum_is_the_vector_that_krum_picks_and_goes_against_the_honest() -> None:
    world = seen(honest=8, liars=3)
    lie = parse("fang-krum").tell(world)
    rows = [grid.to_grid(row, 16, -10)[0] for row in [lie] * 3 + list(world.honest)]
    assert aggregate.aggregate("krum", rows, [1] * len(rows), 3).weights.index(1) < 3
    assert lie @ world.mean < 0


def test_fang_krum_deviates_further_with_more_liars() -> None:
    lengths = [np.abs(parse("fang-krum").tell(seen(honest=12, liars=liars, seed=4))).max() for liars in (1, 3, 5)]
    assert lengths[0] <= lengths[1] <= lengths[2]
    assert lengths[2] > 0


def test_fang_trimmed_lies_past_the_honest_extremes_against_their_direction() -> None:
    world = seen()
    lie = parse("fang-trimmed").tell(world)
    up = world.mean > 0
    assert (lie[up] <= world.honest.min(axis=0)[up]).all()
    assert (lie[~up] >= world.honest.max(axis=0)[~up]).all()


def test_free_rider_returns_the_last_move_and_zeros_at_first() -> None:
    world = seen()
    np.testing.assert_array_equal(parse("free-rider").tell(world), world.last_move)
    assert not parse("free-rider").tell(seen(last=False)).any()


def test_sybils_send_one_update() -> None:
    world = seen()
    one, other = (parse("sybil").tell(world._replace(own=world.honest[place])) for place in (3, 5))
    np.testing.assert_array_equal(one, other)


def test_scaled_replacement_makes_the_mean_the_liars_model() -> None:
    """gamma = n / eta: with honest updates near zero the mean is what the liar learned (Bagdasaryan et al., equation 3)."""
    world = seen()
    lie = parse("scaled:10").tell(world)
    mean = np.stack([lie, *np.zeros((9, DIMENSION), np.float32)]).mean(axis=0)
    np.testing.assert_allclose(mean, world.own, rtol=1e-6)


def test_negate_is_the_update_times_minus_ten() -> None:
    np.testing.assert_array_equal(parse("negate").tell(seen()), seen().own * np.float32(-10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shout", "choose one of alie, backdoor"),
        ("alie:x", "write alie or alie:NUMBER"),
        ("backdoor:y", "write backdoor"),
        ("label-flip:7", "write label-flip or label-flip:A-B"),
        ("label-flip:7-7", "two different classes"),
        ("label-flip:-1-2", "two different classes"),
    ],
)
def test_a_lie_that_there_is_not_is_named_with_those_that_there_are(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        attack.require(text)


@pytest.mark.parametrize("text", ["alie", "ipm:0.5", "label-flip", "label-flip:7-1", "backdoor:10"])
def test_lies_with_and_without_a_number_are_known(text: str) -> None:
    attack.require(text)


def test_only_a_backdoor_is_scaled_by_the_number_behind_it() -> None:
    assert [attack.in_samples_number(text) for text in ("label-flip", "label-flip:7-1", "backdoor", "backdoor:5")] == [
        1, 1, 1, 5,
    ]  # fmt: skip
