"""An edge counts a device that may not take part, or one twice."""

from __future__ import annotations

from ledger.dispute import find
from tests.sim.history import History, Sent
from tests.sim.liars import named, only
from tests.sim.trial import tried


def test_an_edge_that_takes_a_suspended_device() -> None:
    class Lenient(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(5)
                self.block += 32

    history = Lenient(rounds=2).run()
    named(only(history), "inactiveSender", 2, 2)


def test_a_device_that_was_suspended_a_moment_ago_proves_nothing() -> None:
    class Late(History):
        def before_round(self, number: int) -> None:
            if number == 2:
                self.suspend(5)
                self.block += 31

    assert find((history := Late(rounds=2).run()).record, history.store) == []


def test_an_edge_that_takes_the_device_of_another() -> None:
    class Greedy(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            if number == 1 and edge == 2:
                self.kept = sent
            return [*sent, self.kept[0]] if number == 1 and edge == 3 else sent

    named(only(Greedy(rounds=1).run()), "inactiveSender", 1, 3)


def test_a_device_that_stands_twice_under_one_edge() -> None:
    class Twice(History):
        def listed(self, edge: int, number: int, sent: list[Sent]) -> list[Sent]:
            return [*sent, sent[0]] if (edge, number) == (3, 1) else sent

    found = find((history := Twice(rounds=1).run()).record, history.store)
    assert [offence.kind for offence in found][:1] == ["duplicateSender"]
    named(found[0], "duplicateSender", 1, 3)
    tried(history, found[0])
