"""Somebody disputes honest work, to hold up its pay or to be paid for noise."""

from __future__ import annotations

import pytest

from ledger import calls, events
from ledger.court import EDGE_ROOT
from ledger.dispute import find
from ledger.spec import CourtTerms, Specification
from middleware.errors import LedgerRefused
from middleware.trust import keys, roots
from middleware.wire.message import EdgeReport, Update, decode_stored
from tests.sim.history import DOMAIN, History
from tests.sim.trial import CHALLENGER, STAKE, contracts

EDGE = 2


class Slow(History):
    """Rounds may be disputed for an hour."""

    window = 3_600


@pytest.fixture
def history() -> History:
    return Slow(rounds=1).run()


@pytest.fixture
def chain(history: History) -> Specification:
    made = contracts(history)
    made.terms = CourtTerms(bond=70, answer_seconds=100)
    made.token.mint(CHALLENGER, made.terms.bond)
    made.apply(calls.Approve(made.addresses["Court"], made.terms.bond), CHALLENGER, 2_000, 80)
    return made


def member(history: History) -> tuple[calls.Member, EdgeReport]:
    reports = [decode_stored(edge.report, EdgeReport).message for edge in history.manifests[0].edges]
    place = next(at for at, report in enumerate(reports) if report.leaf.edge == EDGE)
    tree = roots.inputs_tree(DOMAIN.context, [report.leaf for report in reports])
    return calls.Member(reports[place].leaf, place, tuple(tree.path(place)), len(reports)), reports[place]


def test_an_honest_run_proves_nothing_to_anybody(history: History) -> None:
    assert find(history.record, history.store) == []


def test_a_receipt_that_was_kept_is_no_omission(history: History, chain: Specification) -> None:
    leaves = [decode_stored(row.frame, Update).message.leaf for row in history.manifests[0].edges[0].updates]
    receipt = calls.Receipt(1, 1, EDGE, 0, roots.leaf_hash(DOMAIN.context, leaves[0]))
    _, report = member(history)
    call = calls.Omission(
        receipt, keys.sign_receipt(DOMAIN, history.account[EDGE], receipt), leaves[0], report.leaf, report.root_signature,
        receipt.leaf, tuple(roots.edge_tree(DOMAIN.context, leaves).path(0)),
    )  # fmt: skip
    with pytest.raises(LedgerRefused, match="NotProven"):
        chain.apply(call, CHALLENGER, 2_000, 81)
    assert chain.node(EDGE).stake == STAKE


def test_a_demand_costs_a_bond_and_whoever_answers_gets_it(history: History, chain: Specification) -> None:
    shown, report = member(history)
    header, at = history.headers[0], history.entries[-1].position
    asked = chain.apply(calls.Demand(header, at.time, shown, EDGE_ROOT, 0, 0), CHALLENGER, at.time + 1, at.block + 1)
    assert isinstance(asked[0], events.Demanded)
    assert chain.token.balance(CHALLENGER) == 0
    assert not chain.is_final(header, at.time, at.time + 10_000)  # pay waits
    answerer = b"\xbb" * 20
    chain.apply(calls.AnswerRoot(asked[0].id, report.leaf, report.root_signature), answerer, at.time + 2, at.block + 2)
    assert chain.token.balance(answerer) == chain.terms.bond
    assert chain.is_final(header, at.time, at.time + 10_000)
    assert chain.node(EDGE).stake == STAKE


def test_what_is_final_is_disputed_no_more(history: History, chain: Specification) -> None:
    shown, _ = member(history)
    header, at = history.headers[0], history.entries[-1].position
    with pytest.raises(LedgerRefused, match="TooLate"):
        chain.apply(calls.Demand(header, at.time, shown, EDGE_ROOT, 0, 0), CHALLENGER, at.time + 3_600, 90)
