"""Pay by scores on the digits: real training, a real Hessian, and an auditor who measures them again."""

from __future__ import annotations

import asyncio

import msgspec
import torch

from devnet.bench import scores
from ledger.audit.check import verify
from ledger.audit.evidence import Addresses, of_entries
from middleware.types import Verdict
from nodes.evaluation import Evaluation

torch.set_num_threads(1)


def test_an_auditor_with_the_digits_measures_the_same() -> None:
    policy = msgspec.structs.replace(scores.policy_of(0), rounds=4, epoch_rounds=3)
    learned = scores.Behaviour(policy, scores.shares_of(policy), scores.RIDES["the last delta"], 0)
    simulation = scores.simulation_of(policy, learned, scores.HONEST + 2, lambda device: 100)

    async def played() -> None:
        await scores.world(simulation, 4)
        await simulation.refresh()

    asyncio.run(played())
    context = simulation.context
    addresses = Addresses(context.chain_id, simulation.registry.contract, context.ledger, bytes(20))
    evidence = of_entries(simulation.index.entries, addresses)
    report = verify(evidence, simulation.blobs, evaluation=Evaluation())
    assert report.verdict is Verdict.VALID, report.first and report.first.line()
    assert not any("measured" in words for words in report.not_checked)
    assert [(row.round, "scores" in row.checks) for row in report.rounds] == [(number, True) for number in (1, 2, 3, 4)]
