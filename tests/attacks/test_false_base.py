"""A device says that its update starts from another model than it does."""

from __future__ import annotations

import pytest

from middleware.errors import PeerFault
from middleware.maths.schedule import UNIT
from middleware.policy import Schedule
from middleware.protocol.staleness import base_of, weight_of
from middleware.wire.message import Update
from tests.sim.history import History, policy_of
from tests.sim.judged import update_of
from tests.sim.test_stale import LATE, Late


def sent(base: int) -> Update:
    return update_of(Late({(6, 4): base}).run(), 4, 6)


def test_a_model_of_the_future_or_one_that_is_too_old_is_refused() -> None:
    for base in (5, 1):
        with pytest.raises(PeerFault) as caught:
            sent(base)
        assert caught.value.code == "stale"


def test_a_younger_base_than_the_true_one_gains_the_weight_of_a_fresh_update_and_no_more() -> None:
    message = sent(4)
    assert weight_of(message, LATE) == UNIT * message.leaf.weight
    assert weight_of(sent(2), LATE) == UNIT * message.leaf.weight // 2


def test_in_a_synchronous_task_nobody_believes_a_base() -> None:
    message = update_of(History(rounds=1).run(), 1, 6)
    assert base_of(message, policy_of()) == 1
    with pytest.raises(PeerFault, match="does not say"):
        base_of(message, policy_of(schedule=Schedule(arrivals=4)))
