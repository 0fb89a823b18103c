"""One answer of a session, and the sum over many."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
PARTS: Final = ("pre", "head", "encode", "transfer", "queue", "tail", "post")


class Reply(msgspec.Struct, frozen=True):
    """One answer: where it was made ("device", "exit@K", "edge", "cloud"), the way it went, milliseconds by part (`PARTS`), bytes
    both ways, joules by the model named in `joules_by`, the units it cost, and why it is not what was planned ("" if it is)."""

    logits: Floats
    tier: str
    way: str
    parts: tuple[float, ...]
    bytes_up: int
    bytes_down: int
    joules: float
    units: int
    degraded: str = ""
    joules_by: str = "model"

    @property
    def label(self) -> int:
        return int(np.argmax(self.logits))

    @property
    def ms(self) -> float:
        return math.fsum(self.parts)


class Tally:
    """What a session has done."""

    def __init__(self) -> None:
        self.requests = self.bytes_up = self.bytes_down = self.units = self.degraded = 0
        self.joules = 0.0
        self.answers: dict[str, int] = {}
        self.totals = dict.fromkeys(PARTS, 0.0)

    def add(self, reply: Reply) -> None:
        for name in (f"tier {reply.tier}", f"way {reply.way}"):
            self.answers[name] = self.answers.get(name, 0) + 1
        for name, ms in zip(PARTS, reply.parts, strict=True):
            self.totals[name] += ms
        self.requests += 1
        self.bytes_up += reply.bytes_up
        self.bytes_down += reply.bytes_down
        self.units += reply.units
        self.joules += reply.joules
        self.degraded += bool(reply.degraded)

    def report(self) -> dict[str, Any]:
        return {
            "requests": self.requests, "answers": dict(sorted(self.answers.items())),
            "mean_ms": {name: ms / max(1, self.requests) for name, ms in self.totals.items()},
            "bytes_up": self.bytes_up, "bytes_down": self.bytes_down, "joules": self.joules, "joules_by": "model",
            "units": self.units, "degraded": self.degraded,
        }  # fmt: skip
