"""What a task promises about the privacy of its clients' contents."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import msgspec

from middleware.errors import require

NOISE_ONE: Final = 256
MICRO: Final = 1_000_000
MOST_VARIANCE: Final = 1 << 48  # what `maths.privacy.noise` can draw
RATE_ONE: Final = 65_536
MOST_STEPS: Final = 10_000  # a round
DEVIATIONS: Final = 6  # of noise that a grid must have room for beside the update


def _require_claim(epsilon: int, noise: int, delta: float) -> None:
    require(0 < epsilon <= 1000 * MICRO, "epsilon is above 0 and at most 1000")
    require(0 < noise <= 1000 * NOISE_ONE, f"noise {noise}: 1 to {1000 * NOISE_ONE}, in parts of {NOISE_ONE}")
    require(0 < delta < 0.01, f"delta {delta}: above 0, and well below one over the number of those protected")


def _require_noised_bound(bound: int, variance: int) -> None:
    require(bound > 0, "the bound of an update is at least one unit of the grid")
    require(variance <= MOST_VARIANCE, "noise times bound is at most 2**24 units of the grid: use a coarser grid")


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
        _require_claim(self.epsilon, self.noise, self.delta)
        _require_noised_bound(self.bound, self.variance)
        require(0 < self.clients < 1 << 32, "the sum is divided by the expected number of clients, at least 1")
        digits = len(self.commitment) == 64 and set(self.commitment) <= set("0123456789abcdef")
        require(digits, "the commitment to the noise's secret has 64 hex digits")

    @property
    def variance(self) -> int:
        """Of the noise, in units of the grid squared, rounded up."""
        return _variance(self.noise, self.bound)

    @property
    def mechanism(self) -> tuple[Fraction, int]:
        """(the rate at which those protected are drawn, releases a round)."""
        return Fraction(1), 1


class LocalPrivacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Local differential privacy of whole clients: each device cuts its update to `bound` and adds noise of its own before
    anything leaves it. Nobody is trusted; neighbours are as for `Privacy`."""

    epsilon: int  # millionths, over the whole task
    noise: int  # the noise multiplier's numerator of 256
    bound: int  # L2 length of one update, in units of the grid
    delta: float = 1e-5

    def __post_init__(self) -> None:
        _require_claim(self.epsilon, self.noise, self.delta)
        _require_noised_bound(self.bound, self.variance)

    @property
    def variance(self) -> int:
        """Of each device's noise, in units of the grid squared, rounded up."""
        return _variance(self.noise, self.bound)

    @property
    def room(self) -> int:
        """The magnitude that a grid must hold: an update, and noise that is passed once in a billion draws."""
        return self.bound * (NOISE_ONE + DEVIATIONS * self.noise) // NOISE_ONE

    @property
    def mechanism(self) -> tuple[Fraction, int]:
        """(the rate at which those protected are drawn, releases a round)."""
        return Fraction(1), 1


class RecordPrivacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Differential privacy of single records by DP-SGD on each device (Abadi et al. 2016, algorithm 1): every step draws each
    record with a probability, cuts each drawn one's gradient to `clip`, and adds noise to their sum.

    Neighbours are data sets of one device that differ by one record. How many records a device has is declared, not hidden.
    """

    epsilon: int  # millionths, over the whole task, for a device that is in every round
    noise: int  # the noise multiplier's numerator of 256: its standard deviation is noise / 256 * clip
    clip: float  # L2 length of one record's gradient
    rate: int  # the probability to be drawn in a step, numerator of 65,536
    steps: int  # a round
    delta: float = 1e-5

    def __post_init__(self) -> None:
        _require_claim(self.epsilon, self.noise, self.delta)
        require(self.clip > 0, f"clip {self.clip}: the bound of a record's gradient is above 0")
        require(0 < self.rate <= RATE_ONE, f"rate {self.rate}: 1 to {RATE_ONE}, in parts of {RATE_ONE}")
        require(0 < self.steps <= MOST_STEPS, f"steps {self.steps}: 1 to {MOST_STEPS} a round")

    @property
    def mechanism(self) -> tuple[Fraction, int]:
        """(the rate at which those protected are drawn, releases a round)."""
        return Fraction(self.rate, RATE_ONE), self.steps


Promise = Privacy | LocalPrivacy | RecordPrivacy


def _variance(noise: int, bound: int) -> int:
    return -(-((noise * bound) ** 2) // NOISE_ONE**2)
