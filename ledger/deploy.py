"""Puts the contracts on a chain.

A contract's address follows from its creator and the creator's transaction count (Yellow Paper, section 7), so all are
signed with each other's addresses before any of them is mined, and a deployment takes two blocks: the contracts, then
the roles and the arbiters, which are named once and for ever.
"""

from __future__ import annotations

from typing import Any, Final

from eth_hash.auto import keccak

from ledger.artifacts import load
from ledger.calls import (
    GrantRole,
    Mint,
    SetLedgerArbiters,
    SetRegistryArbiters,
    abi_type,
    calldata,
    encode_arguments,
)
from ledger.client import CONTRACTS, AddressBook
from ledger.rpc import Rpc, hexed, no_funds, unhexed
from ledger.state import COUNCIL, PAUSER, PUBLISHER, REGISTRAR, CourtTerms
from middleware.errors import LedgerRefused
from middleware.ports import Call, SignedTransaction, Signer

MINTED: Final = 10**26  # token units for the deployer: a tenth of what can ever exist
UNBONDING_SECONDS: Final = 7 * 24 * 3600  # longer than any window that a task should have
DAY: Final = 24 * 3600  # seconds
TERMS: Final = CourtTerms(10**18, answer_seconds=DAY, commit_seconds=DAY, reveal_seconds=DAY, council_seconds=7 * DAY)


async def deploy(
    rpc: str,
    key: Signer,
    min_stake: tuple[int, int, int] = (0, 0, 0),
    unbonding_seconds: int = UNBONDING_SECONDS,
    minted: int = MINTED,
    terms: CourtTerms = TERMS,
) -> AddressBook:
    """The contracts, with `key` as administrator, registrar, publisher, council and pauser, and `minted` token units for
    it. `min_stake` is what admits an end, an edge, a cloud, in token units (0: only a registrar admits); `terms` are the
    Court's. Raises Unavailable, LedgerRefused."""
    async with Rpc(rpc) as chain:
        chain_id, nonce = int(await chain.ask("eth_chainId"), 16), await chain.nonce(key.address)
        addresses = [created_address(key.address, nonce + place) for place in range(len(CONTRACTS))]
        authority, credit, registry, ledger, _, arbiter, court, _ = addresses
        times = (terms.answer_seconds, terms.commit_seconds, terms.reveal_seconds, terms.council_seconds)
        creations = [
            creation("Authority", key.address),
            creation("Credit", authority),
            creation("Registry", authority, credit, min_stake, unbonding_seconds),
            creation("Ledger", authority, registry),
            creation("Rewards", authority, registry, ledger, credit),
            creation("Arbiter", registry, ledger),
            creation("Court", authority, registry, ledger, credit, terms.bond, times),
            creation("Models", registry, ledger, credit),
        ]
        receipts = await _send_all(chain, key, chain_id, nonce, [(None, data) for data in creations])
        created = [unhexed(receipt["contractAddress"]) for receipt in receipts]
        if created != addresses:
            raise LedgerRefused("UnexpectedAddress", *created)
        roles: list[tuple[bytes, Call]] = [
            (authority, GrantRole(role, key.address)) for role in (REGISTRAR, PUBLISHER, COUNCIL, PAUSER)
        ]
        arbiters: list[tuple[bytes, Call]] = [
            (registry, SetRegistryArbiters(arbiter, court)),
            (ledger, SetLedgerArbiters(arbiter, court)),
        ]
        calls = [*roles, *arbiters, (credit, Mint(key.address, minted))]
        await _send_all(chain, key, chain_id, nonce + len(addresses), [(to, calldata(call)) for to, call in calls])
        first = min(int(receipt["blockNumber"], 16) for receipt in receipts)
        return AddressBook(rpc, chain_id, deploy_block=first, **dict(zip(CONTRACTS, addresses, strict=True)))


async def transfer(rpc: str, key: Signer, to: bytes, wei: int) -> None:
    """Send `wei` to an account and wait until it is there. Raises Unavailable, LedgerRefused."""
    async with Rpc(rpc) as chain:
        chain_id, nonce = int(await chain.ask("eth_chainId"), 16), await chain.nonce(key.address, "pending")
        signed = await chain.sign(key, chain_id, to, b"", nonce, await chain.fees(), wei)
        await _send(chain, key, chain_id, signed)
        _require_ok(await chain.wait(signed.hash))


def created_address(creator: bytes, nonce: int) -> bytes:
    """keccak256(rlp([creator, nonce]))[12:]."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if len(number) == 1 and number[0] < 0x80 else bytes([0x80 + len(number)]) + number
    body = bytes([0x80 + 20]) + creator + encoded
    return keccak(bytes([0xC0 + len(body)]) + body)[12:]


def creation(name: str, *arguments: Any) -> bytes:
    """A contract's creation code with its constructor's arguments."""
    artifact = load(name)
    constructor = next(entry for entry in artifact.abi if entry["type"] == "constructor")
    types = tuple(map(abi_type, constructor["inputs"]))
    return artifact.bytecode + encode_arguments(types, arguments, f"{name}'s constructor")


async def _send_all(
    chain: Rpc, key: Signer, chain_id: int, nonce: int, requests: list[tuple[bytes | None, bytes]]
) -> list[dict[str, Any]]:
    """Send (to, data) with consecutive nonces, then wait for all the receipts."""
    fees = await chain.fees()
    hashes = []
    for offset, (to, data) in enumerate(requests):
        signed = await chain.sign(key, chain_id, to, data, nonce + offset, fees)
        await _send(chain, key, chain_id, signed)
        hashes.append(signed.hash)
    return [_require_ok(await chain.wait(transaction)) for transaction in hashes]


async def _send(chain: Rpc, key: Signer, chain_id: int, signed: SignedTransaction) -> None:
    try:
        await chain.send_raw(signed.raw)
    except LedgerRefused as refused:
        if refused.name != "InsufficientFunds":
            raise
        raise no_funds(key.address, chain_id, chain.url) from refused


def _require_ok(receipt: dict[str, Any]) -> dict[str, Any]:
    if int(receipt["status"], 16) != 1:
        raise LedgerRefused("Reverted", hexed(unhexed(receipt["transactionHash"])))
    return receipt
