"""`drystone ledger`: a log in the place of a chain, and its anchors on one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from middleware.errors import ConfigurationError
from nodes.cli.home import Home
from nodes.cli.output import EXIT_INVALID, print_json, print_table

if TYPE_CHECKING:
    from ledger.journal import Block


def init(home: Path, listen: str, as_json: bool) -> None:
    """A new log, the key that signs it, an operator where there is none, and the address book."""
    from middleware.trust.keys import KeyFile
    from nodes.create import write_keys
    from nodes.keeper import begin, parse_listen

    place = Home(home)
    parse_listen(listen)
    if place.ledger_file.exists():
        raise ConfigurationError(f"{place.ledger_file} names a ledger already: choose another --home")
    if not place.operator_file.exists():
        write_keys(place.operator_file, KeyFile.generate(os.urandom))
    book = begin(place.log_folder, place.operator(), f"http://{listen}", int(time.time()))
    place.ledger_file.write_bytes(book.to_bytes())
    if as_json:
        print_json({"file": str(place.ledger_file), "chain_id": book.chain_id, "operator": book.operator})
        return
    rows = [("operator's key", book.operator.hex()), ("chain id", book.chain_id), ("served at", listen)]
    print_table(f"local log in {place.log_folder}, address book in {place.ledger_file}", ("what", ""), rows)
    print(f"keep it:  drystone ledger serve --home {home}")


def serve(home: Path, listen: str) -> None:
    """Keep the log until SIGINT or SIGTERM."""
    import uvloop

    from ledger.logfile import LogFile
    from nodes.daemon import read_keys
    from nodes.keeper import KEY_FILE, LOG_FILE, parse_listen
    from nodes.keeper import serve as keep

    place = Home(home)
    book = place.address_book()
    if not book.operator:
        raise ConfigurationError(
            f"{place.ledger_file} names the chain at {book.rpc}, no local log: there is nothing to serve"
        )
    address = parse_listen(listen or book.rpc.rpartition("//")[2])
    logging.basicConfig(
        level=os.environ.get("DRYSTONE_LOG", "INFO"),
        stream=sys.stderr,
        format="%(asctime)s ledger %(levelname)s %(message)s",
    )

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with LogFile(place.log_folder / LOG_FILE) as file:
            await keep(file, read_keys(place.log_folder / KEY_FILE).network, address, stop)

    uvloop.run(until_signalled())


def compare(first: Path, second: Path, as_json: bool) -> None:
    """Whether two exported records are of one log; exit code 3 where its operator signed both branches of a fork."""
    from ledger.audit.fork import compare as agree

    found = agree(_blocks(first), _blocks(second))
    if as_json:
        print_json(found)
    else:
        print(found.line())
    raise typer.Exit(EXIT_INVALID if found.forked else 0)


def restore(home: Path, record: Path) -> None:
    """The log's file from a record, where the file was lost and its key was not."""
    from ledger.journal import genesis_of
    from ledger.logfile import LogFile
    from nodes.daemon import read_keys
    from nodes.keeper import KEY_FILE, LOG_FILE

    place, blocks = Home(home), _blocks(record)
    key, operator = read_keys(place.log_folder / KEY_FILE).network.public, genesis_of(blocks[0]).operator
    if key != operator:
        raise ConfigurationError(f"{record} is of the log of operator {operator.hex()}, the key here is {key.hex()}'s")
    with LogFile.restore(place.log_folder / LOG_FILE, blocks) as file:
        head = file.journal.head
    print(f"{len(blocks)} blocks restored, the newest is {head.number}, 0x{head.hash.hex()}")
    print("serve it only if no member saw a newer one: whoever did will take it for a rewound log, and stop")


def _blocks(record: Path) -> tuple[Block, ...]:
    """The blocks in an exported record that holds."""
    from ledger.audit.evidence import read

    if not record.is_file():
        raise ConfigurationError(f"no record at {record}: `drystone audit log --export {record}` writes one")
    evidence = read(record.read_bytes())
    if evidence.faults or not evidence.blocks:
        said = evidence.faults[0].line() if evidence.faults else "it is of a chain"
        raise ConfigurationError(f"{record} is no sound record of a local log: {said}")
    return evidence.blocks


def anchor(
    home: Path, ledger_book: Path, rpc: str, key_file: Path, password_file: Optional[Path], as_json: bool
) -> None:
    """Checkpoint the log below `home` on the chain that `ledger_book` names."""
    import msgspec

    from ledger.anchor import Anchored
    from ledger.anchor import anchor as put
    from ledger.client import AddressBook, EvmLedger
    from ledger.local import LocalLedger
    from nodes.cli.account import account_key

    if not ledger_book.is_file():
        raise ConfigurationError(f"no address book at {ledger_book}: `drystone contracts deploy` writes one")
    book = AddressBook.from_bytes(ledger_book.read_bytes())
    if book.operator:
        raise ConfigurationError(f"{ledger_book} names another local log: only a chain can vouch for this one")
    if rpc:
        book = msgspec.structs.replace(book, rpc=rpc)
    key = account_key(key_file, password_file)

    async def act() -> Anchored:
        async with LocalLedger(Home(home).address_book(), Home(home).head_file) as local, EvmLedger(book) as chain:
            return await put(await local.journal(), chain, key)

    done = asyncio.run(act())
    if as_json:
        print_json({"chain_id": book.chain_id, **msgspec.structs.asdict(done)})
        return
    said = "anchored" if done.sent else "were anchored before"
    print(f"{done.size} blocks {said} on chain {book.chain_id} by node {done.node}: root {done.root.hex()}")
