"""`drystone audit bundle` and `audit verify-bundle`: an update's offline proof, made from a chain and blobs, and checked without.

Here the chain is asked, and its answers are put into bytes that prove themselves; what they prove is `ledger.audit.bundle`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer
from eth_hash.auto import keccak

from ledger.audit.bundle import (
    MOST_BLOCKS,
    Checked,
    OnChain,
    Trusted,
    assemble,
    check_file,
    encode_bundle,
    record_slot,
)
from ledger.audit.evidence import Addresses, Evidence, take
from ledger.audit.explain import anchored
from ledger.block import Block, decode_header, encode_header, encode_receipt
from ledger.client import AddressBook, EvmLedger
from ledger.patricia import Nodes, decode_list, proof_in_list, value_under
from ledger.rpc import Rpc, hexed, unhexed
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Position
from middleware.trust.keys import checksum_address, parse_address
from middleware.types import Verdict
from nodes.cli.audit import _blobs, _named, _print_steps
from nodes.cli.home import Home
from nodes.cli.output import EXIT_INVALID, EXIT_UNVERIFIABLE, print_json

HASH_BYTES = 32


def bundle(
    home: Path, blobs: list[str], task: int, name: str, number: int, out: Path, block: int | None, rpc: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the proof, and say with which block hash it has to be compared."""
    book = Home(home).address_book()
    if rpc is not None:
        book = msgspec.structs.replace(book, rpc=rpc)

    async def gather() -> tuple[Evidence, OnChain]:
        async with EvmLedger(book) as ledger:
            addresses = Addresses(book.chain_id, book.registry, book.ledger, book.rewards)
            evidence = take(await ledger.entries(None), addresses)
            position = anchored(evidence, task, number).position
            return evidence, await fetch(ledger.rpc, book, position, record_slot(task, number), block)

    evidence, chain = asyncio.run(gather())
    node = _named(evidence, name).id
    data = encode_bundle(assemble(evidence, _blobs(home, blobs), task, number, node, chain))
    last = decode_header(chain.blocks[-1])
    checked = check_file(data, Trusted(last.hash, book.ledger, book.chain_id))
    out.write_bytes(data)
    if as_json:
        place = {"number": last.number, "hash": last.hash, "time": last.time}
        print_json({"file": str(out), "bytes": len(data), "block": place, "steps": checked.steps})
    else:
        typer.echo(f"{len(data):,} bytes written to {out}")
        typer.echo(f"It proves, to whoever trusts block {last.number} of chain {book.chain_id} with the hash")
        typer.echo(f"  {hexed(last.hash)}")
        typer.echo(f"and the ledger at {checksum_address(book.ledger)}:")
        for words in checked.proves:
            typer.echo(f"  {words}")
        failure = checked.first_failure
        if failure is not None:
            typer.echo(f"  nothing: {failure.what}: {failure.computed} is not {failure.expected}")
    if checked.verdict is not Verdict.VALID:
        raise typer.Exit(EXIT_INVALID)


def verify_bundle(
    home: Path, file: Path, block_hash: str | None, ledger: str | None, chain_id: int | None, as_json: bool
) -> None:
    """Check a proof without any chain: VALID exits 0, INVALID 3, UNVERIFIABLE 4 until a block hash is given."""
    if not file.is_file():
        raise ConfigurationError(f"no bundle at {file}: `drystone audit bundle NODE ROUND --out {file}` writes one")
    book = Home(home).address_book() if Home(home).ledger_file.exists() else None
    trusted = Trusted(
        _parse_hash(block_hash) if block_hash is not None else None,
        parse_address(ledger) if ledger is not None else book.ledger if book is not None else None,
        chain_id if chain_id is not None else book.chain_id if book is not None else None,
    )
    checked = check_file(file.read_bytes(), trusted)
    if as_json:
        print_json({name: getattr(checked, name) for name in checked.__struct_fields__})
    else:
        _print_checked(checked)
    raise typer.Exit({Verdict.VALID: 0, Verdict.INVALID: EXIT_INVALID}.get(checked.verdict, EXIT_UNVERIFIABLE))


def _print_checked(checked: Checked) -> None:
    _print_steps(checked.steps)
    typer.echo("")
    for words in checked.proves:
        typer.echo(f"{'proves' if not checked.compare else 'would prove'}: {words}")
    for words in checked.compare:
        typer.echo(f"compare {words}")
    failure = checked.first_failure
    if failure is not None:
        typer.echo(f"{checked.verdict.value}: {failure.what}: it does not hold")
    else:
        typer.echo(f"{checked.verdict.value}: {len(checked.steps)} comparisons hold")


