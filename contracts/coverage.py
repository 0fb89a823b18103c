"""How much of the contracts the forge tests reach: fails unless every line of contracts/src is, and lists open branches.

    python contracts/coverage.py

Invariants and gas are left out: they reach nothing that the tests of the functions do not, and are slow here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from devnet.toolchain import CONTRACTS, environment, forge
from middleware.errors import ConfigurationError

LEFT_OUT: Final = "Invariants|Gas"
# Coverage is measured without the optimizer; one run of each fuzz test more or less reaches no other line.
FUZZ_RUNS: Final = 24


def lcov(folder: Path) -> str:
    """What forge measured, in lcov's format. Raises ConfigurationError when a test fails."""
    path = folder / "lcov.info"
    run = subprocess.run(
        [
            forge(), "coverage", "--ir-minimum", "--report", "lcov", "--report-file", str(path),
            "--no-match-contract", LEFT_OUT, "--fuzz-runs", str(FUZZ_RUNS),
        ],
        cwd=CONTRACTS, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0 or not path.is_file():
        raise ConfigurationError(f"forge coverage failed:\n{run.stdout[-4000:]}{run.stderr[-4000:]}")
    return path.read_text(encoding="utf-8")


def holes(report: str) -> tuple[list[str], list[str], int]:
    """Lines of src never reached, branches of src never taken (both as "file:line"), and how many lines there are."""
    lines, branches, total, name = [], [], 0, ""
    for record in report.splitlines():
        kind, _, value = record.partition(":")
        if kind == "SF":
            name = value
        if not name.startswith("src/"):
            continue
        fields = value.split(",")
        if kind == "DA":
            total += 1
            if fields[1] == "0":
                lines.append(f"{name}:{fields[0]}")
        elif kind == "BRDA" and fields[3] in ("-", "0"):
            branches.append(f"{name}:{fields[0]}")
    return lines, branches, total


def main() -> int:
    """Exit code 0, or 1 with the lines that no test reaches."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            lines, branches, total = holes(lcov(Path(folder)))
    except ConfigurationError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    if branches:
        print("branches that no test takes:", *branches, sep="\n  ")
    if lines or not total:
        print("lines that no test reaches:", *lines, sep="\n  ", file=sys.stderr)
        return 1
    print(f"every one of {total} lines of contracts/src is reached by a test; {len(branches)} branches are not")
    return 0


if __name__ == "__main__":
    sys.exit(main())
