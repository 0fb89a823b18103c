"""Whom a round waits for."""

from __future__ import annotations

import msgspec

from middleware.errors import require


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backup workers, tier by tier (Chen et al. 2016): a round waits for all but so many of the devices below each edge, and
    for all but so many edges. Who comes later is refused by the round's number and keeps what it learned for the next one."""

    backup_devices: int = 0
    backup_edges: int = 0

    def __post_init__(self) -> None:
        require(self.backup_devices >= 0 and self.backup_edges >= 0, "the number of backups cannot be negative")
        require(self.backup_devices + self.backup_edges > 0, "a schedule without backups is the default: leave it out")
