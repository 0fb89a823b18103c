"""Whom a round waits for: what can be asked for together, and that a policy without it keeps its bytes."""

from __future__ import annotations

import pytest

from middleware.errors import ConfigurationError
from middleware.policy import CodecSpec, Grid, Policy, Privacy, Rule, Schedule, Training
from middleware.policy.schedule import STALEST
from middleware.wire.policy import decode_policy, encode_policy


def policy(schedule: Schedule | None, **changes: object) -> Policy:
    fields = {"workload": "digits", "model": "mlp:4-2", "parameters": 10, "min_updates": 1, "rule": Rule("mean", 0)}
    return Policy(**{**fields, "schedule": schedule, **changes})  # type: ignore[arg-type]


def test_fields_that_are_not_used_are_not_written() -> None:
    assert b"schedule" not in encode_policy(policy(None))
    assert b'"schedule":{"backup_devices":1,"backup_edges":0}' in encode_policy(policy(Schedule(1)))
    assert b"seconds" not in encode_policy(policy(None)).replace(b"round_seconds", b"")
    written = encode_policy(
        policy(Schedule(arrivals=3, staleness="inverse", compensation=0.5), training=Training(seconds=2.0))
    )
    assert (
        b'"schedule":{"arrivals":3,"backup_devices":0,"backup_edges":0,"compensation":0.5,"staleness":"inverse"}'
        in written
    )
    assert decode_policy(written).schedule == Schedule(arrivals=3, staleness="inverse", compensation=0.5)


def test_how_old_an_update_may_be_has_a_default() -> None:
    assert Schedule(arrivals=1).most_stale == STALEST
    assert Schedule(arrivals=1, stalest=0).most_stale == 0


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "the default: leave it out"), ({"backup_devices": -1}, "cannot be negative"),
        ({"backup_devices": 1, "staleness": "inverse"}, "need --arrivals"), ({"compensation": 1.0}, "need --arrivals"),
        ({"backup_edges": 1, "stalest": 3}, "need --arrivals"), ({"arrivals": 0}, "after one update at least"),
        ({"arrivals": 1, "backup_devices": 1}, "leave the backups out"),
        ({"arrivals": 1, "staleness": "linear"}, "choose one of inverse, polynomial"),
        ({"arrivals": 1, "stalest": -1}, "0 to 4096 rounds"), ({"arrivals": 1, "compensation": 0.0}, "above 0"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_hold_is_refused(asked: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Schedule(**asked)  # type: ignore[arg-type]


WEIGHED = Schedule(arrivals=3, staleness="inverse")
PRIVATE = {
    "privacy": Privacy(10_000_000, 4096, 100, 8, "ab" * 32, 1e-5), "readers": "auditors", "auditors": ("cd" * 32,),
    "samples_cap": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"arrangement": "two-level"}, "use --arrangement flat"), ({"min_updates": 4}, "would be void"),
        ({"rule": Rule("median", 1), "min_updates": 3}, "use --aggregator mean"), (PRIVATE, "use no --arrivals with it"),
        ({"pay": "scores", "epoch_rounds": 5, "evaluation": "ab" * 32, "evaluation_slices": 4}, "use --pay participation"),
        ({"grid": Grid(24), "samples_cap": 1 << 15}, "at most 16384"),
    ],
)  # fmt: skip
def test_arrivals_go_with_what_they_can_go_with(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        policy(WEIGHED, **changes)


def test_arrivals_without_staleness_go_with_robust_rules_and_codecs() -> None:
    policy(Schedule(arrivals=5), rule=Rule("multi-krum", 1), min_updates=5)
    policy(WEIGHED, codec=CodecSpec("dgc", 0.01))


def test_a_fixed_time_fits_the_round_and_is_not_told_under_privacy() -> None:
    with pytest.raises(ConfigurationError, match="raise round_seconds"):
        policy(None, training=Training(seconds=30.0))
    with pytest.raises(ConfigurationError, match="every client weighs the same"):
        policy(None, training=Training(seconds=1.0), **PRIVATE)
    with pytest.raises(ConfigurationError, match="for some time"):
        Training(seconds=0.0)
