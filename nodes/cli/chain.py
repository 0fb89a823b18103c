"""`drystone devnet` and `drystone contracts`. A key comes from a file, never from the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Optional

from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table


def up(home: Path, port: int, block_time: float) -> None:
    from devnet import chain

    Home(home).prepare()
    chain.run_foreground(Home(home).chain_folder, port, block_time)


def deploy_contracts(
    home: Path, rpc: str, key_file: Optional[Path], password_file: Optional[Path], as_json: bool
) -> None:
    from ledger.client import CONTRACTS
    from ledger.deploy import deploy
    from middleware.trust.keys import checksum_address
    from nodes.cli.account import unlock

    place = Home(home)
    key = place.operator(password_file) if key_file is None else unlock(key_file, password_file)
    book = asyncio.run(deploy(rpc, key))
    place.ledger_file.parent.mkdir(parents=True, exist_ok=True)
    place.ledger_file.write_bytes(book.to_bytes())
    rows = [(name, checksum_address(getattr(book, name))) for name in CONTRACTS]
    if as_json:
        print_json({"file": str(place.ledger_file), "chain_id": book.chain_id, "contracts": dict(rows)})
    else:
        print_table(f"chain {book.chain_id}, address book in {place.ledger_file}", ("contract", "address"), rows)
