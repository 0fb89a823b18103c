"""Was this product computed right? A linear layer's output is checked in a fraction of the layer's work.

Y = X W is claimed, X (n, k), W (k, m). Whoever holds W draws vectors R (m, rounds) once, keeps them to himself, and keeps W R
with them. Then X (W R) = Y R costs n (k + m) rounds multiplications instead of n k m (Freivalds, "Probabilistic machines can use
less running time", IFIP 1977; with W R prepared: Tramer and Boneh, "Slalom", ICLR 2019, section 3.2). A wrong Y fails unless R
happens to be orthogonal to the error, so R must be unknown to who computes Y, and drawn anew when a refusal was told to him.

    integers    R uniform in 0 .. 2**s - 1: a wrong Y passes a round with probability at most 2**-s. All sums stay below 2**53, so
                they are exact in float64, where they are fast; s is as large as that allows.
    float32     R of +1 and -1, and a tolerance t for rounding: an entry that is wrong by more than t passes a round with
                probability at most 1/2. A sum of k products errs by about sqrt(k) u times the sum of their sizes (Higham and
                Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019), u = 2**-24, and m
                such errors with random signs add up to more than 6 times their norm once in 30 million (Hoeffding). The check
                itself adds in float32, and allows for that too.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

EXACT: Final = 2.0**53  # below which integers are exact in float64
ROUNDING: Final = 2.0**-24  # of float32
NORMS: Final = 6.0  # of a sum of rounding errors that is still believed


class IntegerCheck(NamedTuple):
    """What is kept for an integer layer: R (m, rounds), W R (k, rounds), and the largest input and output that can be honest."""

    vectors: Doubles
    projected: Doubles
    most_input: int
    most_output: float


class FloatCheck(NamedTuple):
    """What is kept for a float32 layer: R (m, rounds), W R (k, rounds), b R (rounds,), and by how much a row's sums may be off
    for an input of norm 1, for an output of norm 1, and anyway."""

    vectors: Singles
    projected: Singles
    shifted: Singles
    slack: float
    slack_output: float
    slack_anyway: float


def integer_check(weights: Array, most_input: int, bits: int, generator: np.random.Generator) -> IntegerCheck:
    """For integer weights (k, m) and inputs of absolute value up to `most_input`: a wrong output passes with probability at most
    2**-bits. ValueError for weights that are no integers, or too large to be summed exactly."""
    if weights.ndim != 2 or weights.dtype.kind not in "iu":
        raise ValueError(f"weights of shape {weights.shape} and type {weights.dtype}: integers (k, m)")
    if most_input < 1 or bits < 1:
        raise ValueError(f"inputs up to {most_input}, 2**-{bits}: both at least 1")
    inner, outer = weights.shape
    matrix = weights.astype(np.float64)
    most_output = float(inner) * most_input * max(1.0, float(np.abs(matrix).max(initial=0)))
    each = math.floor(math.log2(EXACT / (most_output * outer))) if outer else 1
    if each < 1:
        raise ValueError(
            f"{inner} x {outer} products of this size cannot be summed exactly: split the layer, or its numbers"
        )
    each = min(each, bits)
    vectors = generator.integers(0, 1 << each, (outer, -(-bits // each))).astype(np.float64)
    return IntegerCheck(vectors, matrix @ vectors, most_input, most_output)


def integer_holds(check: IntegerCheck, taken: Array, given: Array) -> bool:
    """Is `given` (n, m) the product of `taken` (n, k) and the weights? ValueError for inputs that the check was not made for."""
    _require_shapes(check.projected, check.vectors, taken, given)
    inputs, outputs = taken.astype(np.float64), given.astype(np.float64)
    if np.abs(inputs).max(initial=0) > check.most_input:
        raise ValueError(f"inputs above {check.most_input}: make the check for the largest that there are")
    if not (np.abs(outputs) <= check.most_output).all():
        return False  # no honest product is so large, and only below it are sums exact
    return bool((inputs @ check.projected == outputs @ check.vectors).all())


def float_check(weights: Array, rounds: int, generator: np.random.Generator, bias: Array | None = None) -> FloatCheck:
    """For float32 weights (k, m) and a bias (m,): an entry that is wrong beyond the tolerance passes with probability at most
    2**-rounds. ValueError for weights of another shape."""
    if weights.ndim != 2 or rounds < 1:
        raise ValueError(f"weights of shape {weights.shape}, {rounds} rounds: (k, m), and at least one")
    matrix = weights.astype(np.float64)
    inner, outer = matrix.shape
    added = np.zeros(outer) if bias is None else bias.astype(np.float64)
    vectors = generator.choice([-1.0, 1.0], (outer, rounds))
    unit = 2 * NORMS * ROUNDING * math.sqrt(inner + 1)  # once in the layer, once in the check
    return FloatCheck(
        vectors.astype(np.float32), (matrix @ vectors).astype(np.float32), (added @ vectors).astype(np.float32),
        unit * float(np.linalg.norm(matrix)), ROUNDING * outer, unit * float(np.linalg.norm(added)),
    )  # fmt: skip


def float_holds(check: FloatCheck, taken: Singles, given: Singles) -> bool:
    """Is `given` (n, m) within rounding of `taken` (n, k) times the weights plus the bias? What is no number is not."""
    _require_shapes(check.projected, check.vectors, taken, given)
    if not np.isfinite(given).all():
        return False
    error = taken @ check.projected + check.shifted - given @ check.vectors
    return bool((np.abs(error) <= tolerance(check, taken, given)[:, None]).all())


def tolerance(check: FloatCheck, taken: Singles, given: Singles) -> Array:
    """(n,) by how much an entry of each row may be wrong unseen. A row's norm times that of the weights bounds the sum of its
    products' sizes (Cauchy and Schwarz)."""
    slack: Array = check.slack * _norms(taken) + check.slack_output * _norms(given) + check.slack_anyway
    return slack


def _norms(rows: Singles) -> Singles:
    norms: Singles = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms


def _require_shapes(projected: Array, vectors: Array, taken: Array, given: Array) -> None:
    if taken.ndim != 2 or given.shape != (len(taken), len(vectors)) or taken.shape[1] != len(projected):
        raise ValueError(
            f"inputs {taken.shape} and outputs {given.shape}: (n, {len(projected)}) and (n, {len(vectors)})"
        )
