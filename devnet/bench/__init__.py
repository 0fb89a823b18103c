"""One module a question. Each is a program: it measures, prints a table and writes it to `runs/bench` (see `report`)."""

from __future__ import annotations

import pkgutil
from typing import Final

_NOT_QUESTIONS: Final = frozenset({"report", "byzfl"})  # what several benchmarks use


def questions() -> list[str]:
    """The benchmarks' names, in the alphabet's order."""
    names = {module.name for module in pkgutil.iter_modules(__path__)} - _NOT_QUESTIONS
    return sorted(name.replace("_", "-") for name in names)


def module_of(question: str) -> str:
    """The module that answers a question: infer-plan is answered by `devnet.bench.infer_plan`."""
    return f"{__name__}.{question.replace('-', '_')}"
