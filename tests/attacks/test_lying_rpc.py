"""Whoever serves the ledger's record to an auditor rewrites it."""

from __future__ import annotations

import msgspec

from ledger import events
from tests.sim.history import LEDGER, History
from tests.sim.judged import changed, first_invalid, named


def test_a_registration_with_a_forged_account_signature_is_named() -> None:
    found = first_invalid(changed(History().run(), events.Registered, 4, account_signature=b"\x01" * 64 + b"\x1b"))
    named(found, "registration of node 5", 0, "nobody")


def test_a_registration_with_another_network_key_is_named() -> None:
    found = first_invalid(changed(History().run(), events.Registered, 4, net_key=b"\x09" * 32))
    named(found, "registration of node 5", 0, "nobody")


def test_a_changed_policy_is_named() -> None:
    history = History().run()
    event = history.entries[7].event
    assert isinstance(event, events.TaskCreated)
    found = first_invalid(changed(history, events.TaskCreated, policy=event.policy.replace(b"1000", b"2000")))
    assert (found.subject, found.task, found.round) == ("policy", 1, 0)


def test_a_header_that_is_not_the_one_that_was_hashed_is_named() -> None:
    history = History().run()
    header = msgspec.structs.replace(history.headers[1], rewards_root=b"\x08" * 32)
    named(first_invalid(changed(history, events.RoundAnchored, 1, header=header)), "header", 2, "nobody")


def test_an_event_of_another_contract_is_named() -> None:
    history = History().run()
    history.entries[0] = msgspec.structs.replace(history.entries[0], address=LEDGER)
    found = first_invalid(history)
    assert found.subject.startswith("entry 1 (Registered")


def test_entries_out_of_order_are_named() -> None:
    history = History().run()
    history.entries[1], history.entries[2] = history.entries[2], history.entries[1]
    assert first_invalid(history).subject.startswith("entry 3 (Registered")
