"""The compiled contracts, as committed in `ledger/abi/`. `python contracts/build.py --check` proves that they are what
the sources compile to; here they are only read, so whoever talks to a chain needs no compiler."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from middleware.errors import ConfigurationError

NAMES: Final = ("Authority", "Credit", "Registry", "Ledger", "Rewards", "Arbiter", "Court", "Models")


class Artifact(msgspec.Struct, frozen=True):
    """One contract. `bytecode` is the creation code without constructor arguments; `source_hash` the SHA-256, in hex,
    over the names and texts of every source that it was compiled from."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    compiler: str
    source_hash: str

    def entry(self, kind: str, name: str) -> dict[str, Any]:
        """The ABI's entry of one `kind` ("function", "event", "error"). Raises ConfigurationError if there is none."""
        found = next((e for e in self.abi if e["type"] == kind and e.get("name") == name), None)
        if found is None:
            raise ConfigurationError(f"contract {self.name} has no {kind} {name}")
        return found


@cache
def load(name: str) -> Artifact:
    """One of `NAMES`. Raises ConfigurationError for any other name."""
    if name not in NAMES:
        raise ConfigurationError(f"contract {name!r}: choose one of {', '.join(NAMES)}")
    stored = msgspec.json.decode(files("ledger").joinpath("abi", f"{name}.json").read_bytes())
    return Artifact(
        name=stored["name"],
        abi=tuple(stored["abi"]),
        bytecode=bytes.fromhex(stored["bytecode"]),
        compiler=stored["compiler"],
        source_hash=stored["source_hash"],
    )
