"""The guide to lies names every lie that can be told, and shows the table where the benchmark writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.bench import robustness
from middleware.maths import attack

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / robustness.GUIDE).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*attack.ATTACKS, *attack.IN_SAMPLES])
def test_the_guide_names_the_lie(name: str) -> None:
    assert any(line.startswith((f"| `{name}`", f"| `{name}[")) for line in GUIDE.splitlines())


def test_the_guide_has_one_place_for_the_table() -> None:
    assert GUIDE.count(robustness.BEGIN) == GUIDE.count(robustness.END) == 1
    assert GUIDE.index(robustness.BEGIN) < GUIDE.index(robustness.END)


def test_the_table_has_the_median_and_the_worst_seed_and_leaves_out_what_was_not_measured() -> None:
    found = {
        ("iid", "none", "mean"): [80.0, 90.0, 70.0],
        ("iid", "ipm:10", "mean"): [10.0, 9.0, 8.0],
        ("iid", "ipm:10", "median"): [60.0, 61.0, 62.0],
    }
    assert robustness.markdown(found).splitlines() == [
        "| split | lie | mean | median |",
        "|---|---|---:|---:|",
        "| iid | none | 80 (70) |  |",
        "| iid | ipm:10 | 9 (8) | 61 (60) |",
    ]
