"""Broken promises among real processes on a real chain, and what their victims do about them with the command line."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devnet.chain import operator_key
from devnet.fleet import Fleet, Shape
from ledger.calls import Approve, Stake
from ledger.events import Answered
from ledger.index import Index
from nodes.cli.home import Home
from nodes.operator import Choices, Operator, policy_of

pytestmark = [pytest.mark.system, pytest.mark.slow]

PATIENCE = 240.0  # seconds; far more than anything here takes
STAKE = 1_000_001


def drystone(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodes.cli.main", *words, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def told(home: Path, *words: str) -> Any:
    answer = drystone(home, *words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def nothing(_: str) -> None:
    pass


async def staked(fleet: Fleet, node: str, amount: int) -> Operator:
    """The operator, who put `amount` of stake behind a node."""
    Home(fleet.home).prepare()
    operator = Operator(fleet.ledger(), operator_key().account)
    await operator.ledger.send(Approve(operator.ledger.book.registry, amount), operator.key)
    (found,) = await operator.find([node])
    await operator.ledger.send(Stake(found.id, amount), operator.key)
    return operator


async def until_anchored(operator: Operator, task: int, rounds: int) -> Index:
    deadline = time.monotonic() + PATIENCE
    while len((index := await operator.refresh()).anchored.get(task, [])) < rounds:
        assert time.monotonic() < deadline, f"{len(index.anchored.get(task, []))} of {rounds} rounds were anchored"
        await asyncio.sleep(0.2)
    return index


async def test_an_edge_that_drops_a_receipted_update_is_slashed_by_its_device(tmp_path: Path) -> None:
    policy = policy_of(Choices(rounds=2, aggregator="mean", tolerate=0, epochs=1, round_seconds=20.0))
    with Fleet(tmp_path, Shape(devices=4, edges=2, edge_attack="omit")) as fleet:
        await fleet.start(nothing)
        operator = await staked(fleet, "edge-1", STAKE)
        task = await operator.create_task("cloud", policy, 3600)
        await until_anchored(operator, task, 2)
        offences = told(tmp_path, "dispute", "find")
        left_out = [offence for offence in offences if offence["kind"] == "omission"]
        assert {offence["round"] for offence in left_out} == {1, 2}
        assert {offence["who"].split()[0] for offence in left_out} == {"edge-1"}
        victim, number = left_out[0]["what"].split()[0], str(left_out[0]["round"])
        say = (tmp_path / "logs" / f"{victim}.log").read_text
        deadline = time.monotonic() + PATIENCE
        while (line := f"drystone dispute omission {victim} --task {task} --round {number}") not in say():
            assert time.monotonic() < deadline, say()[-2000:]
            await asyncio.sleep(0.2)
        verb = line.split()[1:]
        dry = drystone(tmp_path, *verb, "--dry-run")
        assert dry.returncode == 0 and "not sent (--dry-run)" in dry.stdout
        said = told(tmp_path, *verb)
        assert (said["slashed"], said["reward"], said["burned"]) == (STAKE, STAKE // 2, STAKE - STAKE // 2)
        index = await operator.refresh()
        account = index.roster().by_name(victim)
        assert account is not None and said["to"].lower() == f"0x{account.account.hex()}"
        again = drystone(tmp_path, *verb)
        assert again.returncode == 1 and "nothing shows a receipt of" in again.stderr
        asked = told(
            tmp_path, "dispute", "demand", number, "--edge", "edge-2", "--kind", "signature", "--task", str(task)
        )
        deadline = time.monotonic() + PATIENCE
        while (index := await operator.refresh()).demands:  # the cloud holds the report: its daemon answers
            assert time.monotonic() < deadline, index.demands
            await asyncio.sleep(0.2)
        answers = [entry.event for entry in index.entries if isinstance(entry.event, Answered)]
        cloud = index.roster().by_name("cloud")
        assert cloud is not None and [(event.id, event.by) for event in answers] == [(asked["demand"], cloud.account)]
        await operator.ledger.close()


def composed(folder: Path, task: int, round: int) -> bool:
    """Whether a device's store holds its own update of a round."""
    with closing(sqlite3.connect(f"file:{folder / 'state' / 'node.db'}?mode=ro", uri=True, timeout=5)) as connection:
        query = "SELECT 1 FROM outgoing WHERE task = ? AND round = ?"
        return connection.execute(query, (task, round)).fetchone() is not None


async def test_a_device_whose_edge_never_answers_gets_in_by_force(tmp_path: Path) -> None:
    policy = policy_of(Choices(rounds=3, aggregator="mean", tolerate=0, epochs=1, min_updates=1, round_seconds=20.0))
    with Fleet(tmp_path, Shape(devices=4, edges=2, edge_attack="silent")) as fleet:
        await fleet.start(nothing)
        operator = await staked(fleet, "edge-1", STAKE)
        task = await operator.create_task("cloud", policy, 3600)
        forced: list[int] = []
        deadline = time.monotonic() + PATIENCE
        while not forced:  # a round may close while the request is on its way: then the next one's update goes in
            number = len((await operator.refresh()).anchored.get(task, [])) + 1
            if not composed(fleet.folder("device-1"), task, number):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
                continue
            words = (
                "dispute",
                "force",
                "device-1",
                "--round",
                str(number),
                "--relay",
                str(tmp_path / f"{number}.json"),
            )
            answer = await asyncio.to_thread(drystone, tmp_path, *words)
            assert "written to" in answer.stdout, answer.stderr
            words = (
                "dispute",
                "relay",
                str(tmp_path / f"{number}.json"),
                "--cloud",
                f"http://127.0.0.1:{fleet.edge_ports[1]}",
            )
            answer = await asyncio.to_thread(drystone, tmp_path, *words)
            if answer.returncode == 0:
                forced.append(number)
            assert time.monotonic() < deadline, answer.stderr
        fleet.kill("cloud")  # what was delivered is on its disk
        fleet.restart("cloud")
        index = await until_anchored(operator, task, forced[0])
        device = index.roster().by_name("device-1")
        assert device is not None and [one.leaf.node for one in index.forced[task]] == [device.id]
        shown = told(tmp_path, "audit", "round", str(forced[0]), "--task", str(task))
        assert [row["weight"] > 0 for row in shown["participants"] if row["forced"]] == [True]
        await until_anchored(operator, task, 3)
        report = told(tmp_path, "audit", "verify", "--task", str(task))
        assert report["verdict"] == "VALID", report["findings"][:3]
        assert "drystone dispute force device-1" in (tmp_path / "logs" / "device-1.log").read_text()
        await operator.ledger.close()
