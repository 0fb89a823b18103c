"""Lies that a device of the devnet can tell: what it does to its update before the grid.

`negate` is the scaled negative of what was learned, the strongest form of "reversed gradient" attacks (inner-product
manipulation; Xie, Koyejo and Gupta 2019, section 3): under a plain mean one liar outweighs nine honest updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Attack = Callable[[Floats, np.random.Generator], Floats]

NEGATE_FACTOR: Final = -10.0


def negate(update: Floats, generator: np.random.Generator) -> Floats:
    """The update times -10."""
    return np.asarray(update * np.float32(NEGATE_FACTOR))


def sign_flip(update: Floats, generator: np.random.Generator) -> Floats:
    """The update's negative: as long as an honest one, so that its size gives nothing away."""
    return np.asarray(-update)


ATTACKS: Final[dict[str, Attack]] = {"negate": negate, "sign-flip": sign_flip}
