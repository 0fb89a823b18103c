"""From which model an update started, and what it counts for that.

In a task whose rounds close by arrivals a device trains at its own pace: its update is for the round that is open when it is
done, and starts from the model of the round that it took. That round is the update's base. The device signs it with
its metrics, so it is committed with everything else, and whoever replays the round derives the same integer weight from it.

Nobody can see from which model somebody trained. What a device gains by naming a younger base than it had is the weight of a
fresh update, which it could have sent as well; an update from no model of the task, or from one that is older than the
policy allows, is refused.
"""

from __future__ import annotations

from typing import Final

from middleware.errors import PeerFault
from middleware.maths.schedule import staleness_weight
from middleware.policy import Policy
from middleware.wire.message import Update, decode_metrics

BASE: Final = "base"  # the metric that names the round whose model an update started from


def base_of(message: Update, policy: Policy) -> int:
    """The round whose model this update started from: its own in a synchronous task. PeerFault("stale") where there is none
    that it can have started from, or where it is older than the policy allows."""
    schedule, open_round = policy.schedule, message.leaf.round
    if schedule is None or not policy.arrivals:
        return open_round
    base = decode_metrics(message.metrics).get(BASE)
    if not isinstance(base, int):
        raise PeerFault(
            "stale", f"the update of node {message.sender} does not say from which round's model it started"
        )
    if not 0 < base <= open_round:
        raise PeerFault(
            "stale", f"the update of node {message.sender} is for round {open_round}, and starts from round {base}"
        )
    if open_round - base > schedule.most_stale:
        raise PeerFault(
            "stale",
            f"the update of node {message.sender} is {open_round - base} rounds old, at most {schedule.most_stale} may it be",
        )
    return base


def weighs(policy: Policy) -> bool:
    """Whether an update's weight depends on its staleness."""
    return policy.schedule is not None and policy.schedule.staleness is not None


def weight_of(message: Update, policy: Policy) -> int:
    """What this update counts in a sum: its declared samples, times its staleness weight where the policy has one. The
    caller has judged the update."""
    if policy.schedule is None or policy.schedule.staleness is None:
        return message.leaf.weight
    late = message.leaf.round - base_of(message, policy)
    return staleness_weight(message.leaf.weight, late, policy.schedule.staleness)
