from __future__ import annotations

import numpy as np
import pytest

from middleware.maths.partition import MINIMUM, deal

LABELS = np.random.default_rng(0).integers(0, 10, 1500)
CLIENTS = np.random.default_rng(1).integers(0, 30, 1500)


@pytest.mark.parametrize("split", ["iid", "dirichlet:0.05", "dirichlet:0.5", "dirichlet:1000", "client"])
@pytest.mark.parametrize("parts", [1, 2, 8, 25])
def test_every_sample_is_dealt_once_and_everybody_gets_the_minimum(split: str, parts: int) -> None:
    for seed in range(5):
        dealt = deal(split, LABELS, CLIENTS, parts, np.random.default_rng(seed))
        assert len(dealt) == parts
        assert np.array_equal(np.sort(np.concatenate(dealt)), np.arange(1500))
        assert min(map(len, dealt)) >= MINIMUM
        assert all((np.diff(part) > 0).all() for part in dealt)


@pytest.mark.parametrize("split", ["iid", "dirichlet:0.5", "client"])
def test_the_same_generator_deals_the_same(split: str) -> None:
    first, again = (deal(split, LABELS, CLIENTS, 8, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def skew(parts: list[np.ndarray]) -> float:
    """Mean share of the commonest class on a device."""
    return float(np.mean([np.bincount(LABELS[part]).max() / len(part) for part in parts]))


def test_a_smaller_concentration_skews_the_labels_more() -> None:
    skews = [
        skew(deal(split, LABELS, None, 8, np.random.default_rng(4)))
        for split in ("iid", "dirichlet:1", "dirichlet:0.1")
    ]
    assert skews[0] < skews[1] < skews[2]
    assert skews[2] > 2 * skews[0]


def test_a_client_is_never_divided_and_the_parts_are_level() -> None:
    dealt = deal("client", LABELS, CLIENTS, 8, np.random.default_rng(5))
    owners = [set(CLIENTS[part]) for part in dealt]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 30
    assert max(map(len, dealt)) < 1.6 * min(map(len, dealt))


def test_iid_parts_differ_by_at_most_one_sample() -> None:
    sizes = [len(part) for part in deal("iid", LABELS, None, 7, np.random.default_rng(6))]
    assert max(sizes) - min(sizes) == 1


@pytest.mark.parametrize(
    ("split", "parts", "message"),
    [
        ("dirichlet", 8, "dirichlet:0.5"),
        ("dirichlet:x", 8, "dirichlet:0.5"),
        ("dirichlet:0", 8, "above 0"),
        ("dirichlet:nan", 8, "above 0"),
        ("sorted", 8, "choose iid"),
        ("iid:2", 8, "choose iid"),
        ("iid", 200, "do not give 200 devices"),
        ("client", 31, "30 clients cannot be dealt"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_its_reason(split: str, parts: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deal(split, LABELS, CLIENTS, parts, np.random.default_rng(7))


def test_a_split_by_client_needs_to_know_the_clients() -> None:
    with pytest.raises(ValueError, match="no client column"):
        deal("client", LABELS, None, 8, np.random.default_rng(8))
