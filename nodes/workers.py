"""The threads of a node that run requests of published models: in fair turns, in batches, and never queued in silence.

`infer.tenancy` decides whose request is next and which ones run together; here they run. A batch's members take the same
course, so their tensors are stacked, run once, and dealt out again; one whose bytes are nothing fails alone.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.errors import PeerFault
from middleware.infer import coding, inputs
from middleware.infer.tenancy import Batch, Busy, Request, Rules, Turns
from middleware.wire.model import ModelManifest
from middleware.wire.session import Course
from nodes.models import LoadedModel

Floats = npt.NDArray[np.float32]

QUEUE_MS: Final = 2000.0  # a request that would wait longer is refused
UNMEASURED_MS: Final = 10.0  # that a stretch nobody has run yet is taken to need


class Ran(NamedTuple):
    """What crosses behind the stretch, and the milliseconds that its request spent in queue, decoding, computing: with its whole
    batch, of which `each` is its part."""

    given: Floats
    queue_ms: float
    decode_ms: float
    compute_ms: float
    each_ms: float


class _Job(NamedTuple):
    loaded: LoadedModel
    course: Course
    data: bytes
    asked: float  # milliseconds, on this clock
    done: asyncio.Future[Ran]


class Workers:
    """`slots` threads; see the head of the module. Used from one event loop."""

    def __init__(self, slots: int, batch: int) -> None:
        self.turns = Turns(Rules(workers=slots, batch=batch, wait_ms=QUEUE_MS))
        self.threads = ThreadPoolExecutor(slots, thread_name_prefix="infer")
        self.jobs: dict[int, _Job] = {}
        self.numbers = itertools.count()
        self.batches = self.batched = 0  # that ran; requests in them

    def wait_ms(self, tenant: bytes) -> float:
        """How long a request of this tenant that comes now will wait."""
        return self.turns.wait_ms(tenant, _now())

    def offer(self, tenant: bytes, loaded: LoadedModel, course: Course, data: bytes) -> asyncio.Future[Ran] | Busy:
        """What will hold the outcome of a request, PeerFault for bytes that are nothing; or when to come back."""
        number = next(self.numbers)
        ms = loaded.times().of(course.front, course.middle)
        same = b"%s %d %d" % (loaded.root, course.front, course.middle)
        request = Request(tenant, same, number, max(ms, 1e-3) if math.isfinite(ms) else UNMEASURED_MS)
        found = self.turns.offer(request, _now())
        if isinstance(found, Busy):
            return found
        done: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        self.jobs[number] = _Job(loaded, course, data, _now(), done)
        self._start()
        return done

    async def run(self, function: object) -> None:
        """Something else that would hold up the loop, beside requests."""
        await asyncio.get_running_loop().run_in_executor(self.threads, function)  # type: ignore[arg-type]

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while (batch := self.turns.take(_now())) is not None:
            jobs = [self.jobs.pop(request.number) for request in batch.requests]
            jobs = [job for job in jobs if not job.done.cancelled()]
            if not jobs:  # who asked has left
                self.turns.done(batch, 0.0)
                continue
            self.batches, self.batched = self.batches + 1, self.batched + len(jobs)
            running = asyncio.get_running_loop().run_in_executor(self.threads, _together, jobs)
            running.add_done_callback(lambda ended, batch=batch, jobs=jobs: self._ended(batch, jobs, ended))  # type: ignore[misc]

    def _ended(
        self, batch: Batch, jobs: Sequence[_Job], ended: asyncio.Future[tuple[list[Ran | PeerFault], float]]
    ) -> None:
        if ended.cancelled():  # the node stops
            return
        fault = ended.exception()
        outcomes, took = ended.result() if fault is None else ([fault] * len(jobs), batch.ms)
        self.turns.done(batch, took)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.done.cancelled():
                continue
            if isinstance(outcome, BaseException):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)
                if job.course.middle > job.course.front:
                    job.loaded.noted(job.course.front, job.course.middle, outcome.each_ms)
        self._start()


def _together(jobs: Sequence[_Job]) -> tuple[list[Ran | PeerFault], float]:
    """(each job's outcome, milliseconds of all): on a thread."""
    started = _now()
    tensors: dict[int, Floats] = {}
    decode_ms: dict[int, float] = {}
    outcomes: dict[int, Ran | PeerFault] = {}
    for place, job in enumerate(jobs):
        began = _now()
        try:
            tensors[place] = read(job.loaded, job.course, job.data)
        except PeerFault as fault:
            outcomes[place] = fault
        decode_ms[place] = _now() - began
    if tensors:
        loaded, course = jobs[0].loaded, jobs[0].course
        began = _now()
        given = loaded.runner.run(course.front, course.middle, np.concatenate(list(tensors.values())))
        took = _now() - began
        for row, place in enumerate(tensors):
            queue_ms = began - jobs[place].asked - decode_ms[place]
            outcomes[place] = Ran(given[row : row + 1], queue_ms, decode_ms[place], took, took / len(tensors))
    return [outcomes[place] for place in range(len(jobs))], _now() - started


def read(loaded: LoadedModel, course: Course, data: bytes) -> Floats:
    """What a request's bytes are to the first segment that runs here. PeerFault for bytes that are nothing."""
    model: ModelManifest = loaded.manifest
    if course.front == 0:
        return inputs.received(model, data, course.form)
    if course.form == "bottleneck":
        pair = next(one for one in model.coders if one.after == course.front)
        return loaded.decoders[course.front].run(0, 1, coding.decode(pair.codec, data, (1, *pair.given)))
    return coding.decode(course.form, data, (1, *model.crossing(course.front)))


def _now() -> float:
    """Milliseconds of a clock that never goes back."""
    return 1000 * time.perf_counter()
