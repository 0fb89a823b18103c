"""How one request is best run: every way that there is, what each would cost, and the cheapest that is allowed.

The ways (`Way`) of a model in n segments over a device, an edge and a cloud are

    device          all of it here
    raw, png, ...   the input goes up, the edge (or, past it, the cloud) runs everything
    codec@K         segments [0, K) here, what crosses is coded, the rest at the edge; bottleneck@K through trained coders
    ... /CODEC@J    as each of these, and the edge hands on to the cloud behind segment J

and each may use the branches in front of its border, so that a request stops there when it is sure enough. All of them are
enumerated: at most a few thousand, so the answer is exact and comes with every alternative.

What a way costs a request is predicted from measurements: times of stretches of segments on each node (not of single
operations: fused operations do not add up), a link's rate and round trip, the queue in front of a node. With branches the
prediction is an expectation: what lies behind a branch counts with the share of requests that get so far.

    latency  = head + encode + bytes / rate + round trip + queue + tail (+ the same once more past the edge)
    joules   = device's watts x its milliseconds + joules a byte x bytes
    cost     = milliseconds + a joules + b bytes + c price                               (`Weights`)

Constraints forbid, they never weigh: what may leave the device, which segments it may hold, its memory, the accuracy, the
deadline, the price. Nothing that is forbidden is ever chosen; if nothing is left, the answer is `Infeasible`, with a reason a
way. Kang et al. 2017 (Neurosurgeon); Hu et al. 2019 (DADS); Li et al. 2018 (Edgent) for exits under a deadline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from middleware.errors import require
from middleware.wire.model import CODECS, LOSSLESS, UPLOADS, ModelManifest

Privacy = Literal["open", "lossless", "features", "local"]
PRIVACY: Final = ("open", "lossless", "features", "local")
BITS: Final = {"f32": 32, "f16": 16, "u8": 8, "u4": 4}
CODED_BYTES: Final = 64  # of a frame's header, a tensor's scale and the seal's tag
RESULT_BYTES: Final = 256  # of an answer's frame, beside its logits
RAW_IMAGE_BITS: Final = 8  # a number of an image that is sent as it is; of anything else 32
PARTS: Final = ("head", "encode", "transfer", "queue", "tail", "back")


class Times(msgspec.Struct, frozen=True):
    """Milliseconds of stretches [a, b) of segments on one node, as measured. One that was not is the difference of two that
    were, or the sum of its parts."""

    measured: Mapping[tuple[int, int], float]
    segments: int

    def of(self, first: int, last: int) -> float:
        if first == last:
            return 0.0
        found = self.measured.get((first, last))
        if found is not None:
            return found
        for whole, rest in (((first, self.segments), (last, self.segments)), ((0, last), (0, first))):
            if whole in self.measured and (rest in self.measured or rest[0] == rest[1]):
                return max(0.0, self.measured[whole] - self.measured.get(rest, 0.0))
        return math.fsum(self.measured.get((place, place + 1), math.inf) for place in range(first, last))


class Link(msgspec.Struct, frozen=True):
    """From one node to the next."""

    bytes_per_second: float
    round_trip_ms: float = 0.0

    def __post_init__(self) -> None:
        require(self.bytes_per_second > 0 and self.round_trip_ms >= 0, "a link has a rate above 0 and a round trip")

    def ms(self, count: float) -> float:
        return 1000 * count / self.bytes_per_second


class Place(msgspec.Struct, frozen=True):
    """What a node is to the planner."""

    times: Times
    queue_ms: float = 0.0  # before a request is taken up
    memory_bytes: float = math.inf  # for weights
    watts: float = 0.0  # while it computes
    joules_per_byte: float = 0.0  # that it sends
    encode_ms: Mapping[str, float] = {}  # of an upload or a codec, by name, as measured
    prepare_ms: float = 0.0  # before anything else, whatever the way


class World(msgspec.Struct, frozen=True):
    """Who is there now. Without an edge the device is alone; without a cloud the edge hands nothing on."""

    device: Place
    edge: Place | None = None
    uplink: Link | None = None
    cloud: Place | None = None
    beyond: Link | None = None  # from the edge to the cloud
    price: float = 0.0  # token units of one unit of work


class Constraints(msgspec.Struct, frozen=True):
    """What a request must keep to."""

    privacy: Privacy = "open"  # what may leave the device: anything, the input without loss, features of it, nothing
    accuracy: float = 0.0  # at least; ways whose accuracy nobody measured are refused above 0
    deadline_ms: float = math.inf
    price: float = math.inf  # token units a request
    joules: float = math.inf  # of the device's, a request

    def __post_init__(self) -> None:
        require(self.privacy in PRIVACY, f"privacy {self.privacy!r}: choose one of {', '.join(PRIVACY)}")
        require(0 <= self.accuracy <= 1, f"accuracy {self.accuracy}: a share of the samples, 0 to 1")
        require(self.deadline_ms > 0, f"deadline {self.deadline_ms} ms: above 0")


class Weights(msgspec.Struct, frozen=True):
    """What a millisecond is worth: the cost adds these to the latency."""

    joule: float = 0.0
    byte: float = 0.0
    price: float = 0.0


class Way(NamedTuple):
    """Segments [0, front) on the device, [front, middle) at the edge, the rest at the cloud; `form` is how the input or what
    crosses is sent, "" where nothing is. `branches` in front of the border are asked."""

    front: int
    middle: int
    form: str
    branches: bool = False
    beyond: str = ""  # how what crosses from edge to cloud is sent

    def name(self, segments: int) -> str:
        """As in the manifest's table, and /CODEC@J behind it where the cloud goes on from segment J."""
        if self.front == segments:
            name = "device"
        elif self.front == 0:
            name = self.form
        else:
            name = f"{self.form}@{self.front}"
        name += f"/{self.beyond}@{self.middle}" if self.middle < segments else ""
        return name + ("+exits" if self.branches else "")


