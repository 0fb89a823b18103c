"""The round as two tables.

1. Everything about who may do what next lives in this module: `PARENT` for the side that gathers (an edge gathers from
   devices, a cloud from edges) and `MEMBER` for the side that contributes. The tables are the design; the step
   functions only fill in what a table cannot say.
2. Nothing here waits, sends or reads a clock: `step(state, event, now)` returns the next state and the effects that a
   shell has to perform. A transition that is not in the table is our own bug and raises `OurFault`.

A parent opens a round with the children it expects. A child that has not asked for the round since it missed an earlier
one is not expected, so that one dead device costs the others one deadline and not one a round. The round closes as soon
as every expected child has delivered, or at its deadline: the deadline is a timer (`Alarm`), never an event that
somebody else's message has to bring.

Where a round closes by arrivals, it is the cloud that counts: each update that an edge has passed on is `Counted`, whoever
made it. With the last one that is waited for the cloud asks its edges to close (`Hurry`), and they do (`Hurried`) with
what they have promised a place for; nobody who was not done is missing then. The cloud's own round ends as ever, when
its edges have reported.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from middleware.errors import OurFault
from middleware.maths.schedule import quota


class Phase(StrEnum):
    WAITING = "waiting"  # no round is open
    OPEN = "open"
    CLOSED = "closed"  # what arrived is being put together
    TRAINING = "training"
    SENDING = "sending"


# ---------------------------------------------------------------------------------------------------------------- events


class Opened(msgspec.Struct, frozen=True):
    """A round begins; `children` are all that may deliver, `deadline` is a time on the shell's clock in seconds. The round
    does not wait for the last `spare` of them (backup workers). With `arrivals` above 0 the children are asked to close once
    so many updates were counted."""

    task: int
    round: int
    children: frozenset[int]
    deadline: float
    spare: int = 0
    arrivals: int = 0


class Asked(msgspec.Struct, frozen=True):
    """A child polled: it is alive."""

    child: int


class Arrived(msgspec.Struct, frozen=True):
    """A child's contribution was accepted and is durable."""

    child: int


class Counted(msgspec.Struct, frozen=True):
    """An update that a child passed on can be used and is durable."""


class Hurried(msgspec.Struct, frozen=True):
    """The parent above asks to close: enough updates have arrived, from here or elsewhere."""


class Rang(msgspec.Struct, frozen=True):
    """The alarm that was asked for went off."""


class Settled(msgspec.Struct, frozen=True):
    """What the close asked for is done and durable."""


class Offered(msgspec.Struct, frozen=True):
    """A member learned of a round that is open for it."""

    task: int
    round: int


class Trained(msgspec.Struct, frozen=True):
    """The member's update is composed and durable."""


class Answered(msgspec.Struct, frozen=True):
    """The parent gave a receipt, or refused for good."""


Event = Opened | Asked | Arrived | Counted | Hurried | Rang | Settled | Offered | Trained | Answered

# --------------------------------------------------------------------------------------------------------------- effects


class Alarm(msgspec.Struct, frozen=True):
    """Deliver `Rang` at `at`."""

    at: float


class Close(msgspec.Struct, frozen=True):
    """Put together what arrived; `missing` were expected and did not deliver."""

    missing: frozenset[int]


class Hurry(msgspec.Struct, frozen=True):
    """Ask the children to close: as many updates were counted as the round waits for."""


class Train(msgspec.Struct, frozen=True):
    """Compose the update of this round, or find the one that a crash interrupted."""

    task: int
    round: int


class Send(msgspec.Struct, frozen=True):
    """Deliver the composed update until the parent answers or the round is over."""


Effect = Alarm | Close | Hurry | Train | Send

# ---------------------------------------------------------------------------------------------------------------- states


class Parent(msgspec.Struct, frozen=True):
    """The gathering side. `absent` missed an earlier deadline and have not asked since."""

    phase: Phase = Phase.WAITING
    task: int = 0
    round: int = 0
    expected: frozenset[int] = frozenset()
    arrived: frozenset[int] = frozenset()
    absent: frozenset[int] = frozenset()
    deadline: float = 0.0
    quota: int = 0  # children whose arrival closes the round, whoever is missing
    arrivals: int = 0  # updates, of whatever child, after which the children are asked to close; 0: they are not
    counted: int = 0

    @property
    def missing(self) -> frozenset[int]:
        return self.expected - self.arrived


