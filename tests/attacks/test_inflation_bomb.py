"""A device sends few bytes that would inflate to many."""

from __future__ import annotations

import tracemalloc

import pytest
import zstandard

from middleware.maths.compress import decode
from middleware.maths.compress.symbols import BUCKET

NUMBERS = 100_000
PACKED = NUMBERS // 5  # bytes that a vector of three-level symbols takes


def bomb(told: int, inflates_to: int) -> bytes:
    """A payload whose frame says `told` bytes and holds another number of zeros."""
    frame = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(inflates_to)))
    place = bytes(frame).index(inflates_to.to_bytes(4, "little"))
    frame[place : place + 4] = told.to_bytes(4, "little")
    return (1).to_bytes(4, "little") * -(-NUMBERS // BUCKET) + b"\1" + bytes(frame)


@pytest.mark.parametrize("told", [PACKED, 50 << 20])
def test_a_bomb_is_refused_as_off_grid_bytes_without_being_inflated(told: int) -> None:
    payload = bomb(told, 50 << 20)
    assert len(payload) < PACKED
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="do not inflate|bytes of symbols"):
            decode("terngrad", payload, NUMBERS, 16)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * NUMBERS
