"""What --dp and its companions mean: the promise of privacy in a task's policy."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import msgspec

from middleware.errors import ConfigurationError
from middleware.policy import MICRO, NOISE_ONE, RATE_ONE, LocalPrivacy, Privacy, Promise, RecordPrivacy
from middleware.protocol import budget

MODES: Final = ("central", "local", "records")
LOCAL_BITS: Final = 24  # of the grid: room for the noise of a single device


class Terms(msgspec.Struct, frozen=True):
    """A promise as it is asked for."""

    epsilon: float
    mode: str
    delta: float
    noise: float | None  # None: the least with which all rounds can be paid
    clip: float
    clients: int
    commitment: str
    rate: float
    steps: int
    rounds: int
    exponent: int  # of the grid


def promise_of(terms: Terms) -> Promise:
    """The promise that these terms mean. ConfigurationError for one that cannot hold."""
    if terms.mode not in MODES:
        raise ConfigurationError(f"--dp-mode {terms.mode!r}: choose one of {', '.join(MODES)}")
    if not (0 < terms.epsilon < math.inf and 0 < terms.clip < math.inf):
        raise ConfigurationError("--dp and --dp-clip are above 0, and finite")
    if terms.noise is not None and not 0 < terms.noise < math.inf:
        raise ConfigurationError(f"--dp-noise {terms.noise}: a multiplier above 0, and finite")
    made = _of_records(terms) if terms.mode == "records" else _of_clients(terms)
    if budget.affordable(made, 1) == 0:
        raise ConfigurationError(
            f"not one round fits an epsilon of {terms.epsilon}: use more --dp-noise, or leave it out"
        )
    return made


def _of_clients(terms: Terms) -> Promise:
    if terms.mode == "central" and terms.clients <= 0:
        raise ConfigurationError("--dp divides by the expected number of clients: say how many with --dp-clients")
    noise = _noise(terms, terms.rounds)
    epsilon, bound = round(terms.epsilon * MICRO), int(terms.clip * 2.0**-terms.exponent)
    if terms.mode == "local":
        return LocalPrivacy(epsilon, noise, bound, terms.delta)
    return Privacy(epsilon, noise, bound, terms.clients, terms.commitment, terms.delta)


def _of_records(terms: Terms) -> RecordPrivacy:
    if not 0 < terms.rate <= 1 or terms.steps <= 0:
        raise ConfigurationError(
            f"--dp-rate {terms.rate}, --dp-steps {terms.steps}: a step draws each record with a probability above 0 and at "
            "most 1, and a round has at least one step"
        )
    rate = max(1, round(terms.rate * RATE_ONE))
    noise = _noise(terms, terms.rounds * terms.steps, Fraction(rate, RATE_ONE))
    return RecordPrivacy(round(terms.epsilon * MICRO), noise, terms.clip, rate, terms.steps, terms.delta)


def _noise(terms: Terms, releases: int, rate: Fraction = Fraction(1)) -> int:
    if terms.noise is not None:
        return math.ceil(terms.noise * NOISE_ONE)
    return budget.needed_noise(round(terms.epsilon * MICRO), releases, terms.delta, rate)
