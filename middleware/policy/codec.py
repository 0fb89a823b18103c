"""How a task's updates are compressed."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

SELECTIONS: Final = ("topk", "randomk", "gaussiank", "sidco")
CODECS: Final = (
    "none", "int8", "int4", *(f"{name}{values}" for name in SELECTIONS for values in ("", "+int8", "+int4")), "dgc", "digital",
    "terngrad", "qsgd", "sign",
)  # fmt: skip
UNBIASED: Final = ("none", "terngrad", "qsgd")  # lose nothing on average, so nothing is kept back for the next round
DGC_MOMENTUM: Final = 0.9
MOST_BUDGET: Final = 1 << 33  # bits: more than any model of ours has


class CodecSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an update is compressed (`maths.compress`)."""

    name: str = "none"
    density: float = 0.01  # fraction of the coordinates that a selection keeps
    momentum: float | None = None  # dgc; None is its default, 0.9
    clip: float | None = None  # dgc: the length at which the sum of all updates is clipped; None does not clip
    budget: int | None = None  # digital: bits of one payload

    def __post_init__(self) -> None:
        require(self.name in CODECS, f"codec {self.name!r}: choose one of {', '.join(CODECS)}")
        require(0 < self.density <= 1, f"codec density {self.density}: choose a fraction above 0, at most 1")
        dgc = self.name == "dgc"
        require(dgc or (self.momentum is None and self.clip is None), "momentum and clip belong to codec dgc")
        require(0 <= self.velocity < 1, f"codec momentum {self.momentum}: choose one in [0, 1)")
        require(self.clip is None or self.clip > 0, f"codec clip {self.clip}: choose a length above 0")
        digital = self.name == "digital"
        require(
            digital == (self.budget is not None), "codec digital needs a budget of bits, and no other codec takes one"
        )
        require(
            self.budget is None or 0 < self.budget <= MOST_BUDGET,
            f"codec budget {self.budget}: 1 to {MOST_BUDGET} bits",
        )

    @property
    def velocity(self) -> float:
        return DGC_MOMENTUM if self.momentum is None else self.momentum

    @property
    def unbiased(self) -> bool:
        return self.name in UNBIASED