def _parse_hash(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES:
        raise ConfigurationError(f"--block-hash {text[:80]!r}: a block's hash has 64 hex digits")
    return found


# --------------------------------------------------------------------------------------------------------------- the chain


async def fetch(rpc: Rpc, book: AddressBook, position: Position, slot: bytes, block: int | None = None) -> OnChain:
    """The chain's part of a bundle: the state is that of `block`, by default of the block that anchored the round, or of
    the newest one where the node keeps no older state. Raises ConfigurationError, Unavailable."""
    first_raw, first = await _header(rpc, hexed(position.block_hash))
    receipt_index, log, receipt = await _receipt(rpc, first, position)
    if block is not None and block < first.number:
        raise ConfigurationError(f"--block {block}: the round was anchored later, in block {first.number}")
    head = (await rpc.head()).number
    wanted = [first.number, head] if block is None else [block]
    fault = ""
    for number in dict.fromkeys(wanted):
        raw, state = (first_raw, first) if number == first.number else await _header(rpc, hex(number))
        try:
            account, storage = await _proofs(rpc, book.ledger, slot, state)
        except (LedgerRefused, Unavailable, PeerFault) as error:
            fault = str(error)
            continue
        blocks = await _between(rpc, (first_raw, first), (raw, state))
        return OnChain(blocks, receipt_index, log, receipt, account, storage)
    raise Unavailable(
        f"the node at {rpc.url} proves no state of block {' or '.join(map(str, wanted))}: {fault}; "
        "ask an archive node with --rpc, or choose a younger block with --block"
    )


async def _header(rpc: Rpc, block: str) -> tuple[bytes, Block]:
    """A block's header, by number or hash, that hashes to what the node calls it."""
    by_hash = len(block) == 2 + 2 * HASH_BYTES
    found = await rpc.ask("eth_getBlockByHash" if by_hash else "eth_getBlockByNumber", block, False)
    if found is None:
        raise Unavailable(f"the node at {rpc.url} has no block {block}: look again later")
    raw = encode_header(found)
    header = decode_header(raw)
    if header.hash != unhexed(found["hash"]):
        raise Unavailable(
            f"block {header.number} does not hash to {found['hash']} by Ethereum's rule (or has fields of a younger fork): "
            "no proof can rest on it"
        )
    return raw, header


async def _between(rpc: Rpc, first: tuple[bytes, Block], last: tuple[bytes, Block]) -> Nodes:
    """Every header from `first` to `last`, each the parent of the next."""
    count = last[1].number - first[1].number + 1
    if count > MOST_BLOCKS:
        raise Unavailable(
            f"{count} blocks from the round to the state, at most {MOST_BLOCKS}: name a node that keeps older state with --rpc"
        )
    middle = [await _header(rpc, hex(number)) for number in range(first[1].number + 1, last[1].number)]
    blocks = [first, *middle, *([last] if count > 1 else [])]
    for parent, child in zip(blocks, blocks[1:], strict=False):
        if child[1].parent != parent[1].hash:
            raise Unavailable("the chain was reorganised while it was read: try again")
    return tuple(raw for raw, _ in blocks)


async def _proofs(rpc: Rpc, ledger: bytes, slot: bytes, block: Block) -> tuple[Nodes, Nodes]:
    """The account's and the slot's proof under the block's stateRoot (EIP-1186), both walked once. PeerFault, Unavailable."""
    answer = await rpc.ask("eth_getProof", hexed(ledger), [hexed(slot)], hex(block.number))
    account, storage = _nodes(answer["accountProof"]), _nodes(answer["storageProof"][0]["proof"])
    fields = decode_list(value_under(block.state_root, keccak(ledger), account), "an account")
    value_under(fields[2], keccak(slot), storage)
    return account, storage


async def _receipt(rpc: Rpc, block: Block, position: Position) -> tuple[int, int, Nodes]:
    """(index of the receipt, of the log in it, proof). Raises Unavailable when the receipts do not make the root."""
    receipts = await _receipts(rpc, block)
    name = hexed(position.transaction)
    index = next((i for i, one in enumerate(receipts) if one["transactionHash"] == name), None)
    if index is None:
        raise Unavailable(f"block {block.number} has no transaction {name}: the chain was reorganised, try again")
    log = next(i for i, one in enumerate(receipts[index]["logs"]) if int(one["logIndex"], 16) == position.log_index)
    root, proof = proof_in_list([encode_receipt(one) for one in receipts], index)
    if root != block.receipts_root:
        raise Unavailable(
            f"the receipts of block {block.number} do not make its receiptsRoot: no proof can rest on them"
        )
    return index, log, proof


async def _receipts(rpc: Rpc, block: Block) -> Sequence[dict[str, Any]]:
    """A block's receipts in order: in one answer, or one by one where the node has no such method."""
    try:
        found: Sequence[dict[str, Any]] | None = await rpc.ask("eth_getBlockReceipts", hex(block.number))
    except (Unavailable, LedgerRefused):
        found = None
    if found is not None:
        return found
    named = await rpc.ask("eth_getBlockByHash", hexed(block.hash), False)
    return list(await rpc.ask_all([("eth_getTransactionReceipt", [name]) for name in named["transactions"]]))


def _nodes(texts: Sequence[str]) -> Nodes:
    return tuple(map(unhexed, texts))