class Predicted(NamedTuple):
    """Of one request: milliseconds by part (`PARTS`), bytes up, joules of the device, token units, accuracy (None: nobody
    measured it), the share of requests that leave the device."""

    parts: tuple[float, ...]
    bytes: float
    joules: float
    price: float
    accuracy: float | None
    leaving: float = 1.0

    @property
    def ms(self) -> float:
        return math.fsum(self.parts)


class Considered(NamedTuple):
    """One way, what it would cost, and why it is forbidden ("" if it is not)."""

    way: Way
    predicted: Predicted
    cost: float
    refused: str


class Plan(NamedTuple):
    """The best way, and all others in the order of their cost."""

    best: Considered
    others: tuple[Considered, ...]

    @property
    def way(self) -> Way:
        return self.best.way


class Infeasible(NamedTuple):
    """No way is allowed: why not, for each."""

    considered: tuple[Considered, ...]

    def reasons(self) -> tuple[str, ...]:
        """Each reason once, the way that came closest first."""
        return tuple(dict.fromkeys(one.refused for one in self.considered))


def plan(
    model: ModelManifest, world: World, constraints: Constraints = Constraints(), weights: Weights = Weights()
) -> Plan | Infeasible:
    """The cheapest of all allowed ways; of equal ones the one named first."""
    found = []
    for way in ways(model, world):
        predicted = predict(model, world, way)
        cost = predicted.ms + weights.joule * predicted.joules + weights.byte * predicted.bytes
        cost += weights.price * predicted.price
        found.append(Considered(way, predicted, cost, refusal(model, world, constraints, way, predicted)))
    found.sort(key=lambda one: (bool(one.refused), one.cost))
    if found[0].refused:
        return Infeasible(tuple(found))
    return Plan(found[0], tuple(found[1:]))


def ways(model: ModelManifest, world: World) -> Iterator[Way]:
    """Every way to run a request with whoever is there."""
    last = len(model.segments)
    branched = min((branch.after for branch in model.branches), default=last)
    for branches in (False, True) if model.branches else (False,):
        yield Way(last, last, "", branches)
    if world.edge is None or world.uplink is None:
        return
    uploads = UPLOADS if model.kind == "image" else UPLOADS[:1]
    splits = [(place, codec) for place in range(1, last) for codec in CODECS]
    splits += [(pair.after, "bottleneck") for pair in model.coders]
    starts = [(0, form) for form in uploads] + splits
    for front, form in starts:
        for branches in (False, True) if branched <= front else (False,):
            yield Way(front, last, form, branches)
            if world.cloud is not None and world.beyond is not None:
                for middle in range(front, last):
                    for codec in ("f32", "u8") if middle > front else (form,):
                        yield Way(front, middle, form, branches, codec)


def predict(model: ModelManifest, world: World, way: Way) -> Predicted:
    """What one request is expected to cost that way."""
    last, device = len(model.segments), world.device
    asked = [branch for branch in model.branches if way.branches and branch.after <= way.front and branch.after < last]
    head, going, before = 0.0, 1.0, 0
    for branch in asked:
        head += going * device.times.of(before, branch.after)
        going, before = going * (1.0 - branch.rate), branch.after
    head += going * device.times.of(before, way.front)
    parts = dict.fromkeys(PARTS, 0.0)
    parts["head"] = head + device.prepare_ms
    sent = price = 0.0
    if way.front < last and world.edge is not None and world.uplink is not None:
        sent = sent_bytes(model, way.front, way.form)
        parts["encode"] = going * device.encode_ms.get(way.form, 0.0)
        parts["transfer"] = going * world.uplink.ms(sent)
        parts["queue"] = going * world.edge.queue_ms
        parts["tail"] = going * world.edge.times.of(way.front, way.middle)
        back = world.uplink.round_trip_ms + world.uplink.ms(RESULT_BYTES + 4 * math.prod(model.segments[-1].given))
        if way.middle < last and world.cloud is not None and world.beyond is not None:
            further = sent_bytes(model, way.middle, way.beyond)
            parts["transfer"] += going * world.beyond.ms(further)
            parts["queue"] += going * world.cloud.queue_ms
            parts["tail"] += going * world.cloud.times.of(way.middle, last)
            back += world.beyond.round_trip_ms
        parts["back"] = going * back
        price = going * world.price * model.units(way.front)
    joules = device.watts * (parts["head"] + parts["encode"]) / 1000 + device.joules_per_byte * going * sent
    leaving = going if way.front < last else 0.0
    return Predicted(tuple(parts.values()), going * sent, joules, price, accuracy_of(model, way), leaving)


