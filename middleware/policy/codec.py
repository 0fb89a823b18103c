"""How a task's updates are compressed."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

CODECS: Final = ("none", "topk", "int8", "topk+int8")


class CodecSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an update is compressed; `density` is the fraction of coordinates that topk keeps."""

    name: str = "none"
    density: float = 0.01

    def __post_init__(self) -> None:
        require(self.name in CODECS, f"codec {self.name!r}: choose one of {', '.join(CODECS)}")
        require(0 < self.density <= 1, f"codec density {self.density}: choose a fraction above 0, at most 1")
