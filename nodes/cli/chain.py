"""`drystone devnet` and `drystone contracts`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table


def up(home: Path, port: int, block_time: float) -> None:
    from devnet import chain

    Home(home).prepare()
    chain.run_foreground(Home(home).chain_folder, port, block_time)


def deploy_contracts(home: Path, rpc: str, as_json: bool) -> None:
    from ledger.deploy import deploy
    from middleware.trust.keys import checksum_address

    place = Home(home)
    book = asyncio.run(deploy(rpc, place.operator()))
    place.ledger_file.parent.mkdir(parents=True, exist_ok=True)
    place.ledger_file.write_bytes(book.to_bytes())
    names = ("authority", "credit", "registry", "ledger", "rewards")
    rows = [(name, checksum_address(getattr(book, name))) for name in names]
    if as_json:
        print_json({"file": str(place.ledger_file), "chain_id": book.chain_id, "contracts": dict(rows)})
    else:
        print_table(f"chain {book.chain_id}, address book in {place.ledger_file}", ("contract", "address"), rows)
