"""A cloud that is brought a forced update: whom it believes, what it keeps when it is killed, what its header says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from devnet.kill import Fuse
from devnet.simulation import Simulation
from devnet.slashing import CLOUD, CONTEXT, PARAMETERS, Body, a_fleet, an_agent, bury, finish, no_evaluation, promise
from ledger.calls import SubmitDirect
from ledger.outbox import Outbox
from middleware.errors import PeerFault
from middleware.trust import eip712, roots
from middleware.trust.keys import NetworkKey, sign_message
from middleware.types import ZERO32
from middleware.wire import tensors
from middleware.wire.manifest import decode_manifest
from middleware.wire.message import ReceiptReply, Signed, Update, decode_stored
from nodes.cloud import Cloud
from nodes.workloads import Workloads


class Direct(Body):
    """An upload that somebody brings past the edge."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.direct = True


async def a_cloud(fleet: Simulation, folder: Path) -> Cloud:
    agent = await an_agent(fleet, folder, CLOUD, Fuse())
    cloud = Cloud(agent, Workloads(agent.settings), Outbox(agent.store.connection, fleet.ledger, agent.account, 0))
    cloud._evaluate = no_evaluation  # type: ignore[method-assign]
    cloud.task = agent.index.tasks[1]
    cloud.model = np.zeros(PARAMETERS, np.float32)
    agent.blobs.put(tensors.encode_model(cloud.model))
    await cloud._open_round(cloud.task, 1)
    return cloud


def an_update(fleet: Simulation, cloud: Cloud, place: int = 0) -> tuple[int, Signed[Update], bytes]:
    """(device, its update of round 1 that vouches for what the offer does, the body)."""
    fleet.round = 1
    edge = fleet.edge_ids()[0]
    device = fleet.device_ids(edge)[place]
    made = decode_stored(fleet._device(device, edge).frame, Update).message
    message = msgspec.structs.replace(made, seen=cloud.gathering.offered.seen)
    return device, sign_message(CONTEXT, fleet.keys[device].network, message), fleet.blobs[made.body_digest]


async def force(fleet: Simulation, device: int, signed: Signed[Update]) -> bytes:
    """Put the update before the ledger; its leaf hash."""
    leaf = signed.message.leaf
    leaf_hash = roots.leaf_hash(CONTEXT, leaf)
    domain = eip712.Domain(CONTEXT.chain_id, CONTEXT.ledger)
    digest = eip712.direct_digest(domain, leaf.task, leaf.round, leaf.node, leaf_hash)
    account = fleet.keys[device].account
    await fleet.ledger.send(SubmitDirect(leaf, account.sign_digest(digest)), fleet.operator)
    return leaf_hash


async def test_a_forced_update_survives_a_kill_and_is_in_the_header(tmp_path: Path) -> None:
    fleet = await a_fleet("flat", "mean")
    cloud = await a_cloud(fleet, tmp_path)
    device, signed, body = an_update(fleet, cloud)
    with pytest.raises(PeerFault, match="overloaded: the ledger shows no forced update"):
        await cloud._on_update(signed, Direct(body))  # type: ignore[arg-type]
    leaf_hash = await force(fleet, device, signed)
    stranger = sign_message(CONTEXT, NetworkKey(b"\x07" * 32), signed.message)
    with pytest.raises(PeerFault, match="forged"):
        await cloud._on_update(stranger, Direct(body))  # type: ignore[arg-type]
    assert await cloud._on_update(signed, Direct(body)) == b""  # type: ignore[arg-type]
    await bury(cloud.agent, cloud)
    cloud = await a_cloud(fleet, tmp_path)
    assert list(cloud.delivered) == [device]
    assert await cloud._on_update(signed, Direct(body)) == b""  # type: ignore[arg-type]
    cloud.deadline = 0.0
    await close(cloud)
    header = cloud._head(1)[2]
    assert header is not None
    (known,) = cloud.agent.index.forced[1]
    assert (known.leaf_hash, header.forced) == (leaf_hash, known.chain)
    manifest = decode_manifest(cloud.agent.blobs.get(header.manifest) or b"")
    assert [(decode_stored(row.frame, Update), row.weight > 0, row.refused) for row in manifest.forced] == [
        (signed, True, "")
    ]
    late, other, body = an_update(fleet, cloud, 1)
    await force(fleet, late, other)
    with pytest.raises(PeerFault, match="wrong-round: round 1 is being settled"):
        await cloud._on_update(other, Direct(body))  # type: ignore[arg-type]
    await bury(cloud.agent, cloud)


async def test_what_was_forced_and_not_delivered_is_acknowledged(tmp_path: Path) -> None:
    fleet = await a_fleet("flat", "mean")
    cloud = await a_cloud(fleet, tmp_path)
    device, signed, _ = an_update(fleet, cloud)
    await force(fleet, device, signed)
    await cloud.agent.view.refresh()
    cloud.deadline = 0.0
    await close(cloud)
    header = cloud._head(1)[2]
    assert header is not None and header.forced == cloud.agent.index.forced[1][0].chain != ZERO32
    assert decode_manifest(cloud.agent.blobs.get(header.manifest) or b"").forced == ()
    await bury(cloud.agent, cloud)


async def close(cloud: Cloud) -> None:
    """The round's end, whoever is missing."""
    await cloud._close(frozenset())
    await finish(cloud)


async def test_nobody_but_the_edge_passes_an_update_on(tmp_path: Path) -> None:
    """Else a device could bring its update itself, at a place that its edge has promised to another, and so spoil the report."""
    fleet = await a_fleet("flat", "mean")
    cloud = await a_cloud(fleet, tmp_path)
    _, signed, body = an_update(fleet, cloud)
    leaf = signed.message.leaf
    other = an_update(fleet, cloud, 1)[1].message.leaf
    forged = decode_stored(promise(fleet, leaf, 1), ReceiptReply)
    by_device = sign_message(CONTEXT, fleet.keys[leaf.node].network, forged.message).stored()
    for receipt, code in (
        (b"", "malformed"), (by_device, "forged"), (promise(fleet, other, 0), "mismatch"),
    ):  # fmt: skip
        with pytest.raises(PeerFault, match=code):
            await cloud._on_update(signed, Body(body, receipt))  # type: ignore[arg-type]
    assert await cloud._on_update(signed, Body(body, promise(fleet, leaf, 0))) == b""  # type: ignore[arg-type]
    assert cloud.places[leaf.edge] == {leaf.node: 0}
