from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from middleware.errors import ConfigurationError, PeerFault
from middleware.maths import contribution, reward
from middleware.maths.contribution import Score
from middleware.policy import Policy, Rule
from middleware.protocol import scoring
from middleware.protocol.scoring import Carried, Measured, Standing
from middleware.types import ZERO32
from middleware.wire.manifest import Manifest, ManifestScore, Scoring

POLICY = Policy(
    workload="digits", model="mlp:2-2", parameters=6, rounds=7, rule=Rule("mean", 0), min_updates=1, pay="scores",
    epoch_rounds=3, evaluation="ab" * 32, evaluation_slices=4, reward_per_round=100,
)  # fmt: skip


def manifest(round: int, scores: tuple[ManifestScore, ...], pool: int = 300) -> Manifest:
    made = Scoring(ZERO32, -10, 0, pool, scores)
    return Manifest(1, round, 1, bytes(20), 1, -12, False, ZERO32, ZERO32, (), (), 0, (), b"{}", made)


def test_epochs_end_every_so_many_rounds_and_with_the_last() -> None:
    assert [number for number in range(1, 8) if scoring.settles(POLICY, number)] == [3, 6, 7]
    participation = msgspec.structs.replace(
        POLICY, pay="participation", epoch_rounds=0, evaluation="", evaluation_slices=0
    )
    assert not any(scoring.settles(participation, number) for number in range(1, 8))


def test_an_epoch_that_is_over_leaves_reputations_and_nothing_else() -> None:
    lines = (ManifestScore(5, 1, 1, 70, 1100), ManifestScore(4, 1, 1, -3, 900))
    within, over = scoring.carried(POLICY, manifest(2, lines)), scoring.carried(POLICY, manifest(3, lines))
    assert within == Carried(300, {5: Standing(70, 1100), 4: Standing(-3, 900)})
    assert over == Carried(0, {5: Standing(0, 1100), 4: Standing(0, 900)})
    assert scoring.carried(POLICY, None) == Carried(0, {})


def test_an_epoch_pays_by_its_points_cut_off_at_zero() -> None:
    lines = (ManifestScore(5, 0, 0, 10, 1000), ManifestScore(4, 0, 0, -1, 1500), ManifestScore(6, 0, 0, 20, 500))
    lines += (ManifestScore(7, 0, 0, -2, 500),)
    assert scoring.paid(POLICY, 3, manifest(3, lines).scoring) == {5: 150, 6: 150}
    assert scoring.paid(POLICY, 2, manifest(2, lines).scoring) == {}


def test_a_round_that_lost_takes_from_the_epoch_but_not_below_what_settlement_cuts() -> None:
    """A device with +5 and -5 earns nothing: noise is not paid for its better half."""
    standing = Standing()
    for counted in (5, -5):
        score = Score(counted, counted << contribution.NOVEL_BITS, "")
        line = scoring.stand(4, standing, score, 1, -39, void=False)
        standing = Standing(line.epoch, line.reputation)
    assert standing.epoch == 0


def test_a_void_round_moves_nobody() -> None:
    line = scoring.stand(4, Standing(7, 1234), scoring.NOTHING, 0, 0, void=True)
    assert (line.epoch, line.reputation) == (7, 1234)
    absent = scoring.stand(4, Standing(7, 1234), scoring.NOTHING, 10, 0, void=False)
    assert (absent.epoch, absent.reputation) == (7, reward.reputation_after(1234, False))


def test_the_slice_follows_from_the_inputs_the_task_and_the_round() -> None:
    root = hashlib.sha256(b"inputs").digest()
    seed = hashlib.sha256(b"drystone/slice/1" + root + bytes(7) + b"\x07" + bytes(7) + b"\x03").digest()
    assert scoring.slice_of(root, 7, 3, 1000) == int.from_bytes(seed, "big") % 1000
    assert {scoring.slice_of(root, 1, number, 4) for number in range(1, 40)} == {0, 1, 2, 3}


def test_the_importance_travels_as_two_bytes_a_number() -> None:
    measured = scoring.quantise(np.array([1.0, -0.5, 0.25]), 3)
    data = scoring.encode_importance(measured)
    assert len(data) == 6
    again = scoring.decode_importance(data, measured.exponent, 3)
    assert np.array_equal(again.integers, measured.integers) and again.exponent == measured.exponent
    for blob, exponent in ((data[:-1], -14), (data + b"\0", -14), (data, 1), (data, -101)):
        with pytest.raises(PeerFault, match="malformed"):
            scoring.decode_importance(blob, exponent, 3)


def test_a_model_past_measuring_scores_nobody() -> None:
    measured = scoring.quantise(None, 6)
    assert not measured.integers.any() and measured.integers.shape == (6,)
    assert isinstance(measured, Measured)
    assert not contribution.differs(measured.integers, measured.exponent, np.zeros(6))


def test_numbers_past_128_bits_are_refused_and_never_cut() -> None:
    with pytest.raises(ConfigurationError, match="128"):
        scoring.stand(4, Standing((1 << 127) - 1), Score(1, 1 << 60, ""), 1, 0, void=False)


def test_a_round_without_a_move_is_not_remembered() -> None:
    before, after = np.zeros(3, np.float32), np.array([0.5, 0, 0], np.float32)
    moves = scoring.remember((), before, after, -2)
    assert [move.tolist() for move in moves] == [[2, 0, 0]]
    assert scoring.remember(moves, after, after, -2) is moves
    for _ in range(5):
        moves = scoring.remember(moves, before, after, -2)
    assert len(moves) == contribution.REMEMBERED
