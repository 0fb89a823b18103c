"""What the owner of nodes does: enrol them under a key of its own, put stake behind them, give them new network keys.

An owner's key stays with the owner. A node holds its own two keys; the owner's account pays, stakes, suspends and takes
back, so a stolen node can be thrown out and its stake is not lost with it.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from ledger.calls import Approve, Register, RegisterBatch, RotateNetKey, Stake, Unstake, Withdraw
from ledger.events import KeyRotated
from middleware.errors import ConfigurationError
from middleware.trust import eip712, merkle
from middleware.trust.keys import KeyFile, NetworkKey
from middleware.types import ZERO32, Node, Tier
from middleware.wire.commitment import pack_name
from middleware.wire.members import Member, decode_members, encode_members, member_data
from nodes.config import NodeConfig
from nodes.create import write_secret
from nodes.operator import Operator

SIGNED_SECONDS = 3600  # how long what a node's keys signed may be sent


class Owner(Operator):
    """An operator's key that owns nodes."""

    @property
    def _registry(self) -> eip712.Domain:
        return eip712.Domain(self.ledger.book.chain_id, self.ledger.book.registry)

    async def register(self, config: NodeConfig, keys: KeyFile, parent: int) -> Node:
        """Put a node on the ledger as this key's own, and return it. Raises LedgerRefused."""
        name, tier, account = pack_name(config.name), config.rank, keys.account.address
        deadline = int(time.time()) + SIGNED_SECONDS
        digest = eip712.registration_digest(
            self._registry, keys.network.public, account, self.key.address, tier, parent, name, ZERO32, deadline
        )
        await self.ledger.send(
            Register(
                net_key=keys.network.public, account=account, owner=self.key.address, tier=int(tier), parent=parent,
                name=name, meta_hash=ZERO32, deadline=deadline, account_signature=keys.account.sign_digest(digest),
                net_key_proof=keys.network.sign_digest(digest),
            ),
            self.key,
        )  # fmt: skip
        node = (await self.roster()).by_key(keys.network.public)
        if node is None:
            raise ConfigurationError(f"{config.name} was registered, but the ledger does not show it yet: look again")
        return node

    async def enrol(self, members: list[tuple[NodeConfig, KeyFile, int]]) -> tuple[int, bytes]:
        """Put devices on the ledger with one transaction, as (config, keys, parent's number). Returns the first one's number
        and the list, which the nodes have to get: the ledger keeps its digest only."""
        deadline = int(time.time()) + SIGNED_SECONDS
        data = encode_members([self._member(config, keys, parent, deadline) for config, keys, parent in members])
        root = merkle.root(map(member_data, decode_members(data)))
        digest = hashlib.sha256(data).digest()
        await self.ledger.send(RegisterBatch(root, len(members), digest), self.key)
        first = max(batch.first for batch in (await self.refresh()).batches() if batch.list == digest)
        return first, data

    def _member(self, config: NodeConfig, keys: KeyFile, parent: int, deadline: int) -> Member:
        if config.rank is not Tier.END:
            raise ConfigurationError(f"{config.name} is of tier {config.tier}: a batch holds devices only")
        name, account = pack_name(config.name), keys.account.address
        signed = eip712.registration_digest(
            self._registry, keys.network.public, account, self.key.address, Tier.END, parent, name, ZERO32, deadline
        )
        return Member(
            keys.network.public, account, parent, name, ZERO32, deadline, keys.account.sign_digest(signed),
            keys.network.sign_digest(signed),
        )  # fmt: skip

    async def parent_of(self, config: NodeConfig, siblings: list[NodeConfig]) -> int:
        """The number of the node that a config's `parent` address belongs to; 0 for a cloud."""
        if config.rank is Tier.CLOUD:
            return 0
        address = config.parent.split("://", 1)[-1].rstrip("/")
        above = next((one for one in siblings if one.listen == address), None)
        if above is None:
            raise ConfigurationError(
                f"no node below this home listens on {address}: say which it is with --parent-node"
            )
        return (await self.find([above.name]))[0].id

    async def rotate(self, node: Node, path: Path) -> NetworkKey:
        """Give a node a new network key, and write it into its key file at `path` once the ledger has it.

        The new key is on disk before it is on the ledger: after a crash the same call goes on with the same key.
        """
        fresh = path.with_name(path.name + ".new")
        old = KeyFile.from_bytes(path.read_bytes())
        if not fresh.exists():
            write_secret(fresh, KeyFile(NetworkKey.generate(os.urandom), old.account).to_bytes())
        new = KeyFile.from_bytes(fresh.read_bytes())
        index = await self.refresh()
        known = index.roster().nodes[node.id]
        if known.net_key == old.network.public:
            nonce = sum(isinstance(entry.event, KeyRotated) and entry.event.id == node.id for entry in index.entries)
            deadline = int(time.time()) + SIGNED_SECONDS
            digest = eip712.rotation_digest(self._registry, node.id, new.network.public, nonce, deadline)
            await self.ledger.send(
                RotateNetKey(
                    node.id,
                    new.network.public,
                    deadline,
                    old.account.sign_digest(digest),
                    new.network.sign_digest(digest),
                ),
                self.key,
            )
        elif known.net_key != new.network.public:
            raise ConfigurationError(f"{path} does not hold the network key that the ledger has for {node.name}")
        os.replace(fresh, path)
        return new.network

    async def stake(self, node: Node, amount: int) -> None:
        """Bond `amount` token units of this key's for a node; enough of it admits a pending node."""
        await self.ledger.send(Approve(self.ledger.book.registry, amount), self.key)
        await self.ledger.send(Stake(node.id, amount), self.key)

    async def unstake(self, node: Node, amount: int) -> None:
        """Begin to take stake back: it stays slashable until it is withdrawn."""
        await self.ledger.send(Unstake(node.id, amount), self.key)

    async def withdraw(self, node: Node) -> None:
        """Take what has finished unbonding."""
        await self.ledger.send(Withdraw(node.id), self.key)
