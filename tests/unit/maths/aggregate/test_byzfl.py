"""ByzFL's rules as an oracle, where the definitions are the same. Its Krum scores count n - f - 1 neighbours, one more than the
paper's, and its geometric median stops after three steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from devnet.bench.byzfl import byzfl
from middleware.maths.aggregate import aggregate, nearest_neighbour_mixing


@pytest.fixture(scope="module")
def peers() -> Any:
    try:
        return byzfl("aggregators")
    except ImportError:
        pytest.skip("ByzFL is not installed")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mean", "Average"),
        ("median", "Median"),
        ("trimmed-mean", "TrMean"),
    ],
)
def test_mean_median_and_trimmed_mean_equal_byzfl(ours: str, theirs: str, seed: int, peers: Any) -> None:
    rows = np.random.default_rng(seed).integers(-3000, 3001, (13, 200)).astype(np.int16)
    result = aggregate(ours, rows, [1] * 13, 3)
    rule = getattr(peers, theirs)(**({"f": 3} if theirs == "TrMean" else {}))
    np.testing.assert_allclose(result.sums / result.total, rule(rows.astype(np.float64)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_nnm_equals_byzfl(seed: int, peers: Any) -> None:
    rows = np.random.default_rng(seed).integers(-3000, 3001, (13, 200)).astype(np.int16)
    expected = peers.NNM(f=3)(rows.astype(np.float64))
    np.testing.assert_allclose(nearest_neighbour_mixing(rows, 3) / 10, expected, rtol=1e-9, atol=1e-9)
