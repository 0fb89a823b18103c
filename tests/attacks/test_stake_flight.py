"""A node's owner takes its stake out before the fault that it knows of is proven."""

from __future__ import annotations

import pytest

from ledger import calls, events
from ledger.spec import Specification
from middleware.errors import LedgerRefused
from middleware.types import Status
from tests.sim.history import History
from tests.sim.trial import CHALLENGER, COURT, STAKE, contracts

EDGE = 2


@pytest.fixture
def chain() -> Specification:
    """An honest run's contracts; every node has STAKE bonded, which takes a hundred seconds to unbond."""
    made = contracts(History(rounds=1).run())
    made.unbonding_seconds = 100
    return made


def test_what_is_unbonding_is_taken_first(chain: Specification) -> None:
    owner = chain.node(EDGE).owner
    chain.apply(calls.Unstake(EDGE, STAKE), owner, 2_000, 90)
    chain.apply(calls.Slash(EDGE, STAKE, b"r" * 32), COURT, 2_050, 91)
    assert (chain.node(EDGE).stake, chain.node(EDGE).unbonding) == (0, 0)
    assert chain.node(EDGE).status == Status.SUSPENDED
    with pytest.raises(LedgerRefused, match="InsufficientStake"):
        chain.apply(calls.Withdraw(EDGE), owner, 2_200, 92)


def test_nothing_leaves_before_its_time(chain: Specification) -> None:
    owner = chain.node(EDGE).owner
    chain.apply(calls.Unstake(EDGE, STAKE), owner, 2_000, 90)
    with pytest.raises(LedgerRefused, match="StillBonded"):
        chain.apply(calls.Withdraw(EDGE), owner, 2_099, 91)
    assert isinstance(chain.apply(calls.Withdraw(EDGE), owner, 2_100, 92)[0], events.Withdrawn)


def test_nothing_leaves_while_a_dispute_is_open(chain: Specification) -> None:
    owner = chain.node(EDGE).owner
    chain.apply(calls.Unstake(EDGE, STAKE), owner, 2_000, 90)
    chain.apply(calls.HoldNode(EDGE), COURT, 2_010, 91)
    with pytest.raises(LedgerRefused, match="OnHold"):
        chain.apply(calls.Withdraw(EDGE), owner, 9_000, 92)
    chain.apply(calls.ReleaseNode(EDGE), COURT, 9_001, 93)
    chain.apply(calls.Withdraw(EDGE), owner, 9_002, 94)


def test_nobody_but_an_arbiter_takes_stake(chain: Specification) -> None:
    with pytest.raises(LedgerRefused, match="NotArbiter"):
        chain.apply(calls.Slash(EDGE, 1, b"r" * 32), CHALLENGER, 2_000, 90)
