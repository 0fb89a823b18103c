"""Corners of wider models (catalogue of inference, 1.10: heterogeneous sub-models, HeteroFL)."""

from __future__ import annotations

import numpy as np
import pytest

from middleware.learn import models
from middleware.maths import nested
from middleware.policy.architecture import WIDTH_ONE, parse

NAMES = ["mlp:6-10-7-3", "cnn1d:16x2-6-9-4", "cnn2d:8x8x3-5-6-2"]


@pytest.mark.parametrize("name", NAMES)
def test_the_shapes_are_those_of_the_module(name: str) -> None:
    assert parse(name).parameters == tuple(tuple(one.shape) for one in models.build(name).parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [256, 200, 128, 64, 1])
def test_heterofl_a_narrow_models_vector_is_the_corners_of_the_wide_ones_in_order(name: str, width: int) -> None:
    whole, narrow = parse(name), parse(name).narrowed(width)
    vector = np.arange(models.count(name))
    mask = nested.held(whole.parameters, narrow.parameters)
    pieces, at = [], 0
    for wide, part in zip(whole.parameters, narrow.parameters, strict=True):
        tensor = vector[at : at + int(np.prod(wide))].reshape(wide)
        pieces.append(tensor[tuple(slice(size) for size in part)].reshape(-1))
        at += int(np.prod(wide))
    assert np.array_equal(vector[mask], np.concatenate(pieces))
    assert mask.sum() == models.count(narrow.name)
    assert (width == WIDTH_ONE) == bool(mask.all())
    assert np.array_equal(nested.widened(vector[mask], mask)[mask], vector[mask])


def test_heterofl_narrower_models_are_nested() -> None:
    masks = [
        nested.held(parse(NAMES[0]).parameters, parse(NAMES[0]).narrowed(width).parameters) for width in (256, 128, 64)
    ]
    assert (masks[2] <= masks[1]).all() and (masks[1] <= masks[0]).all()


def test_heterofl_each_place_is_averaged_over_those_who_hold_it() -> None:
    masks = {256: np.array([True, True, True, True]), 128: np.array([True, True, False, False])}
    sums = np.array([30, -10, 20, 7])  # weights: 2 whole, 3 narrow
    assert nested.divide_by_holders(sums, {256: 2, 128: 3}, masks).tolist() == [6, -2, 10, 4]
    assert nested.divide_by_holders(sums, {128: 3}, masks).tolist() == [10, -3, 0, 0]


def test_what_is_no_corner_is_refused() -> None:
    with pytest.raises(ValueError, match="no corner"):
        nested.held([(2, 3)], [(3, 3)])
