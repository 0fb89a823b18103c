"""What a session knows of its world, and how every answer corrects it: the link's rate and round trip, the edge's speed and
queue, what encoding costs here. The planner takes it as a `World`.

What no request touches grows stale: `unseen` counts, for each quantity, the requests since something was last learnt of it. The
mean forgets by requests, not by measurements, so after a long gap what is measured replaces what was known.
"""

from __future__ import annotations

import math
import time
from typing import Final, Literal, get_args

import numpy as np

from middleware.infer import coding, inputs
from middleware.infer.plan import BITS, Link, Place, Times, Way, World
from middleware.wire.model import UPLOADS, ModelManifest
from middleware.wire.session import Terms
from nodes.line import Answered
from nodes.models import LoadedModel

NEWEST: Final = 0.3  # weight of a new measurement, when every request brings one
WATTS: Final = 2.5  # of a device's processor while it computes: a phone's core under load (model, no meter)
JOULES_PER_BYTE: Final = 1.1e-6  # of a byte over wifi (model; Huang et al. 2012, table 4, rounded)
TIMED_BYTES: Final = 1024  # sent, from which on a request says something of the link's rate
TIMED_MS: Final = 0.2  # on the way, likewise
HOPE: Final = 2.0  # times faster than ever known: what a tier that nobody has seen for long may have become

Quantity = Literal["device", "link", "edge", "beyond"]


