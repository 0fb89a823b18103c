"""The two tables of a session: nothing is run twice, lost, or billed otherwise than the manifest says."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from middleware.errors import OurFault, PeerFault
from middleware.protocol import session
from middleware.protocol.session import (
    Answer,
    Asked,
    Asking,
    Done,
    Dropped,
    Ended,
    Opened,
    Paid,
    Phase,
    Record,
    Refuse,
    Replanned,
    Run,
    Serving,
    serve,
)  # fmt: skip
from middleware.types import ZERO32
from middleware.wire.session import Course
from tests.unit.infer.test_plan import model

SESSION = bytes(range(32))
COURSE, LATER = Course(2, 4, "u8"), Course(0, 4, "raw")


def opened(window: int = 4, allowance: int = 10_000) -> Serving:
    return serve(Serving(SESSION, model(), window, allowance), Opened(COURSE))[0]


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number % 256])).digest()


def test_a_request_runs_is_answered_and_billed_by_the_manifest() -> None:
    state, effects = serve(opened(), Asked(1))
    assert effects == (Run(1, COURSE),)
    state, (answer,) = serve(state, Done(1, digest(1), digest(2)))
    assert isinstance(answer, Answer) and answer.units == 3 and state.ledger.units == 3 and not state.under_way


def test_replan_is_the_atom_requests_before_it_keep_their_course() -> None:
    state, _ = serve(opened(), Asked(1))
    state, _ = serve(state, Replanned(3, LATER))
    state, before = serve(state, Asked(2))
    state, after = serve(state, Asked(3))
    assert before == (Run(2, COURSE),) and after == (Run(3, LATER),)
    with pytest.raises(PeerFault, match="stale"):
        serve(state, Replanned(3, COURSE))


def test_credits_bound_what_is_under_way_and_what_is_unpaid() -> None:
    state = opened(window=2, allowance=7)
    for number in (1, 2):
        state, _ = serve(state, Asked(number))
    state, (refusal,) = serve(state, Asked(3))
    assert isinstance(refusal, Refuse) and refusal.code == "overloaded"
    for number in (1, 2):
        state, _ = serve(state, Done(number, digest(number), digest(number)))
    state, (unpaid,) = serve(state, Asked(4))
    assert isinstance(unpaid, Refuse) and unpaid.code == "unpaid"
    state, _ = serve(state, Paid(6, state.ledger.chain))
    state, effects = serve(state, Asked(5))
    assert effects == (Run(5, COURSE),)


def test_a_number_that_does_not_rise_ends_the_session() -> None:
    state, _ = serve(opened(), Asked(5))
    for number in (5, 4):
        with pytest.raises(PeerFault, match="replayed"):
            serve(state, Asked(number))


@pytest.mark.parametrize("units", [2, 4])
def test_a_voucher_for_another_sum_or_another_chain_is_refused(units: int) -> None:
    state, _ = serve(opened(), Asked(1))
    state, _ = serve(state, Done(1, digest(1), digest(1)))
    state, _ = serve(state, Paid(3, state.ledger.chain))
    with pytest.raises(PeerFault, match="a voucher for"):
        serve(state, Paid(units, state.ledger.chain))
    with pytest.raises(PeerFault, match="does not have"):
        serve(state, Paid(3, digest(9)))


def test_what_ends_is_recorded_once_and_late_work_is_billed_to_nobody() -> None:
    state, _ = serve(opened(), Asked(1))
    state, effects = serve(state, Ended())
    assert effects == (Record(state.ledger, 0),) and state.phase is Phase.CLOSED
    assert serve(state, Done(1, digest(1), digest(1))) == (state, ())
    assert serve(state, Ended()) == (state, ())
    with pytest.raises(PeerFault, match="no place"):
        serve(state, Asked(2))


def test_courses_that_the_model_does_not_have_are_refused() -> None:
    fresh = Serving(SESSION, model(), 4, 100)
    for course in (
        Course(4, 4, "u8"),
        Course(0, 4, "u8"),
        Course(2, 4, "raw"),
        Course(2, 5, "u8"),
        Course(1, 4, "bottleneck"),
    ):
        with pytest.raises(PeerFault, match="malformed"):
            serve(fresh, Opened(course))
    with pytest.raises(PeerFault, match="no place"):
        serve(fresh, Asked(1))


class Conversation(RuleBasedStateMachine):
    """A client and a server over a link that may refuse; at every moment both count the same."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.server = opened(window=3, allowance=20)
        self.client = Asking(SESSION, model(), 3)
        self.courses = {1: COURSE}
        self.next = 1
        self.answers: list[int] = []

    @precondition(lambda self: len(self.client.outstanding) < 3)
    @rule(target=running)
    def ask(self) -> int:
        number, self.next = self.next, self.next + 1
        course = self.courses[max(first for first in self.courses if first <= number)]
        self.client = session.asked(self.client, number, course, digest(number))
        self.server, (effect,) = serve(self.server, Asked(number))
        if isinstance(effect, Refuse):
            self.client = session.refused(self.client, number)
            return 0
        assert effect == Run(number, course)
        return number

    @rule(number=consumes(running))
    def finish(self, number: int) -> None:
        if not number:
            return
        self.server, (answer,) = serve(self.server, Done(number, digest(number), digest(number + 1)))
        assert isinstance(answer, Answer)
        self.client = session.answered(self.client, number, digest(number + 1), answer.units, answer.chain)
        self.answers.append(number)

    @rule(number=consumes(running))
    def fail(self, number: int) -> None:
        if number:
            self.server, _ = serve(self.server, Dropped(number))
            self.client = session.refused(self.client, number)

    @rule(course=st.sampled_from([COURSE, LATER, Course(1, 4, "f32")]))
    def replan(self, course: Course) -> None:
        self.server, _ = serve(self.server, Replanned(self.next, course))
        self.courses[self.next] = course

    @rule()
    def pay(self) -> None:
        self.server, _ = serve(self.server, Paid(self.client.ledger.units, self.client.ledger.chain))
        self.client = session.vouched(self.client)

    @invariant()
    def both_count_the_same(self) -> None:
        assert self.server.ledger == self.client.ledger and self.server.paid == self.client.paid
        assert self.server.under_way.keys() == self.client.outstanding.keys()
        assert len(set(self.answers)) == len(self.answers) == self.client.ledger.count


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=40, database=None
)


def test_the_client_refuses_answers_that_were_not_asked_for_or_bill_more() -> None:
    client = session.asked(Asking(SESSION, model(), 2), 1, COURSE, digest(1))
    with pytest.raises(PeerFault, match="not asked"):
        session.answered(client, 2, digest(2), 3, ZERO32)
    with pytest.raises(PeerFault, match="4 units are billed for work of 3"):
        session.answered(client, 1, digest(2), 4, ZERO32)
    with pytest.raises(PeerFault, match="chains other receipts"):
        session.answered(client, 1, digest(2), 3, ZERO32)
    with pytest.raises(OurFault, match="one too many"):
        session.asked(client, 1, COURSE, digest(1))
    assert msgspec.structs.replace(client, paid=0) == client
