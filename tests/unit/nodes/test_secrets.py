"""The noise's secret on disk: under its commitment's name, for its owner only, and never another one's."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from middleware.errors import ConfigurationError
from middleware.protocol import budget
from nodes import secrets
from nodes.operator import Choices, policy_of
from tests.sim.private import PRIVATE, SECRET


def test_a_secret_is_found_by_its_commitment_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = secrets.keep(tmp_path, SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.secret_of(tmp_path, PRIVATE) == SECRET
    assert secrets.secret_of(tmp_path, msgspec.structs.replace(PRIVATE, privacy=None)) == b""


def test_a_cloud_without_the_secret_says_which_file_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=budget.commitment(SECRET)):
        secrets.secret_of(tmp_path, PRIVATE)
    secrets.keep(tmp_path, SECRET).write_bytes(bytes(32))
    with pytest.raises(ConfigurationError, match="not the secret"):
        secrets.secret_of(tmp_path, PRIVATE)
    secrets.keep(tmp_path, bytes(32)).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="5 bytes"):
        secrets.read(tmp_path / "privacy" / budget.commitment(bytes(32)))


ASKED = Choices(
    aggregator="mean", rounds=10, dp=8.0, dp_clients=100, dp_commitment=budget.commitment(SECRET), auditors=("0" * 64,)
)


def test_dp_takes_the_least_noise_that_pays_for_all_rounds() -> None:
    privacy = policy_of(ASKED).privacy
    assert privacy is not None
    assert budget.spent_by(privacy, 10) <= 8_000_000
    assert budget.spent_by(msgspec.structs.replace(privacy, noise=privacy.noise - 1), 10) > 8_000_000
    assert privacy.bound == 4096


def test_with_too_little_noise_a_task_ends_at_its_last_affordable_round_also_after_a_restart() -> None:
    """The end follows from the policy and the ledger's last round; a cloud keeps no counter that it could lose."""
    policy = policy_of(msgspec.structs.replace(ASKED, dp_noise=1.5))
    last = budget.last_round(policy)
    assert 0 < last < policy.rounds
    assert policy.privacy is not None
    assert budget.spent_by(policy.privacy, last) <= policy.privacy.epsilon < budget.spent_by(policy.privacy, last + 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"dp_clients": 0}, "--dp-clients"), ({"dp_noise": 0.1}, "not one round"), ({"aggregator": "median"}, "--dp")],
)
def test_a_private_task_that_cannot_hold_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        policy_of(msgspec.structs.replace(ASKED, **change))
