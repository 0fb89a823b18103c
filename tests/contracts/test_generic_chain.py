"""Chains as they are met outside: blocks at intervals, servers that lag behind each other, pools with words of their own,
blocks without a base fee. Only anvil is run here; what other clients say is played to the client."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devnet.chain import free_port, operator_key
from devnet.reorganise import Reorganised
from devnet.toolchain import anvil
from ledger.calls import Mint
from ledger.client import EvmLedger
from ledger.deploy import deploy, transfer
from ledger.rpc import Failure, Query, Rpc, refusal
from middleware.errors import ConfigurationError, LedgerRefused, Unavailable
from middleware.ports import Fees
from middleware.trust.keys import AccountKey

KEY = operator_key().account
POOR = AccountKey(b"\x0b" * 32)
START_SECONDS = 30.0
PATIENCE_SECONDS = 60.0


@contextmanager
def running(folder: Path, *options: str) -> Iterator[str]:
    """The address of an anvil with these options; ended by its process id afterwards."""
    output = folder / "output"
    with output.open("wb") as stream:
        command = anvil("--port", "0", "--color", "never", "--cache-path", str(folder / "states"), *options)
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"Listening on (127\.0\.0\.1:\d+)", output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"anvil did not start: {output.read_text()}")
            time.sleep(0.02)
        yield f"http://{found[1]}"
    finally:
        process.kill()
        process.wait()


# --------------------------------------------------------------------------------------------------------------- mining


@pytest.mark.slow
async def test_blocks_at_intervals_carry_what_is_wanted_to_its_end(tmp_path: Path) -> None:
    with running(tmp_path, "--block-time", "1") as rpc:
        world = await Reorganised.begin(rpc, KEY, 1, random.Random(1))
        world.plan(6)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while world.outbox.pending():
            await world.outbox.drain()
            assert time.monotonic() < deadline, world.outbox.status()
            await asyncio.sleep(0.05)
        await world.check()
        assert await world.ledger.nonce(KEY.address) - 17 == 6  # seventeen set the world up
        await world.close()


class Balancer:
    """Servers behind one address: each request is answered by one that is `most` blocks behind, or less, and says nothing
    of it. Sending reaches the newest."""

    def __init__(self, rpc: Rpc, generator: random.Random, most: int) -> None:
        self.rpc, self.generator, self.most = rpc, generator, most
        self.straight = rpc._exchange

    async def exchange(self, queries: list[Query]) -> list[Any]:
        newest = int((await self.straight([("eth_blockNumber", [])]))[0], 16)
        at = max(0, newest - self.generator.randint(0, self.most))
        answers = await self.straight([self._asked(query, at) for query in queries])
        return [self._told(query, answer, at) for query, answer in zip(queries, answers, strict=True)]

    def _asked(self, query: Query, at: int) -> Query:
        method, parameters = query
        if method == "eth_getLogs":
            scope = parameters[0]
            return method, [{**scope, "toBlock": hex(min(at, int(scope["toBlock"], 16)))}]
        if method in ("eth_getTransactionCount", "eth_getBlockByNumber", "eth_call"):
            return method, [hex(at) if parameter == "latest" else parameter for parameter in parameters]
        return query

    def _told(self, query: Query, answer: Any, at: int) -> Any:
        method, _ = query
        if method == "eth_getTransactionReceipt" and answer and int(answer["blockNumber"], 16) > at:
            return None
        if method.startswith("eth_getBlockBy") and answer and int(answer["number"], 16) > at:
            return None
        return answer


@pytest.mark.parametrize("seed", range(6))
async def test_servers_that_lag_behind_each_other_make_nothing_happen_twice(anvil_rpc: str, seed: int) -> None:
    generator = random.Random(seed)
    world = await Reorganised.begin(anvil_rpc, KEY, 2, generator)
    straight = world.ledger.rpc._exchange
    world.ledger.rpc._exchange = Balancer(world.ledger.rpc, generator, 3).exchange  # type: ignore[method-assign]
    for _ in range(8):
        world.plan(2)
        try:
            await world.crash(generator.randint(0, 150))
            await world.outbox.drain()
            await world.follow()
        except Unavailable:
            continue  # this server shows less than what was sent: later
    world.ledger.rpc._exchange = straight  # type: ignore[method-assign]
    before = await world.ledger.nonce(KEY.address)
    await world.settle()
    await world.check()
    assert await world.ledger.nonce(KEY.address) >= before
    await world.close()


# ----------------------------------------------------------------------------------------------------------------- fees


def answering(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> Rpc:
    """A client whose node says this, by method; it has never heard of the others."""

    async def exchange(rpc: Rpc, queries: list[Query]) -> list[Any]:
        return [answers.get(method, Failure(method, -32601, "Method not found")) for method, _ in queries]

    monkeypatch.setattr(Rpc, "_exchange", exchange)
    return Rpc("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("base", "tip", "price", "expected"),
    [
        ("0x64", "0x3", "0x67", Fees(203, 3)),
        ("0x64", None, "0x6e", Fees(210, 10)),  # no suggestion: what the price asks above the base fee
        ("0x64", None, "0x5", Fees(200, 0)),
        ("0x64", None, None, Fees(200, 0)),
        ("0x0", "0x0", "0x0", Fees(0, 0)),  # a network that charges nothing
        ("0x7", None, "0x7", Fees(14, 0)),
        (None, None, "0x64", Fees(125, 125)),  # blocks without a base fee
        (None, "0x3", "0x0", Fees(0, 0)),
    ],
)
async def test_fees_are_defined_whatever_the_node_leaves_out(
    monkeypatch: pytest.MonkeyPatch, base: str | None, tip: str | None, price: str | None, expected: Fees
) -> None:
    block = {"number": "0x1"} | ({"baseFeePerGas": base} if base else {})
    told = {"eth_getBlockByNumber": block, "eth_maxPriorityFeePerGas": tip, "eth_gasPrice": price}
    rpc = answering(monkeypatch, **{name: value for name, value in told.items() if value is not None})
    assert await rpc.fees() == expected


async def test_a_chain_that_names_no_price_at_all_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = answering(monkeypatch, eth_getBlockByNumber={"number": "0x1"})
    with pytest.raises(Unavailable, match="neither a base fee nor a gas price"):
        await rpc.fees()


async def test_a_chain_from_before_base_fees_takes_our_transactions(tmp_path: Path) -> None:
    with running(tmp_path, "--hardfork", "berlin") as rpc:
        await transfer(rpc, KEY, POOR.address, 5)
        async with Rpc(rpc) as chain:
            block = await chain.ask("eth_getBlockByNumber", "latest", True)
            assert "baseFeePerGas" not in block
            assert int(block["transactions"][0]["type"], 16) == 0
            assert int(await chain.ask("eth_getBalance", "0x" + POOR.address.hex(), "latest"), 16) == 5


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("nonce too low: next nonce 5, tx nonce 4", "NonceTooLow"),  # geth
        ("replacement transaction underpriced", "Underpriced"),
        ("transaction underpriced: gas tip cap 1, minimum needed 2", "Underpriced"),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", "InsufficientFunds"),
        ("Nonce too low", "NonceTooLow"),  # Besu
        ("Replacement transaction underpriced", "Underpriced"),
        ("Gas price below configured minimum gas price", "Underpriced"),
        ("Gas price below current base fee", "Underpriced"),
        ("Upfront cost exceeds account balance", "InsufficientFunds"),
        ("OldNonce", "NonceTooLow"),  # Nethermind
        ("FeeTooLow, FeePerGas needs to be higher than 5", "Underpriced"),
        ("InsufficientFunds, Account balance: 0", "InsufficientFunds"),
    ],
)
def test_what_pools_say_is_understood(message: str, name: str) -> None:
    found = refusal(Failure("eth_sendRawTransaction", -32000, message))
    assert isinstance(found, LedgerRefused)
    assert found.name == name


@pytest.mark.parametrize(
    "message", ["already known", "Known transaction", "AlreadyKnown", "transaction already imported"]
)
async def test_a_pool_that_has_it_already_took_it(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    known = Failure("eth_sendRawTransaction", -32000, message)
    await answering(monkeypatch, eth_sendRawTransaction=known).send_raw(b"\x01")


# ------------------------------------------------------------------------------------------------- what is wrong, plainly


async def test_nothing_is_signed_for_a_chain_of_another_id(anvil_rpc: str) -> None:
    book = await deploy(anvil_rpc, KEY)
    async with EvmLedger(msgspec.structs.replace(book, chain_id=1)) as ledger:
        with pytest.raises(ConfigurationError, match="has id 31337, the address book says 1: give the address of the"):
            await ledger.send(Mint(POOR.address, 1), KEY)
        with pytest.raises(ConfigurationError, match="has id 31337"):
            await ledger.sign(Mint(POOR.address, 1), KEY, 0, Fees(1, 1))


async def test_an_account_without_funds_is_named_with_the_remedy(tmp_path: Path) -> None:
    with running(tmp_path) as rpc:
        with pytest.raises(Unavailable, match="account 0x.{40} cannot pay for gas on chain 31337 at .*: send it some"):
            await deploy(rpc, POOR)
        book = await deploy(rpc, KEY)
        await transfer(rpc, KEY, POOR.address, 1)
        async with EvmLedger(book) as ledger:
            signed = await ledger.cancel(POOR, 0, await ledger.fees())
            with pytest.raises(LedgerRefused, match="InsufficientFunds"):
                await ledger.send_raw(signed.raw)


async def test_a_chain_that_is_away_is_named_with_the_remedy() -> None:
    rpc = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=f"no chain answers at {rpc}.*; start it, or wait"):
        await deploy(rpc, KEY)
