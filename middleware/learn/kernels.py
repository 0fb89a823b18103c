"""The heavy sums of the aggregation rules on a torch device, equal to `maths.aggregate` to the bit.

Everything is an integer, so no order of addition can change a result, on any device: int64 sums are exact, and a float64
product of integers is exact while every partial sum stays below 2**53, which is how inner products reach the speed of a
matrix unit. What moves is counted: rows cross to the device once, as the narrow integers that they are, from pinned
memory so that the copy of one block runs beside the work on the block before.

Columns go in blocks of a fixed number of bytes, so that the device holds two blocks and the result, and not the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.signedinteger[Any]]
Sums = npt.NDArray[np.int64]
Rows = Sequence[Integers] | Integers

BLOCK_BYTES: Final = 64 << 20  # of narrow integers that are on the device at once, twice
EXACT: Final = 1 << 53  # float64 holds every integer up to here


def weighted_sums(rows: Rows, weights: Sequence[int], device: str) -> Sums:
    """The int64 sums (d,) of n integer rows (d,) times n weights."""
    factors = torch.tensor(list(weights), dtype=torch.int64, device=device)[:, None]
    sums = np.empty(len(rows[0]), np.int64)
    for start, block in _blocks(rows, device):
        part = torch.zeros(block.shape[1], dtype=torch.int64, device=device)
        for row, factor in zip(block, factors, strict=True):
            part.addcmul_(row.to(torch.int64), factor)
        sums[start : start + block.shape[1]] = part.cpu().numpy()
    return sums


def gram(rows: Rows, device: str) -> npt.NDArray[np.int64]:
    """All inner products (n, n) of n integer rows. ValueError where 64 bits could overflow: use `maths.aggregate.gram`."""
    length = len(rows[0])
    largest = max(1, max(max(int(row.max()), -int(row.min())) for row in rows)) if length else 1
    if largest * largest * length >= 1 << 63:
        raise ValueError(f"inner products of {length} numbers up to {largest} do not fit 64 bits")
    products = torch.zeros((len(rows), len(rows)), dtype=torch.int64, device=device)
    columns = max(1, EXACT // (largest * largest) - 1)
    for _, block in _blocks(rows, device):
        for part in torch.split(block, columns, dim=1):
            wide = part.to(torch.float64)
            products += (wide @ wide.T).to(torch.int64)
    return products.cpu().numpy()


def middle(rows: Rows, low: int, high: int, device: str) -> Sums:
    """For each coordinate, the sum of its sorted values number low to high - 1: median and trimmed mean."""
    sums = np.empty(len(rows[0]), np.int64)
    for start, block in _blocks(rows, device):
        ordered = block.sort(dim=0).values
        sums[start : start + block.shape[1]] = ordered[low:high].sum(dim=0, dtype=torch.int64).cpu().numpy()
    return sums


def _blocks(rows: Rows, device: str) -> Iterator[tuple[int, Tensor]]:
    """(first column, the block (n, columns) on the device); the next block is on its way while one is worked on."""
    width = max(1, BLOCK_BYTES // (len(rows) * rows[0].itemsize))
    starts = range(0, len(rows[0]), width)
    ready: tuple[int, Tensor] | None = None
    for start in starts:
        coming = (start, _placed(np.stack([row[start : start + width] for row in rows]), device))
        if ready is not None:
            yield ready
        ready = coming
    if ready is not None:
        yield ready


def _placed(block: Integers, device: str) -> Tensor:
    tensor = torch.from_numpy(block)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
