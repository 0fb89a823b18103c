"""Equal participation: whoever's update was used in a round gets the same share of it.

Amounts are integers of the token's unit. A share is rounded down, and the remainder stays in the task's pool, so that
no order of participants can matter. What is published is cumulative: a node that never claimed loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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
