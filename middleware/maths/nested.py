"""Vectors that are the corners of longer ones: which numbers a narrow model holds, and averages over those who hold them.

A narrow model's parameters are the upper left corners of the wide one's, so the numbers it holds are a fixed set of places in
the wide vector. Each place is averaged over the updates that hold it, by their weights (Diao, Ding and Tarokh 2021,
"HeteroFL", equation 2); one that nobody holds does not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Sums = npt.NDArray[np.int64]
Shapes = Sequence[tuple[int, ...]]


def held(wide: Shapes, narrow: Shapes) -> Mask:
    """bool (d,): the places of the wide vector that a narrow model of these shapes holds. ValueError for one that is no
    corner of the wide one."""
    pieces = []
    for whole, part in zip(wide, narrow, strict=True):
        if len(whole) != len(part) or any(few > many for few, many in zip(part, whole, strict=True)):
            raise ValueError(f"{part} is no corner of {whole}")
        mask = np.zeros(whole, np.bool_)
        mask[tuple(slice(size) for size in part)] = True
        pieces.append(mask.reshape(-1))
    return np.concatenate(pieces)


def widened(values: npt.NDArray[Any], mask: Mask) -> npt.NDArray[Any]:
    """(d,): `values` at the places of the mask, in order, and zeros elsewhere."""
    out = np.zeros(mask.shape, values.dtype)
    out[mask] = values
    return out


def divide_by_holders(sums: Sums, weights: Mapping[int, int], masks: Mapping[int, Mask]) -> Sums:
    """int64 (d,): each of `sums` over the weight of those that hold it, rounded to nearest, halves up; 0 where nobody does.
    `weights` and `masks` are by width."""
    total = np.zeros(sums.shape, np.int64)
    for width, weight in weights.items():
        total[masks[width]] += weight
    some = np.maximum(total, 1)
    out: Sums = np.where(total > 0, np.floor_divide(2 * sums + some, 2 * some), 0)
    return out
