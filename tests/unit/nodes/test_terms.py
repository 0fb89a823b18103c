"""What `task show` and `audit task` say of a policy: every promise that is not as usual, and nothing else."""

from __future__ import annotations

from middleware.policy import CodecSpec, Grid, LocalPrivacy, Peers, Policy, Rule, Schedule
from nodes.cli.terms import terms

MEAN = Rule("mean", 0)


def said(**changes: object) -> list[tuple[str, str]]:
    return terms(Policy("digits", "mlp:1", 9, rule=MEAN, min_updates=1, **changes))  # type: ignore[arg-type]


def test_a_usual_task_has_nothing_to_add() -> None:
    assert said() == []


def test_every_promise_is_told() -> None:
    assert said(schedule=Schedule(arrivals=4, staleness="inverse")) == [
        ("schedule", "a round closes after 4 updates; staleness inverse, 64 rounds at most")
    ]
    assert said(schedule=Schedule(backup_devices=2)) == [
        ("schedule", "a round does not wait for 2 devices an edge and for 0 edges")
    ]
    assert said(peers=Peers("gosgd", every=8)) == [
        ("peers", "gosgd: an edge's model is its own, all meet every 8 rounds")
    ]
    codec = CodecSpec("auto", choices=(CodecSpec("none"), CodecSpec("int8")), upload_seconds=0.5)
    assert said(codec=codec) == [("codecs", "none, int8; an upload should take 0.5 s at most")]


def test_the_promise_of_privacy_is_told_with_its_budget() -> None:
    local = LocalPrivacy(epsilon=8_000_000, noise=512, bound=4096)
    policy = Policy("digits", "mlp:1", 9, rule=MEAN, min_updates=1, local=local, samples_cap=1, grid=Grid(24, -12))
    assert terms(policy) == [("privacy", "local, whole clients: epsilon 8 over the task, delta 1e-05")]
