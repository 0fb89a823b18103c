from __future__ import annotations

import numpy as np

from middleware.maths.attack import ATTACKS


def test_negate_is_the_update_times_minus_ten() -> None:
    update = np.array([0.5, -1.25, 0.0], np.float32)
    lie = ATTACKS["negate"](update, np.random.default_rng(0))
    assert lie.tolist() == [-5.0, 12.5, 0.0]
    assert lie.dtype == np.float32
    assert update.tolist() == [0.5, -1.25, 0.0]


def test_sign_flip_keeps_the_length() -> None:
    update = np.array([3.0, -4.0], np.float32)
    assert ATTACKS["sign-flip"](update, np.random.default_rng(0)).tolist() == [-3.0, 4.0]
