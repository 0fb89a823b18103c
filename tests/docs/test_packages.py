"""The four import names are ours, the wheel is whole, and the command line starts light."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from ledger.artifacts import NAMES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("middleware", "ledger", "nodes", "devnet")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()


def folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", PACKAGES)
def test_an_import_name_resolves_inside_the_project(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / name / "__init__.py"


def test_no_stranger_of_our_names_is_a_dependency() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["dev"]
    names = {folded(Requirement(text).name) for text in [*PROJECT["project"]["dependencies"], *extra]}
    assert "torch" in names
    assert names.isdisjoint({*PACKAGES, "contracts"})


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = dict(line.split("==") for line in CONSTRAINTS)
    pins = {folded(name): pin for name, pin in pins.items()}
    for text in [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[folded(requirement.name)]), text


def test_constraints_are_plain_pins() -> None:
    for line in CONSTRAINTS:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line), line


def test_the_wheel_holds_every_module_and_every_file_that_is_read_at_run_time() -> None:
    held = {str(file.distribution_path) for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    needed = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    needed |= {f"{package}/py.typed" for package in PACKAGES} | {"middleware/wire/FORMAT.md"}
    needed |= {f"ledger/abi/{name}.json" for name in NAMES}
    assert needed <= held, sorted(needed - held)
    assert all(name.split("/")[0] in PACKAGES for name in held)


def test_every_package_says_what_it_is_and_is_typed() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file(), package


def test_the_installed_version_is_the_projects() -> None:
    assert version("drystone") == PROJECT["project"]["version"]


@pytest.mark.parametrize("heavy", ["torch", "numpy", "sklearn", "matplotlib", "aiohttp", "eth_account"])
def test_the_command_line_starts_without(heavy: str) -> None:
    script = "import sys, nodes.cli.main; print('\\n'.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "nodes.cli.main" in loaded
    assert heavy not in loaded