class Member(msgspec.Struct, frozen=True):
    """The contributing side."""

    phase: Phase = Phase.WAITING
    task: int = 0
    round: int = 0


PARENT: dict[tuple[Phase, type], Phase] = {
    (Phase.WAITING, Opened): Phase.OPEN,
    (Phase.WAITING, Asked): Phase.WAITING,
    (Phase.WAITING, Rang): Phase.WAITING,  # the alarm of a round that closed early
    (Phase.OPEN, Opened): Phase.OPEN,  # the offer moved on while this round was still gathering
    (Phase.OPEN, Asked): Phase.OPEN,
    (Phase.OPEN, Arrived): Phase.OPEN,  # CLOSED once nobody is missing, or as many arrived as are waited for
    (Phase.OPEN, Counted): Phase.OPEN,
    (Phase.OPEN, Hurried): Phase.CLOSED,
    (Phase.OPEN, Rang): Phase.OPEN,  # CLOSED once the deadline has passed
    (Phase.CLOSED, Asked): Phase.CLOSED,
    (Phase.CLOSED, Rang): Phase.CLOSED,
    (Phase.CLOSED, Opened): Phase.OPEN,
    (Phase.CLOSED, Settled): Phase.WAITING,
}

MEMBER: dict[tuple[Phase, type], Phase] = {
    (Phase.WAITING, Offered): Phase.TRAINING,
    (Phase.TRAINING, Offered): Phase.TRAINING,
    (Phase.TRAINING, Trained): Phase.SENDING,
    (Phase.SENDING, Offered): Phase.TRAINING,  # the round went on without this update
    (Phase.SENDING, Answered): Phase.WAITING,
}


def _next(table: dict[tuple[Phase, type], Phase], phase: Phase, event: Event) -> Phase:
    try:
        return table[phase, type(event)]
    except KeyError:
        raise OurFault(f"{type(event).__name__} cannot happen while {phase.value}") from None


def step_parent(state: Parent, event: Event, now: float) -> tuple[Parent, tuple[Effect, ...]]:
    """One move of the gathering side. `now` and the deadline are seconds on one clock of the shell's choice."""
    phase = _next(PARENT, state.phase, event)
    match event:
        case Opened(task, round, children, deadline, spare, arrivals):
            waited, expected = quota(len(children), spare), children - state.absent
            state = Parent(phase, task, round, expected, frozenset(), state.absent, deadline, waited, arrivals)
            return state, (Alarm(deadline),)
        case Asked(child):
            return msgspec.structs.replace(state, absent=state.absent - {child}), ()
        case Arrived(child):
            state = msgspec.structs.replace(state, arrived=state.arrived | {child}, absent=state.absent - {child})
            enough = not state.missing or len(state.arrived) >= state.quota
            return _close(state) if enough else (state, ())
        case Counted():
            state = msgspec.structs.replace(state, counted=state.counted + 1)
            return state, (Hurry(),) if state.counted == state.arrivals else ()
        case Hurried():
            return msgspec.structs.replace(state, phase=phase), (Close(frozenset()),)
        case Rang() if phase is Phase.OPEN:
            return _close(state) if now >= state.deadline else (state, (Alarm(state.deadline),))
        case _:
            return msgspec.structs.replace(state, phase=phase), ()


def _close(state: Parent) -> tuple[Parent, tuple[Effect, ...]]:
    missing = state.missing
    return msgspec.structs.replace(state, phase=Phase.CLOSED, absent=state.absent | missing), (Close(missing),)


def step_member(state: Member, event: Event, now: float) -> tuple[Member, tuple[Effect, ...]]:
    """One move of the contributing side."""
    phase = _next(MEMBER, state.phase, event)
    match event:
        case Offered(task, round):
            if (task, round) <= (state.task, state.round):
                return state, ()  # the same offer again, after the parent restarted
            return Member(phase, task, round), (Train(task, round),)
        case Trained():
            return msgspec.structs.replace(state, phase=phase), (Send(),)
        case _:
            return msgspec.structs.replace(state, phase=phase), ()
