from __future__ import annotations

import json
from pathlib import Path

import pytest

import ledger
from ledger import artifacts
from middleware import types
from middleware.errors import ConfigurationError


@pytest.mark.parametrize("name", artifacts.NAMES)
def test_every_contract_loads_with_code_and_an_interface(name: str) -> None:
    artifact = artifacts.load(name)
    assert artifact.name == name
    assert artifact.compiler.startswith("0.8.37+commit.")
    assert len(bytes.fromhex(artifact.source_hash)) == 32
    assert 1_000 < len(artifact.bytecode) < 49_152  # EIP-3860's limit of creation code
    assert any(entry["type"] == "function" for entry in artifact.abi)


def test_the_names_are_the_committed_files() -> None:
    folder = Path(ledger.__file__).parent / "abi"
    assert {path.stem for path in folder.glob("*.json")} == set(artifacts.NAMES)
    assert all(json.loads(path.read_text())["name"] == path.stem for path in folder.glob("*.json"))


def test_an_unknown_contract_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"Arbitrator.*Registry"):
        artifacts.load("Arbitrator")


def test_an_entry_is_found_by_kind_and_name() -> None:
    anchored = artifacts.load("Ledger").entry("event", "RoundAnchored")
    assert [field["name"] for field in anchored["inputs"]] == ["task", "round", "headerHash", "header"]
    with pytest.raises(ConfigurationError, match="Ledger has no error RoundAnchored"):
        artifacts.load("Ledger").entry("error", "RoundAnchored")


def test_the_contracts_header_has_the_fields_of_ours_in_order() -> None:
    header = artifacts.load("Ledger").entry("function", "anchorRound")["inputs"][0]["components"]
    snake = ["".join("_" + c.lower() if c.isupper() else c for c in field["name"]) for field in header]
    assert snake == list(types.Header.__struct_fields__)
    assert {field["type"] for field in header} == {"uint64", "bytes32"}
