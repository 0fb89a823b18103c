"""The cloud pads a reward, or somebody is paid more than the rounds promised."""

from __future__ import annotations

import msgspec
import pytest

from ledger import events
from middleware.protocol.settlement import Settlement
from middleware.trust import merkle
from middleware.types import Verdict
from tests.sim.history import History
from tests.sim.judged import audited, first_invalid, named


def padded(number: int, node: int) -> type[History]:
    class Pads(History):
        def settled(self, at: int, settlement: Settlement) -> Settlement:
            if at != number:
                return settlement
            rewards = {**settlement.rewards, node: settlement.rewards.get(node, 0) + 1}
            entries = tuple(sorted(rewards.items()))
            return msgspec.structs.replace(
                settlement, rewards=rewards,
                header=msgspec.structs.replace(settlement.header, rewards_root=merkle.sum_root(entries)),
                manifest=msgspec.structs.replace(settlement.manifest, rewards=entries),
            )  # fmt: skip

    return Pads


@pytest.mark.parametrize("node", [5, 8])
def test_a_padded_reward_names_who_got_it(node: int) -> None:
    report = audited(padded(2, node)().run())
    assert report.verdict is Verdict.INVALID
    assert report.first is not None
    named(
        report.first,
        f"reward of end-{node} (node {node})" if node < 8 else "reward of node 8",
        2,
        "the anchor transaction",
    )
    assert len(report.findings) == 1  # round 3 pays rightly on top of what is anchored


def test_a_claim_beyond_what_the_rounds_promised_is_named() -> None:
    history = History().run()
    history.mine(events.Funded(1, b"\x01" * 20, 10_000))
    history.mine(events.Claimed(1, 4, b"\x02" * 20, 900, 900))
    found = first_invalid(history)
    assert found.subject.startswith("claim of node 4")
    assert "no round promised node 4 900" in found.what


def test_a_claim_of_what_a_round_promised_is_valid() -> None:
    history = History().run()
    history.mine(events.Funded(1, b"\x01" * 20, 10_000))
    history.mine(events.Claimed(1, 4, b"\x02" * 20, history.rewards[4], history.rewards[4]))
    assert audited(history).verdict is Verdict.VALID


def test_more_paid_out_than_was_put_in_is_named() -> None:
    history = History().run()
    history.mine(events.Claimed(1, 4, b"\x02" * 20, history.rewards[4], history.rewards[4]))
    assert first_invalid(history).subject == "pool"
