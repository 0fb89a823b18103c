"""Many tenants on one node: whose request runs next, which ones run together, and who is told to come back later.

A tenant's share of the node is its weight's share of all busy tenants' weights (`maths.fairness`); what it leaves idle is the
others'. A request is charged the milliseconds it was predicted to take, corrected when it is known what it took.

Requests of the same model run as one batch: behind the request whose turn it is, the first ones of other queues that want the
same model, as long as the batch is predicted to end within `slice_ms`. So nobody waits longer than a slice for what already runs.

Nothing is queued in silence: a request that would wait longer than `wait_ms`, or whose tenant has `queued` requests here already,
is answered `Busy` with the milliseconds after which it would be taken. What is admitted is served, in its tenant's order.

An answer that was computed before is given again (`ResultCache`): to the same tenant, for the same input and the same model,
never to another tenant, who could tell by the time it takes what others have asked.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import OurFault, require
from middleware.maths.fairness import DeficitRoundRobin

Array = npt.NDArray[Any]

KEY_DOMAIN: Final = b"drystone result cache 1"
ENTRY_BYTES: Final = 256  # of a key and its bookkeeping, beside the answer


class Request(msgspec.Struct, frozen=True):
    """One request of a tenant for a model, and how long it is predicted to run alone."""

    tenant: bytes
    model: bytes
    number: int
    ms: float

    def __post_init__(self) -> None:
        require(0 < self.ms < math.inf, f"a request of {self.ms} ms: above 0")


class Rules(msgspec.Struct, frozen=True):
    """How a node shares itself."""

    workers: int = 1  # that run at once
    slice_ms: float = 20.0  # longest batch, unless one request alone takes longer
    batch: int = 8  # most requests in one batch
    batch_gain: float = (
        0.0  # share of a request's time that it saves as a batch's second, third, ... member, as measured
    )
    wait_ms: float = 2000.0  # longest predicted wait
    queued: int = 64  # most requests of one tenant that wait
    weights: Mapping[bytes, float] = {}  # of tenants; others have 1

    def __post_init__(self) -> None:
        counts = min(self.workers, self.batch, self.queued)
        require(counts > 0 and self.slice_ms > 0 and self.wait_ms > 0, "workers, batch, queued and both times: above 0")
        require(0 <= self.batch_gain < 1, f"batch gain {self.batch_gain}: a share, 0 to below 1")
        require(all(0 < one < math.inf for one in self.weights.values()), "a tenant's weight is above 0")


class Admitted(NamedTuple):
    """It will be served, after about so long."""

    wait_ms: float


class Busy(NamedTuple):
    """It was not taken: ask again in `retry_ms`."""

    reason: str
    retry_ms: float


class Batch(NamedTuple):
    """Requests of one model that run as one, and how long that is predicted to take."""

    requests: tuple[Request, ...]
    ms: float


class Turns:
    """The requests of one node; see the head of the module. `now` is any clock that never goes back, in milliseconds."""

    def __init__(self, rules: Rules = Rules()) -> None:
        self.rules = rules
        self.queue: DeficitRoundRobin[bytes, Request] = DeficitRoundRobin(rules.slice_ms, self.weight)
        self.running: dict[int, tuple[Batch, float]] = {}  # by the number of its first request -> when it will end
        self.served: dict[bytes, float] = {}  # milliseconds by tenant

    def weight(self, tenant: bytes) -> float:
        return self.rules.weights.get(tenant, 1.0)

    def offer(self, request: Request, now: float) -> Admitted | Busy:
        """Queue a request, or say when to come back."""
        waiting = self.queue.flows.get(request.tenant)
        count = len(waiting.items) if waiting is not None else 0
        wait = self.wait_ms(request.tenant, now)
        if count >= self.rules.queued:
            each = wait / count
            return Busy(f"{count} requests of this tenant wait already", max(1.0, each))
        if wait > self.rules.wait_ms:
            return Busy(
                f"it would wait {wait:.0f} ms, at most {self.rules.wait_ms:g}", max(1.0, wait - self.rules.wait_ms)
            )
        self.queue.push(request.tenant, request.ms, request)
        return Admitted(wait)

    def take(self, now: float) -> Batch | None:
        """What the next free worker runs; None where nothing waits or every worker is busy."""
        if len(self.running) >= self.rules.workers:
            return None
        first = self.queue.pop()
        if first is None:
            return None
        requests, ms = [first.item], first.item.ms
        share = 1.0 - self.rules.batch_gain
        while len(requests) < self.rules.batch:
            more = self.queue.pop_like(_fitting(first.item.model, (self.rules.slice_ms - ms) / share))
            if more is None:
                break
            requests.append(more.item)
            ms += share * more.item.ms
        batch = Batch(tuple(requests), ms)
        self.running[requests[0].number] = batch, now + ms
        return batch

    def done(self, batch: Batch, ms: float) -> None:
        """A batch took so long. What that is more or less than its requests were charged goes to their tenants."""
        if self.running.pop(batch.requests[0].number, None) is None:
            raise OurFault("this batch is not running: each that is taken is done once")
        charged = math.fsum(request.ms for request in batch.requests)
        for request in batch.requests:
            part = ms * request.ms / charged
            self.queue.charge(request.tenant, part - request.ms)
            self.served[request.tenant] = self.served.get(request.tenant, 0.0) + part

    def wait_ms(self, tenant: bytes, now: float) -> float:
        """How long a request of this tenant that comes now will wait: for what runs, and for its share's pace through its own
        backlog, but never for more than everything that is here."""
        rules = self.rules
        ends = sorted(max(0.0, end - now) for _, end in self.running.values())
        until = ends[0] if len(ends) >= rules.workers else 0.0
        backlogs = {one: self.queue.backlog(one) for one in self.queue.flows}
        mine = backlogs.pop(tenant, 0.0)
        paces = math.fsum(self.weight(one) for one, ms in backlogs.items() if ms)
        turn = (mine + rules.slice_ms) * paces / self.weight(tenant) if mine else 0.0
        return until + (mine + min(turn, math.fsum(backlogs.values()))) / rules.workers


def _fitting(model: bytes, most_ms: float) -> Callable[[Request], bool]:
    return lambda request: request.model == model and request.ms <= most_ms


class ResultCache:
    """Answers by what was asked, the ones used least recently forgotten first; never more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        require(most_bytes > ENTRY_BYTES, f"a cache of {most_bytes} bytes holds nothing: at least {ENTRY_BYTES + 1}")
        self.most_bytes, self.bytes = most_bytes, 0
        self.answers: OrderedDict[bytes, bytes] = OrderedDict()
        self.hits = self.misses = 0

    def get(self, key: bytes) -> bytes | None:
        found = self.answers.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self.answers.move_to_end(key)
        return found

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer; one that is larger than the cache is not kept."""
        self.forget(key)
        size = len(answer) + ENTRY_BYTES
        if size > self.most_bytes:
            return
        self.answers[key] = answer
        self.bytes += size
        while self.bytes > self.most_bytes:
            self.forget(next(iter(self.answers)))

    def forget(self, key: bytes) -> None:
        found = self.answers.pop(key, None)
        if found is not None:
            self.bytes -= len(found) + ENTRY_BYTES


def result_key(tenant: bytes, model: bytes, way: str, tensor: Array) -> bytes:
    """(32 bytes) of what decides an answer: who asks, the model's root, the way it goes (a code may change the answer), and the
    input with its type and shape. Each part is preceded by its length, so no two questions give the same bytes."""
    digest = hashlib.sha256(KEY_DOMAIN)
    about = f"{tensor.dtype.str} {tensor.shape}".encode()
    for part in (tenant, model, way.encode(), about):
        digest.update(len(part).to_bytes(4, "big") + part)
    digest.update(np.ascontiguousarray(tensor).data)
    return digest.digest()
