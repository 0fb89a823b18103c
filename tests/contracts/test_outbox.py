"""The outbox against the real contracts, by the product's own client."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest

from devnet.chain import operator_key
from ledger.calls import LINEAR, Admit, AnchorRound, CreateTask, Register
from ledger.client import EvmLedger
from ledger.deploy import deploy
from ledger.index import Index
from ledger.outbox import Outbox
from middleware.policy import Policy, Rule
from middleware.trust.eip712 import Domain, header_hash, registration_digest
from middleware.types import ZERO32, Header
from middleware.wire.policy import encode_policy

KEY = operator_key().account  # funded on this chain, and everything at once: administrator, cloud, publisher
FAR = 1 << 40  # seconds since 1970
POLICY = encode_policy(Policy("digits", "mlp:64-256-10", 10, rule=Rule("mean", 0), min_updates=1))
STEPS = 500


def ask(rpc: str, method: str, *parameters: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    request = urllib.request.Request(rpc, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["result"]


def headers(rounds: int) -> list[Header]:
    chain: list[Header] = []
    prev, model = ZERO32, ZERO32
    for number in range(1, rounds + 1):
        after = sha256(model).digest()
        rest = [ZERO32] * 5
        policy = sha256(POLICY).digest()
        chain.append(Header(1, number, prev, ZERO32, policy, model, ZERO32, 0, ZERO32, ZERO32, after, *rest))
        prev, model = header_hash(chain[-1]), after
    return chain


@pytest.fixture
async def evm_ledger(anvil_rpc: str) -> AsyncIterator[EvmLedger]:
    """Fresh contracts with one active cloud and its task 1."""
    async with EvmLedger(await deploy(anvil_rpc, KEY)) as ledger:
        domain = Domain(ledger.book.chain_id, ledger.book.registry)
        fields = (sha256(b"key").digest(), KEY.address, KEY.address, 3, 0, b"cloud".ljust(32, b"\0"), ZERO32, FAR)
        signature = KEY.sign_digest(registration_digest(domain, *fields))
        await ledger.send(Register(*fields, signature, bytes(64)), KEY)
        await ledger.send(CreateTask(1, 0, LINEAR, 0, 2, 1, ZERO32, POLICY), KEY)
        yield ledger


async def deliver(outbox: Outbox) -> None:
    for _ in range(STEPS):
        await outbox.drain()
        if outbox.pending() == 0:
            return
        await asyncio.sleep(0)  # the chain mines in a thread of its own
    raise AssertionError(f"not delivered after {STEPS} steps: {outbox.status()}")


async def anchored(ledger: EvmLedger) -> list[Header]:
    index = Index()
    index.extend(await ledger.entries(None))
    return [found.header for found in index.anchored.get(1, [])]


async def test_headers_reach_the_contracts_in_order_and_come_back_after_the_chain_lost_them(
    evm_ledger: EvmLedger,
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    outbox = Outbox(connection, evm_ledger, KEY, 0)
    outbox.plan(Admit(7))
    for header in headers(2):
        outbox.plan(AnchorRound(header))
    await deliver(outbox)
    snapshot = ask(evm_ledger.book.rpc, "evm_snapshot")
    for header in headers(5):
        outbox.plan(AnchorRound(header))
    await deliver(outbox)
    assert await anchored(evm_ledger) == headers(5)
    assert outbox.refusals() == [("admit", "the ledger refused: UnknownNode(7)")]
    gas = outbox.gas()["anchorRound"]
    assert len(gas) == 5
    assert 50_000 < min(gas) <= max(gas) < 200_000

    assert ask(evm_ledger.book.rpc, "evm_revert", snapshot)
    assert await anchored(evm_ledger) == headers(2)
    for _ in range(STEPS):
        await outbox.drain()
        if await anchored(evm_ledger) == headers(5):
            break
    assert await anchored(evm_ledger) == headers(5)
    connection.close()


async def test_headers_that_wait_for_a_block_are_final_when_another_is_above_them(evm_ledger: EvmLedger) -> None:
    rpc = evm_ledger.book.rpc
    connection = sqlite3.connect(":memory:", isolation_level=None)
    outbox = Outbox(connection, evm_ledger, KEY, 1)
    for header in headers(3):
        outbox.plan(AnchorRound(header))
    ask(rpc, "evm_setAutomine", False)
    try:
        await outbox.drain()
        assert await anchored(evm_ledger) == []
        assert outbox.status()["SENT"] == 3  # this chain estimates on top of what waits, so they travel together
        ask(rpc, "evm_mine")
        await outbox.drain()
        assert outbox.status()["MINED"] == 3
        ask(rpc, "evm_mine")
        await outbox.drain()
    finally:
        ask(rpc, "evm_setAutomine", True)
    assert await anchored(evm_ledger) == headers(3)
    assert outbox.status()["FINAL"] == 3
    connection.close()
