"""A task under differential privacy, and a history of it."""

from __future__ import annotations

import msgspec

from middleware.policy import Policy, Privacy, Rule
from middleware.protocol import budget
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement
from tests.sim.history import History, policy_of

SECRET = b"\x5a" * budget.SECRET_BYTES
AUDITOR = History().auditor
BOUND = 400  # the updates of a history are about 1,000 long, so every one is cut


def private_policy(**changes: object) -> Policy:
    fields: dict[str, object] = {
        "rule": Rule("mean", 0), "readers": "auditors", "auditors": (AUDITOR.public.hex(),), "samples_cap": 1,
        "privacy": Privacy(8_000_000, 512, BOUND, 4, budget.commitment(SECRET)),
    }  # fmt: skip
    return policy_of(**{**fields, **changes})


PRIVATE = private_policy()


class PrivateHistory(History):
    """Its cloud has the secret."""

    secret = SECRET

    def settle(self, opening: Opening, received: list[Reported], forced: Forced) -> Settlement:
        return super().settle(msgspec.structs.replace(opening, secret=self.secret), received, forced)
