"""What a shuffle between clients and server adds to randomisers at the clients.

n reports, each epsilon0-private by itself, in an order that says nothing, are together (epsilon, delta)-private with

    epsilon <= log(1 + (e^e0 - 1)/(e^e0 + 1) (8 sqrt(e^e0 log(4/delta)) / sqrt(n) + 8 e^e0 / n))

if epsilon0 <= log(n / (16 log(2/delta))) (Feldman, McMillan, Talwar 2021, "Hiding Among the Clones", theorem 3.1). Where
that does not hold, or gives more than epsilon0, epsilon0 itself is the claim.
"""

from __future__ import annotations

import math

import numpy as np

from middleware.maths.privacy.noise import Longs, Words, uniform


def amplified(epsilon: float, clients: int, delta: float) -> float:
    """The central epsilon of `clients` shuffled reports, each of the local `epsilon`."""
    if epsilon <= 0 or clients < 1 or not 0 < delta < 1:
        raise ValueError("an epsilon above 0, at least one client, and a delta between 0 and 1")
    if clients <= 16 * math.log(2 / delta) or epsilon > math.log(clients / (16 * math.log(2 / delta))):
        return epsilon
    grown = math.exp(epsilon)
    hidden = 8 * math.sqrt(grown * math.log(4 / delta) / clients) + 8 * grown / clients
    return min(epsilon, math.log1p((grown - 1) / (grown + 1) * hidden))


def permutation(length: int, words: Words) -> Longs:
    """int64 (length,): a uniform permutation of 0 to length - 1 (Fisher and Yates; Durstenfeld 1964)."""
    order = np.arange(length, dtype=np.int64)
    for last in range(length - 1, 0, -1):
        other = int(uniform(last + 1, 1, words)[0])
        order[last], order[other] = order[other], order[last]
    return order
