"""How a task's updates become one."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

RULES: Final = ("mean", "median", "trimmed-mean", "multi-krum")
SCORED_RULES: Final = ("mean", "multi-krum")  # an update's share of what they give is its weight times its integers


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How updates become one; `f` is the number of lying devices that the task must survive."""

    name: str = "multi-krum"
    f: int = 1

    def __post_init__(self) -> None:
        require(self.name in RULES, f"aggregator {self.name!r}: choose one of {', '.join(RULES)}")
        require(self.f >= 0, "the number of tolerated liars cannot be negative")

    @property
    def remembers(self) -> bool:
        """Whether the rule carries something from round to round."""
        return False

    @property
    def least_updates(self) -> int:
        """The fewest updates for which the rule's bound holds (Blanchard 2017, Yin 2018)."""
        return {"mean": 1, "median": 2 * self.f + 1, "trimmed-mean": 2 * self.f + 1, "multi-krum": 2 * self.f + 3}[
            self.name
        ]
