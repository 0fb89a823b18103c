"""Lies that a device can tell: what it sends in the place of what it learned, before the grid.

A liar has seen updates of honest devices, or estimates them from several trainings of its own, as Baruch et al. do; mu and
sigma are their mean and standard deviation, coordinate by coordinate. By what it sends:

    negate        -10 times its own update: under a plain mean one liar outweighs nine honest ones
    sign-flip     -mu
    gaussian      noise, each coordinate N(0, s^2); s as large as the own update's root mean square by default
    alie          mu - z sigma: inside the crowd, and still a step away (Baruch, Baruch and Goldberg 2019, algorithm 3)
    ipm           -e mu: turns a mean of n updates around as soon as e > (n - f) / f (Xie, Koyejo and Gupta 2019, section 3)
    mimic         one honest update again: heterogeneous data then counts for less (Karimireddy, He and Jaggi 2022, section 4)
    fang-krum     -l sign(mu), l as large as Krum still picks it with f copies of it about (Fang et al. 2020, section 4.2)
    fang-trimmed  each coordinate just past the honest extreme against the direction of mu (the same, section 4.3)
    free-rider    the last move of the global model again, untrained; or zeros, where it knows none
    sybil         what the first of them learned: every sybil sends the same
    scaled        g times its own update: model replacement, with a backdoor in it (Bagdasaryan et al. 2020, section 4.1)

A lie is named `NAME` or `NAME:NUMBER`, the number standing for z, e, s or g. Two more lie in the samples that a device trains on
(`learn.poison`): label-flip, or label-flip:A-B for one class A that is called B, and backdoor, which also sends g times what it
learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

NEGATE_FACTOR: Final = -10.0
ALIE_FACTOR: Final = 1.5
IPM_FACTOR: Final = 10.0
SCALED_FACTOR: Final = 10.0
FANG_SPREAD: Final = 2.0  # b of Fang et al.: how far past the honest extreme, as a factor
IN_SAMPLES: Final = ("label-flip", "backdoor")
HALVINGS: Final = 40  # of the step that fang-krum searches


class Seen(NamedTuple):
    """What a liar knows: its own honest update (d,), those of others or its estimates of them (m, d), the last move of the
    global model (d,) or None, how many liars there are among how many devices, and a generator."""

    own: Floats
    honest: Floats
    generator: np.random.Generator
    last_move: Floats | None = None
    liars: int = 1

    @property
    def mean(self) -> Floats:
        return np.asarray(self.honest.mean(axis=0), np.float32)


Craft = Callable[[Seen, float], Floats]


class Attack(NamedTuple):
    """One kind of lie: how the vector is made, its number's default, and whether others' updates are needed."""

    craft: Craft
    number: float
    colludes: bool


def negate(seen: Seen, number: float) -> Floats:
    """`number` (-10) times the own update."""
    return np.asarray(seen.own * np.float32(number))


def sign_flip(seen: Seen, number: float) -> Floats:
    """The mean of the honest updates, turned around."""
    return -seen.mean


def gaussian(seen: Seen, number: float) -> Floats:
    """Noise of standard deviation `number` times the own update's root mean square."""
    scale = np.float32(number * np.sqrt(np.mean(np.square(seen.own, dtype=np.float64))))
    return np.asarray(seen.generator.standard_normal(len(seen.own)).astype(np.float32) * scale)


def alie(seen: Seen, number: float) -> Floats:
    """mu - `number` sigma; sigma over the m honest updates (divided by m)."""
    return np.asarray(seen.mean - np.float32(number) * seen.honest.std(axis=0).astype(np.float32))


def inner_product_manipulation(seen: Seen, number: float) -> Floats:
    """-`number` mu."""
    return np.asarray(seen.mean * np.float32(-number))


def mimic(seen: Seen, number: float) -> Floats:
    """Honest update number `number`, from 0."""
    return np.array(seen.honest[int(number) % len(seen.honest)])


def fang_krum(seen: Seen, number: float) -> Floats:
    """-l sign(mu): l is `number`, halved until Krum would pick the vector, with `liars` copies of it among the honest.

    `number` 0 starts from the largest honest magnitude. Zeros if Krum picks it at no length.
    """
    direction = -np.sign(seen.mean)
    length = number or float(np.abs(seen.honest).max())
    for _ in range(HALVINGS):
        lie = np.asarray(direction * np.float32(length))
        if krum_picks([lie] * seen.liars + list(seen.honest), seen.liars) < seen.liars:
            return lie
        length /= 2
    return np.zeros_like(seen.own)


