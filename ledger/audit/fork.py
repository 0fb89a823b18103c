"""Two members' copies of one local log: one is a beginning of the other, or its operator signed both branches of a fork."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.journal import Block, genesis_of
from middleware.errors import ConfigurationError


class Comparison(msgspec.Struct, frozen=True):
    """`common` blocks are the same in both copies. Where both go on, the next block of each is in `branches`: with the
    operator's signature under both, they prove the fork to anybody."""

    operator: bytes
    sizes: tuple[int, int]
    common: int
    branches: tuple[Block, ...] = ()

    @property
    def forked(self) -> bool:
        return bool(self.branches)

    def line(self) -> str:
        """The comparison in words."""
        if not self.forked:
            return f"one log: {self.sizes[0]} and {self.sizes[1]} blocks, the first {self.common} are the same"
        first, second = (f"0x{block.hash.hex()}" for block in self.branches)
        return (
            f"log forked at block {self.common}: its operator {self.operator.hex()} signed both {first} and {second}; keep both "
            "records, they prove it"
        )


def compare(first: Sequence[Block], second: Sequence[Block]) -> Comparison:
    """Of two copies that hold each for itself. ConfigurationError where they begin differently."""
    common = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a.hash != b.hash), None)
    if common == 0:
        raise ConfigurationError("the two records are of different logs: they begin with different blocks")
    operator, sizes = genesis_of(first[0]).operator, (len(first), len(second))
    if common is None:
        return Comparison(operator, sizes, min(sizes))
    return Comparison(operator, sizes, common, (first[common], second[common]))
