"""How a task's devices train."""

from __future__ import annotations

import math

import msgspec

from middleware.errors import require


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Local training: SGD with momentum, `epochs` passes in batches of `batch` samples.

    `proximal` is FedProx's mu (Li et al. 2020, equation 2): each step is also drawn back towards the round's model, mu times the
    distance. None is FedAvg.

    With `seconds` a device trains for that long instead of for `epochs`, and its update weighs as many samples as it got
    through (anytime minibatch, Ferdinand et al. 2019).
    """

    epochs: int = 5
    batch: int = 16
    learning_rate: float = 0.05
    momentum: float = 0.9
    proximal: float | None = None
    seconds: float | None = None  # of training in a round

    def __post_init__(self) -> None:
        require(self.epochs > 0 and self.batch > 0, "epochs and batch must be positive")
        require(
            0 < self.learning_rate < math.inf and 0 <= self.momentum < 1, "learning rate above 0, momentum in [0, 1)"
        )
        require(
            self.proximal is None or 0 < self.proximal < math.inf,
            f"proximal {self.proximal}: choose a mu above 0, or leave it out",
        )
        require(self.seconds is None or self.seconds > 0, f"seconds {self.seconds}: a device trains for some time")
