"""How wide a model an update is of, and what the average over several widths is.

In a task with `widths` each device trains as wide a model as it can, a corner of the task's own (`maths.nested`). Its payload
holds the numbers of that corner alone; the signed metrics say the width, so it is committed with everything else. Whoever
judges an update puts it back into its places, and all behind that works on whole vectors; what differs is the divisor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from middleware.errors import ConfigurationError, PeerFault
from middleware.maths import nested
from middleware.maths.nested import Mask, Sums
from middleware.policy import WIDTH_ONE, Policy
from middleware.policy.architecture import parse
from middleware.wire.message import Update, decode_metrics

WIDTH: Final = "width"  # the metric that names an update's width


def width_of(message: Update, policy: Policy) -> int:
    """The width of the model that an update is of. PeerFault("off-grid") for one that the task does not have."""
    if policy.widths is None:
        return WIDTH_ONE
    width = decode_metrics(message.metrics).get(WIDTH)
    if width not in policy.widths or not isinstance(width, int):
        raise PeerFault(
            "off-grid", f"the update of node {message.sender} says width {width}: choose from {policy.widths}"
        )
    return width


def chosen(policy: Policy, part: float) -> int:
    """The widest of the task's models that a device can train that manages `part` of a whole one. ConfigurationError for none."""
    fitting = [width for width in policy.widths or (WIDTH_ONE,) if width <= part * WIDTH_ONE]
    if not fitting:
        least = min(policy.widths or (WIDTH_ONE,)) / WIDTH_ONE
        raise ConfigurationError(
            f"this node trains models of up to {part:g} of the width, the task's narrowest is {least:g}"
        )
    return max(fitting)


def name_of(policy: Policy, width: int) -> str:
    """The narrow model's name."""
    return parse(policy.model).narrowed(width).name


@lru_cache(maxsize=32)
def _held(model: str, width: int) -> Mask:
    whole = parse(model)
    return nested.held(whole.parameters, whole.narrowed(width).parameters)


def held(policy: Policy, width: int) -> Mask | None:
    """bool (d,): the places that a model of this width holds; None for the whole model."""
    return None if width == WIDTH_ONE else _held(policy.model, width)


def length(policy: Policy, width: int) -> int:
    """How many numbers a model of this width has."""
    mask = held(policy, width)
    return policy.parameters if mask is None else int(mask.sum())


def averaged(policy: Policy, sums: Sums, updates: Iterable[tuple[Update, int]]) -> Sums:
    """int64 (d,): each sum over the weight of the updates that hold its place; `updates` are those in the sum, with their
    weights."""
    weights: Counter[int] = Counter()
    for message, weight in updates:
        weights[width_of(message, policy)] += weight
    return nested.divide_by_holders(sums, weights, {width: _held(policy.model, width) for width in weights})
