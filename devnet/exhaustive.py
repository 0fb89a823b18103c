"""The planner's answer by definition, written without it: random models and worlds, and every way of each worked out as a list
of what can happen to a request, with its probability.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from middleware.infer.plan import Constraints, Link, Place, Times, Weights, World
from middleware.wire.model import Branch, Coders, File, Measured, ModelManifest, Segment

FILE = File(bytes(32), 1)
BYTES_A_NUMBER = {"f32": 4.0, "f16": 2.0, "u8": 1.0, "u4": 0.5}
LOSS = {"f32": 0.0, "f16": 0.0, "u8": 0.01, "u4": 0.05, "raw": 0.0, "png": 0.0, "jpeg95": 0.01, "jpeg75": 0.04}


class Instance(NamedTuple):
    model: ModelManifest
    world: World
    constraints: Constraints
    weights: Weights


class Worked(NamedTuple):
    """One way: its name, what it costs, and whether it is allowed."""

    name: str
    cost: float
    ms: float
    bytes: float
    accuracy: float | None
    allowed: bool


def instance(random: np.random.Generator, most: int = 5) -> Instance:
    """A model of up to so many segments with branches and coders, in a world with or without edge and cloud."""
    count = int(random.integers(1, most + 1))
    sizes = [(3, 8, 8), *((int(random.integers(1, 9)), 4, 4) for _ in range(count - 1)), (5,)]
    chain = tuple(
        Segment(FILE, sizes[place], sizes[place + 1], int(random.integers(1, 5_000_000)), int(random.integers(1, 2000)))
        for place in range(count)
    )
    inner = range(1, count)
    branches = tuple(
        Branch(after, FILE, 10, 0.3, 1.0, float(random.uniform(0, 1))) for after in inner if random.random() < 0.4
    )
    coders = tuple(Coders(after, FILE, FILE, (2, 2, 2), "u4", 10, 10) for after in inner if random.random() < 0.3)
    image = bool(random.random() < 0.7)
    forms = ["raw", *(("png", "jpeg95", "jpeg75") if image else ())]
    told = [*forms, *(f"{codec}@{place}" for codec in BYTES_A_NUMBER for place in inner)]
    told += [f"bottleneck@{pair.after}" for pair in coders] + [f"exit@{branch.after}" for branch in branches]
    measured = tuple(
        Measured(
            way, 0.9 - LOSS.get(way.split("@")[0], 0.03) * float(random.uniform(0, 1)), int(random.integers(1, 900))
        )
        for way in sorted(told)
        if way == "raw" or random.random() < 0.85
    )
    held = int(random.integers(1, count + 1)) if random.random() < 0.3 else 64
    scale = (0.5, 0.5, 0.5, 0.2, 0.2, 0.2) if image else ()
    model = ModelManifest(
        "random", "image" if image else "tensor", (), chain, branches, coders, measured, 100, held, scale=scale
    )
    edge, cloud = bool(random.random() < 0.9), bool(random.random() < 0.5)
    world = World(
        _place(random, count, 20.0),
        _place(random, count, 4.0) if edge else None,
        _link(random) if edge else None,
        _place(random, count, 1.0) if edge and cloud else None,
        _link(random) if edge and cloud else None,
        float(random.uniform(0, 0.1)),
    )
    constraints = Constraints(
        str(random.choice(["open", "open", "lossless", "features", "local"])),  # type: ignore[arg-type]
        float(random.choice([0.0, 0.0, 0.8, 0.88, 0.895])),
        float(random.choice([math.inf, 60.0, 20.0, 3.0])),
        float(random.choice([math.inf, 0.2])),
        float(random.choice([math.inf, 0.1])),
    )
    return Instance(model, world, constraints, Weights(*map(float, random.uniform(0, (100, 0.01, 50)))))


def _place(random: np.random.Generator, count: int, slow: float) -> Place:
    times = {(a, b): float(random.uniform(0.1, slow)) for a in range(count) for b in range(a + 1, count + 1)}
    encode = {form: float(random.uniform(0, 3)) for form in ("png", "jpeg75", "u8", "bottleneck")}
    memory = float(random.choice([math.inf, 12_000]))
    return Place(
        Times(times, count), float(random.uniform(0, 5)), memory, 2.0, 1e-5, encode, float(random.uniform(0, 1))
    )


def _link(random: np.random.Generator) -> Link:
    return Link(float(10 ** random.uniform(4, 7)), float(random.uniform(0, 10)))


def every(one: Instance) -> list[Worked]:
    """All ways."""
    count = len(one.model.segments)
    out = []
    fronts = [(count, "")]
    if one.world.edge is not None:
        forms = ("raw", "png", "jpeg95", "jpeg75") if one.model.kind == "image" else ("raw",)
        fronts += [(0, form) for form in forms]
        fronts += [(place, codec) for place in range(1, count) for codec in BYTES_A_NUMBER]
        fronts += [(pair.after, "bottleneck") for pair in one.model.coders]
    for front, form in fronts:
        ends = [(count, "")]
        if one.world.cloud is not None and front < count:
            ends += [(front, form)] + [(end, codec) for end in range(front + 1, count) for codec in ("f32", "u8")]
        for middle, beyond in ends:
            for asked in {False, any(branch.after <= front for branch in one.model.branches)}:
                out.append(_worked(one, front, middle, form, beyond, asked))
    return out


def _worked(one: Instance, front: int, middle: int, form: str, beyond: str, asked: bool) -> Worked:
    """Each branch that may answer, and the far end, is an outcome: probability, milliseconds by the device and by others, bytes,
    price, accuracy."""
    model, world = one.model, one.world
    count, table = len(model.segments), {row.way: row for row in model.measured}
    device = world.device
    own, before, going = device.prepare_ms, 0, 1.0
    outcomes: list[tuple[float, float, float, float, float, float | None]] = []
    for branch in model.branches:
        if asked and branch.after <= front:
            own += device.times.measured[before, branch.after]
            before = branch.after
            said = table.get(f"exit@{branch.after}")
            outcomes.append((going * branch.rate, own, 0, 0, 0, said.accuracy if said else None))
            going -= going * branch.rate
    own += device.times.measured[before, front] if front > before else 0.0
    others = sent = price = 0.0
    raw = table["raw"].accuracy
    accuracy: float | None = raw
    if front < count and world.edge and world.uplink:
        key = f"{form}@{front}" if front else form
        own += device.encode_ms.get(form, 0.0)
        sent = _size(model, front, form, table)
        others = sent / world.uplink.bytes_per_second * 1000 + world.uplink.round_trip_ms + world.edge.queue_ms
        others += (256 + 4 * 5) / world.uplink.bytes_per_second * 1000
        others += world.edge.times.measured[front, middle] if middle > front else 0.0
        price = world.price * math.ceil(sum(segment.macs for segment in model.segments[front:]) / model.unit_macs)
        if form not in ("raw", "png", "f32"):
            accuracy = table[key].accuracy if key in table else None
        if middle < count and world.cloud and world.beyond:
            further = _size(model, middle, beyond, table)
            others += further / world.beyond.bytes_per_second * 1000 + world.beyond.round_trip_ms
            others += world.cloud.queue_ms + world.cloud.times.measured[middle, count]
            if beyond == "u8" and middle > front and accuracy is not None:
                coded = table.get(f"u8@{middle}")
                accuracy = None if coded is None else accuracy - max(0.0, raw - coded.accuracy)
    outcomes.append((going, own, others, sent, price, accuracy))
    share = [outcome[0] for outcome in outcomes]
    own, others, sent, price = (
        sum(part * float(outcome[place] or 0.0) for part, outcome in zip(share, outcomes, strict=True))
        for place in range(1, 5)
    )
    known = [outcome[5] for outcome in outcomes if outcome[5] is not None]
    mean = sum(part * told for part, told in zip(share, known, strict=True)) if len(known) == len(share) else None
    joules = device.watts * own / 1000 + device.joules_per_byte * sent
    cost = own + others + one.weights.joule * joules + one.weights.byte * sent + one.weights.price * price
    wanted = one.constraints
    allowed = (
        front <= model.held
        and (front == count or wanted.privacy != "local")
        and (front > 0 or wanted.privacy != "features")
        and (front > 0 or wanted.privacy != "lossless" or form in ("raw", "png"))
        and 4 * sum(segment.parameters for segment in model.segments[:front]) <= device.memory_bytes
        and (mean is not None or wanted.accuracy == 0)
        and (mean is None or mean >= wanted.accuracy)
        and own + others <= wanted.deadline_ms
        and price <= wanted.price
        and joules <= wanted.joules
    )
    name = "device" if front == count else f"{form}@{front}" if front else form
    name += f"/{beyond}@{middle}" if middle < count else ""
    return Worked(name + ("+exits" if asked else ""), cost, own + others, sent, mean, allowed)


def _size(model: ModelManifest, place: int, form: str, table: dict[str, Measured]) -> float:
    key = f"{form}@{place}" if place else form
    if key in table:
        return float(table[key].bytes)
    if form == "bottleneck":
        return 64 + 8 * 0.5
    numbers = math.prod(model.segments[place].taken)
    if place == 0:
        return 64 + numbers * (1.0 if model.kind == "image" else 4.0)
    return 64 + numbers * BYTES_A_NUMBER[form]
