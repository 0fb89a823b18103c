"""Every rule in a task: a fleet with liars trains under it, and an audit repeats every round to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from devnet.simulation import Learned, Simulation, in_memory
from ledger.audit.check import examine, verify
from ledger.audit.evidence import Addresses, Evidence, of_entries
from middleware.policy import Grid, Policy, Rule, Server
from middleware.policy.rule import KINDS, MIXERS, SCREENS
from middleware.protocol import memory
from middleware.protocol.update import Floats
from middleware.trust.keys import AccountKey
from middleware.types import ZERO32, Verdict
from nodes.cli.main import app
from tests.sim.history import History, policy_of
from tests.sim.run_folder import write_run

PARAMETERS = 600
OPERATOR = AccountKey(bytes(range(1, 33)))
TARGET = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)
DEVICES, LIARS, ROUNDS = 16, 2, 5
NAMES = [*KINDS, *(f"{mixer}+median" for mixer in MIXERS), *(f"{screen}:mean" for screen in SCREENS)]
CARRYING = [name for name in KINDS if Rule(name, 1).remembers]
UNSUITED = ("mean", "sign-majority", "contra")  # no bound, too few steps of one length, honest devices who are alike


def policy(name: str, server: Server | None = None) -> Policy:
    rule = Rule(name, 0 if name == "mean" else LIARS)
    slices = {"evaluation": "ab" * 32, "evaluation_slices": 4} if rule.measures else {}
    return Policy(
        workload="digits", model="mlp:1", parameters=PARAMETERS, rounds=ROUNDS, rule=rule, grid=Grid(16, -11),
        min_updates=rule.least_updates, server=server, **slices,  # type: ignore[arg-type]
    )  # fmt: skip


def learned(device: int, round: int, model: Floats) -> Floats:
    """A step to the target with a little noise; the first devices lie, all in the same direction."""
    noise = np.random.default_rng([device, round]).standard_normal(len(model)).astype(np.float32) * np.float32(0.01)
    step = (TARGET - model) * np.float32(0.5) + noise
    return step if device >= LIARS else step * np.float32(-10)


def differing(device: int, round: int, model: Floats) -> Floats:
    """As above, but each honest device has data of its own: what CONTRA is for. Liars are copies of each other."""
    own = np.random.default_rng([device, 1]).standard_normal(len(model)).astype(np.float32)
    step = TARGET - model
    return step * np.float32(0.5) + own if device >= LIARS else step * np.float32(-3)


def distance(model: Floats, slice: int) -> tuple[float, float]:
    loss = float(np.mean((model.astype(np.float64) - TARGET) ** 2))
    return 1 - 1 / (1 + loss), loss


async def played(made: Policy, rounds: int = ROUNDS, learned: Learned = learned) -> tuple[Simulation, Evidence]:
    ledger, context, registry = in_memory(OPERATOR)
    world = Simulation(ledger, context, registry, OPERATOR, made, learned, DEVICES, 4, error=distance)
    await world.join()
    for _ in range(rounds):
        await world.play()
    await world.refresh()
    addresses = Addresses(context.chain_id, world.registry.contract, context.ledger, bytes(20))
    return world, of_entries(world.index.entries, addresses)


def by_device(world: Simulation) -> list[int]:
    """Node ids in the order of the devices' numbers."""
    return [node for edge in world.edge_ids() for node in world.device_ids(edge)]


@pytest.mark.parametrize("name", NAMES)
async def test_a_task_under_every_rule_is_audited_to_the_bit(name: str) -> None:
    world, evidence = await played(policy(name))
    report = verify(evidence, world.blobs)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    if name not in UNSUITED:
        assert float(np.abs(world.model - TARGET).mean()) < 0.5 * float(np.abs(TARGET).mean())


@pytest.mark.parametrize("name", [name for name in CARRYING if KINDS[name].senders])
async def test_who_lies_loses_its_standing_and_its_weight(name: str) -> None:
    world, evidence = await played(policy(name), learned=differing if name == "contra" else learned)
    liars, honest = by_device(world)[:LIARS], by_device(world)[LIARS:]
    judged = examine(evidence, world.blobs).rounds
    last = judged[world.task, ROUNDS].settlement
    assert last is not None
    assert set(last.state.standing) == {*liars, *honest}
    assert all(last.weights[node] == 0 for node in liars)
    assert {last.state.standing[node] for node in liars}.isdisjoint({last.state.standing[node] for node in honest})


@pytest.mark.parametrize("name", CARRYING)
async def test_a_rule_goes_on_from_what_the_blob_of_the_last_round_says(name: str) -> None:
    """A cloud that was killed reads the state from its blob: the next round is the same to the bit."""
    made = policy(name, Server("momentum", rate=0.5))
    whole, _ = await played(made)
    again, _ = await played(made, ROUNDS - 1)
    assert again.last is not None and again.last.state != ZERO32
    again.state = memory.read(made, again.blobs[again.last.state])
    settlement, _ = await again.play()
    assert whole.last is not None
    assert settlement.manifest.model_out == whole.last.model_out
    assert settlement.manifest.state == whole.last.state


@pytest.mark.parametrize("name", CARRYING)
async def test_a_rule_that_forgot_gives_another_round(name: str) -> None:
    whole, _ = await played(policy(name))
    again, _ = await played(policy(name), ROUNDS - 1)
    again.state = memory.EMPTY
    settlement, _ = await again.play()
    assert whole.last is not None and settlement.manifest.state != whole.last.state


def test_the_audit_shows_how_a_rule_thinks_of_nodes(tmp_path: Path) -> None:
    history = History(policy_of(rule=Rule("afa", 1)), rounds=2).run()
    home = write_run(history, tmp_path)
    words = ["audit", "round", "2", "--log", str(tmp_path / "ledger.jsonl"), "--home", str(home)]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)["manifest"]
    assert told["state"] == history.manifests[1].state.hex()
    assert told["standing"] == {str(node): list(pair) for node, pair in history.state.standing.items()}
    shown = CliRunner().invoke(app, words).output
    assert "carried to the next round" in shown and "\n  end-5 " in shown
