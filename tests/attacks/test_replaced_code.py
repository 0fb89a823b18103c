"""Other code at a contract's address, on a real chain: the audit that reads the chain names the contract, and so does one that
reads what was exported then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.chain import Chain, operator_key
from devnet.processes import Processes
from ledger import codes
from ledger.artifacts import NAMES
from ledger.audit.check import verify
from ledger.audit.evidence import Addresses, read, take
from ledger.audit.report import Report
from ledger.client import AddressBook, EvmLedger
from ledger.deploy import deploy
from ledger.record import export_record
from ledger.rpc import hexed
from nodes.operator import told
from tests.sim.history import Store

pytestmark = pytest.mark.system


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with Processes(tmp_path / "logs") as children:
        made = Chain(tmp_path / "chain")
        made.start(children)
        yield made


@pytest.fixture
async def book(chain: Chain) -> AddressBook:
    return await deploy(chain.rpc, operator_key().account)


async def audited(book: AddressBook) -> Report:
    """Over the chain, and over the record that it would export: both must say the same of the code."""
    async with EvmLedger(book) as ledger:
        about, batch = await told(ledger), await ledger.entries(None)
    live = verify(take(batch, Addresses.parse(about), about), Store())
    offline = verify(read(export_record(batch.entries, batch.head, about)), Store())
    assert live.findings == offline.findings
    return live


def replaced(report: Report) -> list[str]:
    return [finding.subject for finding in report.findings if finding.fault == "replaced-code"]


async def test_what_deploy_leaves_on_a_chain_is_what_the_artifacts_say(book: AddressBook) -> None:
    report = await audited(book)
    assert [finding for finding in report.findings if finding.check == "code"] == []
    assert report.valid >= len(NAMES)
    assert not any("the code of the contracts" in words for words in report.not_checked)


@pytest.mark.parametrize("contract", ["Ledger", "Rewards"])
async def test_one_other_byte_of_code_is_named(chain: Chain, book: AddressBook, contract: str) -> None:
    address = hexed(book.address(contract))
    code = bytearray(bytes.fromhex(chain.call("eth_getCode", address, "latest")[2:]))
    code[100] ^= 0x01
    chain.call("anvil_setCode", address, hexed(bytes(code)))
    assert replaced(await audited(book)) == [f"code of contract {contract}"]


async def test_the_right_code_bound_to_a_contract_of_somebody_else_is_named(chain: Chain, book: AddressBook) -> None:
    """The Ledger's code with another Registry in the places of its immutable: same shape, other master."""
    address = hexed(book.ledger)
    code = bytes.fromhex(chain.call("eth_getCode", address, "latest")[2:])
    bound = code.replace(book.registry, b"\x66" * 20)
    assert bound != code
    chain.call("anvil_setCode", address, hexed(bound))
    assert codes.code_of("Ledger", bound).shape == codes.code_of("Ledger", code).shape
    report = await audited(book)
    assert replaced(report) == ["code of contract Ledger"]
    assert report.first is not None
    assert "66" * 20 in report.first.what


async def test_no_code_at_all_is_named(chain: Chain, book: AddressBook) -> None:
    chain.call("anvil_setCode", hexed(book.rewards), "0x")
    assert replaced(await audited(book)) == ["code of contract Rewards"]
