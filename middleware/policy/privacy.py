"""What a task promises about the privacy of its clients' contents."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

NOISE_ONE: Final = 256
MICRO: Final = 1_000_000
MOST_VARIANCE: Final = 1 << 48  # what `maths.privacy.noise` can draw


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Central differential privacy of whole clients: every update is cut to `bound`, the cloud adds noise to their sum.

    Neighbours are two runs in which one client's updates are what they are, or zero: who took part stands on the ledger,
    what it sent is protected. All clients take part in every round, so no sampling makes the claim smaller.
    """

    epsilon: int  # millionths, over the whole task
    noise: int  # the noise multiplier's numerator of 256: its standard deviation is noise / 256 * bound
    bound: int  # L2 length of one update, in units of the grid
    clients: int  # what the sum is divided by in every round, whoever came
    commitment: str  # SHA-256 of the noise's secret, in hex
    delta: float = 1e-5

    def __post_init__(self) -> None:
        require(0 < self.epsilon <= 1000 * MICRO, "epsilon is above 0 and at most 1000")
        require(
            0 < self.noise <= 1000 * NOISE_ONE, f"noise {self.noise}: 1 to {1000 * NOISE_ONE}, in parts of {NOISE_ONE}"
        )
        require(self.bound > 0, "the bound of an update is at least one unit of the grid")
        require(
            self.variance <= MOST_VARIANCE, "noise times bound is at most 2**24 units of the grid: use a coarser grid"
        )
        require(0 < self.clients < 1 << 32, "the sum is divided by the expected number of clients, at least 1")
        require(0 < self.delta < 0.01, f"delta {self.delta}: above 0, and well below one over the number of clients")
        digits = len(self.commitment) == 64 and set(self.commitment) <= set("0123456789abcdef")
        require(digits, "the commitment to the noise's secret has 64 hex digits")

    @property
    def variance(self) -> int:
        """Of the noise, in units of the grid squared, rounded up."""
        return -(-((self.noise * self.bound) ** 2) // NOISE_ONE**2)
