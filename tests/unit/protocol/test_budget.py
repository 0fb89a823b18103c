"""What a private round releases, what it commits, and when the budget is at its end."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from middleware.errors import ConfigurationError
from middleware.policy import Policy
from middleware.protocol import budget
from middleware.protocol.sums import NOTHING, alone
from middleware.types import ZERO32
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
