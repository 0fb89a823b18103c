"""Inner products and squared distances between updates, exact, at the speed of a matrix product.

A float64 product of integers is exact while every partial sum stays below 2**53, so the columns are cut into blocks that
keep it there, and the blocks are added as integers. `block @ block.T` is computed as what it is, a symmetric product, which
is half the work of a general one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from middleware.maths.aggregate.blocks import blocks, columns_that_fit, gather, in_spans, largest_of
from middleware.maths.aggregate.given import Rows

Products = npt.NDArray[Any]


def gram(rows: Rows) -> Products:
    """All inner products (n, n) of n integer rows, exact: int64, or Python integers where 64 bits may not do."""
    count, length, largest = len(rows), len(rows[0]), max(1, largest_of(rows))
    fits = 4 * largest * largest * length * count < 1 << 63  # four times: a difference is 2 * largest at most
    exact = max(1, (1 << 53) // (largest * largest) - 1)

    def work(first: int, end: int) -> Products:
        width = max(1, min(columns_that_fit(count, 8), exact, end - first))
        buffer, products = np.empty((count, width)), np.zeros((count, count), np.int64 if fits else object)
        for part in blocks(first, end, width):
            block = gather(rows, part, buffer)
            found = (block @ block.T).astype(np.int64)
            products += found if fits else found.astype(object)
        return products

    parts = in_spans(work, count, length)
    products = parts[0]
    for part in parts[1:]:
        products += part
    return products


def squared_distances(rows: Rows) -> Products:
    """||row_i - row_j||**2 for all pairs (n, n), exact, by way of the Gram matrix."""
    return distances_of(gram(rows))


def distances_of(products: Products) -> Products:
    """The squared distances (n, n) between vectors that have these inner products (n, n)."""
    norms = np.diagonal(products)
    return np.asarray(norms[:, None] + norms[None, :] - 2 * products)
