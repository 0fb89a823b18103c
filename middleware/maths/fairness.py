"""Whose turn it is when several share one worker: deficit round robin, new ones first.

Every flow has a queue, a weight and a deficit: how much work it may still do in this turn. In its turn a flow with no deficit
left gets `quantum` x weight and goes behind the others; otherwise its first item is taken and its cost subtracted. A flow may
overdraw by less than one item and pays for it in later turns, so over any busy period two flows' work by weight differs by at
most a quantum and an item each, however unequal their items are (Shreedhar and Varghese, "Efficient fair queueing using deficit
round robin", SIGCOMM 1995, theorem 4.2). A flow that comes from idleness stands in front of those that are busy for one quantum,
and behind them afterwards (RFC 8290, section 4): who asks for little never waits for who asks for everything.

Idle flows take no memory: a flow is forgotten when its queue is empty and it owes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Flow = TypeVar("Flow", bound=Hashable)


class Taken(NamedTuple, Generic[Flow, Item]):
    """Whose item, and which."""

    flow: Flow
    item: Item


class _State(Generic[Item]):
    __slots__ = ("deficit", "items", "weight")

    def __init__(self, weight: float, deficit: float) -> None:
        self.weight, self.deficit = weight, deficit
        self.items: deque[tuple[float, Item]] = deque()


class DeficitRoundRobin(Generic[Flow, Item]):
    """Items of flows, in the order in which they are served; see the head of the module."""

    def __init__(self, quantum: float, weight: Callable[[Flow], float] = lambda flow: 1.0) -> None:
        """`quantum`: work a turn for a weight of 1, in the unit of the costs; about the largest item's is best."""
        if not 0 < quantum < math.inf:
            raise ValueError(f"quantum {quantum}: above 0")
        self.quantum, self.weight = quantum, weight
        self.flows: dict[Flow, _State[Item]] = {}
        self.new: deque[Flow] = deque()
        self.busy: deque[Flow] = deque()

    def __len__(self) -> int:
        return sum(len(state.items) for state in self.flows.values())

    def push(self, flow: Flow, cost: float, item: Item) -> None:
        """Queue an item behind its flow's others. ValueError for a cost that is not above 0, or a weight that is not."""
        if not 0 < cost < math.inf:
            raise ValueError(f"cost {cost}: above 0")
        state = self.flows.get(flow)
        if state is None:
            weight = self.weight(flow)
            if not 0 < weight < math.inf:
                raise ValueError(f"weight {weight} of {flow!r}: above 0")
            state = self.flows[flow] = _State(weight, self.quantum * weight)
            self.new.append(flow)
        state.items.append((cost, item))

    def pop(self) -> Taken[Flow, Item] | None:
        """The next item, or None where all queues are empty."""
        while self.new or self.busy:
            turns = self.new or self.busy
            flow = turns[0]
            state = self.flows[flow]
            if state.deficit <= 0:
                state.deficit += self.quantum * state.weight
                turns.popleft()
                self.busy.append(flow)
            elif state.items:
                return Taken(flow, self._served(state))
            else:
                turns.popleft()
                if turns is self.new and self.busy:
                    self.busy.append(flow)  # once around before it counts as new again
                else:
                    del self.flows[flow]
        return None

    def pop_like(self, accepted: Callable[[Item], bool]) -> Taken[Flow, Item] | None:
        """The first item of the flow that is nearest to its turn and whose first item is accepted: for batches. It is charged
        as in any turn, so who is served early is served later for it."""
        for flow in (*self.new, *self.busy):
            state = self.flows[flow]
            if state.items and accepted(state.items[0][1]):
                return Taken(flow, self._served(state))
        return None

    def charge(self, flow: Flow, cost: float) -> None:
        """What a flow's items took beyond what was thought (or, below 0, less). A flow that is idle by now is let off."""
        state = self.flows.get(flow)
        if state is not None:
            state.deficit -= cost

    def backlog(self, flow: Flow) -> float:
        """Cost of what a flow has queued."""
        state = self.flows.get(flow)
        return math.fsum(cost for cost, _ in state.items) if state is not None else 0.0

    def _served(self, state: _State[Item]) -> Item:
        cost, item = state.items.popleft()
        state.deficit -= cost
        return item
