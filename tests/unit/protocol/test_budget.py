"""What a private round releases, what it commits, and when the budget is at its end."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from middleware.errors import ConfigurationError
from middleware.policy import (
    MICRO,
    NOISE_ONE,
    RATE_ONE,
    CodecSpec,
    Grid,
    LocalPrivacy,
    Policy,
    Promise,
    RecordPrivacy,
    Rule,
    Training,
)
from middleware.protocol import budget
from middleware.protocol import update as updates
from middleware.protocol.sums import NOTHING, alone
from middleware.trust.keys import NetworkKey
from middleware.types import ZERO32, Seen
from middleware.wire.message import Update
from middleware.wire.policy import decode_policy, encode_policy
from tests.sim.private import PRIVATE, SECRET, private_policy

PRIVACY = PRIVATE.privacy
assert PRIVACY is not None
HASH = b"\x05" * 32


def test_central_dp_the_round_that_would_pass_epsilon_is_refused() -> None:
    assert PRIVACY is not None
    last = budget.affordable(PRIVACY, 10_000)
    assert budget.spent_by(PRIVACY, last) <= PRIVACY.epsilon
    assert budget.committed(PRIVATE, HASH, last) != ZERO32
    with pytest.raises(ConfigurationError, match="the task ends here"):
        budget.committed(PRIVATE, HASH, last + 1)


def test_a_budget_belongs_to_its_policy_and_its_round() -> None:
    told = {budget.committed(PRIVATE, policy, number) for policy in (HASH, ZERO32) for number in (1, 2)}
    assert len(told) == 4
    assert budget.committed(msgspec.structs.replace(PRIVATE, privacy=None), HASH, 1) == ZERO32


def test_central_dp_the_denominator_is_the_policys_and_not_the_realised_count() -> None:
    assert PRIVACY is not None
    key = budget.noise_key(PRIVACY, SECRET, HASH, 1, 1)
    silent = budget.released(PRIVACY, key, NOTHING, 50)
    for came in (1, 3):
        moved = budget.released(PRIVACY, key, alone(np.full(50, 1000 * PRIVACY.clients, np.int64), came), 50)
        assert (moved - silent == 1000).all()


def test_noise_repeats_with_its_key_and_changes_with_everything_that_is_in_it() -> None:
    assert PRIVACY is not None
    keys = [
        budget.noise_key(PRIVACY, SECRET, inputs, task, number)
        for inputs, task, number in ((HASH, 1, 1), (ZERO32, 1, 1), (HASH, 2, 1), (HASH, 1, 2))
    ]
    drawn = [budget.released(PRIVACY, key, NOTHING, 300).tobytes() for key in (*keys, keys[0])]
    assert len(set(drawn)) == 4
    assert drawn[0] == drawn[-1]
    with pytest.raises(ConfigurationError, match="not the noise's secret"):
        budget.noise_key(PRIVACY, bytes(32), HASH, 1, 1)


def test_needed_noise_makes_the_rounds_affordable() -> None:
    noise = budget.needed_noise(4_000_000, 12, 1e-5)
    assert PRIVACY is not None
    assert budget.affordable(msgspec.structs.replace(PRIVACY, epsilon=4_000_000, noise=noise), 100) >= 12
    assert budget.affordable(msgspec.structs.replace(PRIVACY, epsilon=4_000_000, noise=noise - 1), 100) < 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"readers": "public", "auditors": ()}, "--readers auditors"),
        ({"arrangement": "two-level"}, "--arrangement flat"),
        ({"samples_cap": 100}, "--samples-cap 1"),
        ({"pay": "scores", "epoch_rounds": 1, "evaluation": "0" * 64, "evaluation_slices": 1}, "--pay participation"),
    ],
)
def test_what_would_tell_of_single_clients_is_refused_when_the_task_is_made(
    change: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        private_policy(**change)


def test_a_policy_without_privacy_keeps_its_bytes() -> None:
    plain = Policy("digits", "mlp:64-10", 650)
    assert b"privacy" not in encode_policy(plain)
    assert decode_policy(encode_policy(PRIVATE)) == PRIVATE


# ------------------------------------------------------------------------------------------------- noise on the device

LOCAL = LocalPrivacy(8 * MICRO, 3 * NOISE_ONE, 1000)
RECORDS = RecordPrivacy(8 * MICRO, NOISE_ONE, 1.0, RATE_ONE // 10, 20)


def with_promise(**changes: object) -> Policy:
    fields: dict[str, object] = {"grid": Grid(24, -10), "rule": Rule("mean", 0), "samples_cap": 1}
    return Policy("digits", "mlp:64-10", 650, **{**fields, **changes})  # type: ignore[arg-type]


def entropy(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def test_ldp_what_leaves_the_device_is_cut_and_has_the_claimed_noise() -> None:
    policy = with_promise(local=LOCAL)
    long = np.full(100_000, 500, np.int32)
    left = updates.protected(long, policy, entropy(1)).astype(float)
    assert left.std() == pytest.approx(3 * 1000, rel=0.01)
    assert left.mean() == pytest.approx(1000 / np.sqrt(100_000), abs=40)  # a length of 1,000 over all coordinates
    assert not np.array_equal(left, updates.protected(long, policy, entropy(2)))
    assert np.abs(left).max() <= policy.grid.limit


def test_ldp_an_update_leaves_the_device_as_the_integers_that_its_leaf_commits() -> None:
    policy = with_promise(local=LOCAL)
    reader = NetworkKey(b"\x07" * 32)
    made = updates.compose(
        np.full(650, 0.5, np.float32), None, policy, (1, 1, 5, 2, 9), 40, b"{}", [reader.public], entropy(3)
    )
    message = Update(5, 9, made.leaf, made.wrapped, b"{}", made.leaf.ciphertext, len(made.body), Seen())
    opened = updates.judge(message, made.body, updates.content_key(made.wrapped, reader), policy)
    updates.audit(message, opened, policy)
    assert opened.integers.std() == pytest.approx(3000, rel=0.15)
    assert made.leaf.weight == 1


@pytest.mark.parametrize("promise", [LOCAL, RECORDS])
def test_the_round_that_would_pass_epsilon_is_refused_whoever_adds_the_noise(promise: Promise) -> None:
    policy = with_promise(**{"local" if isinstance(promise, LocalPrivacy) else "records": promise, "rounds": 10_000})
    last = budget.last_round(policy)
    assert 0 < last < 10_000
    assert budget.require_affordable(promise, last) <= promise.epsilon
    assert budget.committed(policy, HASH, last) not in (ZERO32, budget.committed(policy, HASH, last - 1))
    with pytest.raises(ConfigurationError, match="the task ends here"):
        budget.committed(policy, HASH, last + 1)


def test_dp_sgd_drawing_few_records_in_a_step_costs_less() -> None:
    every = msgspec.structs.replace(RECORDS, rate=RATE_ONE)
    assert budget.spent_by(RECORDS, 5) < budget.spent_by(every, 5) / 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"local": LOCAL, "records": RECORDS}, "one promise"),
        ({"local": LOCAL, "grid": Grid(12, -10)}, "--grid-bits"),
        ({"local": LOCAL, "samples_cap": 5}, "--samples-cap 1"),
        ({"local": LOCAL, "codec": CodecSpec("topk")}, "--codec none"),
        ({"records": RECORDS, "training": Training(proximal=0.1)}, "--proximal"),
        (
            {"records": RECORDS, "pay": "scores", "epoch_rounds": 1, "evaluation": "0" * 64, "evaluation_slices": 1},
            "--pay",
        ),
    ],
)
def test_what_a_promise_does_not_go_together_with_is_refused_when_the_task_is_made(
    changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        with_promise(**changes)


def test_a_policy_spells_its_promise_and_no_other() -> None:
    for name, promise in (("local", LOCAL), ("records", RECORDS)):
        policy = with_promise(**{name: promise})
        assert decode_policy(encode_policy(policy)) == policy
        assert sum(f'"{one}"'.encode() in encode_policy(policy) for one in ("local", "records", "privacy")) == 1
