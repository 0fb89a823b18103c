"""What docs/guide/chains.md says of the calls that are made is what the code makes."""

from __future__ import annotations

import re
from pathlib import Path

from ledger.client import LOG_BLOCKS
from ledger.outbox import MOST_RAISE, PATIENCE_BLOCKS
from ledger.rpc import BATCH

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide" / "chains.md").read_text()
PRODUCT = [path for room in ("middleware", "ledger", "nodes") for path in (ROOT / room).rglob("*.py")]
CALL = re.compile(
    r"[\"'](?P<name>(?:eth|net|web3|txpool|debug|admin|personal|anvil|evm|hardhat|engine)_[A-Za-z0-9]+)[\"']"
)


def called() -> set[str]:
    """Every JSON-RPC method that the product's code names."""
    return {found["name"] for path in PRODUCT for found in CALL.finditer(path.read_text())}


def test_the_guide_lists_every_call_and_no_other() -> None:
    table = GUIDE.partition("| call | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+_\w+)`", table)) == called()


def test_only_standard_calls_are_made_outside_the_devnet() -> None:
    assert {name.partition("_")[0] for name in called()} == {"eth"}


def test_the_guides_numbers_are_the_codes() -> None:
    assert f"at most {LOG_BLOCKS:,} blocks a request" in GUIDE
    assert f"one batch of at most {BATCH}" in GUIDE
    assert PATIENCE_BLOCKS == 3 and "that three blocks pass by" in GUIDE
    assert f"up to {MOST_RAISE} times what" in GUIDE
