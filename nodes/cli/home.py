"""Where the command line keeps things: one folder, `.drystone` unless --home or DRYSTONE_HOME says otherwise.

ledger.json          the address book that `contracts deploy` wrote
operator.json        the key that deploys, admits and publishes: a node's key file, or an encrypted keystore
chain/               the devnet chain's state and log
log/                 a local log: blocks.jsonl, and the key that signs it
ledger.head          the newest block of a local log that was read from here
nodes/NAME/          node.toml, keys.json, state/
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final, Optional

import msgspec

from ledger.client import AddressBook
from ledger.connect import AnyLedger, connect
from ledger.index import Index
from ledger.keystore import is_keystore
from ledger.lists import learn_known
from middleware.errors import ConfigurationError
from middleware.trust.eip712 import Domain
from middleware.trust.keys import AccountKey, KeyFile
from nodes.config import Settings, read_config

PASSWORD_FILE: Final = "DRYSTONE_PASSWORD_FILE"  # noqa: S105  (a variable's name)


class Home(msgspec.Struct, frozen=True):
    folder: Path

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger.json"

    @property
    def operator_file(self) -> Path:
        return self.folder / "operator.json"

    @property
    def head_file(self) -> Path:
        return self.folder / "ledger.head"

    @property
    def log_folder(self) -> Path:
        return self.folder / "log"

    @property
    def chain_folder(self) -> Path:
        return self.folder / "chain"

    def prepare(self) -> None:
        """A devnet's operator is the chain's first, publicly known account: never use it elsewhere."""
        from devnet.chain import operator_key
        from nodes.create import write_keys

        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.operator_file.exists():
            write_keys(self.operator_file, operator_key())

    def node_folder(self, name: str) -> Path:
        return self.folder / "nodes" / name

    def address_book(self) -> AddressBook:
        if not self.ledger_file.exists():
            raise ConfigurationError(
                f"no ledger at {self.ledger_file}: run `drystone contracts deploy` or `drystone ledger init` first, or "
                "give --home"
            )
        return AddressBook.from_bytes(self.ledger_file.read_bytes())

    def read_index(self) -> Index:
        """The fold over everything on the ledger now."""

        async def read() -> Index:
            index = Index()
            async with self.ledger() as ledger:
                index.extend(await ledger.entries(None))
                learn_known(index, Domain(ledger.book.chain_id, ledger.book.registry), self.blob)
            return index

        return asyncio.run(read())

    def blob(self, digest: bytes) -> bytes | None:
        """A blob that some node below this home, or the operator, has."""
        name = digest.hex()
        places = [folder / name[:2] / name for folder in self.blob_folders()] + [self.folder / "batches" / name]
        return next((path.read_bytes() for path in places if path.is_file()), None)

    def cloud_address(self) -> str:
        """Where the cloud below this home listens."""
        for settings in self.nodes():
            if settings.config.tier == "cloud":
                return f"http://{settings.config.listen}"
        raise ConfigurationError(f"no cloud below {self.folder}: say where it listens with --cloud http://host:port")

    def ledger(self) -> AnyLedger:
        return connect(self.address_book(), self.head_file)

    def operator(self, password_file: Optional[Path] = None) -> AccountKey:
        """The operator's key; the password of an encrypted one is asked for, or is in the file that DRYSTONE_PASSWORD_FILE
        names."""
        if not self.operator_file.exists():
            raise ConfigurationError(
                f"no operator key at {self.operator_file}: `drystone devnet up` writes one for a devnet, "
                f"`drystone account new --key-file {self.operator_file}` one for any other chain"
            )
        data = self.operator_file.read_bytes()
        if not is_keystore(data):
            return KeyFile.from_bytes(data).account
        from nodes.cli.account import unlock

        named = os.environ.get(PASSWORD_FILE)
        return unlock(self.operator_file, password_file or (Path(named) if named else None))

    def nodes(self) -> list[Settings]:
        return [read_config(path) for path in sorted((self.folder / "nodes").glob("*/node.toml"))]

    def blob_folders(self) -> list[Path]:
        return [settings.path(settings.config.state) / "blobs" for settings in self.nodes()]
