"""One module a question. Each is a program: it measures, prints a table and writes it to `runs/bench` (see `report`)."""

from __future__ import annotations

import pkgutil
from typing import Final

_NOT_QUESTIONS: Final = frozenset({"report", "byzfl"})  # what several benchmarks use


def questions() -> list[str]:
    """The benchmarks' names, in the alphabet's order."""
    return sorted(
        module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_QUESTIONS
    )
