"""The history of `tests.sim.history` on a real chain: every event comes from the contracts, in a block with a header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from ledger import calls
from ledger.audit.evidence import Addresses
from ledger.client import AddressBook
from ledger.events import Registered, RoundAnchored, TaskCreated, entry_from_log
from ledger.spec import PUBLISHER, REGISTRAR
from middleware.ports import Entry, Event, Position
from middleware.trust import eip712
from middleware.types import Status
from tests.contracts.conftest import Evm
from tests.sim import history
from tests.sim.history import History

LATER: Final = 4_000_000_000  # seconds: a deadline behind every block's time


@contextmanager
def on_the_contracts(evm: Evm) -> Iterator[None]:
    """Signatures and leaves of `History` are made for these contracts."""
    addresses = Addresses(evm.chain_id, *(evm.contracts[name] for name in ("Registry", "Ledger", "Rewards")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "CHAIN", evm.chain_id)
        patch.setattr(history, "LEDGER", addresses.ledger)
        patch.setattr(history, "ADDRESSES", addresses)
        patch.setattr(history, "DOMAIN", eip712.Domain(evm.chain_id, addresses.ledger))
        patch.setattr(history, "REGISTRY_DOMAIN", eip712.Domain(evm.chain_id, addresses.registry))
        yield


def address_book(evm: Evm) -> AddressBook:
    names = ("Authority", "Credit", "Registry", "Ledger", "Rewards", "Arbiter", "Court", "Models")
    return AddressBook(evm.rpc, evm.chain_id, *(evm.contracts[name] for name in names), deploy_block=1)


class ChainHistory(History):
    """Each event of the history is what the contracts emitted when its call was mined."""

    def __init__(self, evm: Evm, rounds: int) -> None:
        super().__init__(rounds=rounds)
        self.evm = evm
        for role in (REGISTRAR, PUBLISHER):
            self.call(calls.GrantRole(role, evm.admin), evm.admin)

    def mine(self, event: Event, sender: bytes = b"") -> Entry:
        admin = self.evm.admin
        if isinstance(event, Registered):
            fields = {name: getattr(event, name) for name in calls.Register.__struct_fields__}
            return self.call(calls.Register(**fields), admin)  # a registrar's own word: active at once
        if isinstance(event, TaskCreated):
            fields = {name: getattr(event, name) for name in calls.CreateTask.__struct_fields__}
            return self.call(calls.CreateTask(**fields), admin)
        assert isinstance(event, RoundAnchored)
        return self.call(calls.AnchorRound(event.header), sender)

    def call(self, call: calls.AnyCall, sender: bytes) -> Entry:
        logs = self.evm.send(call.contract, call.function, call.arguments(), sender, self.evm.now + 1)
        block = self.evm.ask("eth_getBlockByNumber", hex(self.evm.block), False)
        for number, (address, topics, data) in enumerate(logs):
            position = Position(
                self.evm.block, bytes.fromhex(block["hash"][2:]), self.evm.now, bytes.fromhex(block["transactions"][0][2:]),
                number, int(block["gasUsed"], 16), sender,
            )  # fmt: skip
            self.entries.append(entry_from_log(position, address, topics, data))
        self.block = self.evm.block
        return self.entries[-1]

    def registration(self, node: int) -> Registered:
        """As in memory, with a deadline of this chain's time, since the chain checks it."""
        made = super().registration(node)
        place = (made.net_key, made.account, made.owner, made.tier, made.parent, made.name, made.meta_hash, LATER)
        digest = eip712.registration_digest(history.REGISTRY_DOMAIN, *place)
        return Registered(
            node, *place[:4], int(Status.ACTIVE), *place[4:], self.account[node].sign_digest(digest),
            self.network[node].sign_digest(digest),
        )  # fmt: skip
