"""Is the plan of a request the best there is, and is it found in no time? Plans against every way worked out by definition; cuts
of graphs of 150 operations against one minimum cut over the whole graph by networkx.

make bench Q=infer-plan
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import networkx
import numpy as np

from devnet.bench.report import Row, write
from devnet.exhaustive import FILE, every, instance
from middleware.infer.plan import Constraints, Link, Place, Plan, Times, World, frontier, plan
from middleware.maths.cut import split
from middleware.wire.model import ModelManifest, Segment

INSTANCES: Final = 1000
GRAPHS: Final = 150
OPERATIONS: Final = 150
SEGMENTS: Final = 24  # of the largest plan that is timed
SOLVE_MS: Final = 50.0
FASTER: Final = 5.0
T = TypeVar("T")
Edges = list[tuple[int, int]]
Costs = tuple[list[float], list[float], list[float]]


def milliseconds(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    out = work()
    return 1000 * (time.perf_counter() - began), out


def plan_rows() -> list[Row]:
    """Mismatches: another verdict than the reference's, or a best cost that differs by more than a millionth."""
    random = np.random.default_rng(2026)
    wrong = fronts = ways = 0
    for _ in range(INSTANCES):
        one = instance(random)
        worked = every(one)
        ways += len(worked)
        allowed = [way for way in worked if way.allowed]
        found = plan(*one)
        same = isinstance(found, Plan) == bool(allowed)
        if isinstance(found, Plan) and allowed:
            best = min(way.cost for way in allowed)
            same = abs(found.best.cost - best) <= 1e-6 * best
            count = len(one.model.segments)
            aims = {way.name: (way.ms, way.bytes, -(way.accuracy or 0.0)) for way in allowed}
            table = np.round(list(aims.values()), 9)
            front = {
                name
                for name, aim in zip(aims, table, strict=True)
                if not ((table <= aim).all(axis=1) & (table < aim).any(axis=1)).any()
            }
            fronts += front != {way.way.name(count) for way in frontier((found.best, *found.others))}
        wrong += not same
    return [
        Row(f"{INSTANCES:,} random instances, {ways:,} ways: best ways that differ from exhaustive search", wrong, "plans", 0,
            None, "0", wrong == 0),
        Row("Pareto fronts that differ from the definition", fronts, "fronts", 0, None, "0", fronts == 0),
    ]  # fmt: skip


def network(random: np.random.Generator) -> tuple[Costs, Edges]:
    """Blocks of a few branches between operations that everything passes, as in nets of today, and their costs."""
    edges: Edges = []
    last = 0
    while last < OPERATIONS - 1:
        room = OPERATIONS - 1 - last
        wide = min(int(random.integers(1, 5)), room - 1)
        if wide < 2:
            edges.append((last, last + 1))
            last += 1
            continue
        edges += [(last, last + 1 + branch) for branch in range(wide)]
        edges += [(last + 1 + branch, last + 1 + wide) for branch in range(wide)]
        last += 1 + wide
    device, edge = random.uniform(0.5, 8, OPERATIONS), random.uniform(0.05, 0.8, OPERATIONS)
    device[0] = 0
    crossing = np.linspace(400, 20, OPERATIONS) * random.uniform(0.3, 1.5, OPERATIONS)
    return (device.tolist(), edge.tolist(), crossing.tolist()), edges


def whole_flow(costs: Costs, edges: Edges) -> float:
    """The same cut as one flow over the whole graph: the baseline."""
    front, back, crossing = costs
    flow = networkx.DiGraph()
    flow.add_edge("front", 0)
    for place in range(len(front)):
        flow.add_edge(place, "back", capacity=front[place])
        if place:
            flow.add_edge("front", place, capacity=back[place])
        flow.add_edge(place, ("hub", place), capacity=crossing[place])
    for tail, head in edges:
        flow.add_edge(("hub", tail), head)
        flow.add_edge(head, tail)
    return float(networkx.minimum_cut_value(flow, "front", "back"))


def cut_rows() -> list[Row]:
    random = np.random.default_rng(7)
    ours, theirs, wrong = [], [], 0
    for _ in range(GRAPHS):
        costs, edges = network(random)
        quick, found = milliseconds(lambda: split(*costs, edges))  # noqa: B023 - run at once
        slow, value = milliseconds(lambda: whole_flow(costs, edges))  # noqa: B023 - run at once
        ours.append(quick)
        theirs.append(slow)
        wrong += abs(found.cost - value) > 1e-6 * value
    (middle, late), (middle_whole, late_whole) = (np.percentile(times, (50, 99)) for times in (ours, theirs))
    times = float(middle_whole / middle)
    return [
        Row(f"{GRAPHS} graphs of {OPERATIONS} operations: cuts that cost another sum than one flow", wrong, "cuts", 0, None, "0",
            wrong == 0),
        Row("solve p50, against one flow over the graph (networkx)", float(middle), "ms", float(middle_whole),
            float(middle / middle_whole), f">= {FASTER:g}x faster", times >= FASTER),
        Row("solve p99, likewise", float(late), "ms", float(late_whole), float(late / late_whole), f"<= {SOLVE_MS:g} ms",
            bool(late <= SOLVE_MS)),
    ]  # fmt: skip


def largest_rows() -> list[Row]:
    """A plan over three tiers for a long chain: how long all ways take, and their frontier."""
    chain = tuple(Segment(FILE, (8, 8, 8), (8, 8, 8), 1_000_000, 1000) for _ in range(SEGMENTS))
    model = ModelManifest("long", "tensor", (), chain)
    spans = [(a, b) for a in range(SEGMENTS) for b in range(a + 1, SEGMENTS + 1)]

    def place(slow: float) -> Place:
        return Place(Times({(a, b): slow * (b - a) for a, b in spans}, SEGMENTS))

    world = World(place(5.0), place(1.0), Link(1e6, 2.0), place(0.2), Link(1e7, 5.0))
    found = plan(model, world, Constraints())
    if not isinstance(found, Plan):
        raise ValueError(f"no way is allowed: {found.reasons()}")
    times = [milliseconds(lambda: plan(model, world, Constraints()))[0] for _ in range(9)]
    everything = (found.best, *found.others)
    fronts = [milliseconds(lambda: frontier(everything))[0] for _ in range(9)]
    return [
        Row(
            f"a plan of {len(everything):,} ways, {SEGMENTS} segments over three tiers: p50",
            float(np.median(times)),
            "ms",
        ),
        Row("their Pareto front: p50", float(np.median(fronts)), "ms"),
    ]


def main() -> None:
    write("infer-plan", plan_rows() + cut_rows() + largest_rows())


if __name__ == "__main__":
    main()
