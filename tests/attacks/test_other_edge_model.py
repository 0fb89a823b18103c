"""The cloud shows the devices below one edge another model than is theirs, to learn from how they answer it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from devnet.insider import World as Copy
from devnet.tamperlab import audit, chosen
from ledger.audit.report import Report
from middleware.errors import PeerFault
from middleware.policy import Peers, Policy, Rule
from middleware.trust.keys import sign_message
from middleware.types import Verdict
from middleware.wire.message import Offer, Signed
from tests.attacks.edge_world import CONTEXT, EDGE, World
from tests.sim.history import History, policy_of
from tests.sim.run_folder import write_run

OTHER = b"\x07" * 32
GOSSIP = policy_of(rule=Rule("mean", 0), peers=Peers("gossip", links="ring"))


def signed(world: World, offer: Offer) -> Signed[Offer]:
    return sign_message(CONTEXT, world.key(1), offer)


async def test_in_a_task_with_one_model_an_edge_refuses_an_offer_with_two(world: World) -> None:
    honest = world.edge.gathering.offered
    other = msgspec.structs.replace(honest, round=2, sequence=2, models=((EDGE, OTHER),))
    with pytest.raises(PeerFault, match="this task has one for everybody"):
        await world.edge._take(signed(world, other), fresh=True)
    assert world.edge.gathering.offered == honest
    assert world.agent.store.offer(1, 2) is None


def told(policy: Policy, folder: Path) -> Report:
    write_run(History(policy).run(), folder)
    copy = Copy(folder)
    done = chosen("wrong-edge-model")[0].commit(copy)
    copy.save()
    report = audit(folder)
    assert report.first is not None and done.place in report.first.place
    return report


def test_an_edges_model_that_is_not_what_the_rounds_before_left_is_named_by_the_offers_signature(
    tmp_path: Path,
) -> None:
    report = told(GOSSIP, tmp_path)
    assert report.verdict is Verdict.INVALID and report.first is not None
    assert (report.first.fault, report.first.proven_by) == ("wrong-edge-model", "the offer signature of node 1")
    assert f"for edge {EDGE} " in report.first.what
