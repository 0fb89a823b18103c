"""Variants that share their numbers: what a switch moves, and who runs which."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.maths import variants
from middleware.maths.nested import held
from middleware.maths.variants import App, Variant

WIDE = [(8, 6), (8,), (4, 8)]
NARROW = {2: [(2, 6), (2,), (4, 2)], 4: [(4, 6), (4,), (4, 4)], 8: WIDE}
TABLE = tuple(Variant(0.6 + 0.05 * width, 1000 * width, 2.0 * width) for width in (1, 2, 4, 6))


def world(seed: int) -> tuple[list[App], int]:
    """Three to five apps of two to five variants, and memory for some of what they would like."""
    generator = np.random.default_rng(seed)
    apps = []
    for _ in range(int(generator.integers(3, 6))):
        count = int(generator.integers(2, 6))
        accuracy, size = np.sort(generator.uniform(0.5, 0.99, count)), np.sort(generator.integers(10, 1000, count))
        ms = np.sort(generator.uniform(1, 80, count))
        table = (Variant(float(a), int(b), float(c)) for a, b, c in zip(accuracy, size, ms, strict=True))
        apps.append(App(tuple(table), float(generator.uniform(1, 10))))
    smallest = sum(app.variants[0].bytes for app in apps)
    largest = sum(app.variants[-1].bytes for app in apps)
    return apps, int(generator.uniform(smallest, largest))


def test_nestdnn_a_narrow_variant_is_the_same_numbers_as_in_the_wide_one() -> None:
    wide = np.random.default_rng(0).normal(size=sum(int(np.prod(shape)) for shape in WIDE)).astype(np.float32)
    pieces = np.split(wide, np.cumsum([int(np.prod(shape)) for shape in WIDE])[:-1])
    for width, shapes in NARROW.items():
        corners = [
            piece.reshape(whole)[tuple(map(slice, part))].reshape(-1)
            for piece, whole, part in zip(pieces, WIDE, shapes, strict=True)
        ]
        alone = np.concatenate(corners)
        everywhere = np.ones(len(alone), bool)
        assert variants.shared_digest(wide, held(WIDE, shapes)) == variants.shared_digest(alone, everywhere), width


def test_nestdnn_a_switch_moves_the_difference_and_nothing_to_go_narrower() -> None:
    masks = {width: held(WIDE, shapes) for width, shapes in NARROW.items()}
    numbers = {width: int(mask.sum()) for width, mask in masks.items()}
    assert variants.switch_bytes(masks[2], masks[8]) == 4 * (numbers[8] - numbers[2])
    assert variants.switch_bytes(masks[8], masks[2]) == 0
    nothing = np.zeros_like(masks[2])
    assert variants.switch_bytes(nothing, masks[4]) == 4 * numbers[4]


@pytest.mark.parametrize("goal", ["total", "worst"])
def test_nestdnn_greedy_is_within_five_per_cent_of_trying_every_choice(goal: variants.Goal) -> None:
    answered = 0
    for seed in range(150):
        apps, memory = world(seed)
        time = 1.5
        try:
            best = variants.exhaustive(apps, memory, time, goal)
        except ValueError:
            with pytest.raises(ValueError, match="admit fewer apps"):
                variants.greedy(apps, memory, time, goal)
            continue
        found = variants.greedy(apps, memory, time, goal)
        answered += 1
        assert variants.fits(apps, found, memory, time)
        share = 1.0 if goal == "worst" else 0.95
        assert variants.worth(apps, found, goal) >= share * variants.worth(apps, best, goal)
    assert answered > 60


def test_run_time_adaptive_width_falls_within_three_requests_of_a_capped_processor_and_rises_again() -> None:
    pace, chosen = 1.0, []
    for capped in [False] * 3 + [True] * 4 + [False] * 6:
        at = variants.within(TABLE, pace, deadline_ms=12.5)
        chosen.append(at)
        pace = variants.paced(pace, TABLE[at].ms * (3.0 if capped else 1.0), TABLE[at].ms)
    assert chosen[:3] == [3, 3, 3]
    assert chosen[5] <= 1 and TABLE[chosen[6]].ms * 3 <= 12.5  # the third request of the capped processor, and after
    assert chosen[-1] == 3
    assert variants.within(TABLE, 100.0, 12.5) == 0
