"""The bound on one client's influence: the L2 length of an update in units of the grid, decided in integers.

x * min(1, S/|x|), cut off towards zero, so that the result is never longer than S (McMahan et al. 2018, "Learning
Differentially Private Recurrent Language Models", section 2; the cutting is ours, rounding could pass the bound).
"""

from __future__ import annotations

import math

import numpy as np

from middleware.maths.grid import Integers


def squared_length(integers: Integers) -> int:
    """The exact sum of squares of a grid vector (d,) of at most 24 bits an element."""
    total = 0
    for start in range(0, integers.size, 1 << 16):
        part = integers[start : start + (1 << 16)].astype(np.int64)
        total += int(part @ part)
    return total


def within(integers: Integers, bound: int) -> bool:
    """Whether the vector (d,) is at most `bound` long, in units of the grid."""
    return squared_length(integers) <= bound * bound


def clip(integers: Integers, bound: int) -> Integers:
    """A vector (d,) of the same type in the same direction, at most `bound` long; the same vector if it already is."""
    if bound <= 0:
        raise ValueError(f"a bound of {bound}: a clipped update needs a positive length")
    squared = squared_length(integers)
    if squared <= bound * bound:
        return integers
    factor = bound / math.sqrt(squared)
    clipped: Integers = np.trunc(integers * (factor * (1 - 2.0**-40))).astype(
        integers.dtype
    )  # a quotient may err by 2**-52
    return clipped
