"""Requests of one model from one device: planned, run here or sent, answered whatever dies.

A session times what it may hold, asks the edge for terms, plans (`middleware.infer.plan`), and goes on measuring: every answer
corrects the link's rate, the edge's speed and its queue, and when they changed, or a tier died, it plans again. A request is
answered once, from wherever it can be: what an edge does not answer is run here from where it stands, or answered by a branch in
front, and says so (`degraded`).

What the plan does not use is not measured by it, so what was unseen for long is looked at on purpose: the link is probed and
the device timed beside the requests; and where a tier would be used if only it were faster than it was last seen, one request
goes there although the plan says not to (forced sampling; Zhang et al. 2021, "Autodidactic Neurosurgeon", section 4).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import msgspec
import numpy as np
import numpy.typing as npt

from ledger.audit.sessions import KeptAnswer, KeptSession
from middleware.errors import ConfigurationError, PeerFault, Unavailable
from middleware.infer import coding, inputs
from middleware.infer.plan import (
    Considered,
    Constraints,
    Infeasible,
    Plan,
    Times,
    Way,
    Weights,
    World,
    plan,
    predict,
    refusal,
    sent_bytes,
)  # fmt: skip
from middleware.types import Node
from middleware.wire.model import ModelManifest
from middleware.wire.session import Course
from nodes.estimates import JOULES_PER_BYTE, WATTS, Estimates, Quantity
from nodes.kept import Keeper
from nodes.line import Answered, Identity, Line, Refused
from nodes.models import LoadedModel, sure
from nodes.reply import PARTS, Reply, Tally

LOG = logging.getLogger("drystone")
REPLAN_CHANGE: Final = 0.25  # of any measured quantity, after which the plan is made again
REPLAN_REQUESTS: Final = 64  # after which it is made again anyway
PROBE_REQUESTS: Final = 25  # after which a link or a device that none of them told anything of is measured beside them
SAMPLE_REQUESTS: Final = 50  # after which one goes to a tier that none of them reached
SAMPLED: Final[tuple[Quantity, ...]] = ("edge", "beyond")
WORTH_A_HOP: Final = 0.1  # of the cost: going past the edge for less is not worth one more tier that can fail
REOPEN_SECONDS: Final = 0.5  # between two tries to reach an edge that is gone
TOLD_SECONDS: Final = 1.0  # between two notes of what the session has done
ANSWER_SECONDS: Final = 5.0  # after which a request that is under way is run here

Sample = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Wallet(Protocol):
    """What pays a session."""

    channel: bytes

    def begin(self) -> None:
        """A line was opened: units count from nothing again."""
        ...

    def voucher(self, units: int, chain: bytes) -> bytes:
        """Signed, for so many units of this session in all, over its chain of receipts."""
        ...


class Reach(msgspec.Struct, frozen=True):
    """Where the edge is, and who asks it."""

    base: str
    who: Identity
    edge: Node


class DeviceSession:
    """Requests of one model from one device; see the head of the module. `loaded` holds what the device may hold, timed."""

    def __init__(
        self, loaded: LoadedModel, http: aiohttp.ClientSession | None, reach: Reach | None,
        constraints: Constraints = Constraints(), weights: Weights = Weights(), wallet: Wallet | None = None,
        forced: str = "", slowdown: float = 1.0, told: Path | None = None, keeper: Keeper | None = None,
    ) -> None:  # fmt: skip
        """`forced`: always go this way (`Way.name`), for measurements. `slowdown`: computing here takes so many times as long,
        for measurements too. `told`: a file that says now and then what the session has done, for `drystone top`. `keeper`:
        keeps what was sent and answered."""
        self.loaded, self.http, self.reach = loaded, http, reach
        self.constraints, self.weights, self.wallet = constraints, weights, wallet
        self.forced, self.slowdown, self.told, self.keeper = forced, slowdown, told, keeper
        self.model: ModelManifest = loaded.manifest
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.line: Line | None = None
        self.reopening: asyncio.Task[None] | None = None
        self.beside: set[asyncio.Task[Any]] = set()
        self.next_try = 0.0
        self.estimates = Estimates(loaded, slowdown)
        self.tally = Tally()
        self.planned: Plan | Infeasible | None = None
        self.planned_on: tuple[float, ...] = ()
        self.since_plan = self.requests = 0
        self.plans: list[tuple[int, str, str]] = []  # (request, way, why) of every change of plan
        self.why_alone = "" if reach is not None else "no edge is configured"
        self.unlicensed = ""  # why this user may not run this model
        self.last_told = 0.0

    async def __aenter__(self) -> DeviceSession:
        await self.run_here(self.estimates.time_uploads)
        if self.reach is not None:
            try:
                await self._open()
            except (Unavailable, PeerFault) as error:
                self._require_licensed(error)
                self.why_alone = str(error)
        self._plan("start")
        return self

    async def __aexit__(self, *_: object) -> None:
        ending = [*self.beside, *([self.reopening] if self.reopening is not None else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self.line is not None:
            await self._pay(self.line)
            await self.line.close()
        self._tell(final=True)
        if self.keeper is not None:
            self.keeper.close()
        self.thread.shutdown(wait=False, cancel_futures=True)

    # --------------------------------------------------------------------------------------------------------- requests

    async def __call__(self, sample: Sample) -> Reply:
        """The answer to one sample. Raises ConfigurationError for a sample that the model does not take or constraints that
        nothing meets, Unavailable where neither an edge nor this device can answer, PeerFault("unlicensed") once the ledger
        says no, whatever this device holds."""
        if self.unlicensed:
            raise PeerFault("unlicensed", self.unlicensed)
        self.requests += 1
        began = time.perf_counter()
        tensor = await self.run_here(inputs.prepared, self.model, sample)
        pre = 1000 * (time.perf_counter() - began)
        way = self._next_way()
        if way is None:
            parts = {**dict.fromkeys(PARTS, 0.0), "pre": pre}
            nowhere = Way(0, len(self.model.segments), "raw")
            reply = await self._alone(nowhere, tensor, tensor, parts, began, self.why_alone)
        else:
            reply = await self._along(way, sample, tensor, pre, began)
        self.tally.add(reply)
        if time.monotonic() - self.last_told > TOLD_SECONDS:
            self._tell()
        return reply

    async def _along(self, way: Way, sample: Sample, tensor: Floats, pre: float, began: float) -> Reply:
        last = len(self.model.segments)
        parts = dict.fromkeys(PARTS, 0.0)
        parts["pre"] = pre
        self.estimates.prepared(pre)
        place, answer, crossing = await self._head(way, tensor, parts)
        if answer is not None:
            name = "device" if place == last else f"exit@{place}"
            return self._reply(answer, name, way, parts, began)
        mark = time.perf_counter()
        payload = await self.run_here(self._payload, way, sample, crossing)
        parts["encode"] = 1000 * (time.perf_counter() - mark)
        form = way.form
        self.estimates.encoded(form, parts["encode"])
        try:
            answered = await self._ask(Course(way.front, way.middle, form, way.beyond or ""), payload)  # type: ignore[arg-type]
        except (Unavailable, PeerFault) as error:
            self._require_licensed(error)
            return await self._alone(way, tensor, crossing, parts, began, str(error))
        result = answered.result
        above = result.queue_ms + result.decode_ms + result.compute_ms + result.beyond_ms
        parts["queue"], parts["tail"] = result.queue_ms, result.decode_ms + result.compute_ms + result.beyond_ms
        parts["transfer"] = max(0.0, answered.elapsed_ms - above)
        self.estimates.answered(way, answered, parts["transfer"])
        if way.middle < last:
            self.estimates.beyond(self._beyond_ms(way), result.beyond_ms)
        tier = "edge" if way.middle == last else "cloud"
        return self._reply(answered.logits, tier, way, parts, began, answered)

    async def _head(self, way: Way, tensor: Floats, parts: dict[str, float]) -> tuple[int, Floats | None, Floats]:
        """(how far it got, the answer if one was found there, what crosses): segments [0, front), asking the branches."""
        last, place = len(self.model.segments), 0
        mark = time.perf_counter()
        asked = [one for one in self.model.branches if way.branches and one.after <= way.front and one.after < last]
        for branch in asked:
            tensor = await self.run_here(self._stretch, place, branch.after, tensor)
            place = branch.after
            logits = await self.run_here(self.loaded.branches[place].run, 0, 1, tensor)
            if sure(branch, logits):
                parts["head"] = 1000 * (time.perf_counter() - mark)
                return place, logits[0], tensor
        tensor = await self.run_here(self._stretch, place, way.front, tensor)
        parts["head"] = 1000 * (time.perf_counter() - mark)
        return way.front, tensor[0] if way.front == last else None, tensor

    def _stretch(self, first: int, last: int, tensor: Floats) -> Floats:
        began = time.perf_counter()
        given = self.loaded.runner.run(first, last, tensor)
        took = time.perf_counter() - began
        if self.slowdown > 1:
            time.sleep(took * (self.slowdown - 1))
        if last > first:
            self.estimates.ran(first, last, 1000 * took)
        return given

    def _payload(self, way: Way, sample: Sample, crossing: Floats) -> bytes:
        if way.front == 0:
            return inputs.uploaded(self.model, sample, way.form)
        if way.form == "bottleneck":
            pair = next(one for one in self.model.coders if one.after == way.front)
            return coding.encode(pair.codec, self.loaded.encoders[way.front].run(0, 1, crossing))
        return coding.encode(way.form, crossing)

    async def _ask(self, course: Course, payload: bytes) -> Answered:
        line = self.line
        if line is None:
            raise Unavailable(self.why_alone)
        try:
            answered = await asyncio.wait_for(line.ask(course, payload), ANSWER_SECONDS)
        except TimeoutError as error:
            self._lost(f"no answer in {ANSWER_SECONDS:g} s")
            raise Unavailable(self.why_alone) from error
        except Refused as refused:
            if refused.code == "unpaid":
                await self._pay(line)
            self.estimates.busy(refused.retry_ms)
            if line.degraded:
                line.degraded = ""
                self._plan("the tier above the edge is gone", cloudless=True)
            raise
        except (Unavailable, PeerFault) as error:
            self._lost(str(error))
            raise
        if self.keeper is not None and self.reach is not None:
            reach, result = self.reach, answered.result
            head = KeptSession(line.state.session, self.loaded.root, reach.who.user, reach.edge.id)
            self.keeper.add(head, KeptAnswer(answered.receipt, answered.request, course, payload, result.logits))
        line = self.line
        if line is not None and 2 * (line.state.ledger.units - line.state.paid) >= line.terms.allowance:
            await self._pay(line)
        return answered

    async def _alone(
        self, way: Way, tensor: Floats, crossing: Floats, parts: dict[str, float], began: float, why: str
    ) -> Reply:
        """The edge did not answer: go on here from where the request stands, or let a branch in front answer."""
        last = len(self.model.segments)
        mark = time.perf_counter()
        if self.loaded.held == last:
            logits = await self.run_here(self._stretch, way.front, last, crossing)
            parts["head"] += 1000 * (time.perf_counter() - mark)
            return self._reply(logits[0], "device", way, parts, began, degraded=why)
        places = [place for place in self.loaded.branches if place <= self.loaded.held]
        if not places:
            raise Unavailable(
                f"no answer: {why}; and the licence leaves this device too little of {self.model.name} to go on alone"
            )
        place = max(places)
        start, base = (way.front, crossing) if way.front <= place else (0, tensor)
        reached = await self.run_here(self._stretch, start, place, base)
        logits = await self.run_here(self.loaded.branches[place].run, 0, 1, reached)
        parts["head"] += 1000 * (time.perf_counter() - mark)
        return self._reply(logits[0], f"exit@{place}", way, parts, began, degraded=why)

    def _reply(
        self, logits: Floats, tier: str, way: Way, parts: dict[str, float], began: float, answered: Answered | None = None,
        degraded: str = "",
    ) -> Reply:  # fmt: skip
        wall = 1000 * (time.perf_counter() - began)
        parts["post"] = max(0.0, wall - math.fsum(parts.values()))
        up, down = (answered.bytes_up, answered.bytes_down) if answered is not None else (0, 0)
        busy = (parts["pre"] + parts["head"] + parts["encode"]) / 1000
        units = answered.result.units if answered is not None else 0
        return Reply(
            np.asarray(logits, np.float32).ravel(), tier, way.name(len(self.model.segments)), tuple(parts.values()), up, down,
            WATTS * busy + JOULES_PER_BYTE * (up + down), units, degraded,
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------------- planning

    def _beyond_ms(self, way: Way) -> float:
        """What going past the edge that way was first predicted to take."""
        line, last = self.line, len(self.model.segments)
        if line is None or line.terms.beyond_bytes_per_second <= 0:
            return 0.0
        terms = line.terms
        sent = sent_bytes(self.model, way.middle, way.beyond)
        tail = Times({(a, b): ms for a, b, ms in terms.beyond_times}, last).of(way.middle, last)
        return terms.beyond_ms + 1000 * sent / terms.beyond_bytes_per_second + tail

    def _world(self, cloudless: bool = False, hoped: Quantity | None = None) -> World:
        line = self.line
        return self.estimates.world(None if line is None or line.broken else line.terms, cloudless, hoped)

    def _measured(self) -> tuple[float, ...]:
        return (*self.estimates.vector(), 1.0 + (self.line is None or bool(self.line.broken)))

    def _plan(self, why: str, cloudless: bool = False) -> None:
        world = self._world(cloudless)
        found = plan(self.model, world, self.constraints, self.weights)
        if isinstance(found, Plan):
            found = _nearer(found, len(self.model.segments))
        if self.forced:
            found = self._forced(found, world)
        before = self.planned.way if isinstance(self.planned, Plan) else None
        self.planned, self.since_plan, self.planned_on = found, 0, self._measured()
        way = found.way if isinstance(found, Plan) else None
        if way != before:
            name = way.name(len(self.model.segments)) if way is not None else "nothing is allowed"
            self.plans.append((self.requests, name, why))
            LOG.info("from request %d on: %s (%s)", self.requests, name, why)

    def _forced(self, found: Plan | Infeasible, world: World) -> Plan | Infeasible:
        everything = (found.best, *found.others) if isinstance(found, Plan) else found.considered
        chosen = next((one for one in everything if one.way.name(len(self.model.segments)) == self.forced), None)
        if chosen is None:
            return found  # the edge is away: whatever can be done
        return Infeasible((chosen,)) if chosen.refused else Plan(chosen, everything)

    def _changed(self) -> bool:
        return any(
            abs(new - old) > REPLAN_CHANGE * max(abs(old), 1e-9)
            for new, old in zip(self._measured(), self.planned_on, strict=True)
        )

    def _next_way(self) -> Way | None:
        """As planned; None where nothing is allowed because the edge is away."""
        self.since_plan += 1
        self.estimates.requested()
        if self.line is not None and self.line.broken:
            fault = self.line.fault
            self._lost(self.line.broken)
            if fault is not None:
                self._require_licensed(fault)
        self._reopen_if_due()
        if self._changed():
            self._plan("what was measured has changed")
        elif self.since_plan >= REPLAN_REQUESTS:
            self._plan("it is time to look again")
        found = self.planned
        if isinstance(found, Infeasible) and self.line is None and self.reach is not None:
            return None
        if isinstance(found, Infeasible) or found is None:
            reasons = "; ".join(found.reasons()[:3]) if found is not None else "nothing was planned"
            raise ConfigurationError(f"no way to run {self.model.name} is allowed: {reasons}")
        way = found.way
        return way if self.forced else self._sampled(way)

    def _sampled(self, way: Way) -> Way:
        """This way, or another that tells of a tier nobody has seen for long; what can be measured beside requests is."""
        line, unseen, last = self.line, self.estimates.unseen, len(self.model.segments)
        if _due(unseen["device"], PROBE_REQUESTS) and self.loaded.held > 0:
            self._beside(self.run_here(self._stretch, 0, 1, self.loaded.blank(0)))
        if line is None:
            return way
        if _due(unseen["link"], PROBE_REQUESTS):
            self._beside(self._probe(line))
        tiers = [quantity for quantity in SAMPLED if _due(unseen[quantity], SAMPLE_REQUESTS)]
        hopes = [plan(self.model, self._world(hoped=tier), self.constraints, self.weights) for tier in tiers]
        for tier, hope in zip(tiers, hopes, strict=True):
            if isinstance(hope, Plan) and (
                hope.way.middle < last if tier == "beyond" else hope.way.front < hope.way.middle
            ):
                return hope.way
        return way

    def _beside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Beside the requests; what it fails of, they will meet themselves."""
        task = asyncio.create_task(work)
        self.beside.add(task)
        task.add_done_callback(self.beside.discard)
        task.add_done_callback(lambda done: done.exception() if not done.cancelled() else None)

    def force(self, way: str) -> None:
        """From now on go this way (`Way.name`) where it is allowed; "": as planned. For measurements."""
        self.forced = way
        self._plan("it was said which way to go")

    def explain(self) -> list[Considered]:
        """Every way as the last plan saw it, the chosen one first."""
        if self.planned is None:
            return []
        if isinstance(self.planned, Plan):
            return [self.planned.best, *(one for one in self.planned.others if one != self.planned.best)]
        return list(self.planned.considered)

    def predicted(self, way: Way) -> tuple[float, str]:
        """(milliseconds, why it is forbidden) as things are now."""
        world = self._world()
        found = predict(self.model, world, way)
        return found.ms, refusal(self.model, world, self.constraints, way, found)

    # ----------------------------------------------------------------------------------------------------------- the edge

    async def _open(self) -> None:
        reach = self.reach
        if reach is None or self.http is None:
            raise Unavailable("no edge is configured")
        line = await Line.open(self.http, reach.base, reach.who, reach.edge, self.loaded.root, self.model)
        if self.wallet is not None:
            line.payment = self.wallet.channel
            self.wallet.begin()
        self.estimates.opened(line.terms)
        self.line, self.why_alone = line, ""
        await self._probe(line)

    async def _probe(self, line: Line) -> None:
        self.estimates.probed(*await line.probe(), line.queue_ms)

    def _lost(self, why: str) -> None:
        """The edge is away: plan without it, and try again soon."""
        line, self.line = self.line, None
        self.why_alone = why
        if line is not None:
            LOG.warning("the edge is away: %s", why)
            self.next_try = time.monotonic() + REOPEN_SECONDS
            closing = asyncio.create_task(line.close())
            closing.add_done_callback(lambda done: done.exception() if not done.cancelled() else None)
            self._plan(why)

    def _reopen_if_due(self) -> None:
        if self.line is not None or self.reach is None or time.monotonic() < self.next_try:
            return
        if self.reopening is None or self.reopening.done():
            self.next_try = time.monotonic() + REOPEN_SECONDS
            self.reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        try:
            await self._open()
        except (Unavailable, PeerFault) as error:
            self.why_alone = str(error)
            return
        self._plan("the edge is back")

    def _require_licensed(self, error: Exception) -> None:
        """An edge that says no for want of a licence is believed: this device stops, though it could go on."""
        code = error.code if isinstance(error, (Refused, PeerFault)) else ""
        if code == "unlicensed":
            self.unlicensed = error.detail if isinstance(error, PeerFault) else str(error)
            raise PeerFault("unlicensed", self.unlicensed) from error

    async def _pay(self, line: Line) -> None:
        if self.wallet is None or line.broken or line.state.ledger.units == line.state.paid:
            return
        await line.pay(self.wallet.voucher(line.state.ledger.units, line.state.ledger.chain))

    # ---------------------------------------------------------------------------------------------------------- counting

    async def run_here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def report(self) -> dict[str, Any]:
        """What the session has done, and what it knows."""
        line, estimates = self.line, self.estimates
        return {
            "model": self.model.name, **self.tally.report(), "alone": self.why_alone,
            "unpaid": line.state.ledger.units - line.state.paid if line is not None else 0,
            "link": {"bytes_per_second": estimates.rate, "round_trip_ms": estimates.round_trip},
            "plans": self.plans[-10:],
        }  # fmt: skip

    def _tell(self, final: bool = False) -> None:
        self.last_told = time.monotonic()
        if self.told is not None:
            self.told.write_text(json.dumps({**self.report(), "time": time.time(), "open": not final}))


def _due(unseen: int, after: int) -> bool:
    return unseen > 0 and unseen % after == 0


def _nearer(found: Plan, last: int) -> Plan:
    """The same plan, or where the best way goes past the edge and one that does not costs hardly more, with that one chosen."""
    if found.way.middle == last:
        return found
    within = (1 + WORTH_A_HOP) * found.best.cost
    near = next(
        (one for one in found.others if not one.refused and one.way.middle == last and one.cost <= within), None
    )
    if near is None:
        return found
    return Plan(near, (found.best, *(one for one in found.others if one != near)))
