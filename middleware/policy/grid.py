"""The grid that a task works on."""

from __future__ import annotations

import msgspec

from middleware.errors import require


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The integers that everything aggregated lives on: `bits` wide and signed, one unit worth 2**exponent."""

    bits: int = 16
    exponent: int = -12

    def __post_init__(self) -> None:
        require(8 <= self.bits <= 24, f"grid bits {self.bits}: choose 8 to 24")
        require(-60 <= self.exponent <= 20, f"grid exponent {self.exponent}: choose -60 to 20")

    @property
    def limit(self) -> int:
        """The largest magnitude on the grid, 2**(bits-1) - 1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        return float(2.0**self.exponent)

    @property
    def width(self) -> int:
        """Bytes of one integer where updates are committed."""
        return 2 if self.bits <= 16 else 4
