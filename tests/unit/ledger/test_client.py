from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from devnet.chain import CHAIN_ID, PUBLISHED_KEY, free_port
from devnet.toolchain import anvil
from ledger import calls, events
from ledger.client import AddressBook, EvmLedger
from ledger.deploy import MINTED, created_address, deploy, transfer
from ledger.index import Index
from ledger.rpc import Failure, Query, Rpc, decode_revert, refusal
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from middleware.policy import Policy
from middleware.ports import Cursor
from middleware.trust import eip712, merkle
from middleware.trust.keys import AccountKey, NetworkKey
from middleware.types import ZERO32, Header, Status, Tier
from middleware.wire.commitment import pack_name
from middleware.wire.policy import encode_policy, policy_hash

OPERATOR = AccountKey(PUBLISHED_KEY)
CLOUD = AccountKey(b"\x01" * 32)
STRANGER = AccountKey(b"\x02" * 32)
GENESIS, MODEL = b"\x11" * 32, b"\x12" * 32
POLICY = encode_policy(Policy(workload="digits", model="mlp:64-256-10", parameters=10))
REWARDS = [(1, 30), (2, 12)]
FAR = 1 << 40  # seconds since 1970


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain of its own for this module; only the process started here is ended."""
    port = free_port()
    states = tmp_path_factory.mktemp("states")
    command = anvil(
        "--silent", "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--cache-path", str(states)
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(_until_up(f"http://127.0.0.1:{port}"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


async def _until_up(url: str) -> None:
    deadline = time.monotonic() + 20
    async with Rpc(url) as chain:
        while True:
            try:
                await chain.head()
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def book(rpc: str) -> AddressBook:
    async def prepare() -> AddressBook:
        await transfer(rpc, OPERATOR, CLOUD.address, 10**18)
        return await deploy(rpc, OPERATOR)

    return asyncio.run(prepare())


@pytest_asyncio.fixture
async def ledger(book: AddressBook) -> AsyncIterator[EvmLedger]:
    """The deployed contracts; what a test does to the chain is taken back."""
    async with EvmLedger(book) as ledger:
        snapshot = await ledger.rpc.ask("evm_snapshot")
        yield ledger
        assert await ledger.rpc.ask("evm_revert", snapshot)


def registration(book: AddressBook, account: AccountKey = CLOUD, seed: int = 1, **changes: Any) -> calls.Register:
    network = NetworkKey(bytes([seed]) * 32)
    fields: dict[str, Any] = {
        "net_key": network.public, "account": account.address, "owner": account.address, "tier": int(Tier.CLOUD),
        "parent": 0, "name": pack_name(f"cloud-{seed}"), "meta_hash": ZERO32, "deadline": FAR,
    } | changes  # fmt: skip
    digest = eip712.registration_digest(eip712.Domain(book.chain_id, book.registry), **fields)
    return calls.Register(
        **fields, account_signature=account.sign_digest(digest), net_key_proof=network.sign_digest(digest)
    )


def header(round: int = 1, **changes: Any) -> Header:
    fields: dict[str, Any] = dict.fromkeys(Header.__struct_fields__, ZERO32) | {
        "task": 1, "round": round, "policy": policy_hash(POLICY), "model_in": GENESIS, "model_out": MODEL,
        "inputs_count": 2, "rewards_root": merkle.sum_root(REWARDS),
    }  # fmt: skip
    return Header(**fields | changes)


async def task_of_a_cloud(ledger: EvmLedger, window: int = 0) -> None:
    await ledger.send(registration(ledger.book), OPERATOR)
    await ledger.send(calls.CreateTask(1, window, calls.LINEAR, 0, 2, 1, GENESIS, POLICY), OPERATOR)


async def fold(ledger: EvmLedger, index: Index | None = None) -> Index:
    index = index or Index()
    index.extend(await ledger.entries(index.cursor))
    return index


async def test_a_task_runs_from_registration_to_reward(ledger: EvmLedger) -> None:
    await ledger.send(registration(ledger.book), CLOUD)
    index = await fold(ledger)
    assert index.roster().nodes[1].status is Status.PENDING
    await ledger.send(calls.Admit(1), OPERATOR)
    await ledger.send(calls.CreateTask(1, 0, calls.LINEAR, 0, 2, 1, GENESIS, POLICY), OPERATOR)
    anchored = await ledger.send(calls.AnchorRound(header()), CLOUD)
    await ledger.send(calls.Approve(ledger.book.rewards, 100), OPERATOR)
    await ledger.send(calls.Fund(1, 100), OPERATOR)
    await fold(ledger, index)
    last = index.anchored[1][0]
    path = merkle.pack_sum_path(merkle.sum_path(REWARDS, 0))
    claim = calls.Claim(1, 1, last.header_hash, last.position.time, 1, 30, 0, 2, path)
    await ledger.send(claim, OPERATOR)
    await fold(ledger, index)
    node = index.roster().nodes[1]
    assert (node.name, node.account, node.tier, node.status) == ("cloud-1", CLOUD.address, Tier.CLOUD, Status.ACTIVE)
    assert (last.header, last.header_hash) == (header(), eip712.header_hash(header()))
    assert (last.position.sender, last.position.gas_used) == (CLOUD.address, anchored.gas_used)
    assert (last.position.block, last.position.transaction) == (anchored.block, anchored.transaction)
    assert (index.tasks[1].head, index.funded, index.claimed) == (1, {1: 100}, {(1, 1): 30})
    assert sha256(POLICY).digest() == index.tasks[1].policy_hash
    with pytest.raises(LedgerRefused) as refused:
        await ledger.simulate(claim, OPERATOR.address)
    assert (refused.value.name, refused.value.arguments) == ("NothingToClaim", (1,))


async def test_a_receipt_holds_the_same_entries_as_the_record(ledger: EvmLedger) -> None:
    outcome = await ledger.send(registration(ledger.book), OPERATOR)
    recorded = [e for e in (await ledger.entries(None)).entries if e.position.transaction == outcome.transaction]
    assert outcome.entries == tuple(recorded)
    assert [type(entry.event) for entry in recorded] == [events.Registered]
    assert await ledger.receipt(outcome.transaction) == outcome
    assert await ledger.receipt(ZERO32) is None


async def test_every_log_of_a_deployment_is_read_and_encodes_back_to_itself(ledger: EvmLedger) -> None:
    await task_of_a_cloud(ledger)
    await ledger.send(calls.PauseLedger(), OPERATOR)
    entries = (await ledger.entries(None)).entries
    known = [entry for entry in entries if not isinstance(entry.event, events.Other)]
    assert {type(entry.event) for entry in known} == {
        events.RoleGranted, events.ArbitersSet, events.Transfer, events.Registered, events.TaskCreated, events.PauseChanged,
    }  # fmt: skip
    assert all(events.encode_event(entry.event) == (entry.topics, entry.data) for entry in known)
    minted = next(entry.event for entry in known if isinstance(entry.event, events.Transfer))
    assert minted == events.Transfer(bytes(20), OPERATOR.address, MINTED)


@pytest.mark.parametrize(
    ("call", "sender", "name", "arguments"),
    [
        (calls.Admit(9), OPERATOR, "UnknownNode", (9,)),
        (calls.Admit(1), STRANGER, "NotAuthorised", (STRANGER.address, 1)),
        (calls.Admit(1), OPERATOR, "BadStatus", (1, 2)),
        (
            calls.CreateTask(1, 0, calls.LINEAR, 0, 2, 1, GENESIS, POLICY),
            STRANGER,
            "NotAuthorised",
            (STRANGER.address, 2),
        ),
        (calls.CreateTask(1, 0, calls.LINEAR, 0, 2, 1, GENESIS, b""), OPERATOR, "BadPolicy", ()),
        (calls.AnchorRound(header()), STRANGER, "NotCloud", (STRANGER.address,)),
        (calls.AnchorRound(header(2)), CLOUD, "WrongRound", (1, 2)),
        (calls.AnchorRound(header(model_in=MODEL)), CLOUD, "WrongModel", (GENESIS,)),
        (calls.Fund(1, 5), STRANGER, "ERC20InsufficientAllowance", None),
        (calls.Mint(STRANGER.address, 10**27), OPERATOR, "ERC20ExceededCap", (10**27 + MINTED, 10**27)),
        (calls.GrantRole(1, STRANGER.address), STRANGER, "AccessManagerUnauthorizedAccount", (STRANGER.address, 0)),
    ],
    ids=lambda value: value.function if hasattr(value, "function") else None,
)
async def test_a_refusal_names_the_contracts_error(
    ledger: EvmLedger, call: calls.AnyCall, sender: AccountKey, name: str, arguments: tuple[object, ...] | None
) -> None:
    await task_of_a_cloud(ledger)
    with pytest.raises(LedgerRefused) as refused:
        await ledger.simulate(call, sender.address)
    assert refused.value.name == name
    assert arguments is None or refused.value.arguments == arguments


async def test_a_refused_call_is_not_sent(ledger: EvmLedger) -> None:
    before = await ledger.nonce(OPERATOR.address)
    with pytest.raises(LedgerRefused, match="UnknownNode"):
        await ledger.send(calls.Revoke(4), OPERATOR)
    assert await ledger.nonce(OPERATOR.address) == before


async def test_nothing_new_is_an_empty_batch_with_the_same_head(ledger: EvmLedger) -> None:
    first = await ledger.entries(None)
    again = await ledger.entries(first.cursor)
    assert (again.entries, again.head, again.rewind_to) == ((), first.head, None)


async def test_a_chain_that_took_blocks_back_is_a_rewind(ledger: EvmLedger) -> None:
    index = await fold(ledger)
    deployed, entries = index.head_block, len(index.entries)
    snapshot = await ledger.rpc.ask("evm_snapshot")
    await ledger.send(registration(ledger.book), OPERATOR)
    await fold(ledger, index)
    assert list(index.roster().nodes) == [1]
    assert await ledger.rpc.ask("evm_revert", snapshot)
    batch = await ledger.entries(index.cursor)
    assert batch.rewind_to == deployed
    assert index.extend(batch)
    assert (index.roster().nodes, index.head_block, len(index.entries)) == ({}, deployed, entries)


async def test_a_replaced_block_is_read_again(ledger: EvmLedger) -> None:
    index = await fold(ledger)
    snapshot = await ledger.rpc.ask("evm_snapshot")
    await ledger.send(registration(ledger.book, CLOUD, 1), OPERATOR)
    await fold(ledger, index)
    assert await ledger.rpc.ask("evm_revert", snapshot)
    await ledger.send(registration(ledger.book, STRANGER, 2), OPERATOR)
    await ledger.rpc.ask("evm_mine")
    await fold(ledger, index)
    assert [node.name for node in index.roster().nodes.values()] == ["cloud-2"]
    assert index.head == await ledger.head()


async def test_two_readers_of_one_client_rewind_each_to_its_own_past(ledger: EvmLedger) -> None:
    slow, fast = await fold(ledger), await fold(ledger)
    snapshot = await ledger.rpc.ask("evm_snapshot")
    await ledger.send(registration(ledger.book, CLOUD, 1), OPERATOR)
    await fold(ledger, slow)
    assert await ledger.rpc.ask("evm_revert", snapshot)
    await ledger.send(registration(ledger.book, STRANGER, 2), OPERATOR)
    await fold(ledger, fast)
    await fold(ledger, slow)
    assert [entry.topics for entry in slow.entries] == [entry.topics for entry in fast.entries]


async def test_an_unknown_cursor_is_answered_from_the_beginning(ledger: EvmLedger) -> None:
    batch = await ledger.entries(Cursor(ledger.book.deploy_block + 1, b"\x77" * 32))
    assert batch.rewind_to == ledger.book.deploy_block - 1
    assert batch.entries == (await ledger.entries(None)).entries


async def test_a_server_that_is_behind_does_not_hide_entries(
    ledger: EvmLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers for the logs of blocks that it does not have with fewer logs, and says nothing."""
    cursor = (await ledger.entries(None)).cursor
    await ledger.send(registration(ledger.book), OPERATOR)
    exchange, behind = Rpc._exchange, 2

    async def lagging(rpc: Rpc, queries: list[Query]) -> list[Any]:
        nonlocal behind
        answers = await exchange(rpc, queries)
        if queries[0][0] == "eth_getLogs" and behind:
            behind -= 1
            return [[], *([None] * (len(queries) - 1))]
        return answers

    monkeypatch.setattr(Rpc, "_exchange", lagging)
    found = (await ledger.entries(cursor)).entries
    assert [type(entry.event) for entry in found] == [events.Registered]
    assert behind == 0


