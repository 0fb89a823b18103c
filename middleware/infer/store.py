"""Which models stay in memory: more are published than fit, and all are wanted.

The store decides and counts; whoever asks loads and frees (`nodes`). One call takes a model and, if it is not there, reserves its
room and names what must go, in one step: no two callers can load it twice or free it under each other. What is pinned, being
loaded or in use never goes. A model takes bytes, and slots: the requests a second of the reference set that its tenants were
promised. What is resident or being loaded never passes either budget.

What goes first is what has the least priority:

    gdsf         f x milliseconds to load / size, where f counts requests, also while the model is away, and forgets: each
                 request halves all counts by 1 / `HALF_LIFE` of a halving
    gdsf-aged    L + f x milliseconds to load / size, as in Cherkasova, "Improving WWW proxies performance with greedy-dual-size-
                 frequency caching policy" (HP Labs, 1998): f counts requests since the model came, L is the priority of what went
    lru          when it was last asked for
    fifo         when it came

Size is the larger of the shares of the two budgets. The first is what the second becomes when there are few things of which
each is known: with eight models L ages what is popular almost as fast as what is not (`make bench Q=infer-tenancy`).

`placement` says offline, from rates that are known, which models to keep: a knapsack, solved exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from middleware.errors import OurFault, require
from middleware.maths.knapsack import knapsack

Policy = Literal["gdsf", "gdsf-aged", "lru", "fifo"]
POLICIES: Final = ("gdsf", "gdsf-aged", "lru", "fifo")
HALF_LIFE: Final = 200  # requests of the whole node, after which one counts half


class Weight(msgspec.Struct, frozen=True):
    """What a model takes while it is resident, and how long it takes to load."""

    bytes: int
    load_ms: float
    slots: float = 0.0
    pinned: bool = False

    def __post_init__(self) -> None:
        require(self.bytes > 0, f"a model of {self.bytes} bytes: above 0")
        require(self.load_ms >= 0 and self.slots >= 0, "milliseconds to load and slots are not below 0")


class Budget(msgspec.Struct, frozen=True):
    """What all resident models together may take."""

    bytes: int
    slots: float = math.inf

    def __post_init__(self) -> None:
        require(self.bytes > 0 and self.slots > 0, "a budget is above 0 in bytes and in slots")

    def share(self, weight: Weight) -> float:
        """The larger of its shares of the two budgets."""
        return max(weight.bytes / self.bytes, weight.slots / self.slots)

    def holds(self, size: int, slots: float) -> bool:
        return size <= self.bytes and slots <= self.slots


class Ready(NamedTuple):
    """It is resident: run it, then release it."""


class Load(NamedTuple):
    """Its room is reserved: free these, load it, say `loaded` or `failed`."""

    evicted: tuple[bytes, ...]


class Wait(NamedTuple):
    """Somebody else is loading it; the caller already holds it and waits for the same work."""


class Full(NamedTuple):
    """Everything that would have to go is in use. Nothing was changed; try again."""

    detail: str


class _Resident:
    __slots__ = ("came", "holders", "loading", "priority", "requests")

    def __init__(self, came: int) -> None:
        self.came, self.holders, self.requests, self.priority, self.loading = came, 0, 0, 0.0, True


class _Count(NamedTuple):
    """Requests, as they counted at a turn."""

    value: float
    turn: int

    def at(self, turn: int) -> float:
        return self.value * math.pow(0.5, (turn - self.turn) / HALF_LIFE)


class ModelStore:
    """The models of one node by manifest root; see the head of the module."""

    def __init__(self, budget: Budget, policy: Policy = "gdsf") -> None:
        require(policy in POLICIES, f"policy {policy!r}: choose one of {', '.join(POLICIES)}")
        self.budget, self.policy = budget, policy
        self.weights: dict[bytes, Weight] = {}
        self.counts: dict[bytes, _Count] = {}
        self.resident: dict[bytes, _Resident] = {}
        self.bytes, self.slots = 0, 0.0
        self.age = 0.0  # the L of gdsf-aged
        self.turn = 0
        self.hits = self.loads = self.evictions = self.refusals = 0

    def publish(self, root: bytes, weight: Weight) -> None:
        """From now on the model may be asked for. ConfigurationError if it could not even fit alone."""
        fits = self.budget.holds(weight.bytes, weight.slots)
        require(fits, f"a model of {weight.bytes:,} bytes and {weight.slots:g} slots can never fit: raise the budget")
        require(root not in self.resident, "a model is resident: withdraw it before its weight changes")
        self.weights[root] = weight
        self.counts.setdefault(root, _Count(0.0, self.turn))

    def withdraw(self, root: bytes) -> None:
        """It is not asked for any more. ConfigurationError while somebody holds it."""
        found = self.resident.get(root)
        require(found is None or not found.holders, "the model is in use: withdraw it when its requests are done")
        if found is not None:
            self._drop(root)
        self.weights.pop(root, None)
        self.counts.pop(root, None)

    def acquire(self, root: bytes) -> Ready | Load | Wait | Full:
        """Hold the model until `release`; whatever this answers except Full holds it. ConfigurationError for one that was never
        published."""
        require(root in self.weights, f"model {root.hex()[:16]} is not published here")
        self.turn += 1
        self.counts[root] = _Count(self.counts[root].at(self.turn) + 1.0, self.turn)
        found = self.resident.get(root)
        if found is not None:
            self.hits += 1
            self._touch(root, found)
            return Wait() if found.loading else Ready()
        evicted = self._room(self.weights[root])
        if evicted is None:
            self.refusals += 1
            return Full(
                f"every model that could make room is in use: {len(self.resident)} models, {self.bytes:,} bytes"
            )
        for one in evicted:
            self.age = max(self.age, self._priority(one))
            self._drop(one)
        self.evictions += len(evicted)
        self.loads += 1
        weight = self.weights[root]
        self.bytes, self.slots = self.bytes + weight.bytes, self.slots + weight.slots
        self.resident[root] = _Resident(self.turn)
        self._touch(root, self.resident[root])
        return Load(evicted)

    def loaded(self, root: bytes, ms: float | None = None) -> None:
        """Loading is done; `ms`, as measured, counts from now on."""
        self._loading(root).loading = False
        if ms is not None:
            self.weights[root] = msgspec.structs.replace(self.weights[root], load_ms=ms)

    def failed(self, root: bytes) -> None:
        """Loading failed: its room is free, and nobody who waited for it holds anything."""
        self._loading(root)
        self._drop(root)

    def release(self, root: bytes) -> None:
        found = self.resident.get(root)
        if found is None or not found.holders:
            raise OurFault(f"model {root.hex()[:16]} is not held: every release needs an acquire of its own")
        found.holders -= 1

    def idle(self, root: bytes) -> bool:
        """May it be evicted?"""
        found = self.resident[root]
        return not (found.holders or found.loading or self.weights[root].pinned)

    def _loading(self, root: bytes) -> _Resident:
        found = self.resident.get(root)
        if found is None or not found.loading:
            raise OurFault(f"model {root.hex()[:16]} is not being loaded: only what `acquire` told to load is")
        return found

    def _touch(self, root: bytes, found: _Resident) -> None:
        found.holders += 1
        found.requests += 1
        if self.policy == "gdsf-aged":
            found.priority = self.age + found.requests * self._density(root)
        else:
            found.priority = float(self.turn if self.policy == "lru" else found.came)

    def _priority(self, root: bytes) -> float:
        if self.policy == "gdsf":
            return self.counts[root].at(self.turn) * self._density(root)
        return self.resident[root].priority

    def _density(self, root: bytes) -> float:
        """Milliseconds to load by share of the budget."""
        weight = self.weights[root]
        return weight.load_ms / self.budget.share(weight)

    def _room(self, weight: Weight) -> tuple[bytes, ...] | None:
        """What must go so that `weight` fits, or None. Of the least priorities as many as are needed, and none in vain."""
        size, slots = self.bytes + weight.bytes, self.slots + weight.slots
        going: list[bytes] = []
        for root in sorted(filter(self.idle, self.resident), key=self._priority):
            if self.budget.holds(size, slots):
                break
            going.append(root)
            size, slots = size - self.weights[root].bytes, slots - self.weights[root].slots
        if not self.budget.holds(size, slots):
            return None
        for root in reversed(going):  # a large one that went last may have made a small one's going needless
            kept = self.weights[root]
            if self.budget.holds(size + kept.bytes, slots + kept.slots):
                going.remove(root)
                size, slots = size + kept.bytes, slots + kept.slots
        return tuple(going)

    def _drop(self, root: bytes) -> None:
        del self.resident[root]
        weight = self.weights[root]
        self.bytes -= weight.bytes
        self.slots = math.fsum(self.weights[one].slots for one in self.resident)


def placement(weights: Mapping[bytes, Weight], rates: Mapping[bytes, float], budget: Budget) -> frozenset[bytes]:
    """The models to keep when each is asked for `rates` times a second: those that save the most milliseconds of loading a second
    within the budget. Pinned ones are kept first; ConfigurationError if they alone do not fit."""
    pinned = [root for root, weight in weights.items() if weight.pinned]
    size = sum(weights[root].bytes for root in pinned)
    slots = math.fsum(weights[root].slots for root in pinned)
    require(budget.holds(size, slots), f"the pinned models take {size:,} bytes and {slots:g} slots: raise the budget")
    free = [root for root in weights if root not in pinned]
    limits: Sequence[float] = (budget.bytes - size, budget.slots - slots)
    saved = [rates.get(root, 0.0) * weights[root].load_ms for root in free]
    taken = knapsack(saved, [_sizes(weights[root]) for root in free], limits)
    return frozenset([*pinned, *(free[place] for place in taken)])


def _sizes(weight: Weight) -> tuple[float, float]:
    return float(weight.bytes), weight.slots
