"""An owner's acts, against the contracts' specification."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from devnet.simulation import CHAIN_ID, in_memory
from ledger.calls import Materialise, Mint, RevokeBatch, Suspend
from ledger.index import Index
from ledger.lists import learn_known, materialisation
from ledger.memory import MemoryLedger
from ledger.stakes import Stake, stakes
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault
from middleware.trust import merkle, roots
from middleware.trust.access import unproven_members
from middleware.trust.eip712 import Domain
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey
from middleware.types import Node, Status, Tier
from middleware.wire.members import decode_members, encode_members, member_data
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


DEVICES = [NodeConfig(f"phone-{n}", "end", parent="http://127.0.0.1:9001") for n in range(20)]


async def enrolled(world: World) -> tuple[int, bytes]:
    edge = await world.register(EDGE)
    world.keys |= {config.name: KeyFile.generate(os.urandom) for config in DEVICES}
    return await world.owner.enrol([(config, world.keys[config.name], edge.id) for config in DEVICES])


async def test_a_batch_is_one_transaction_and_its_members_are_nodes_once_their_list_is_known(world: World) -> None:
    before = len((await world.owner.refresh()).entries)
    first, data = await enrolled(world)
    index = await world.owner.refresh()
    assert len(index.entries) == before + 2  # the edge's registration, and all the devices
    assert index.roster().children(2) == [] and len(index.unlisted()) == 1
    index.learn(data)
    children = index.roster().children(2)
    assert [node.name for node in children] == [config.name for config in DEVICES]
    assert [node.id for node in children] == list(range(first, first + 20))
    assert {(node.owner, node.status, node.batch) for node in children} == {(OPERATOR.address, Status.ACTIVE, first)}
    assert index.roster().by_key(world.keys["phone-7"].network.public) == children[7]
    assert index.node_at(first + 7, index.head_block) == children[7]
    assert index.node_at(first + 7, 1) is None


async def test_the_roster_root_is_the_same_with_and_without_the_list(world: World) -> None:
    _, data = await enrolled(world)
    index = await world.owner.refresh()
    before = roots.roster_root(index.roster())
    index.learn(data)
    assert roots.roster_root(index.roster()) == before
    assert roots.roster_root(index.roster(index.roster().block - 1)) != before


async def test_a_batch_that_is_thrown_out_is_out_whole(world: World) -> None:
    first, data = await enrolled(world)
    (await world.owner.refresh()).learn(data)
    await world.ledger.send(RevokeBatch(first), OPERATOR)
    index = await world.owner.refresh()
    assert index.roster().children(2) == []
    assert index.roster().nodes[first].status is Status.REVOKED


async def test_a_member_with_an_entry_of_its_own_leaves_the_batch(world: World) -> None:
    first, data = await enrolled(world)
    index = await world.owner.refresh()
    index.learn(data)
    member = decode_members(data)[3]
    tree = merkle.Tree.of(map(member_data, decode_members(data)))
    await world.ledger.send(
        Materialise(
            first, 3, member.net_key, member.account, OPERATOR.address, int(Tier.END), member.parent, member.name,
            member.meta_hash, member.deadline, member.account_signature, member.net_key_proof, tuple(tree.path(3)),
        ),
        OPERATOR,
    )  # fmt: skip
    await world.ledger.send(Suspend(first + 3), OPERATOR)
    index = await world.owner.refresh()
    node = index.roster().nodes[first + 3]
    assert (node.batch, node.status, node.net_key) == (0, Status.SUSPENDED, member.net_key)
    assert len(index.roster().children(2)) == 19


@pytest.mark.parametrize("change", ["order", "member", "bytes"])
async def test_another_list_than_the_ledgers_is_not_learned(world: World, change: str) -> None:
    _, data = await enrolled(world)
    index = await world.owner.refresh()
    members = list(decode_members(data))
    if change == "order":
        members.reverse()
    if change == "member":
        members[0] = msgspec.structs.replace(members[0], parent=1)
    wrong = data[:-1] if change == "bytes" else encode_members(members)
    with pytest.raises(PeerFault, match="malformed" if change == "bytes" else "mismatch"):
        index.learn(wrong)
    assert len(index.unlisted()) == 1


async def test_a_batch_holds_devices_only(world: World) -> None:
    with pytest.raises(ConfigurationError, match="devices only"):
        await world.owner.enrol([(EDGE, KeyFile.generate(os.urandom), 1)])


async def test_keys_that_did_not_agree_to_be_in_a_batch_are_in_no_roster(world: World) -> None:
    """Else a batch could list a stranger's network key and pass for it."""
    first, data = await enrolled(world)
    members = list(decode_members(data))
    members[4] = msgspec.structs.replace(members[4], net_key=world.keys["cloud"].network.public)
    domain = Domain(CHAIN_ID, world.ledger.book.registry)  # type: ignore[attr-defined]
    bad = unproven_members(domain, OPERATOR.address, members)
    assert bad == {4: "its network key did not sign its registration"}
    index = await world.owner.refresh()
    index.learn(data, {4})
    assert first + 4 not in index.roster().nodes and first + 5 in index.roster().nodes
    assert index.node_at(first + 4, index.head_block) is None


async def test_a_member_with_an_entry_of_its_own_is_paid(world: World) -> None:
    first, data = await enrolled(world)
    index = await world.owner.refresh()
    index.learn(data)
    node = index.roster().nodes[first + 6]
    await world.ledger.send(materialisation(index, node), OPERATOR)
    own = (await world.owner.refresh()).roster().nodes[first + 6]
    assert (own.batch, own.account) == (0, node.account)


async def test_lists_are_learned_from_wherever_their_blobs_are_and_wrong_ones_are_not(world: World) -> None:
    _, data = await enrolled(world)
    domain = Domain(CHAIN_ID, world.ledger.book.registry)  # type: ignore[attr-defined]
    for blobs, unlisted in (({}, 1), ({sha256(data).digest(): data[:-1]}, 1), ({sha256(data).digest(): data}, 0)):
        index = Index()
        index.extend(await world.ledger.entries(None))
        learn_known(index, domain, blobs.get)
        assert len(index.unlisted()) == unlisted


async def test_a_call_for_a_member_whose_list_is_not_here_says_so(world: World) -> None:
    first, data = await enrolled(world)
    index = await world.owner.refresh()
    index.learn(data)
    node = index.roster().nodes[first]
    fresh = Index()
    fresh.extend(await world.ledger.entries(None))
    with pytest.raises(ConfigurationError, match="give --blobs"):
        materialisation(fresh, node)
