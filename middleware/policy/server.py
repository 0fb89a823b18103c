"""What the cloud does with a round's aggregate before the model moves by it."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

SERVER_STEPS: Final = ("step", "momentum", "adagrad", "adam", "yogi")
ALPHA_ONE: Final = 256


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's step; formulas in `maths.server`. A policy without one moves the model by the aggregate itself.

    `alpha` (numerator of 256) belongs to "step", the other numbers to the other kinds; what does not belong keeps its default,
    so that one behaviour has one spelling.
    """

    kind: str = "step"
    alpha: int = ALPHA_ONE
    rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    @property
    def vectors(self) -> int:
        """How many float32 vectors as long as the model the step carries."""
        return {"step": 0, "momentum": 1}.get(self.kind, 2)

    def __post_init__(self) -> None:
        require(self.kind in SERVER_STEPS, f"server step {self.kind!r}: choose one of {', '.join(SERVER_STEPS)}")
        require(0 < self.alpha <= ALPHA_ONE, f"alpha {self.alpha}: 1 to {ALPHA_ONE}, the numerator of {ALPHA_ONE}")
        require(1e-6 <= self.rate <= 1e3, f"server rate {self.rate}: choose 1e-6 to 1000")
        require(0 <= self.beta1 <= 0.9999, f"beta1 {self.beta1}: choose 0 to 0.9999")
        require(0 <= self.beta2 <= 0.9999, f"beta2 {self.beta2}: choose 0 to 0.9999")
        require(1e-9 <= self.tau <= 1, f"tau {self.tau}: choose 1e-9 to 1")
        if self.kind == "step":
            unset = (self.rate, self.beta1, self.beta2, self.tau) == (1.0, 0.9, 0.99, 1e-3)
            require(unset, "rate, beta1, beta2 and tau belong to momentum, adagrad, adam and yogi; a step has alpha")
            require(self.alpha < ALPHA_ONE, "a step by the whole aggregate is what a task without a server step does")
            return
        require(self.alpha == ALPHA_ONE, f"alpha belongs to the server step called step; {self.kind} has a rate")
        require(self.kind != "momentum" or (self.beta2, self.tau) == (0.99, 1e-3), "momentum has no beta2 and no tau")
        require(self.kind != "adagrad" or self.beta2 == 0.99, "adagrad has no beta2")