async def test_the_same_transaction_twice_is_one(ledger: EvmLedger) -> None:
    signed = await ledger.sign(
        registration(ledger.book), OPERATOR, await ledger.nonce(OPERATOR.address), await ledger.fees()
    )
    await ledger.send_raw(signed.raw)
    await ledger.rpc.wait(signed.hash)
    with pytest.raises(LedgerRefused) as refused:
        await ledger.send_raw(signed.raw)
    assert refused.value.name == "NonceTooLow"
    outcome = await ledger.receipt(signed.hash)
    assert outcome is not None
    assert outcome.ok
    assert outcome.gas_used <= signed.gas


async def test_a_transaction_that_reverts_in_its_block_is_not_ok(ledger: EvmLedger) -> None:
    first, second = registration(ledger.book), registration(ledger.book, STRANGER)
    nonce, fees = await ledger.nonce(OPERATOR.address), await ledger.fees()
    signed = [await ledger.sign(call, OPERATOR, nonce + i, fees) for i, call in enumerate((first, second))]
    for transaction in signed:
        await ledger.send_raw(transaction.raw)
        await ledger.rpc.wait(transaction.hash)
    outcomes = [await ledger.receipt(transaction.hash) for transaction in signed]
    assert [outcome.ok if outcome else None for outcome in outcomes] == [True, False]