def krum_picks(vectors: list[Floats], f: int) -> int:
    """Which of n float vectors Krum picks: the least sum of squared distances to its n - f - 2 nearest others."""
    matrix = np.stack(vectors).astype(np.float64)
    squares = np.square(matrix).sum(axis=1)
    distances = np.sort(np.maximum(0, squares[:, None] + squares[None, :] - 2 * matrix @ matrix.T), axis=1)
    return int(np.argmin(distances[:, 1 : len(vectors) - f - 1].sum(axis=1)))


def fang_trimmed(seen: Seen, number: float) -> Floats:
    """Past the honest minimum where mu is positive, past the maximum where it is negative: drawn between the extreme and
    `number` times it, away from the honest values."""
    low, high = seen.honest.min(axis=0), seen.honest.max(axis=0)
    share = seen.generator.random(len(seen.own), np.float32)
    factor = np.float32(1) + share * np.float32(number - 1)
    below = np.where(low > 0, low / factor, low * factor)
    above = np.where(high > 0, high * factor, high / factor)
    return np.asarray(np.where(seen.mean > 0, below, above), np.float32)


def free_rider(seen: Seen, number: float) -> Floats:
    """The last move of the global model; zeros in the first round."""
    return np.zeros_like(seen.own) if seen.last_move is None else seen.last_move.copy()


def sybil(seen: Seen, number: float) -> Floats:
    """The first update of those seen."""
    return np.array(seen.honest[0])


ATTACKS: Final[dict[str, Attack]] = {
    "negate": Attack(negate, NEGATE_FACTOR, False),
    "sign-flip": Attack(sign_flip, 1.0, True),
    "gaussian": Attack(gaussian, 1.0, False),
    "alie": Attack(alie, ALIE_FACTOR, True),
    "ipm": Attack(inner_product_manipulation, IPM_FACTOR, True),
    "mimic": Attack(mimic, 0.0, True),
    "fang-krum": Attack(fang_krum, 0.0, True),
    "fang-trimmed": Attack(fang_trimmed, FANG_SPREAD, True),
    "free-rider": Attack(free_rider, 0.0, False),
    "sybil": Attack(sybil, 0.0, True),
    "scaled": Attack(negate, SCALED_FACTOR, False),
}


class Lie(NamedTuple):
    """An attack with its number."""

    attack: Attack
    number: float

    def tell(self, seen: Seen) -> Floats:
        """The vector (d,) that is sent, float32."""
        return self.attack.craft(seen, self.number)


def parse(text: str) -> Lie:
    """The lie called NAME or NAME:NUMBER. ValueError names those that there are."""
    name, colon, number = text.partition(":")
    if name not in ATTACKS:
        raise ValueError(f"no attack named {name!r}: choose one of {', '.join(sorted([*ATTACKS, *IN_SAMPLES]))}")
    attack = ATTACKS[name]
    try:
        return Lie(attack, float(number) if colon else attack.number)
    except ValueError as error:
        raise ValueError(f"attack {text!r}: write {name} or {name}:NUMBER") from error


def require(text: str) -> None:
    """ValueError unless `text` names a lie, in the update or in the samples."""
    if text.partition(":")[0] in IN_SAMPLES:
        in_samples_number(text)
    else:
        parse(text)


def in_samples_number(text: str) -> float:
    """By how much a lie in the samples is scaled: 1, or the number behind `backdoor`. ValueError for another word there."""
    name, colon, number = text.partition(":")
    if name == "label-flip":
        label_pair(text)
        return 1.0
    try:
        return float(number) if colon else 1.0
    except ValueError as error:
        raise ValueError(f"attack {text!r}: write {name} or {name}:NUMBER") from error


def label_pair(text: str) -> tuple[int, int] | None:
    """(A, B) of `label-flip:A-B`, None of `label-flip`, which flips every class. ValueError for another word there."""
    name, colon, pair = text.partition(":")
    if not colon:
        return None
    source, dash, target = pair.partition("-")
    if not (dash and source.isdecimal() and target.isdecimal() and int(source) != int(target)):
        raise ValueError(f"attack {text!r}: write {name} or {name}:A-B with two different classes, e.g. {name}:7-1")
    return int(source), int(target)
