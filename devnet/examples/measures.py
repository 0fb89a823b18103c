"""The six measures of a scenario: accuracy, latency, energy, communication, memory, privacy."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from middleware.infer.plan import Considered
from middleware.wire.model import ModelManifest
from nodes.reply import PARTS, Reply

WILSON: Final = 1.96  # standard deviations: 95 %
MEGABYTE: Final = 1e6


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, z = right / count, WILSON
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def left(reply: Reply) -> str:
    """What of the input left the device for this answer: nothing, features of it, or the input itself, with or without loss."""
    if reply.bytes_up == 0:
        return "nothing"
    form = reply.way.partition("/")[0].partition("+")[0]
    if "@" in form:
        return "features"
    return "the input, lossy" if form.startswith("jpeg") else "the input"


def peak_bytes() -> int:
    """The most memory that this process has had."""
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def six(model: ModelManifest, replies: Sequence[Reply], labels: Sequence[int], raw_bytes: float) -> dict[str, Any]:
    """By measure; `raw_bytes` is one sample as it is."""
    count = len(replies)
    right = sum(reply.label == label for reply, label in zip(replies, labels, strict=True))
    times = [reply.ms for reply in replies]
    sent = sum(reply.bytes_up for reply in replies)
    parts = {name: statistics.mean(reply.parts[place] for reply in replies) for place, name in enumerate(PARTS)}
    by_tier = Counter(reply.tier for reply in replies)
    low, high = wilson(right, count)
    return {
        "accuracy": {"share": right / count, "from": low, "to": high, "by": {
            tier: sum(r.label == label for r, label in zip(replies, labels, strict=True) if r.tier == tier) / number
            for tier, number in sorted(by_tier.items())
        }},
        "latency_ms": {"p50": float(np.quantile(times, 0.5)), "p95": float(np.quantile(times, 0.95)),
                       "p99": float(np.quantile(times, 0.99)), "parts": parts},
        "energy_joules": {"each": sum(reply.joules for reply in replies) / count, "by": "model"},
        "communication_bytes": {"each": sent / count, "against_raw": sent / (raw_bytes * count)},
        "memory_bytes": {"peak": peak_bytes(), "weights_held": 4 * sum(one.parameters for one in model.segments[: model.held])},
        "privacy": dict(Counter(left(reply) for reply in replies)),
        "answered_by": dict(by_tier),
    }  # fmt: skip


def show(title: str, found: dict[str, Any]) -> None:
    """The six measures for people."""
    accuracy, latency, sent = found["accuracy"], found["latency_ms"], found["communication_bytes"]
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in latency["parts"].items())
    by = ", ".join(f"{tier} {share:.1%}" for tier, share in accuracy["by"].items())
    left_device = ", ".join(f"{what}: {number}" for what, number in found["privacy"].items())
    rows = [
        ("accuracy", f"{accuracy['share']:.1%} ({accuracy['from']:.1%} to {accuracy['to']:.1%}); {by}"),
        ("latency", f"p50 {latency['p50']:.1f}, p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f} ms; mean parts: {parts}"),
        ("energy", f"{1000 * found['energy_joules']['each']:.1f} mJ a request on the device ({found['energy_joules']['by']})"),
        ("communication", f"{sent['each']:,.0f} B up a request, {sent['against_raw']:.3f} of sending it raw"),
        ("memory", f"{found['memory_bytes']['peak'] / MEGABYTE:,.0f} MB at most in this process, "
                   f"{found['memory_bytes']['weights_held'] / MEGABYTE:.2f} MB of weights held"),
        ("privacy", f"what left the device: {left_device}"),
    ]  # fmt: skip
    _print(title, ("measure", "found"), rows)


def show_ways(considered: Sequence[Considered], model: ModelManifest) -> None:
    """The first few ways that a plan considered, the chosen one first."""
    last = len(model.segments)
    rows = [
        (one.way.name(last), f"{one.predicted.ms:.1f}", f"{one.predicted.bytes:,.0f}", one.refused)
        for one in considered
    ]
    _print("considered, the chosen one first", ("way", "ms, predicted", "bytes", "not, because"), rows)


def as_json(found: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
