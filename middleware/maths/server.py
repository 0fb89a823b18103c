"""The server's step: what becomes of the aggregate before the model moves by it.

A round's aggregate d (float32) is a pseudo-gradient, and the server may treat it as any optimiser treats a gradient
(FedOpt; Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2). All operations are element by element:

    step      w += a d               a = alpha / 256; with a < 1 the moving average of SLSGD: the model that the round's
                                     updates would have made counts a, the old one 1 - a (Xie et al. 2019, algorithm 1)
    momentum  m = b1 m + d           w += rate m                    FedAvgM (Hsu, Qi, Brown 2019, section 3)
    adagrad   m = b1 m + (1-b1) d    v = v + d^2                    w += rate m / (sqrt(v) + tau)
    adam      m as above             v = b2 v + (1-b2) d^2          w += rate m / (sqrt(v) + tau)
    yogi      m as above             v = v - (1-b2) d^2 sign(v - d^2)      as above

m starts at 0 and v at tau^2, as the paper has it; there is no correction of the bias, as there. v is never negative.

Products, sums, quotients and roots of float32 are each rounded once (IEEE 754), numpy fuses none of them, and nothing here
is a sum over elements: so the result has the same bits on any machine, and an auditor can repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
State = tuple[Floats, ...]

BLOCK: Final = 1 << 16  # elements worked on at once: what is between two operations stays in the cache
ALPHA_ONE: Final = 256


class Constants(NamedTuple):
    """The numbers in the formulas above; each kind reads its own."""

    alpha: int = ALPHA_ONE  # numerator of 256
    rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3


VECTORS: Final = {"step": 0, "momentum": 1, "adagrad": 2, "adam": 2, "yogi": 2}  # float32 (d,) that each kind carries


def start(kind: str, constants: Constants, length: int) -> State:
    """The state before the first round, for a model of `length` numbers."""
    first: State = (np.zeros(length, np.float32),) if VECTORS[kind] else ()
    if VECTORS[kind] == 2:
        tau = np.float32(constants.tau)
        first += (np.full(length, tau * tau, np.float32),)
    return first


def sound(kind: str, state: State, length: int) -> bool:
    """Whether `step` can have left this state: as many vectors as the kind carries, finite, and v not negative."""
    if len(state) != VECTORS[kind] or any(one.shape != (length,) or one.dtype != np.float32 for one in state):
        return False
    return all(bool(np.isfinite(one).all()) for one in state) and all(bool((one >= 0).all()) for one in state[1:])


def step(kind: str, constants: Constants, state: State, move: Floats) -> tuple[State, Floats]:
    """(the next state, by how much the model moves) for one round's aggregate `move` (d,); the arguments stay as they are.

    ValueError for a state that `sound` refuses, and for a kind that `VECTORS` does not know.
    """
    if kind not in VECTORS:
        raise ValueError(f"no server step named {kind!r}: choose one of {', '.join(VECTORS)}")
    if move.dtype != np.float32 or not sound(kind, state, move.size):
        raise ValueError(f"the state of {kind} is not one that its steps leave for a model of {move.size} numbers")
    after = tuple(one.copy() for one in state)
    out = np.empty_like(move)
    for first in range(0, move.size, BLOCK):
        part = slice(first, first + BLOCK)
        if kind == "step":
            np.multiply(move[part], np.float32(constants.alpha / ALPHA_ONE), out=out[part])
        elif kind == "momentum":
            _momentum(constants, after[0][part], move[part], out[part])
        else:
            _adaptive(_SECOND[kind], constants, after[0][part], after[1][part], move[part], out[part])
    return after, out


def _momentum(constants: Constants, m: Floats, d: Floats, out: Floats) -> None:
    m *= np.float32(constants.beta1)
    m += d
    np.multiply(m, np.float32(constants.rate), out=out)


def _adaptive(
    second: Callable[[Constants, Floats, Floats], None], constants: Constants, m: Floats, v: Floats, d: Floats, out: Floats
) -> None:  # fmt: skip
    m *= np.float32(constants.beta1)
    m += np.float32(1 - constants.beta1) * d
    second(constants, v, d * d)
    np.sqrt(v, out=out)
    out += np.float32(constants.tau)
    np.divide(m, out, out=out)
    out *= np.float32(constants.rate)


def _adagrad(constants: Constants, v: Floats, squares: Floats) -> None:
    v += squares


def _adam(constants: Constants, v: Floats, squares: Floats) -> None:
    v *= np.float32(constants.beta2)
    squares *= np.float32(1 - constants.beta2)
    v += squares


def _yogi(constants: Constants, v: Floats, squares: Floats) -> None:
    sign = np.sign(v - squares)
    squares *= np.float32(1 - constants.beta2)
    v -= squares * sign


_SECOND: Final = {"adagrad": _adagrad, "adam": _adam, "yogi": _yogi}
