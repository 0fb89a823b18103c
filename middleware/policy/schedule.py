"""Whom a round waits for, and what an update counts that started from an older model."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from middleware.errors import require

STALENESS: Final = ("inverse", "polynomial")
STALEST: Final = 64  # rounds, unless the policy says otherwise
MOST_STALE: Final = 4096  # rounds: a policy may not allow more


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backup workers, tier by tier (Chen et al. 2016): a round waits for all but so many of the devices below each edge, and
    for all but so many edges. Who comes later is refused by the round's number and keeps what it learned for the next one.

    Or arrivals (buffered asynchronous, Nguyen et al. 2022; one arrival is asynchronous SGD): a round is closed once so many
    updates have reached the cloud, whoever sent them. Devices train at their own pace, so an update may start from the model
    of an older round; it is `staleness` that says what it counts then (`maths.schedule`), and `stalest` how many rounds old
    it may be at most. `compensation` is the strength with which devices move their gradient to the model of now (DC-ASGD).
    """

    backup_devices: int = 0
    backup_edges: int = 0
    arrivals: int | None = None
    staleness: str | None = None
    stalest: int | None = None
    compensation: float | None = None

    def __post_init__(self) -> None:
        require(self.backup_devices >= 0 and self.backup_edges >= 0, "the number of backups cannot be negative")
        backups = self.backup_devices + self.backup_edges
        if self.arrivals is None:
            unset = (self.staleness, self.stalest, self.compensation) == (None, None, None)
            require(
                unset,
                "no update is stale in a synchronous round: --staleness, --stalest and --compensation need --arrivals",
            )
            require(backups > 0, "a schedule without backups or arrivals is the default: leave it out")
            return
        require(self.arrivals > 0, f"arrivals {self.arrivals}: a round closes after one update at least")
        require(backups == 0, "a round that closes by arrivals waits for nobody in particular: leave the backups out")
        require(
            self.staleness is None or self.staleness in STALENESS,
            f"staleness {self.staleness!r}: choose one of {', '.join(STALENESS)}, or leave it out",
        )
        require(
            self.stalest is None or 0 <= self.stalest <= MOST_STALE,
            f"stalest {self.stalest}: 0 to {MOST_STALE} rounds",
        )
        require(
            self.compensation is None or 0 < self.compensation < math.inf,
            f"compensation {self.compensation}: choose a strength above 0, or leave it out",
        )

    @property
    def most_stale(self) -> int:
        """How many rounds before the open one an update may have started, at most."""
        return STALEST if self.stalest is None else self.stalest
