"""ByzFL's code, to hold ours against, in tests as an oracle and in benchmarks as a baseline.

Its package imports torchvision for its models, which we have no use for and which may not be there; so the part that is
wanted is loaded beside the package's own `__init__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any


def byzfl(part: str) -> Any:
    """The module byzfl.`part` ("aggregators", "attacks"). ImportError where ByzFL is not installed."""
    if "byzfl" not in sys.modules:
        found = importlib.util.find_spec("byzfl")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("ByzFL is not installed: pip install --no-deps byzfl")
        package = types.ModuleType("byzfl")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["byzfl"] = package
    return importlib.import_module(f"byzfl.{part}")
