"""What T rounds of noise cost: (epsilon, delta) of the Poisson-subsampled Gaussian, by Renyi divergence at integer orders.

One round draws each client with probability q, bounds each by S and adds noise of standard deviation z S. Its Renyi
divergence at an integer order a, for neighbours that differ by one client, is at most

    log( sum_k C(a, k) (1-q)^(a-k) q^k exp(k (k-1) / 2 z^2) ) / (a - 1)

(Mironov, Talwar, Zhang 2019, "Renyi Differential Privacy of the Sampled Gaussian Mechanism", section 3.3). The bound holds
for the discrete Gaussian as well: only its integer moments enter, which are no larger, and x -> m - x swaps the two
neighbours on the integers too. Rounds add up, and

    epsilon = min over a of  T rdp(a) + log((a-1)/a) - (log delta + log a) / (a-1)

(Canonne, Kamath, Steinke 2020, proposition 12). Fractions and 40 decimal digits, correctly rounded: the same result on any
machine, so an epsilon can be committed by its hash and recomputed by anyone.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

ORDERS: Final = (*range(2, 65), 72, 80, 96, 112, 128, 160, 192, 256)
MICRO: Final = 1_000_000
_DIGITS: Final = Context(prec=40)


@lru_cache(maxsize=64)
def divergences(rate: Fraction, noise: Fraction) -> tuple[Decimal, ...]:
    """The Renyi divergence of one round at each of `ORDERS`; `rate` is q in (0, 1], `noise` is z > 0."""
    if not 0 < rate <= 1 or noise <= 0:
        raise ValueError("a sampling rate of above 0 to 1, and noise above 0")
    if rate == 1:
        return tuple(_decimal(Fraction(order) / (2 * noise * noise)) for order in ORDERS)
    q, rest = _decimal(rate), _decimal(1 - rate)
    step = _DIGITS.exp(_decimal(1 / (noise * noise)))  # exp(k(k-1)/2z^2) is its power k(k-1)/2
    drawn, left, moments = [Decimal(1)], [Decimal(1)], [Decimal(1)]
    growth = Decimal(1)
    for _ in range(ORDERS[-1]):
        drawn.append(_DIGITS.multiply(drawn[-1], q))
        left.append(_DIGITS.multiply(left[-1], rest))
        moments.append(_DIGITS.multiply(moments[-1], growth))
        growth = _DIGITS.multiply(growth, step)
    out = []
    for order in ORDERS:
        total = Decimal(0)
        for k in range(order + 1):
            term = _DIGITS.multiply(_DIGITS.multiply(left[order - k], drawn[k]), moments[k])
            total = _DIGITS.fma(Decimal(math.comb(order, k)), term, total)
        out.append(_DIGITS.divide(_DIGITS.ln(total), Decimal(order - 1)))
    return tuple(out)


def spent(rounds: int, rate: Fraction, noise: Fraction, delta: Fraction) -> int:
    """The epsilon of `rounds` rounds in millionths, rounded up. 0 rounds have spent nothing."""
    if rounds < 0 or not 0 < delta < 1:
        raise ValueError("rounds from 0, and a delta between 0 and 1")
    if rounds == 0:
        return 0
    logarithm = _DIGITS.ln(_decimal(delta))

    def converted(order: int, divergence: Decimal) -> Decimal:
        a = Decimal(order)
        change = _DIGITS.divide(_DIGITS.add(logarithm, _DIGITS.ln(a)), a - 1)
        below = _DIGITS.ln(_DIGITS.divide(a - 1, a))
        return _DIGITS.subtract(_DIGITS.fma(Decimal(rounds), divergence, below), change)

    least = min(converted(*pair) for pair in zip(ORDERS, divergences(rate, noise), strict=True))
    return max(0, int(_DIGITS.multiply(least, Decimal(MICRO)).to_integral_value(ROUND_CEILING)))


def affordable(epsilon: int, rate: Fraction, noise: Fraction, delta: Fraction, most: int) -> int:
    """How many rounds, at most `most`, cost no more than `epsilon` millionths."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if spent(middle, rate, noise, delta) <= epsilon else (low, middle - 1)
    return low


def needed_noise(epsilon: int, rounds: int, rate: Fraction, delta: Fraction, unit: int) -> Fraction:
    """The least multiple of 1/unit that as a noise multiplier lets `rounds` rounds cost at most `epsilon` millionths.

    ValueError where a multiplier of 1,000 is not enough.
    """
    low, high = 1, 1000 * unit
    if spent(rounds, rate, Fraction(high, unit), delta) > epsilon:
        raise ValueError(
            f"no noise up to 1,000 lets {rounds} rounds cost {epsilon / MICRO}: allow more, or fewer rounds"
        )
    while low < high:
        middle = (low + high) // 2
        enough = spent(rounds, rate, Fraction(middle, unit), delta) <= epsilon
        low, high = (low, middle) if enough else (middle + 1, high)
    return Fraction(low, unit)


def gaussian_epsilon(noise: float, delta: float) -> float:
    """The exact epsilon of one Gaussian of standard deviation noise * sensitivity (Balle, Wang 2018, theorem 8)."""

    def excess(epsilon: float) -> float:
        def tail(x: float) -> float:
            return math.erfc(x / math.sqrt(2)) / 2

        shift, middle = epsilon * noise, 1 / (2 * noise)
        return tail(shift - middle) - math.exp(epsilon) * tail(shift + middle)

    low, high = 0.0, 1.0
    while excess(high) > delta:
        high *= 2
    for _ in range(100):
        between = (low + high) / 2
        low, high = (between, high) if excess(between) > delta else (low, between)
    return high


def _decimal(value: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
