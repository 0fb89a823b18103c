"""A fleet of devices with speeds of their own, in one process and on a clock that nobody waits for.

`Simulation` with time: each device takes so many seconds for an update, and what a round holds is decided by the tables that
the daemons run (`protocol.machine`), the cloud's and every edge's, fed with the times of arrival. Rounds that close by
arrivals, backup workers and plain synchronous rounds so run through one loop; a device whose speed is 0 is dead. Everything
behind the arrivals is `Simulation`'s: keys, sealing, trees, settlement, header, ledger.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from devnet.simulation import Simulation
from middleware.errors import Unavailable
from middleware.protocol.machine import (
    Alarm,
    Arrived,
    Asked,
    Close,
    Counted,
    Effect,
    Event,
    Hurried,
    Hurry,
    Opened,
    Parent,
    Phase,
    Rang,
    Settled,
    step_parent,
)
from middleware.protocol.settlement import Reported, Settlement
from middleware.protocol.staleness import BASE
from middleware.protocol.update import Floats
from middleware.types import Header
from middleware.wire.message import Metrics


class Ready(msgspec.Struct, frozen=True):
    """What a device has learned and not delivered: the round and model that it started from, and when it was done."""

    base: int
    model: Floats
    at: float


class TimedSimulation(Simulation):
    """`seconds(device)`, by number from 0, is how long a device takes for an update; infinity for a dead one.

    `learned` is asked with the base round and its model. `now` is the clock; `trace` holds for each round the devices (node ids)
    in the order of their arrival with the rounds that they started from.
    """

    def __init__(self, *arguments: Any, seconds: Callable[[int], float], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.seconds, self.now = seconds, 0.0
        self.trace: list[list[tuple[int, int]]] = []
        self.round_seconds: list[float] = []
        self.cloud_state = Parent()
        self.edge_states = {edge: Parent() for edge in self.edge_ids()}
        self._busy: dict[int, Ready] = {}  # by device: what it works on, or waits to deliver
        self._taken: dict[int, dict[int, int]] = {}  # by edge: device -> base, in the order of arrival
        self._alarms: list[tuple[float, int]] = []  # (time, edge or 1 for the cloud)

    async def settle(self) -> tuple[Settlement, Header]:
        """One round, from its opening to the header; the clock stands at its end."""
        opened = self.now
        self._open()
        while self.cloud_state.phase is Phase.OPEN:
            self._next()
        self._feed(1, Settled())
        for edge in self.edge_ids():
            if self.edge_states[edge].phase is Phase.CLOSED:
                self._feed(edge, Settled())
        self.trace.append([(device, base) for edge in self.edge_ids() for device, base in self._taken[edge].items()])
        self.round_seconds.append(self.now - opened)
        done = await super().settle()
        for edge in self.edge_ids():
            for device in self._taken[edge]:
                self._busy.pop(device, None)
        return done

    def staleness(self) -> list[int]:
        """Of every update that was taken: rounds between its model and the round that took it."""
        return [number - base for number, round in enumerate(self.trace, start=1) for _, base in round]

    # -------------------------------------------------------------------------------------------------------------- time

    def _open(self) -> None:
        """A round opens everywhere; devices without work take its model, the others go on."""
        policy, number = self.policy, self.round + 1
        self._taken, self._alarms = {edge: {} for edge in self.edge_ids()}, []
        edges, length = frozenset(self.edge_ids()), policy.round_seconds
        self._feed(1, Opened(self.task, number, edges, self.now + 2 * length, policy.backup_edges, policy.arrivals))
        for edge in self.edge_ids():
            devices = frozenset(self.device_ids(edge))
            self._feed(edge, Opened(self.task, number, devices, self.now + length, policy.backup_devices))
            for device in sorted(devices - self._busy.keys()):
                self._take(device, edge)

    def _take(self, device: int, edge: int) -> None:
        """A device asks for work and starts from the model of the round that is open."""
        takes = self.seconds(device - 2 - self.edges)
        self._busy[device] = Ready(self.cloud_state.round, self.model, self.now + takes)
        if takes < float("inf"):
            self._feed(edge, Asked(device))

    def _next(self) -> None:
        """The next thing that happens: a device is done, or a deadline passes."""
        waiting = [
            (max(self._busy[device].at, self.now), device, edge)
            for edge in self.edge_ids()
            if self.edge_states[edge].phase is Phase.OPEN
            for device in self.device_ids(edge)
            if device not in self._taken[edge]
        ]
        done, device, edge = min(waiting, default=(float("inf"), 0, 0))
        alarm = self._alarms[0][0] if self._alarms else float("inf")
        if min(done, alarm) == float("inf"):
            raise Unavailable("nothing happens any more: every device is dead, and no deadline is left")
        self.now = min(done, alarm)
        if alarm <= done:
            _, node = heapq.heappop(self._alarms)
            if self._state(node).phase is Phase.OPEN:
                self._feed(node, Rang())
        elif not self.policy.arrivals and self._busy[device].base != self.cloud_state.round:
            self._take(device, edge)  # too late for its own round: that is refused, and it takes the open one
        else:
            self._taken[edge][device] = self._busy[device].base
            self._feed(1, Counted())
            if self.edge_states[edge].phase is Phase.OPEN:
                self._feed(edge, Arrived(device))

    def _state(self, node: int) -> Parent:
        return self.cloud_state if node == 1 else self.edge_states[node]

    def _feed(self, node: int, event: Event) -> None:
        state, effects = step_parent(self._state(node), event, self.now)
        if node == 1:
            self.cloud_state = state
        else:
            self.edge_states[node] = state
        for effect in effects:
            self._perform(node, effect)

    def _perform(self, node: int, effect: Effect) -> None:
        match effect:
            case Hurry():
                for edge in self.edge_ids():
                    if self.edge_states[edge].phase is Phase.OPEN:
                        self._feed(edge, Hurried())
            case Close() if node != 1 and self.cloud_state.phase is Phase.OPEN:
                self._feed(1, Arrived(node))
            case Alarm(at):
                heapq.heappush(self._alarms, (at, node))

    # ------------------------------------------------------------------------------------------------------- what is sent

    def _edge(self, edge: int) -> Reported:
        return self._report(edge, [self._device(device, edge) for device in self._taken[edge]])

    def _learned(self, device: int, number: int) -> tuple[Floats, Metrics]:
        ready = self._busy[device]
        update = self.learned(number, ready.base, ready.model)
        return update, {BASE: ready.base} if self.policy.arrivals else {}
