"""What a codec loses is added to the next update.

Error feedback (Seide et al. 2014; Karimireddy et al. 2019, algorithm 1): e += g; send C(e); e -= C(e). The sum of what was
sent plus what is still kept equals the sum of what was learned.

Deep gradient compression (Lin et al. 2018, algorithm 4) keeps two vectors: a momentum u and what it adds up to, v. What was sent
leaves v, and u is zeroed there (momentum factor masking), so that a stale momentum does not carry a coordinate past its
target. An update is clipped before it enters, to a length that falls with the number of devices (local clipping, section
3.1), and the first rounds send more (warm-up, section 3.3). With everything sent nothing is stale, nothing is masked, and it is
plain momentum SGD.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from middleware.maths import grid
from middleware.maths.compress import decode, encode

Integers = npt.NDArray[np.signedinteger[Any]]
Vector = npt.NDArray[np.floating[Any]]

WARM_UP_DENSITIES: Final = (0.25, 0.0625, 0.015625, 0.004)  # of the first rounds, as in the paper


class Sent(NamedTuple):
    """What error feedback made of one update."""

    payload: bytes
    integers: Integers  # what the payload decodes to
    residual: Vector  # what was not sent: compression and the grid's rounding
    saturated: int  # coordinates that the grid cut off


class SentByMomentum(NamedTuple):
    """What deep gradient compression made of one update. `wanted` are u and v had nothing been sent."""

    payload: bytes
    integers: Integers
    momentum: Vector  # u
    residual: Vector  # v
    wanted: tuple[Vector, Vector]
    saturated: int


def with_feedback(
    update: Vector, residual: Vector | None, codec: str, bits: int, exponent: int, density: float = 1.0,
    generator: np.random.Generator | None = None, budget: int = 0,
) -> Sent:  # fmt: skip
    """Compress `update` (d,) plus what earlier rounds kept back; `residual` None is the first round.

    integers * 2**exponent + new residual == update + old residual, in the floating type of `update`.
    """
    wanted = update if residual is None else update + residual
    integers, saturated = grid.to_grid(wanted, bits, exponent)
    payload = encode(codec, integers, bits, density, generator, budget)
    integers = decode(codec, payload, update.size, bits)
    return Sent(payload, integers, wanted - grid.from_grid(integers, exponent), saturated)


def warm_up(density: float, round: int) -> float:
    """The density of round number `round`, from 1: it falls to `density` over the first rounds."""
    return max(density, WARM_UP_DENSITIES[round - 1]) if round <= len(WARM_UP_DENSITIES) else density


def clipped(update: Vector, threshold: float, devices: int) -> Vector:
    """`update`, at most threshold / sqrt(devices) long: the sum over devices is then clipped at about `threshold`."""
    length, most = float(np.linalg.norm(update)), threshold / devices**0.5
    return update if length <= most else np.asarray(update * update.dtype.type(most / length))


def with_momentum(
    update: Vector, kept: tuple[Vector, Vector] | None, momentum: float, bits: int, exponent: int, density: float
) -> SentByMomentum:
    """One update (d,) through deep gradient compression; `kept` is (u, v) of the round before, None in the first."""
    before = (np.zeros_like(update), np.zeros_like(update)) if kept is None else kept
    velocity = update.dtype.type(momentum) * before[0] + update
    wanted = before[1] + velocity
    integers, saturated = grid.to_grid(wanted, bits, exponent)
    payload = encode("dgc", integers, bits, density)
    integers = decode("dgc", payload, update.size, bits)
    sent = (
        integers != 0 if density < 1 else np.zeros(update.size, np.bool_)
    )  # with everything sent no momentum is stale
    residual = wanted - grid.from_grid(integers, exponent)
    return SentByMomentum(
        payload, integers, np.where(sent, 0, velocity).astype(update.dtype), residual, (velocity, wanted), saturated
    )
