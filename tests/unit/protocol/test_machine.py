"""The tables of a round: what closes it, what cannot happen, and that nobody waits for the dead twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.errors import OurFault
from middleware.protocol.machine import (
    MEMBER,
    PARENT,
    Alarm,
    Answered,
    Arrived,
    Asked,
    Close,
    Counted,
    Event,
    Hurried,
    Hurry,
    Member,
    Offered,
    Opened,
    Parent,
    Phase,
    Rang,
    Send,
    Settled,
    Train,
    Trained,
    step_member,
    step_parent,
)

THREE = frozenset({1, 2, 3})


def run(state: Parent, *events: tuple[float, Event]) -> tuple[Parent, list[object]]:
    effects: list[object] = []
    for now, event in events:
        state, new = step_parent(state, event, now)
        effects.extend(new)
    return state, effects


def test_a_round_closes_as_soon_as_everyone_delivered() -> None:
    opened = Opened(1, 1, THREE, 30.0)
    state, effects = run(Parent(), (0, opened), (1, Arrived(1)), (2, Arrived(3)))
    assert state.phase is Phase.OPEN and state.missing == {2}
    assert effects == [Alarm(30.0)]
    state, effects = run(state, (3, Arrived(2)))
    assert state.phase is Phase.CLOSED and effects == [Close(frozenset())]


def test_backup_workers_a_round_does_not_wait_for_its_spare_children() -> None:
    state, effects = run(Parent(), (0, Opened(1, 1, THREE, 30.0, spare=1)), (1, Arrived(1)), (2, Arrived(3)))
    assert state.phase is Phase.CLOSED and effects[-1] == Close(frozenset({2}))


def test_backup_workers_are_counted_among_all_children_not_among_those_expected() -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, THREE, 30.0, spare=1)), (1, Arrived(1)), (2, Arrived(3)), (3, Settled()))
    state, effects = run(state, (4, Opened(1, 2, THREE, 60.0, spare=1)), (5, Arrived(1)))
    assert state.phase is Phase.OPEN, "with child 2 absent the two others are still both waited for"
    state, effects = run(state, (6, Arrived(3)))
    assert effects[-1] == Close(frozenset())


def test_a_round_waits_for_one_child_at_least() -> None:
    _, effects = run(Parent(), (0, Opened(1, 1, THREE, 30.0, spare=9)), (1, Arrived(2)))
    assert effects[-1] == Close(frozenset({1, 3}))


def test_the_deadline_is_a_timer_and_names_who_is_missing() -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, THREE, 30.0)), (1, Arrived(1)))
    state, effects = run(state, (29.0, Rang()))
    assert state.phase is Phase.OPEN and effects == [Alarm(30.0)], "an early alarm only asks again"
    state, effects = run(state, (30.0, Rang()))
    assert state.phase is Phase.CLOSED and effects == [Close(frozenset({2, 3}))]


def test_who_missed_a_deadline_is_not_waited_for_until_it_asks_again() -> None:
    state, _ = run(
        Parent(), (0, Opened(1, 1, THREE, 30.0)), (1, Arrived(1)), (1, Arrived(2)), (30, Rang()), (30, Settled())
    )
    state, effects = run(state, (31, Opened(1, 2, THREE, 60.0)), (32, Arrived(1)), (33, Arrived(2)))
    assert effects[-1] == Close(frozenset()) and state.absent == {3}
    state, _ = run(state, (34, Settled()), (35, Asked(3)), (36, Opened(1, 3, THREE, 90.0)))
    assert state.expected == THREE and state.absent == frozenset()


def test_a_late_comer_that_was_written_off_still_counts() -> None:
    state = Parent(absent=frozenset({3}))
    state, _ = run(state, (0, Opened(1, 1, THREE, 30.0)), (1, Arrived(3)))
    assert state.arrived == {3} and state.absent == frozenset() and state.phase is Phase.OPEN


def test_the_alarm_of_a_round_that_closed_early_changes_nothing() -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, frozenset({1}), 30.0)), (1, Arrived(1)))
    closed, effects = run(state, (30, Rang()))
    assert closed == state and effects == []


def test_an_offer_that_moves_on_replaces_the_round_that_was_gathering() -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, THREE, 30.0)), (1, Arrived(1)), (2, Opened(1, 2, THREE, 40.0)))
    assert (state.round, state.arrived, state.deadline) == (2, frozenset(), 40.0)


def test_what_is_not_in_the_table_is_our_own_fault() -> None:
    with pytest.raises(OurFault, match="Arrived cannot happen while waiting"):
        step_parent(Parent(), Arrived(1), 0.0)
    with pytest.raises(OurFault, match="Trained cannot happen while waiting"):
        step_member(Member(), Trained(), 0.0)


def test_a_member_trains_sends_and_waits_again() -> None:
    state, effects = step_member(Member(), Offered(1, 4), 0.0)
    assert state.phase is Phase.TRAINING and effects == (Train(1, 4),)
    state, effects = step_member(state, Trained(), 1.0)
    assert state.phase is Phase.SENDING and effects == (Send(),)
    state, effects = step_member(state, Answered(), 2.0)
    assert state.phase is Phase.WAITING and effects == ()


def test_the_same_offer_again_does_not_train_again() -> None:
    done = Member(Phase.WAITING, 1, 4)
    assert step_member(done, Offered(1, 4), 0.0) == (done, ())


def test_a_newer_offer_wins_over_an_update_that_is_still_being_sent() -> None:
    state, effects = step_member(Member(Phase.SENDING, 1, 4), Offered(1, 5), 0.0)
    assert (state.phase, state.round, effects) == (Phase.TRAINING, 5, (Train(1, 5),))


def test_arrivals_the_last_update_that_is_waited_for_asks_the_children_to_close_and_no_other_does() -> None:
    state, effects = run(Parent(), (0, Opened(1, 1, THREE, 30.0, arrivals=2)), (1, Counted()))
    assert effects == [Alarm(30.0)]
    state, effects = run(state, (2, Counted()), (3, Counted()))
    assert effects == [Hurry()] and state.phase is Phase.OPEN, "it closes when its children have reported"
    _, effects = run(state, (4, Arrived(1)), (5, Arrived(2)), (6, Arrived(3)))
    assert effects == [Close(frozenset())]


def test_arrivals_are_counted_anew_in_each_round() -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, THREE, 30.0, arrivals=2)), (1, Counted()), (30, Rang()), (30, Settled()))
    _, effects = run(state, (31, Opened(1, 2, THREE, 60.0, arrivals=2)), (32, Counted()))
    assert effects == [Alarm(60.0)]


def test_arrivals_who_is_asked_to_close_does_so_at_once_and_calls_nobody_absent() -> None:
    state, effects = run(Parent(), (0, Opened(1, 1, THREE, 30.0)), (1, Arrived(2)), (2, Hurried()))
    assert state.phase is Phase.CLOSED and effects[-1] == Close(frozenset())
    assert state.absent == frozenset() and state.missing == {1, 3}


def test_every_phase_of_the_tables_can_be_left() -> None:
    for table in (PARENT, MEMBER):
        phases = {phase for phase, _ in table} | set(table.values())
        assert phases == {phase for phase, _ in table}, "a phase without a way out"


@given(
    st.lists(
        st.one_of(
            st.builds(Asked, st.integers(1, 3)),
            st.builds(Arrived, st.integers(1, 3)),
            st.just(Rang()),
            st.just(Hurried()),
            st.just(Counted()),
        ),
        max_size=20,
    )
)
def test_a_round_closes_exactly_once(events: list[Event]) -> None:
    state, _ = run(Parent(), (0, Opened(1, 1, THREE, 10.0)))
    closes = 0
    for now, event in enumerate([*events, Rang()], start=1):
        if (state.phase, type(event)) not in PARENT:
            continue
        state, effects = step_parent(state, event, now if event is not None else 0)
        closes += sum(isinstance(effect, Close) for effect in effects)
    state, effects = step_parent(state, Rang(), 99.0)
    closes += sum(isinstance(effect, Close) for effect in effects)
    assert closes == 1 and state.phase is Phase.CLOSED
