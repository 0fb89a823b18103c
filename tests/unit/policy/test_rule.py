"""Rules by name: what is one, what each needs, and what it goes together with."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from ledger import calls
from middleware.errors import ConfigurationError
from middleware.maths import aggregate
from middleware.maths import server as formulas
from middleware.maths.aggregate import mixing
from middleware.policy import Policy, Rule, Server, combinations
from middleware.policy.rule import BUCKET, KINDS, MIXERS, SCREENS
from middleware.policy.server import ALPHA_ONE, SERVER_STEPS
from middleware.types import LIMITS
from middleware.wire.policy import decode_policy, encode_policy

NAMES = [
    *KINDS,
    *(f"{mixer}+{name}" for mixer in MIXERS for name, kind in KINDS.items() if kind.mixes),
    *(f"{screen}:{name}" for screen in SCREENS for name, kind in KINDS.items() if not kind.remembers),
]
SCORES = {"pay": "scores", "epoch_rounds": 5, "evaluation": "ab" * 32, "evaluation_slices": 4}


def policy(rule: Rule, **changes: object) -> Policy:
    slices = {"evaluation": "ab" * 32, "evaluation_slices": 4} if rule.measures else {}
    fields = {"workload": "digits", "model": "mlp:4-2", "parameters": 10, "min_updates": rule.least_updates}
    return Policy(**{**fields, "rule": rule, **slices, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "f", "least"),
    [
        ("mean", 3, 1), ("median", 3, 7), ("trimmed-mean", 3, 7), ("krum", 3, 9), ("multi-krum", 3, 9), ("bulyan", 3, 15),
        ("geometric-median", 3, 7), ("centred-clipping", 3, 7), ("nnm+median", 3, 7), ("nnm+krum", 3, 9), ("nnm+mean", 3, 7),
        ("bucketing+median", 3, 13), ("bucketing+krum", 3, 17), ("fang-err:mean", 3, 7), ("fang-lfr:krum", 3, 12),
    ],
)  # fmt: skip
def test_the_least_number_of_updates_is_the_one_of_the_papers_bound(name: str, f: int, least: int) -> None:
    assert Rule(name, f).least_updates == least


@pytest.mark.parametrize(
    "name",
    ["", "meen", "nnm", "nnm+", "nnm+meen", "+mean", "mean+nnm", "nnm+nnm+mean", "nnm+afa", "bucketing+contra", "fang-err",
     "fang-err:", "fang-err:afa", "fang-err:centred-clipping", "fang-err:nnm+mean", "nnm+fang-err:mean", "fang:mean", "mean "],
)  # fmt: skip
def test_a_name_that_no_rule_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="aggregator"):
        Rule(name, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_stands_in_a_policy_that_keeps_its_bytes(name: str) -> None:
    made = policy(Rule(name, 1))
    assert decode_policy(encode_policy(made)) == made


@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_refuses_no_policy_can_ask_for(name: str) -> None:
    """The table is the one that is asked: a no in a column raises, and says the very words."""
    rule = Rule(name, 1)
    asked: dict[str, dict[str, object]] = {
        "flat": {}, "two-level": {"arrangement": "two-level"}, "server": {"server": Server("momentum")}, "scores": SCORES,
    }  # fmt: skip
    for column, changes in asked.items():
        why = combinations.refusal(rule, column)
        if why:
            with pytest.raises(ConfigurationError) as caught:
                policy(rule, **changes)
            assert str(caught.value) == why
        else:
            assert policy(rule, **changes).rule == rule


def test_the_table_and_the_rules_agree() -> None:
    """The policy states bounds and kinds a second time: here they are held against the functions."""
    assert (tuple(KINDS), MIXERS, SCREENS, BUCKET) == (
        tuple(aggregate.RULES), aggregate.MIXERS, aggregate.SCREENS, mixing.BUCKET,
    )  # fmt: skip
    assert {name for name, kind in KINDS.items() if kind.linear} == set(aggregate.LINEAR)
    for name in NAMES:
        for f in range(5):
            assert Rule(name, f).least_updates == aggregate.least_updates(name, f)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_rule_leaves_is_what_the_table_says_that_it_carries(name: str) -> None:
    rows = [np.array([index, -index, 3, 40 * index], np.int16) for index in range(16)]
    given = aggregate.Given(tuple(range(3, 19)), b"s" * 32, aggregate.Memory(), lambda moved: (0.5, float(moved[0])))
    left = aggregate.aggregate(name, rows, [1] * 16, 1, given).memory
    rule = Rule(name, 1)
    assert (left.centre is not None) == rule.carries_vector
    assert bool(left.standing) == (rule.remembers and not rule.carries_vector)


def test_too_few_updates_for_the_bound_are_refused() -> None:
    for name in NAMES:
        rule = Rule(name, 2)
        if rule.least_updates > 1:
            with pytest.raises(ConfigurationError, match="raise it, or lower f"):
                policy(rule, min_updates=rule.least_updates - 1)


def test_a_rule_that_measures_is_refused_without_data_of_the_servers() -> None:
    for screen in SCREENS:
        with pytest.raises(ConfigurationError, match="measures on the server's own data"):
            policy(Rule(f"{screen}:mean", 1), evaluation="", evaluation_slices=0)
    with pytest.raises(ConfigurationError, match="belong to pay = scores, and to rules that measure"):
        policy(Rule("krum", 1), evaluation="ab" * 32, evaluation_slices=4)


def test_scores_go_with_no_server_step() -> None:
    with pytest.raises(ConfigurationError, match="use no server step, or --pay participation"):
        policy(Rule("mean", 0), server=Server("momentum"), **SCORES)


@pytest.mark.parametrize(
    ("name", "judged"),
    [
        ("mean", calls.LINEAR), ("multi-krum", calls.LINEAR), ("krum", calls.LINEAR), ("geometric-median", calls.LINEAR),
        ("median", calls.MEDIAN), ("trimmed-mean", calls.TRIMMED_MEAN), ("bulyan", calls.REPLAY), ("nnm+median", calls.REPLAY),
        ("nnm+mean", calls.REPLAY), ("centred-clipping", calls.REPLAY), ("sign-majority", calls.REPLAY),
        ("fang-err:mean", calls.REPLAY), ("bucketing+trimmed-mean", calls.REPLAY),
    ],
)  # fmt: skip
def test_the_ledger_is_told_what_it_can_judge(name: str, judged: int) -> None:
    made = calls.CreateTask.of(1, 0, bytes(32), policy(Rule(name, 1)))
    assert (made.rule, made.trim) == (judged, 1 if judged == calls.TRIMMED_MEAN else 0)


def test_two_levels_are_judged_as_two_levels() -> None:
    assert (
        calls.CreateTask.of(1, 0, bytes(32), policy(Rule("mean", 0), arrangement="two-level")).rule == calls.TWO_LEVELS
    )


def test_the_table_has_a_row_for_every_rule_and_every_step_before_one() -> None:
    names = [row["rule"] for row in combinations.rows()]
    assert names == [*KINDS, *(f"{mixer}+RULE" for mixer in MIXERS), *(f"{screen}:RULE" for screen in SCREENS)]
    assert len({len(row) for row in combinations.rows()}) == 1


# --------------------------------------------------------------------------------------------------------- the server step


def test_the_server_steps_are_the_formulas() -> None:
    assert set(SERVER_STEPS) == set(formulas.VECTORS) and ALPHA_ONE == formulas.ALPHA_ONE
    for kind, count in formulas.VECTORS.items():
        assert Server(kind, alpha=128 if kind == "step" else 256).vectors == count


def test_what_is_carried_fits_a_blob() -> None:
    large = {"parameters": LIMITS.parameters}
    assert policy(Rule("mean", 0), server=Server("momentum"), **large).parameters == LIMITS.parameters
    for rule, server in ((Rule("mean", 0), Server("adam")), (Rule("centred-clipping", 1), Server("momentum"))):
        with pytest.raises(ConfigurationError, match="does not fit a blob, at most"):
            policy(rule, server=server, **large)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "sgd"}, {"kind": "step"}, {"kind": "step", "alpha": 0}, {"kind": "step", "alpha": 257},
        {"kind": "step", "alpha": 128, "rate": 0.5}, {"kind": "momentum", "alpha": 128}, {"kind": "momentum", "rate": 0.0},
        {"kind": "momentum", "beta1": 1.0}, {"kind": "momentum", "beta2": 0.9}, {"kind": "adagrad", "beta2": 0.9},
        {"kind": "adam", "tau": 0.0}, {"kind": "adam", "rate": float("nan")}, {"kind": "yogi", "beta1": -0.1},
    ],
)  # fmt: skip
def test_an_impossible_server_step_cannot_be_built(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Server(**fields)  # type: ignore[arg-type]


def test_a_policy_without_a_server_step_keeps_its_bytes() -> None:
    made = policy(Rule("mean", 0))
    assert b"server" not in encode_policy(made)
    stepped = msgspec.structs.replace(made, server=Server("adam", rate=0.1))
    assert b'"server":{"alpha":256,"beta1":0.9' in encode_policy(stepped)
    assert decode_policy(encode_policy(stepped)) == stepped
