"""What is demanded of an edge or a cloud, and the answers that their own stores give: the Court takes them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger import calls, events
from ledger.demands import KINDS, answer, demand
from ledger.dispute import Case
from ledger.spec import Specification
from ledger.state import CourtTerms
from middleware.errors import ConfigurationError
from middleware.policy import Rule
from nodes.records import Copies, read_memory
from tests.sim.history import CLOUD, DOMAIN, History, policy_of
from tests.sim.run_folder import name_of, write_run
from tests.sim.trial import CHALLENGER, COURT, STAKE, contracts

BOND = 50
TERMS = CourtTerms(BOND, answer_seconds=100, commit_seconds=100, reveal_seconds=100, council_seconds=100)
TWO_LEVEL = policy_of(rule=Rule("mean", 0), arrangement="two-level", min_updates=1)
EDGE = 3


class Disputable(History):
    window = 10_000


def demanded(history: History, kind: str, index: int, chunk: int) -> tuple[Specification, events.Demanded, int]:
    """The Court with this demand open, the event, and the time."""
    chain, at = contracts(history), history.entries[-1].position
    chain.terms = TERMS
    chain.token.mint(CHALLENGER, BOND)
    chain.apply(calls.Approve(COURT, BOND), CHALLENGER, at.time, at.block)
    case = Case(history.record.index, DOMAIN, history.store)
    call = demand(case, case.rounds[0], EDGE, KINDS[kind], index, chunk)
    said = chain.apply(call, CHALLENGER, at.time + 1, at.block + 1)
    return chain, next(event for event in said if isinstance(event, events.Demanded)), at.time + 1


@pytest.mark.parametrize("policy", [None, TWO_LEVEL], ids=["flat", "two-level"])
@pytest.mark.parametrize(("kind", "chunk"), [("leaf", 0), ("chunk", 0), ("chunk", 2), ("signature", 0)])
def test_the_accused_answers_from_its_own_store(policy: object, kind: str, chunk: int, tmp_path: Path) -> None:
    history = Disputable(policy, rounds=1).run()  # type: ignore[arg-type]
    home = write_run(history, tmp_path)
    index = 0 if kind == "signature" else 1
    chain, asked, now = demanded(history, kind, index, chunk)
    state = home / "nodes" / name_of(asked.accused) / "state"
    memory = read_memory(state / "node.db", "own", asked.accused)
    blobs = Copies([home / "nodes" / name_of(CLOUD) / "state" / "blobs"])
    own = Case(history.record.index, DOMAIN, blobs, [memory], history.network[asked.accused], (asked.task, asked.round))
    said = chain.apply(answer(own, asked), history.account[asked.accused].address, now + 50, 10_000)
    assert [event.id for event in said if isinstance(event, events.Answered)] == [asked.id]
    assert chain.node(asked.accused).stake == STAKE
    assert chain.token.balance(history.account[asked.accused].address) == BOND


def test_silence_costs_the_stake() -> None:
    history = Disputable(rounds=1).run()
    chain, asked, now = demanded(history, "leaf", 0, 0)
    said = chain.apply(calls.Expire(asked.id), CHALLENGER, now + TERMS.answer_seconds, 10_000)
    assert next(event for event in said if isinstance(event, events.Slashed)).amount == STAKE
    assert chain.node(EDGE).stake == 0


def test_what_is_not_here_is_named() -> None:
    history = Disputable(rounds=1).run()
    _, asked, _ = demanded(history, "chunk", 0, 0)
    for name in list(history.store.blobs):
        del history.store.blobs[name]
    with pytest.raises(ConfigurationError, match="a tree that is not here"):
        answer(Case(history.record.index, DOMAIN, history.store), asked)
    with pytest.raises(ConfigurationError, match="is shown under the header"):
        case = Case(history.record.index, DOMAIN, history.store)
        demand(case, msgspec.structs.replace(case.rounds[0]), EDGE, KINDS["leaf"])
