"""A history's contracts, by the specification, and an offence brought before them."""

from __future__ import annotations

import pytest

from ledger import calls, events
from ledger.dispute import Offence
from ledger.spec import PUBLISHER, Specification
from ledger.state import NodeState
from middleware.errors import LedgerRefused
from middleware.ports import Event
from middleware.trust import eip712
from middleware.types import Status
from tests.sim.history import CHAIN, DOMAIN, LEDGER, REGISTRY, REWARDS, History

ADMIN, CHALLENGER = b"\xad" * 20, b"\xc4" * 20
ARBITER, COURT = b"\x55" * 20, b"\x66" * 20
ADDRESSES = {
    "Authority": b"\x01" * 20, "Credit": b"\x02" * 20, "Registry": REGISTRY, "Ledger": LEDGER, "Rewards": REWARDS,
    "Arbiter": ARBITER, "Court": COURT,
}  # fmt: skip
STAKE = 1_001  # token units of every node; odd, so that a half is rounded down


def contracts(history: History) -> Specification:
    """The state that the history's entries leave; nodes are put there with a stake, rounds are anchored by their cloud."""
    chain = Specification(CHAIN, ADDRESSES, ADMIN)
    chain.arbiters = {"Registry": (ARBITER, COURT), "Ledger": (ARBITER, COURT)}
    for entry in history.entries:
        at = entry.position
        match entry.event:
            case events.Registered() as event:
                chain.nodes[event.id] = NodeState(
                    net_key=event.net_key, account=event.account, tier=event.tier, status=event.status,
                    parent=event.parent, since=at.block, owner=event.owner, status_block=at.block, stake=STAKE,
                )  # fmt: skip
                chain.id_of_account[event.account], chain.count = event.id, max(chain.count, event.id)
                chain.token.mint(REGISTRY, STAKE)
            case events.StatusChanged() as event:
                chain.nodes[event.id].status, chain.nodes[event.id].status_block = event.status, at.block
            case events.TaskCreated() as event:
                chain.roles.add((PUBLISHER, event.publisher))
                call = calls.CreateTask(
                    event.cloud, event.window, event.rule, event.trim, event.width, event.chunks, event.genesis_model,
                    event.policy,
                )  # fmt: skip
                assert chain.apply(call, event.publisher, at.time, at.block) == [event]
            case events.RoundAnchored() as event:
                assert chain.apply(calls.AnchorRound(event.header), at.sender, at.time, at.block) == [event]
            case events.Forced() as event:
                digest = eip712.direct_digest(DOMAIN, event.task, event.round, event.node, event.leaf_hash)
                signature = history.account[event.node].sign_digest(digest)
                assert chain.apply(calls.SubmitDirect(event.leaf, signature), at.sender, at.time, at.block) == [event]
            case _:
                raise AssertionError(f"{type(entry.event).__name__} is not replayed here")
    return chain


def tried(history: History, offence: Offence) -> list[Event]:
    """The Arbiter takes the proof: the accused loses its whole stake, half of it to the beneficiary. And not twice."""
    chain, at = contracts(history), history.entries[-1].position
    said = chain.apply(offence.proof, CHALLENGER, at.time + 1, at.block + 1)
    collect = calls.Collect(offence.kind.encode().ljust(32, b"\0"), offence.task, offence.round, offence.accused)
    chain.apply(collect, CHALLENGER, at.time + 1, at.block + 1)
    proven = next(event for event in said if isinstance(event, events.Proven))
    kind = offence.kind.encode().ljust(32, b"\0")
    assert (proven.kind, proven.task, proven.round, proven.accused) == (
        kind,
        offence.task,
        offence.round,
        offence.accused,
    )
    assert proven.amount == STAKE
    accused = chain.node(offence.accused)
    assert (accused.stake, accused.status) == (0, Status.SUSPENDED)
    gainer = CHALLENGER
    if isinstance(offence.proof, calls.Omission):
        gainer = chain.node(offence.proof.leaf.node).account
    assert (proven.beneficiary, chain.token.balance(gainer)) == (gainer, STAKE // 2)
    with pytest.raises(LedgerRefused) as again:
        chain.apply(offence.proof, CHALLENGER, at.time + 2, at.block + 2)
    assert again.value.name == "AlreadyProven"
    return said
