"""Rules in a task on real processes: what is remembered and what is measured holds in front of the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.demo import Progress, run_demo
from devnet.fleet import Shape
from tests.system.test_demo import check, small

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.mark.parametrize("rule", ["afa", "centred-clipping", "nnm+trimmed-mean", "fang-lfr:mean"])
async def test_a_task_under_this_rule_trains_and_passes_the_audit(tmp_path: Path, rule: str) -> None:
    choices = small(rounds=3, aggregator=rule)
    report = await run_demo(Shape(devices=6, liars=1, split="iid"), choices, tmp_path, Progress(), on="local")
    check(report, 3)
    assert report["policy"]["rule"] == {"f": 1, "name": rule}
    assert report["accuracy"][-1] > 0.6
