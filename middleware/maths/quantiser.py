"""Quantisers of few levels for numbers whose distribution is known: little distortion at little information.

Cohen, Choi and Bajic 2020 ("Lightweight compression of neural network feature tensors", sections 3 and 4): numbers are clipped
to a range that is worth keeping, then rounded to a few levels whose borders take into account what naming a level costs,

    border between levels i and i + 1   (r_i + r_(i+1)) / 2 + weight (bits_(i+1) - bits_i) / (2 (r_(i+1) - r_i))

with bits_i = -log2 of the share of level i, and r_i the mean of the numbers there (entropy-constrained Lloyd; Chou, Lookabaugh
and Gray 1989, equation 7). The lowest and the highest level stay at the ends of the range, as in the paper: clipping is then
the only error beyond them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

MOST_LEVELS: Final = 16
ROUNDS: Final = 40  # of Lloyd's iteration
RAREST_BITS: Final = 24.0  # what a level that nobody uses counts as


class Quantiser(NamedTuple):
    """`values` (levels,) ascending float32, `borders` (levels - 1,) between them."""

    values: npt.NDArray[np.float32]
    borders: npt.NDArray[np.float32]

    @property
    def levels(self) -> int:
        return len(self.values)

    def symbols(self, numbers: Floats) -> npt.NDArray[np.uint8]:
        """The level of each number, in the numbers' shape. A number on a border belongs to the level above."""
        found = np.searchsorted(self.borders, np.asarray(numbers, np.float32).reshape(-1), side="right")
        return found.astype(np.uint8).reshape(np.shape(numbers))


def designed(numbers: Floats, levels: int, weight: float, tail: float = 0.001) -> Quantiser:
    """A quantiser for numbers like these, `weight` squared units a bit. The range leaves out the share `tail` of the numbers at
    either end. ValueError for numbers that are all alike, and for other than 2 to `MOST_LEVELS` levels."""
    if not 2 <= levels <= MOST_LEVELS:
        raise ValueError(f"{levels} levels: 2 to {MOST_LEVELS}")
    flat = np.sort(np.asarray(numbers, np.float64).reshape(-1))
    low, high = np.quantile(flat, [tail, 1 - tail])
    if not high > low:
        raise ValueError("numbers that are all alike need no quantiser")
    values, bits = np.linspace(low, high, levels), np.full(levels, np.log2(levels))
    sums = np.concatenate([[0.0], np.cumsum(flat)])
    for _ in range(ROUNDS):
        borders = _borders(values, bits, weight)
        ends = np.concatenate([[0], np.searchsorted(flat, borders), [len(flat)]])
        counts = np.diff(ends)
        means = np.diff(sums[ends]) / np.maximum(counts, 1)
        values[1:-1] = np.where(counts > 0, means, values)[1:-1]
        values = np.maximum.accumulate(values)
        bits = np.minimum(-np.log2(np.maximum(counts, 1e-12) / len(flat)), RAREST_BITS)
    return Quantiser(values.astype(np.float32), _borders(values, bits, weight).astype(np.float32))


def information(symbols: npt.NDArray[np.uint8]) -> float:
    """Bits a symbol, if each was drawn by itself: the entropy of their shares."""
    shares = np.bincount(symbols.reshape(-1)) / max(1, symbols.size)
    used = shares[shares > 0]
    return float(-(used * np.log2(used)).sum())


def _borders(values: npt.NDArray[np.float64], bits: npt.NDArray[np.float64], weight: float) -> npt.NDArray[np.float64]:
    steps = np.maximum(np.diff(values), 1e-12)
    found = (values[1:] + values[:-1]) / 2 + weight * np.diff(bits) / (2 * steps)
    return np.maximum.accumulate(np.clip(found, values[0], values[-1]))