async def test_sends_of_one_key_at_once_take_their_nonces_in_turn(ledger: EvmLedger) -> None:
    amounts = range(1, 6)
    await asyncio.gather(*(ledger.send(calls.Mint(STRANGER.address, amount), OPERATOR) for amount in amounts))
    found = [entry.event for entry in (await ledger.entries(None)).entries]
    assert sorted(e.value for e in found if isinstance(e, events.Transfer) and e.to == STRANGER.address) == [*amounts]


async def test_an_empty_account_cannot_pay(ledger: EvmLedger) -> None:
    nonce, fees = await ledger.nonce(STRANGER.address), await ledger.fees()
    signed = await ledger.sign(registration(ledger.book, STRANGER), STRANGER, nonce, fees)
    with pytest.raises(LedgerRefused) as refused:
        await ledger.send_raw(signed.raw)
    assert refused.value.name == "InsufficientFunds"


async def test_time_spent_is_counted(ledger: EvmLedger) -> None:
    await ledger.entries(None)
    assert ledger.cpu_seconds > 0
    assert ledger.waiting_seconds > 0


async def test_a_chain_that_is_down_is_the_weather(book: AddressBook) -> None:
    away = msgspec.structs.replace(book, rpc=f"http://127.0.0.1:{free_port()}")
    async with EvmLedger(away) as ledger:
        with pytest.raises(Unavailable, match="no chain answers"):
            await ledger.entries(None)


