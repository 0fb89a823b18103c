"""A cloud's log of what it signed: it grows with each promise, its checkpoints continue each other on the ledger, and a log that
was rewritten finds no proof that the ledger takes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from devnet.simulation import Simulation, in_memory
from ledger.calls import Checkpoint
from middleware.errors import LedgerRefused
from middleware.policy import Policy, Rule
from middleware.trust import merkle, roots
from middleware.trust.keys import AccountKey
from middleware.types import Seen
from nodes.cloud import Cloud
from nodes.config import NodeConfig
from nodes.store import Contribution, Store

OPERATOR = AccountKey(bytes(range(1, 33)))
POLICY = Policy(workload="digits", model="mlp:1", parameters=300, rounds=3, rule=Rule("mean", 0), min_updates=1)


async def joined() -> Simulation:
    ledger, context, registry = in_memory(OPERATOR)
    fleet = Simulation(
        ledger, context, registry, OPERATOR, POLICY, lambda d, r, m: np.zeros_like(m), devices=2, edges=1
    )  # fmt: skip
    await fleet.join()
    return fleet


class Planned:
    """An outbox that only remembers what was wanted."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def plan(self, call: Any) -> None:
        self.calls.append(call)


def cloud_with(store: Store, fleet: Simulation, every: int) -> tuple[Any, Planned]:
    config = NodeConfig("cloud", "cloud", listen="127.0.0.1:1", checkpoint_rounds=every)
    outbox = Planned()
    return SimpleNamespace(
        agent=SimpleNamespace(config=config, index=fleet.index, id=1, store=store), outbox=outbox
    ), outbox


async def test_checkpoints_of_a_log_that_only_grows_are_taken(tmp_path: Path) -> None:
    fleet, store = await joined(), Store(tmp_path)
    cloud, outbox = cloud_with(store, fleet, every=2)
    for round in range(1, 7):
        for number in range(3):
            store.append_log(b"promise %d of round %d" % (number, round))
        Cloud._plan_checkpoint(cloud, round)
        if outbox.calls and round % 2 == 0:
            await fleet.ledger.send(outbox.calls[-1], fleet.cloud)
            await fleet.refresh()
    assert [point.size for point in fleet.index.checkpoints[1]] == [6, 12, 18]
    assert fleet.index.checkpoints[1][-1].root == merkle.root_over(store.log())
    assert len(outbox.calls) == 3


async def test_the_ledger_takes_no_checkpoint_of_a_rewritten_log(tmp_path: Path) -> None:
    fleet, store = await joined(), Store(tmp_path)
    cloud, outbox = cloud_with(store, fleet, every=1)
    for number in range(5):
        store.append_log(b"promise %d" % number)
    Cloud._plan_checkpoint(cloud, 1)
    await fleet.ledger.send(outbox.calls[-1], fleet.cloud)
    await fleet.refresh()
    store.connection.execute("UPDATE log SET leaf = ? WHERE number = 2", (roots.log_leaf(b"another promise"),))
    store.close()
    rewritten = Store(tmp_path)
    rewritten.append_log(b"promise 5")
    cloud.agent.store = rewritten
    Cloud._plan_checkpoint(cloud, 2)
    with pytest.raises(LedgerRefused, match="BadProof"):
        await fleet.ledger.send(outbox.calls[-1], fleet.cloud)
    with pytest.raises(LedgerRefused, match="LogRewound"):
        await fleet.ledger.send(Checkpoint(1, 3, merkle.root_over(rewritten.log()[:3]), ()), fleet.cloud)


async def test_zero_means_no_checkpoints(tmp_path: Path) -> None:
    cloud, outbox = cloud_with(Store(tmp_path), await joined(), every=0)
    Cloud._plan_checkpoint(cloud, 100)
    assert outbox.calls == []


def row(node: int, reply: bytes) -> Contribution:
    return Contribution(1, 1, node, node, node, b"frame", b"\x00" * 32, reply)


def test_every_promise_goes_into_the_log_with_the_row_that_holds_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_contribution(row(4, b"receipt for 4"))
    store.add_contribution(row(5, b""))  # brought by an edge: nothing was promised for it
    store.put_outgoing(1, 1, b"report", b"\x00" * 32)
    with pytest.raises(sqlite3.IntegrityError):
        store.add_contribution(row(4, b"a second receipt for 4"))
    with pytest.raises(sqlite3.IntegrityError), store.transaction():
        store.append_log(b"an offer that is not kept")
        store.put_outgoing(1, 1, b"another report", b"\x00" * 32)
    expected = [roots.log_leaf(b"receipt for 4"), roots.log_leaf(b"report")]
    assert store.log() == expected
    assert store.log_head() == (2, merkle.root_over(expected))
    store.close()
    assert Store(tmp_path).log_head() == (2, merkle.root_over(expected))


def test_the_noted_past_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.witness() == Seen()
    store.set_witness(Seen(7, b"\x07" * 32))
    store.close()
    assert Store(tmp_path).witness() == Seen(7, b"\x07" * 32)
