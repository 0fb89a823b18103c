"""The integer grid: every number that is aggregated is an integer times one power of two.

An update u becomes q = round(u / 2**exponent), cut off at +-(2**(bits-1) - 1), so the most negative integer of two's
complement is never on the grid and negation never leaves it. Scaling by a power of two is exact in IEEE 754, rounding
is to nearest even, and the way back is one multiplication and one addition an element: no step depends on the order of
elements or on the processor, so `apply` gives the same bits anywhere. Work goes in blocks that stay in the cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float32]

BLOCK: Final = 1 << 16  # elements


def limit(bits: int) -> int:
    """The largest magnitude on a grid of `bits` bits."""
    return (1 << (bits - 1)) - 1


def dtype(bits: int) -> np.dtype[np.signedinteger[Any]]:
    """The array type that holds a grid of `bits` bits: int16 up to 16, else int32."""
    return np.dtype(np.int16 if bits <= 16 else np.int32)


def to_grid(update: npt.NDArray[np.floating[Any]], bits: int, exponent: int) -> tuple[Integers, int]:
    """(integers (d,), how many were cut off at the limit) of a float vector (d,).

    Raises ValueError when an element is not finite: such an update has no place on any grid.
    """
    scale, largest = update.dtype.type(2.0**-exponent), limit(bits)
    integers = np.empty(update.shape, dtype(bits))
    saturated = 0
    for start in range(0, update.size, BLOCK):
        part = update[start : start + BLOCK]
        if not np.isfinite(part).all():
            raise ValueError("the update is not finite: training diverged")
        with np.errstate(over="ignore"):  # an overflow is infinite here, and cut off below like every large value
            scaled = np.rint(part * scale)
        saturated += int(np.count_nonzero(np.abs(scaled) > largest))
        integers[start : start + BLOCK] = np.clip(scaled, -largest, largest, out=scaled)
    return integers, saturated


def from_grid(integers: Integers, exponent: int) -> Floats:
    """The float32 vector (d,) that `integers` (d,) stand for; exact up to 24 bits."""
    values: Floats = integers.astype(np.float32)
    values *= np.float32(2.0**exponent)
    return values


def on_grid(integers: Integers, bits: int) -> bool:
    """Whether every element's magnitude is within the grid's limit."""
    if integers.size == 0:
        return True
    return int(integers.max()) <= limit(bits) and int(integers.min()) >= -limit(bits)


def apply(model: Floats, aggregate: Integers, exponent: int) -> Floats:
    """The new model (d,): model + float32(aggregate) * float32(2**exponent), each operation rounded once in float32."""
    if model.dtype != np.float32 or model.shape != aggregate.shape:
        raise ValueError(f"{aggregate.shape} numbers do not move a model of {model.dtype} {model.shape}")
    step = np.float32(2.0**exponent)
    moved = np.empty_like(model)
    for start in range(0, model.size, BLOCK):
        part = slice(start, start + BLOCK)
        np.multiply(aggregate[part].astype(np.float32), step, out=moved[part])
        np.add(model[part], moved[part], out=moved[part])
    return moved
