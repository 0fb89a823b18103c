"""An offline proof from a real chain: what the node answers is honest, the file proves, and without a hash it proves nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eth_hash.auto import keccak
from typer.testing import CliRunner, Result

from devnet.toolchain import CONTRACTS, environment, forge
from ledger.audit.bundle import RECORD_SLOT, OnChain, Trusted, assemble, check, check_file, encode_bundle, record_slot
from ledger.block import decode_header, encode_header, encode_receipt
from ledger.patricia import decode_list, proof_in_list, value_under
from ledger.rpc import Rpc
from ledger.spec import record_hash
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.trust.eip712 import header_hash
from middleware.types import Verdict
from nodes.cli.bundle import fetch
from nodes.cli.main import app
from tests.contracts.conftest import Evm
from tests.contracts.on_chain import ChainHistory, address_book, on_the_contracts

RUNNER = CliRunner()
DEVICE, ROUND = 6, 2


@pytest.fixture(scope="module")
def world(evm: Evm) -> Iterator[ChainHistory]:
    with on_the_contracts(evm):
        yield ChainHistory(evm, rounds=2).run()


def gather(world: ChainHistory, round: int = ROUND, block: int | None = None, rpc: type[Rpc] = Rpc) -> OnChain:
    book = address_book(world.evm)
    position = world.record.index.anchored[1][round - 1].position

    async def ask() -> OnChain:
        async with rpc(book.rpc) as chain:
            return await fetch(chain, book, position, record_slot(1, round), block)

    return asyncio.run(ask())


def trusted(world: ChainHistory, chain: OnChain) -> Trusted:
    return Trusted(keccak(chain.blocks[-1]), world.evm.contracts["Ledger"], world.evm.chain_id)


# ------------------------------------------------------------------------------------------------- the node's own honesty


def test_every_header_of_the_chain_hashes_to_its_block(world: ChainHistory) -> None:
    for number in range(world.evm.block + 1):
        block = world.evm.ask("eth_getBlockByNumber", hex(number), False)
        header = decode_header(encode_header(block))
        assert header.hash.hex() == block["hash"][2:]
        assert (header.number, header.time) == (number, int(block["timestamp"], 16))
        assert len(decode_list(encode_header(block), "header")) == 21  # Prague: up to requestsHash


def test_the_state_that_the_chain_proves_is_the_one_in_its_header(world: ChainHistory) -> None:
    ledger = world.evm.contracts["Ledger"]
    for item in world.record.index.anchored[1]:
        slot = record_slot(1, item.header.round)
        at = hex(item.position.block)
        told = world.evm.ask("eth_getProof", "0x" + ledger.hex(), ["0x" + slot.hex()], at)
        state = decode_header(encode_header(world.evm.ask("eth_getBlockByNumber", at, False))).state_root
        account = value_under(state, keccak(ledger), [bytes.fromhex(node[2:]) for node in told["accountProof"]])
        nodes = [bytes.fromhex(node[2:]) for node in told["storageProof"][0]["proof"]]
        kept = value_under(decode_list(account, "account")[2], keccak(slot), nodes)
        assert kept[1:] == record_hash(item.header_hash, item.header.rewards_root, item.position.time).lstrip(b"\0")


@pytest.mark.parametrize("count", [1, 2, 17, 130])
def test_the_receipts_of_a_block_make_its_root(evm: Evm, count: int) -> None:
    """130 receipts: keys of one and of two bytes, as RLP writes 127 and 128."""
    before = evm.snapshot()
    evm.ask("evm_setAutomine", False)
    try:
        for number in range(count):
            fields = {"from": "0x" + evm.admin.hex(), "to": "0x" + bytes([number + 1] * 20).hex(), "gas": "0x5208"}
            kind = {"gasPrice": "0x0"} if number % 2 else {"maxFeePerGas": "0x0", "maxPriorityFeePerGas": "0x0"}
            evm.ask("eth_sendTransaction", {**fields, **kind, "value": "0x0"})
        evm.ask("evm_mine")
        block = evm.ask("eth_getBlockByNumber", "latest", False)
        receipts = evm.ask("eth_getBlockReceipts", "latest")
    finally:
        evm.ask("evm_setAutomine", True)
        evm.revert(before)
    assert len(receipts) == count
    values = [encode_receipt(receipt) for receipt in receipts]
    for index in {0, count // 2, count - 1}:
        root, proof = proof_in_list(values, index)
        assert root.hex() == block["receiptsRoot"][2:]
        assert value_under(root, _key(index), proof) == values[index]


def _key(index: int) -> bytes:
    """RLP of a number below 256."""
    return b"\x80" if index == 0 else bytes([index]) if index < 128 else bytes([0x81, index])


def test_the_records_slot_is_where_the_compiler_puts_it() -> None:
    command = [str(forge()), "inspect", "src/Ledger.sol:Ledger", "storage-layout", "--json"]
    told = subprocess.run(command, cwd=CONTRACTS, env=environment(), capture_output=True, text=True, check=True).stdout
    layout = json.loads(told)
    record = next(entry for entry in layout["storage"] if entry["label"] == "record")
    assert (int(record["slot"]), record["offset"]) == (RECORD_SLOT, 0)
    outer = layout["types"][record["type"]]
    inner = layout["types"][outer["value"]]
    assert (outer["key"], inner["key"], inner["value"]) == ("t_uint64", "t_uint64", "t_bytes32")


def test_the_records_slot_holds_the_record(world: ChainHistory) -> None:
    ledger = "0x" + world.evm.contracts["Ledger"].hex()
    for item in world.record.index.anchored[1]:
        slot = "0x" + record_slot(1, item.header.round).hex()
        kept = world.evm.ask("eth_getStorageAt", ledger, slot, "latest")
        assert bytes.fromhex(kept[2:]) == record_hash(
            header_hash(item.header), item.header.rewards_root, item.position.time
        )


# ---------------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("node", [4, 5, 6, 7])
@pytest.mark.parametrize("round", [1, 2])
def test_a_bundle_of_any_update_is_valid_against_its_block(world: ChainHistory, node: int, round: int) -> None:
    chain = gather(world, round)
    assert len(chain.blocks) == 1  # the state of the anchoring block itself
    data = encode_bundle(assemble(world.record, world.store, 1, round, node, chain))
    checked = check_file(data, trusted(world, chain))
    assert checked.first_failure is None
    assert checked.verdict is Verdict.VALID
    assert f"node {node} sent an update in round {round} of task 1" in checked.proves[0]
    assert f"earned {250 * round} token units of {1000 * round:,}" in checked.proves[1]


def test_the_state_of_a_later_block_is_proven_through_the_headers_between(world: ChainHistory) -> None:
    head = world.evm.block
    chain = gather(world, 1, head)
    anchoring = world.record.index.anchored[1][0].position.block
    assert len(chain.blocks) == head - anchoring + 1 > 1
    checked = check(assemble(world.record, world.store, 1, 1, DEVICE, chain), trusted(world, chain))
    assert checked.verdict is Verdict.VALID
    assert f"each of blocks {anchoring} to {head} is the parent of the next" in {step.what for step in checked.steps}


def test_a_block_before_the_round_is_refused(world: ChainHistory) -> None:
    with pytest.raises(ConfigurationError, match="the round was anchored later"):
        gather(world, ROUND, 1)


class Forgetful(Rpc):
    """Keeps only the newest state, knows no eth_getBlockReceipts, as some servers."""

    async def ask(self, method: str, *parameters: object) -> object:
        if method == "eth_getBlockReceipts":
            raise Unavailable("the method eth_getBlockReceipts does not exist")
        if method == "eth_getProof" and int(str(parameters[2]), 16) < (await self.head()).number:
            raise Unavailable("missing trie node")
        return await super().ask(method, *parameters)


def test_a_node_without_old_state_proves_its_newest(world: ChainHistory) -> None:
    chain = gather(world, 1, rpc=Forgetful)
    assert len(chain.blocks) == world.evm.block - world.record.index.anchored[1][0].position.block + 1
    checked = check(assemble(world.record, world.store, 1, 1, DEVICE, chain), trusted(world, chain))
    assert checked.verdict is Verdict.VALID
    with pytest.raises(Unavailable, match="proves no state of block .* ask an archive node"):
        gather(world, 1, world.record.index.anchored[1][0].position.block, rpc=Forgetful)


class Lying(Rpc):
    """One answer differs from what the block commits to."""

    lie = ""

    async def ask(self, method: str, *parameters: object) -> object:
        answer = await super().ask(method, *parameters)
        if method == "eth_getBlockReceipts" and self.lie == "receipt":
            answer[0]["cumulativeGasUsed"] = "0x1"
        if method == "eth_getBlockByHash" and self.lie == "header":
            answer["gasLimit"] = "0x1"
        if method == "eth_getProof" and self.lie == "proof":
            answer["storageProof"][0]["proof"] = answer["storageProof"][0]["proof"][1:]
        return answer


class LyingHeader(Lying):
    lie = "header"


class LyingReceipt(Lying):
    lie = "receipt"


class LyingProof(Lying):
    lie = "proof"


@pytest.mark.parametrize(
    ("rpc", "words"),
    [
        (LyingHeader, "does not hash to"),
        (LyingReceipt, "do not make its receiptsRoot"),
        (LyingProof, "proves no state"),
    ],
)
def test_a_node_that_answers_wrongly_is_found_out_when_the_bundle_is_made(
    world: ChainHistory, rpc: type[Rpc], words: str
) -> None:
    with pytest.raises(Unavailable, match=words):
        gather(world, rpc=rpc)


def test_without_a_trusted_hash_nothing_is_proven_and_the_hash_to_compare_is_named(world: ChainHistory) -> None:
    chain = gather(world)
    bundle = assemble(world.record, world.store, 1, ROUND, DEVICE, chain)
    whole = trusted(world, chain)
    for name, words in (("block_hash", "--block-hash"), ("ledger", "--ledger"), ("chain_id", "--chain-id")):
        checked = check(bundle, msgspec.structs.replace(whole, **{name: None}))
        assert checked.verdict is Verdict.UNVERIFIABLE
        assert [words in line for line in checked.compare] == [True]
    assert whole.block_hash is not None
    assert whole.block_hash.hex() in check(bundle, Trusted()).compare[0]


def test_another_hash_ledger_or_chain_is_refused(world: ChainHistory) -> None:
    chain = gather(world)
    bundle = assemble(world.record, world.store, 1, ROUND, DEVICE, chain)
    for change in ({"block_hash": bytes(32)}, {"ledger": bytes(20)}, {"chain_id": 1}):
        checked = check(bundle, msgspec.structs.replace(trusted(world, chain), **change))
        assert checked.verdict is Verdict.INVALID
        assert next(step.what for step in checked.steps if not step.holds).endswith("is the one that you trust")


def test_a_node_that_sent_nothing_has_no_bundle(world: ChainHistory) -> None:
    with pytest.raises(ConfigurationError, match="holds no update of node 1"):
        assemble(world.record, world.store, 1, ROUND, 1, gather(world))


# --------------------------------------------------------------------------------------------------------------- the verbs


def drystone(*words: str) -> Result:
    result = RUNNER.invoke(app, ["audit", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def home(world: ChainHistory, tmp_path: Path) -> Path:
    (tmp_path / "ledger.json").write_bytes(address_book(world.evm).to_bytes())
    (tmp_path / "blobs").mkdir()
    for digest, data in world.store.blobs.items():
        (tmp_path / "blobs" / digest.hex()).write_bytes(data)
    return tmp_path


def test_the_verbs_write_a_bundle_and_check_it_without_a_chain(home: Path, world: ChainHistory, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    made = drystone("bundle", "end-6", "2", "--out", str(file), "--home", str(home), "--blobs", str(home / "blobs"))
    assert made.exit_code == 0, made.output
    block = gather(world).blocks[-1]
    assert keccak(block).hex() in made.output

    elsewhere = ("--home", str(tmp_path / "nowhere"))
    bare = drystone("verify-bundle", str(file), *elsewhere)
    assert bare.exit_code == 4
    assert "UNVERIFIABLE" in bare.output.splitlines()[-1]
    assert bare.output.count("\ncompare ") == 3

    hash_, ledger = "0x" + keccak(block).hex(), "0x" + world.evm.contracts["Ledger"].hex()
    given = ("--block-hash", hash_, "--ledger", ledger, "--chain-id", str(world.evm.chain_id))
    good = drystone("verify-bundle", str(file), *given, *elsewhere)
    assert good.exit_code == 0, good.output
    count = sum(line.startswith("  holds ") for line in good.output.splitlines())
    assert good.output.splitlines()[-1] == f"VALID: {count} comparisons hold"
    assert "FAILS" not in good.output
    assert drystone("verify-bundle", str(file), "--block-hash", hash_, "--home", str(home)).exit_code == 0

    wrong = drystone("verify-bundle", str(file), "--block-hash", "0x" + "00" * 32, "--home", str(home))
    assert wrong.exit_code == 3
    assert "INVALID: block" in wrong.output.splitlines()[-1]


def test_the_verbs_refuse_in_one_clear_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    drystone("bundle", "end-6", "2", "--out", str(file), "--home", str(home), "--blobs", str(home / "blobs"))
    for words, error in (
        (("verify-bundle", str(tmp_path / "none")), "no bundle at"),
        (("verify-bundle", str(file), "--block-hash", "0x12"), "a block's hash has 64 hex digits"),
        (("bundle", "nobody", "2", "--out", str(file)), "knows no node 'nobody'"),
        (("bundle", "end-6", "9", "--out", str(file)), "no anchored round 9"),
    ):
        result = drystone(*words, "--home", str(home))
        assert result.exit_code == 1
        assert error in result.stderr
        assert result.stderr.count("\n") == 1


def test_bytes_that_are_no_bundle_are_invalid(tmp_path: Path) -> None:
    for data in (b"", b"{}", b"\xff" * 100, b"[" * 100_000, b'{"format": ' + b"[" * 100_000):
        (tmp_path / "file").write_bytes(data)
        result = drystone("verify-bundle", str(tmp_path / "file"), "--home", str(tmp_path))
        assert result.exit_code == 3
        assert "FAILS  the file is a bundle in its one form" in result.output


def test_the_json_form_tells_every_comparison(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    made = drystone(
        "bundle", "6", "1", "--out", str(file), "--home", str(home), "--blobs", str(home / "blobs"), "--json"
    )
    told = json.loads(made.output)
    assert (told["file"], told["bytes"]) == (str(file), file.stat().st_size)
    checked = json.loads(
        drystone(
            "verify-bundle", str(file), "--block-hash", told["block"]["hash"], "--home", str(home), "--json"
        ).output
    )
    assert checked["verdict"] == "VALID"
    assert checked["steps"] == told["steps"]
    assert all(step["computed"] == step["expected"] for step in checked["steps"])


def test_a_proof_cannot_be_longer_than_a_key(world: ChainHistory) -> None:
    with pytest.raises(PeerFault, match="too-large"):
        value_under(bytes(32), bytes(32), [b"\xc0"] * 66)
