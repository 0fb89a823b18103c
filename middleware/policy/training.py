"""How a task's devices train."""

from __future__ import annotations

import msgspec

from middleware.errors import require


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Local training: plain SGD with momentum, `epochs` passes in batches of `batch` samples."""

    epochs: int = 5
    batch: int = 16
    learning_rate: float = 0.05
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require(self.epochs > 0 and self.batch > 0, "epochs and batch must be positive")
        require(self.learning_rate > 0 and 0 <= self.momentum < 1, "learning rate above 0, momentum in [0, 1)")