def sent_bytes(model: ModelManifest, place: int, form: str) -> float:
    """Bytes of what crosses behind the first `place` segments when it is sent as `form`: as measured, else by formula."""
    way = f"{form}@{place}" if place else form
    found = next((one.bytes for one in model.measured if one.way == way), None)
    if found is not None:
        return float(found)
    numbers = math.prod(model.crossing(place))
    if form == "bottleneck":
        pair = next(pair for pair in model.coders if pair.after == place)
        return CODED_BYTES + math.prod(pair.given) * BITS[pair.codec] / 8
    if place == 0:
        return CODED_BYTES + numbers * (RAW_IMAGE_BITS if model.kind == "image" else 32) / 8
    return CODED_BYTES + numbers * BITS[form] / 8


def accuracy_of(model: ModelManifest, way: Way) -> float | None:
    """As measured for this way; what loses nothing has the whole model's. None where nobody measured it. Where branches are
    asked and only each alone was measured, those that go on count as all do: a little better than they are, for they are harder.
    """
    table = {one.way: one.accuracy for one in model.measured}
    last = len(model.segments)
    together = way._replace(middle=last, beyond="").name(last)
    if way.branches and together in table and way.beyond != "u8":
        return table[together]
    if way.front == last or way.form in LOSSLESS or way.form == "f32":
        whole = table.get("raw")
    else:
        whole = table.get(f"{way.form}@{way.front}" if way.front else way.form)
    coded_again = way.front < way.middle < last  # else the edge hands on what it got
    if coded_again and way.beyond == "u8" and whole is not None:
        raw, coded = table.get("raw"), table.get(f"u8@{way.middle}")
        whole = None if raw is None or coded is None else whole - max(0.0, raw - coded)
    if not way.branches or whole is None:
        return whole
    going, total = 1.0, 0.0
    for branch in model.branches:
        if branch.after <= way.front and branch.after < last:
            told = table.get(f"exit@{branch.after}")
            if told is None:
                return None
            total += going * branch.rate * told
            going *= 1.0 - branch.rate
    return total + going * whole


def refusal(model: ModelManifest, world: World, constraints: Constraints, way: Way, predicted: Predicted) -> str:
    """Why a request must not go that way, or ""."""
    last = len(model.segments)
    leaves = way.front < last
    if way.front > model.held and (leaves or model.held < last):
        return f"the licence leaves the device the first {model.held} of {last} segments"
    if leaves and constraints.privacy == "local":
        return "privacy local: nothing may leave the device"
    if leaves and way.front == 0 and constraints.privacy == "features":
        return "privacy features: the input may not leave the device"
    if leaves and way.front == 0 and constraints.privacy == "lossless" and way.form not in LOSSLESS:
        return "privacy lossless: the input must go up without loss"
    weights = 4 * sum(segment.parameters for segment in model.segments[: way.front])
    if weights > world.device.memory_bytes:
        return f"memory: {weights:,} bytes of weights, the device has {world.device.memory_bytes:,.0f}"
    if constraints.accuracy > 0 and predicted.accuracy is None:
        return "accuracy: nobody measured this way"
    if predicted.accuracy is not None and predicted.accuracy < constraints.accuracy:
        return f"accuracy {predicted.accuracy:.3f} is below {constraints.accuracy:.3f}"
    if not math.isfinite(predicted.ms):
        return "a stretch of segments was not measured on the node that would run it"
    if predicted.ms > constraints.deadline_ms:
        return f"deadline: {predicted.ms:.1f} ms, at most {constraints.deadline_ms:g}"
    if predicted.price > constraints.price:
        return f"price {predicted.price:g}, at most {constraints.price:g}"
    if predicted.joules > constraints.joules:
        return f"energy {predicted.joules:.3g} J, at most {constraints.joules:g}"
    return ""


def frontier(considered: Sequence[Considered]) -> tuple[Considered, ...]:
    """The allowed ways that no other beats in latency, bytes and accuracy at once: the exact Pareto front (Auto-Split's list)."""
    allowed = [one for one in considered if not one.refused]

    def aims(one: Considered) -> tuple[float, float, float]:
        return one.predicted.ms, one.predicted.bytes, -(one.predicted.accuracy or 0.0)

    # In this order what beats a way comes before it, and is itself on the front or beaten by a way that is.
    front: set[tuple[float, float, float]] = set()
    for aim in sorted({aims(one) for one in allowed}):
        if not any(all(kept <= other for kept, other in zip(found, aim, strict=True)) for found in front):
            front.add(aim)
    return tuple(one for one in allowed if aims(one) in front)
