"""How the rules walk over a matrix of updates: columns in blocks that stay in the cache, on two threads where it pays.

A span of columns belongs to one thread and each column's result to one span, so the threads cannot change a result;
what is added over spans is integers. numpy lets go of the interpreter's lock in its loops. Threads live as long as one
call: to start two costs some 100 microseconds, which a matrix of `LARGE` elements takes many times over, and nothing is
left behind that a forked process could trip over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from middleware.maths.aggregate.given import Rows

THREADS: Final = 2
LARGE: Final = 1 << 21  # elements of a matrix from which on threads pay
BLOCK_BYTES: Final = 4 << 20  # of a block as it is worked on: near a core, and large enough that calls cost little
ALIGNED: Final = 64  # columns: spans and blocks start at a multiple of it

T = TypeVar("T")


def in_spans(work: Callable[[int, int], T], count: int, length: int) -> list[T]:
    """What `work(first, end)` gives for each span of columns, in the order of the spans; one span for small matrices."""
    if count * length < LARGE:
        return [work(0, length)]
    width = -(-length // (THREADS * ALIGNED)) * ALIGNED
    starts = range(0, length, width)
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda start: work(start, min(start + width, length)), starts))


def blocks(first: int, end: int, width: int) -> Iterator[slice]:
    """The columns from `first` to `end`, at most `width` at once."""
    for start in range(first, end, width):
        yield slice(start, min(start + width, end))


def columns_that_fit(count: int, itemsize: int) -> int:
    """How many columns of `count` rows of this item size make a block."""
    return max(ALIGNED, BLOCK_BYTES // (count * itemsize) // ALIGNED * ALIGNED)


def gather(rows: Rows, part: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The columns `part` of the rows, as `out`'s type, in the first columns of `out` (n, at least that many)."""
    block = out[:, : part.stop - part.start]
    if isinstance(rows, np.ndarray):
        block[...] = rows[:, part]
    else:
        for line, row in zip(block, rows, strict=True):
            line[...] = row[part]
    return block


def largest_of(rows: Rows) -> int:
    """A bound on the magnitude of every element: that of the type where it is narrow, else the true one."""
    kind = rows.dtype if isinstance(rows, np.ndarray) else np.result_type(*{row.dtype for row in rows})
    if kind.itemsize <= 2:
        return 1 << (8 * kind.itemsize - 1)
    return max((max(int(row.max()), -int(row.min())) for row in rows if row.size), default=0)
