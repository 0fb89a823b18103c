"""A node's view of the ledger: the head for status, what is deep enough for whatever must not be taken back."""

from __future__ import annotations

import pytest

from devnet.simulation import in_memory
from ledger.calls import GrantRole
from middleware.trust.keys import AccountKey
from nodes.chain import ChainView

KEY = AccountKey(b"\x05" * 32)


async def test_the_head_is_seen_at_once_and_the_rest_when_it_is_deep() -> None:
    ledger, _, _ = in_memory(KEY)
    view = ChainView(ledger, 1.0, finality_blocks=2)
    for role in (1, 2, 4):
        await ledger.send(GrantRole(role, b"\x09" * 20), KEY)
    await view.refresh()
    assert (len(view.index.entries), len(view.final.entries)) == (3, 1)
    ledger.mine_empty()
    await view.refresh()
    assert len(view.final.entries) == 2


async def test_a_chain_that_takes_back_what_was_final_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    ledger, _, _ = in_memory(KEY)
    view = ChainView(ledger, 1.0, finality_blocks=1)
    for role in (1, 2, 4):
        await ledger.send(GrantRole(role, b"\x09" * 20), KEY)
    await view.refresh()
    ledger.roll_back(1)
    await view.refresh()
    assert caplog.records == []
    ledger.roll_back(1)
    await view.refresh()
    assert "took back block 2, which was final" in caplog.text
    assert len(view.final.entries) == 1