class Estimates:
    """Of one session. Times in milliseconds, rates in bytes a second; a rate of 0 is not known."""

    def __init__(self, loaded: LoadedModel, slowdown: float = 1.0) -> None:
        self.loaded, self.slowdown = loaded, slowdown
        self.rate = self.round_trip = 0.0
        self.edge_scale, self.edge_queue = 1.0, 0.0
        self.beyond_scale = 1.0  # of the tier above the edge, its link included
        self.edge_times: dict[tuple[int, int], float] = {}
        self.encode_ms: dict[str, float] = {}
        self.decode_ms: dict[str, float] = {}
        self.prepare_ms = 0.0
        self.unseen: dict[Quantity, int] = dict.fromkeys(get_args(Quantity), 0)

    def _weight(self, quantity: Quantity) -> float:
        """Of a measurement, by how long ago the last one was; it is the last one now."""
        gap, self.unseen[quantity] = self.unseen[quantity], 0
        return float(1 - (1 - NEWEST) ** max(1, gap))

    def requested(self) -> None:
        """One more request is on its way."""
        for quantity in self.unseen:
            self.unseen[quantity] += 1

    def ran(self, first: int, last: int, ms: float) -> None:
        """A stretch was run here."""
        self.loaded.noted(first, last, ms, self._weight("device"))

    def opened(self, terms: Terms) -> None:
        """The edge stated its times."""
        self.edge_times = {(first, last): ms for first, last, ms in terms.times}
        self.edge_scale, self.edge_queue, self.beyond_scale = 1.0, terms.queue_ms, 1.0
        self.unseen |= {"edge": 0, "beyond": 0}

    def probed(self, round_trip: float, rate: float, queue: float) -> None:
        """The link was measured alone."""
        self.round_trip, self.edge_queue = round_trip, queue
        weight = self._weight("link")
        self.rate = rate if not self.rate else self.rate + weight * (rate - self.rate)

    def prepared(self, ms: float) -> None:
        self.prepare_ms += NEWEST * (ms - self.prepare_ms)

    def encoded(self, form: str, ms: float) -> None:
        known = self.encode_ms.get(form, ms)
        self.encode_ms[form] = known + NEWEST * (ms - known)

    def answered(self, way: Way, answer: Answered, transfer: float) -> None:
        """A request came back; `transfer` is what it took beside the server's own times."""
        result, carried = answer.result, transfer - self.round_trip
        if answer.bytes_up > TIMED_BYTES and carried > TIMED_MS:
            self.rate += self._weight("link") * (1000 * answer.bytes_up / carried - self.rate)
        elif carried < 0:
            self.round_trip = max(0.05, self.round_trip + NEWEST * carried)
        self.edge_queue += NEWEST * (result.queue_ms - self.edge_queue)
        known = self.decode_ms.get(way.form, result.decode_ms)
        self.decode_ms[way.form] = known + NEWEST * (result.decode_ms - known)
        base = Times(self.edge_times, len(self.loaded.manifest.segments)).of(way.front, way.middle)
        if base > 0 and math.isfinite(base):
            self.edge_scale += self._weight("edge") * (result.compute_ms / base - self.edge_scale)

    def beyond(self, predicted_ms: float, result_ms: float) -> None:
        """A request went past the edge: what that was predicted to take, as things were measured first, and took."""
        if predicted_ms > 0:
            self.beyond_scale += self._weight("beyond") * (result_ms / predicted_ms - self.beyond_scale)

    def busy(self, retry_ms: float) -> None:
        """The edge refused a request and said when to come back."""
        self.edge_queue = max(self.edge_queue, retry_ms)

    def time_uploads(self) -> None:
        """What encoding costs here, before anything was encoded for a request."""
        model: ModelManifest = self.loaded.manifest
        image = model.kind == "image"
        shape = (model.taken[1], model.taken[2], 3) if image else model.taken
        numbers = np.random.default_rng(0)
        sample = numbers.integers(0, 256, shape).astype(np.uint8) if image else np.zeros(shape, np.float32)
        for form in UPLOADS if image else UPLOADS[:1]:
            began = time.perf_counter()
            inputs.uploaded(model, sample, form)
            self.encode_ms[form] = 1000 * (time.perf_counter() - began)
        largest = max((model.crossing(place) for place in range(1, len(model.segments))), key=math.prod, default=(1,))
        tensor = np.zeros((1, *largest), np.float32)
        for codec in BITS:
            began = time.perf_counter()
            coding.encode(codec, tensor)
            self.encode_ms[codec] = 1000 * (time.perf_counter() - began)

    def world(self, terms: Terms | None, cloudless: bool = False, hoped: Quantity | None = None) -> World:
        """What was measured, as the planner takes it; without `terms` the device is alone. `hoped`: a tier that is taken to be
        as fast as it may have become since it was last seen."""
        here = self.loaded.times()
        if self.slowdown > 1:
            here = Times({key: ms * self.slowdown for key, ms in here.measured.items()}, here.segments)
        coded = {form: ms + self.decode_ms.get(form, 0.0) for form, ms in self.encode_ms.items()}  # at both ends
        device = Place(here, watts=WATTS, joules_per_byte=JOULES_PER_BYTE, encode_ms=coded, prepare_ms=self.prepare_ms)
        if terms is None or self.rate <= 0:
            return World(device)
        count = len(self.loaded.manifest.segments)
        scale = self._hope(self.edge_scale, hoped == "edge")
        queue = 0.0 if hoped == "edge" else self.edge_queue
        edge = Place(Times({key: ms * scale for key, ms in self.edge_times.items()}, count), queue)
        uplink = Link(self.rate, self.round_trip)
        if cloudless or not terms.beyond_times or terms.beyond_bytes_per_second <= 0:
            return World(device, edge, uplink, price=terms.price)
        scale = self._hope(self.beyond_scale, hoped == "beyond")
        cloud = Place(Times({(a, b): ms * scale for a, b, ms in terms.beyond_times}, count))
        further = Link(terms.beyond_bytes_per_second / scale, terms.beyond_ms * scale)
        return World(device, edge, uplink, cloud, further, terms.price)

    @staticmethod
    def _hope(scale: float, hoped: bool) -> float:
        return min(1.0, scale) / HOPE if hoped else scale

    def vector(self) -> tuple[float, ...]:
        """What a plan rests on, as numbers whose relative change matters."""
        return (
            self.rate,
            self.loaded.slowness,
            self.edge_scale,
            self.beyond_scale,
            1 + self.edge_queue,
            1 + self.round_trip,
        )
