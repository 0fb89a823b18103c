"""What no task can promise: a number that would stop whoever follows the policy."""

from __future__ import annotations

import math

import pytest

from middleware.errors import ConfigurationError
from middleware.policy import Policy, Schedule, Training


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"seed": -1}, "seed -1: 0 to"),
        ({"seed": 1 << 63}, "0 to 2"),
        ({"round_seconds": math.inf}, "round_seconds inf"),
        ({"round_seconds": math.nan}, "round_seconds nan"),
        ({"auditors": ("z" * 64,)}, "64 hex digits"),
        ({"auditors": ("ab" * 32 + "\n",)}, "64 hex digits"),
    ],
)
def test_a_number_that_nobody_can_follow_is_refused(asked: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Policy("digits", "mlp:1", 9, **asked)  # type: ignore[arg-type]


def test_a_step_without_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="learning rate"):
        Training(learning_rate=math.inf)
    with pytest.raises(ConfigurationError, match="proximal inf"):
        Training(proximal=math.inf)
    with pytest.raises(ConfigurationError, match="compensation inf"):
        Schedule(arrivals=1, compensation=math.inf)
