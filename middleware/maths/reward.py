"""What a round or an epoch pays, in integers of the token's unit.

Participation: whoever's update was used in a round gets the same share of it.

Scores: an epoch's pool is shared by what each node's updates were worth over the epoch (`maths.contribution`), times its
reputation:

    claim_i = max(0, S_i) * R_i          pay_i = floor(pool * claim_i / divisor)
    divisor = max(sum of claims, n * median of |S_i| * R_i)              over the n nodes with S_i not zero

A negative round takes away from the others of its epoch and is cut off at zero only here: a cut in each round would pay
for noise, whose positive half would count and whose negative half would not.

The divisor is the sum of claims while nearly everybody gains. A node that lost does not leave its share to the others:
where most epochs came out below zero, as they can when a model has converged, the sum alone would give the whole pool to
whoever stands a hair above it, a free rider's luck included. Measured against what typical scores add up to, a hair is a
hair. One node, however far below zero, does not move a median.

The reputation R_i, in thousandths, is an exponentially weighted mean of 1500 (its update counted above zero in the round)
and 500 (it did not, or there was none), which starts at 1000 and moves an eighth of the way in each round that is not
void. It never leaves 500 to 1500, and depends on the sign of a score and not on its size, so that it does not reward
the large for being large.

A share is rounded down, and the remainder stays in the task's pool, so that no order of nodes can matter. What is
published is cumulative: a node that never claimed loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

REPUTATION_FIRST: Final = 1000  # thousandths
REPUTATION_LEAST: Final = 500
REPUTATION_MOST: Final = 1500
REPUTATION_ROUNDS: Final = 8  # a round moves it 1 / this much of the way


def pays(reward_per_round: int, participants: Sequence[int]) -> dict[int, int]:
    """What each of the round's paid participants (node ids, each once) gets: floor(reward / participants)."""
    if len(set(participants)) != len(participants):
        raise ValueError("a node takes part in a round once")
    if not participants:
        return {}
    share = reward_per_round // len(participants)
    return {node: share for node in sorted(participants)} if share else {}


def accumulate(cumulative: Mapping[int, int], paid: Mapping[int, int]) -> dict[int, int]:
    """The new cumulative amounts, in ascending order of node id."""
    return {node: cumulative.get(node, 0) + paid.get(node, 0) for node in sorted(cumulative.keys() | paid.keys())}


def claim(epoch: int, reputation: int) -> int:
    """What a node brings to the division of an epoch's pool: its points over the epoch, cut off at zero, times reputation."""
    return max(0, epoch) * reputation


def divisor(standings: Iterable[tuple[int, int]]) -> int:
    """What claims are measured against: their sum, or what typical scores would add up to, whichever is larger."""
    listed = list(standings)
    sizes = sorted(abs(epoch) * reputation for epoch, reputation in listed if epoch)
    typical = len(sizes) * sizes[(len(sizes) - 1) // 2] if sizes else 0
    return max(sum(claim(*standing) for standing in listed), typical)


def settle_epoch(pool: int, standings: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Node -> floor(pool * claim / divisor), for the nodes that get anything; `standings` are (points, reputation)."""
    total = divisor(standings.values())
    shares = {node: pool * claim(*standing) // total for node, standing in sorted(standings.items()) if standing[0] > 0}
    return {node: share for node, share in shares.items() if share}


def reputation_after(reputation: int, counted: bool) -> int:
    """A node's reputation after one more round, in which its update counted above zero or not."""
    return reputation + ((REPUTATION_MOST if counted else REPUTATION_LEAST) - reputation) // REPUTATION_ROUNDS
