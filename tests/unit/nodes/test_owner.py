"""An owner's acts, against the contracts' specification."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from devnet.simulation import CHAIN_ID, in_memory
from ledger.calls import Mint
from ledger.memory import MemoryLedger
from ledger.stakes import Stake, stakes
from middleware.errors import ConfigurationError, LedgerRefused
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey
from middleware.types import Node, Status
from nodes.config import NodeConfig
from nodes.owner import Owner

OPERATOR = AccountKey(bytes(range(1, 33)))
CLOUD = NodeConfig("cloud", "cloud", listen="127.0.0.1:9000")
EDGE = NodeConfig("edge-1", "edge", listen="127.0.0.1:9001", parent="http://127.0.0.1:9000/")


class World:
    """A ledger in memory, an owner with money, and a cloud of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger, _, registry = in_memory(OPERATOR)
        self.ledger.book = SimpleNamespace(chain_id=CHAIN_ID, registry=registry)  # type: ignore[attr-defined]
        self.owner = Owner(self.ledger, OPERATOR)  # type: ignore[arg-type]
        self.keys: dict[str, KeyFile] = {}

    async def register(self, config: NodeConfig) -> Node:
        keys = self.keys[config.name] = KeyFile.generate(os.urandom)
        (self.folder / f"{config.name}.json").write_bytes(keys.to_bytes())
        return await self.owner.register(config, keys, await self.owner.parent_of(config, [CLOUD, EDGE]))

    async def stakes(self) -> dict[int, Stake]:
        return stakes((await self.owner.refresh()).entries)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    assert isinstance(made.ledger, MemoryLedger)
    await made.ledger.send(Mint(OPERATOR.address, 1000), OPERATOR)
    await made.register(CLOUD)
    return made


async def test_a_registered_node_belongs_to_the_owner_and_stands_below_its_parent(world: World) -> None:
    node = await world.register(EDGE)
    assert (node.owner, node.parent, node.status) == (OPERATOR.address, 1, Status.ACTIVE)
    assert node.account == world.keys["edge-1"].account.address != OPERATOR.address


async def test_a_parent_that_is_not_known_here_has_to_be_named(world: World) -> None:
    with pytest.raises(ConfigurationError, match="--parent-node"):
        await world.owner.parent_of(EDGE, [EDGE])


async def test_stake_goes_in_and_comes_back_to_the_owner(world: World) -> None:
    node = await world.register(EDGE)
    await world.owner.stake(node, 600)
    await world.owner.unstake(node, 200)
    held = (await world.stakes())[node.id]
    assert (held.bonded, held.unbonding, held.slashed) == (400, 200, 0)
    await world.owner.withdraw(node)
    assert (await world.stakes())[node.id] == Stake(400, 0, held.until, 0)
    with pytest.raises(LedgerRefused, match="InsufficientStake"):
        await world.owner.unstake(node, 401)


async def test_a_rotated_key_is_the_ledgers_and_the_files(world: World) -> None:
    node = await world.register(EDGE)
    path = world.folder / "edge-1.json"
    for _ in range(2):
        new = await world.owner.rotate(node, path)
        assert KeyFile.from_bytes(path.read_bytes()).network.public == new.public
        assert (await world.owner.roster()).nodes[node.id].net_key == new.public
        assert not path.with_name("edge-1.json.new").exists()


async def test_a_rotation_that_was_interrupted_goes_on_with_the_same_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await world.register(EDGE)
    path = world.folder / "edge-1.json"

    def power_cut(source: Path, target: Path) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", power_cut)
        with pytest.raises(OSError, match="power"):
            await world.owner.rotate(node, path)
    on_ledger = (await world.owner.roster()).nodes[node.id].net_key
    assert KeyFile.from_bytes(path.read_bytes()).network.public != on_ledger
    assert (await world.owner.rotate(node, path)).public == on_ledger
    assert KeyFile.from_bytes(path.read_bytes()).network.public == on_ledger


async def test_a_key_file_of_another_node_is_refused(world: World) -> None:
    node = await world.register(EDGE)
    path = world.folder / "edge-1.json"
    stranger = KeyFile(NetworkKey.generate(os.urandom), world.keys["edge-1"].account)
    path.write_bytes(stranger.to_bytes())
    with pytest.raises(ConfigurationError, match="does not hold the network key"):
        await world.owner.rotate(node, path)
