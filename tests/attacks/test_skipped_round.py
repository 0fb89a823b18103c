"""The cloud skips a round, or somebody else anchors one."""

from __future__ import annotations

import msgspec

from middleware.types import Header
from tests.sim.history import CLOUD, History
from tests.sim.judged import first_invalid, named


def test_a_skipped_round_is_named() -> None:
    class Skips(History):
        def header(self, number: int, header: Header) -> Header:
            return msgspec.structs.replace(header, round=number + 1) if number >= 2 else header

    found = first_invalid(Skips().run())
    named(found, "header", 3, "nobody")
    assert "round 2 comes next" in found.what


def test_a_header_sent_by_another_account_is_named() -> None:
    class Impostor(History):
        def anchor(self, number: int, header: Header) -> None:
            super().anchor(number, header)
            if number == 2:
                at = msgspec.structs.replace(self.entries[-1].position, sender=b"\x42" * 20)
                self.entries[-1] = msgspec.structs.replace(self.entries[-1], position=at)

    found = first_invalid(Impostor().run())
    named(found, "header", 2, "the anchor transaction")
    assert "not the account of the task's cloud" in found.what


def test_a_header_of_a_suspended_cloud_is_named() -> None:
    class Suspended(History):
        def anchor(self, number: int, header: Header) -> None:
            if number == 3:
                self.suspend(CLOUD)
            super().anchor(number, header)

    found = first_invalid(Suspended().run())
    named(found, "header", 3, "the anchor transaction")
    assert "not active" in found.what


def test_a_missing_round_in_the_record_is_named() -> None:
    history = History().run()
    del history.entries[-2]
    found = first_invalid(history)
    named(found, "header", 3, "nobody")
    assert "round 2 comes next" in found.what
