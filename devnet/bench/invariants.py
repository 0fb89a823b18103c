"""Do the contracts' invariants hold for ten times as long as in `make check`? 2,560 runs of 100 random calls for each.

make bench Q=invariants
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Final

from devnet.bench.report import Row, write
from devnet.toolchain import CONTRACTS, environment, forge
from middleware.errors import ConfigurationError

RUNS: Final = 2560
DEPTH: Final = 100
RESULT: Final = re.compile(
    r"\[(?P<verdict>PASS|FAIL)[^\]]*\] (?P<name>invariant_\w+)\(\) \(runs: \d+, calls: (?P<calls>\d+)"
)


def rows(output: str) -> list[Row]:
    """One row for each invariant that forge reported."""
    return [
        Row(
            found["name"].removeprefix("invariant_"), int(found["calls"]), "calls", RUNS * DEPTH,
            int(found["calls"]) / (RUNS * DEPTH), f"{RUNS:,} x {DEPTH}, held",
            found["verdict"] == "PASS" and int(found["calls"]) >= RUNS * DEPTH,
        )
        for found in RESULT.finditer(output)
    ]  # fmt: skip


def main() -> None:
    run = subprocess.run(
        [forge(), "test", "--match-contract", "InvariantsTest"],
        cwd=CONTRACTS, env={**environment(), "FOUNDRY_PROFILE": os.environ.get("FOUNDRY_PROFILE", "bench")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    measured = rows(run.stdout)
    if not measured:
        raise ConfigurationError(f"forge test failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    write("invariants", measured)
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
