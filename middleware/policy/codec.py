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
AUTO: Final = "auto"  # no codec: each device chooses one of the policy's for each update (`protocol.choice`)
UNBIASED: Final = ("none", "terngrad", "qsgd")  # lose nothing on average, so nothing is kept back for the next round
CHOOSABLE: Final = tuple(name for name in CODECS if name not in ("dgc", "terngrad", "qsgd"))
DGC_MOMENTUM: Final = 0.9
MOST_BUDGET: Final = 1 << 33  # bits: more than any model of ours has
MOST_CHOICES: Final = 16  # codecs that a policy may leave to its devices
UPLOAD_SECONDS: Final = 2.0  # that one upload may take, where a task does not say


class CodecSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an update is compressed (`maths.compress`).

    Under `auto` a device chooses among `choices` for every update, and its residual passes from one codec to the next. So only
    those may stand there that keep one vector back: dgc keeps two, and an unbiased codec of few levels is no contraction, on
    which error feedback may grow without end.
    """

    name: str = "none"
    density: float = 0.01  # fraction of the coordinates that a selection keeps
    momentum: float | None = None  # dgc; None is its default, 0.9
    clip: float | None = None  # dgc: the length at which the sum of all updates is clipped; None does not clip
    budget: int | None = None  # digital: bits of one payload
    choices: tuple[CodecSpec, ...] | None = None  # auto: what a device may use
    upload_seconds: float | None = None  # auto: how long an upload should take at most

    def __post_init__(self) -> None:
        require(self.name in (*CODECS, AUTO), f"codec {self.name!r}: choose one of {', '.join((*CODECS, AUTO))}")
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
        self._require_choices()

    def _require_choices(self) -> None:
        if self.name != AUTO:
            require(self.choices is None and self.upload_seconds is None, "choices belong to codec auto")
            return
        require(
            self.choices is not None and 1 < len(set(self.choices)) == len(self.choices) <= MOST_CHOICES,
            f"codec auto needs 2 to {MOST_CHOICES} different codecs to choose from",
        )
        require(
            self.upload_seconds is not None and self.upload_seconds > 0,
            "codec auto needs the seconds that an upload should take at most, above 0",
        )
        for choice in self.choices or ():
            require(
                choice.name in CHOOSABLE,
                f"codec auto cannot choose {choice.name}: it chooses among {', '.join(CHOOSABLE)}",
            )

    @property
    def velocity(self) -> float:
        return DGC_MOMENTUM if self.momentum is None else self.momentum

    @property
    def unbiased(self) -> bool:
        return self.name in UNBIASED

    @property
    def offered(self) -> tuple[CodecSpec, ...]:
        """What an update of this task may be compressed with."""
        return (self,) if self.choices is None else self.choices