async def test_a_chain_of_another_id_is_refused(book: AddressBook) -> None:
    async with EvmLedger(msgspec.structs.replace(book, chain_id=5)) as ledger:
        with pytest.raises(ConfigurationError, match="has id 31337, the address book says 5"):
            await ledger.entries(None)


async def test_a_chain_without_the_contracts_is_not_an_empty_ledger(book: AddressBook) -> None:
    async with EvmLedger(msgspec.structs.replace(book, ledger=b"\x09" * 20)) as ledger:
        with pytest.raises(Unavailable, match="no contracts"):
            await ledger.entries(None)


def test_the_address_book_reads_what_it_writes(book: AddressBook) -> None:
    assert AddressBook.from_bytes(book.to_bytes()) == book


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"rpc": 5}'])
def test_another_file_is_no_address_book(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        AddressBook.from_bytes(data)


def test_an_address_follows_from_creator_and_nonce() -> None:
    # The first two contracts that one account made on the public chain.
    creator = bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
    assert created_address(creator, 0).hex() == "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert created_address(creator, 1).hex() == "343c43a37d37dff08ae8c4a11544c718abb4fcf8"


def test_revert_data_of_solidity_itself_is_named() -> None:
    text = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + (2).to_bytes(32, "big") + b"no".ljust(32, b"\0")
    panic = bytes.fromhex("4e487b71") + (17).to_bytes(32, "big")
    assert [(e.name, e.arguments) for e in map(decode_revert, (text, panic, b"", b"\1\2\3\4"))] == [
        ("Error", ("no",)), ("Panic", (17,)), ("Reverted", ("",)), ("UnknownError", (b"\1\2\3\4",)),
    ]  # fmt: skip


def test_a_node_that_is_only_busy_may_be_asked_again() -> None:
    assert isinstance(refusal(Failure("eth_call", -32005, "limit exceeded")), Unavailable)
    assert isinstance(refusal(Failure("eth_call", 3, "execution reverted")), LedgerRefused)
