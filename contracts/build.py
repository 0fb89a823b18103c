"""Compiles the contracts into `ledger/abi/`, and writes the gas table.

    python contracts/build.py          compile with py-solc-x, write ledger/abi/*.json and docs/gas.md
    python contracts/build.py --check  compile in memory; fail unless ledger/abi, forge's bytecode and docs/gas.md agree

The settings are foundry.toml's, read from there, and both compilers are the same shim; so the two builds differ only in
who drives them, and must give the same bytecode. The gas table comes from contracts/snapshots, which the forge test
`Gas.t.sol` writes.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import subprocess
import sys
import tomllib
from typing import Any, Final

import solcx

from devnet.toolchain import CONTRACTS, ROOT, environment, forge, solc
from middleware.errors import ConfigurationError

DEPLOYED: Final = ("Authority", "Credit", "Registry", "Ledger", "Rewards", "Arbiter", "Court", "Models")
ABI: Final = ROOT / "ledger" / "abi"
GAS: Final = ROOT / "docs" / "gas.md"
SNAPSHOT: Final = CONTRACTS / "snapshots" / "gas.json"
GAS_HEAD: Final = """# Gas

Whole transactions as a user pays for them (21,000, calldata, execution, refund), by `contracts/test/Gas.t.sol` in
forge's isolated mode, solc 0.8.37, optimizer at 200 runs, Cancun; for proofs the calldata floor of EIP-7623 where that
is more. Who is paid holds no credit before, unless the row says so. Written by `python contracts/build.py`; do not edit.

| transaction | gas |
|---|---:|
"""
IMPORT: Final = re.compile(r'^\s*import\s[^;]*?"([^"]+)"\s*;', re.MULTILINE)


def profile() -> dict[str, Any]:
    with (CONTRACTS / "foundry.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["profile"]["default"]
    return settings


def sources(remappings: list[str]) -> dict[str, str]:
    """Every source that the deployed contracts need: name as forge names it, text."""
    pairs = [remapping.split("=", 1) for remapping in remappings]
    found: dict[str, str] = {}
    waiting = [f"src/{name}.sol" for name in DEPLOYED]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = (CONTRACTS / name).read_text(encoding="utf-8")
        for target in IMPORT.findall(found[name]):
            if target.startswith("."):
                waiting.append(posixpath.normpath(posixpath.join(posixpath.dirname(name), target)))
            else:
                prefix, place = next(pair for pair in pairs if target.startswith(pair[0]))
                waiting.append(place + target.removeprefix(prefix))
    return dict(sorted(found.items()))


def compile_sources() -> dict[str, dict[str, Any]]:
    """The committed form of every deployed contract, by name."""
    settings = profile()
    texts = sources(settings["remappings"])
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in texts.items()},
            "settings": {
                "remappings": settings["remappings"],
                "optimizer": {"enabled": settings["optimizer"], "runs": settings["optimizer_runs"]},
                "metadata": {"bytecodeHash": settings["bytecode_hash"], "appendCBOR": settings["cbor_metadata"]},
                "evmVersion": settings["evm_version"],
                "viaIR": settings["via_ir"],
                "outputSelection": {
                    f"src/{name}.sol": {name: ["abi", "metadata", "evm.bytecode.object"]} for name in DEPLOYED
                },
            },
        },
        solc_binary=solc(),
    )
    complaints = [error["formattedMessage"] for error in output.get("errors", ())]
    if complaints:
        raise ConfigurationError("the compiler warns:\n" + "\n".join(complaints))
    return {name: _artifact(name, output["contracts"][f"src/{name}.sol"][name], texts) for name in DEPLOYED}


def _artifact(name: str, compiled: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    metadata = json.loads(compiled["metadata"])
    digest = hashlib.sha256()
    for source in sorted(metadata["sources"]):
        digest.update(source.encode() + b"\0" + hashlib.sha256(texts[source].encode()).digest())
    return {
        "name": name,
        "compiler": metadata["compiler"]["version"],
        "source_hash": digest.hexdigest(),
        "abi": compiled["abi"],
        "bytecode": compiled["evm"]["bytecode"]["object"],
    }


def forge_bytecode() -> dict[str, str]:
    """The same contracts as `forge build` compiles them."""
    built = subprocess.run(
        [forge(), "build", "--quiet", "src"],
        cwd=CONTRACTS,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise ConfigurationError(f"forge build failed:\n{built.stdout}{built.stderr}")
    outputs = {name: CONTRACTS / "out" / f"{name}.sol" / f"{name}.json" for name in DEPLOYED}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))["bytecode"]["object"].removeprefix("0x")
        for name, path in outputs.items()
    }


def gas_table() -> str:
    """docs/gas.md: one row for each measured transaction."""
    measured = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    rows = "".join(f"| {what} | {int(gas):,} |\n" for what, gas in measured.items())
    return GAS_HEAD + rows


def _differences(artifacts: dict[str, dict[str, Any]]) -> list[str]:
    wrong = []
    by_forge = forge_bytecode()
    for name, artifact in artifacts.items():
        path = ABI / f"{name}.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != _text(artifact):
            wrong.append(f"{path.relative_to(ROOT)} is not what the sources compile to: run make contracts")
        if by_forge[name] != artifact["bytecode"]:
            wrong.append(f"forge and py-solc-x compile {name} to different bytecode")
    stale = {path.stem for path in ABI.glob("*.json")} - set(artifacts)
    wrong.extend(f"ledger/abi/{name}.json belongs to no contract: delete it" for name in sorted(stale))
    if not GAS.is_file() or GAS.read_text(encoding="utf-8") != gas_table():
        wrong.append("docs/gas.md is not what contracts/snapshots says: run make contracts")
    return wrong


def _text(artifact: dict[str, Any]) -> str:
    return json.dumps(artifact, indent=1) + "\n"


def main(words: list[str]) -> int:
    """Exit code 0, or 1 with one line for each thing that is wrong."""
    if words not in ([], ["--check"]):
        print("usage: python contracts/build.py [--check]", file=sys.stderr)
        return 2
    try:
        artifacts = compile_sources()
        if words:
            wrong = _differences(artifacts)
            print("\n".join(wrong) or f"{len(artifacts)} contracts: ledger/abi, forge and py-solc-x agree")
            return 1 if wrong else 0
        ABI.mkdir(parents=True, exist_ok=True)
        for name, artifact in artifacts.items():
            (ABI / f"{name}.json").write_text(_text(artifact), encoding="utf-8")
        GAS.write_text(gas_table(), encoding="utf-8")
        return 0
    except ConfigurationError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
