"""A session of shared inference as two tables, one a side.

The server (`serve`) takes requests in rising order of their numbers, each along the course that holds for it, as long as no more
than `window` are under way and no more than `allowance` units are unpaid; whatever it cannot take it says so at once. The client
(`ask`) keeps what it sent until it is answered, so that a link that breaks or a tier that dies loses nothing: what is
outstanding is asked again, elsewhere or here. Both sides chain the receipts of what was answered, in the order of the answers,
and pay and bill by that chain: a voucher names it, a close names the root over it.

Nothing here waits, sends or reads a clock: `step(state, event) -> (state, effects)`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from middleware.errors import OurFault, PeerFault
from middleware.trust.merkle import Frontier, leaf_hash
from middleware.types import ZERO32
from middleware.wire.model import ModelManifest
from middleware.wire.session import Course, ReceiptLeaf, chained, receipt_data


class Phase(StrEnum):
    GREETED = "greeted"  # terms are out
    OPEN = "open"
    CLOSED = "closed"


class Ledger(msgspec.Struct, frozen=True):
    """What was answered so far, as both sides count it."""

    count: int = 0
    units: int = 0
    chain: bytes = ZERO32
    tree: Frontier = Frontier()

    def add(self, leaf: ReceiptLeaf) -> Ledger:
        hashed = leaf_hash(receipt_data(leaf))
        return Ledger(self.count + 1, self.units + leaf.units, chained(self.chain, hashed), self.tree.append(hashed))

    @property
    def root(self) -> bytes:
        return self.tree.root if self.count else ZERO32


# ---------------------------------------------------------------------------------------------------------------- server


class Opened(msgspec.Struct, frozen=True):
    """The client accepted the terms."""

    course: Course


class Replanned(msgspec.Struct, frozen=True):
    """Requests from number `request` on go another way."""

    request: int
    course: Course


class Asked(msgspec.Struct, frozen=True):
    """A request arrived; nothing of it was decoded yet."""

    request: int


class Done(msgspec.Struct, frozen=True):
    """A request was run: the digests of what was asked and answered."""

    request: int
    asked: bytes
    answered: bytes


class Dropped(msgspec.Struct, frozen=True):
    """A request that was taken could not be run: it is not billed."""

    request: int


class Paid(msgspec.Struct, frozen=True):
    """A voucher that holds, for so many units of this session in all, over a chain of receipts."""

    units: int
    chain: bytes


class Ended(msgspec.Struct, frozen=True):
    """The client closed, or its link is gone."""


ServerEvent = Opened | Replanned | Asked | Done | Dropped | Paid | Ended


class Run(msgspec.Struct, frozen=True):
    """Run this request along this course."""

    request: int
    course: Course


class Refuse(msgspec.Struct, frozen=True):
    """Tell the client that the request was not taken."""

    request: int
    code: str
    detail: str


class Answer(msgspec.Struct, frozen=True):
    """Send the answer: its units, and the chain with it."""

    request: int
    units: int
    chain: bytes


class Record(msgspec.Struct, frozen=True):
    """The session is over: keep what it came to."""

    ledger: Ledger
    paid: int


ServerEffect = Run | Refuse | Answer | Record


class Serving(msgspec.Struct, frozen=True):
    """The server's side. `courses` are (from request, course), ascending; `under_way` maps requests to theirs."""

    session: bytes
    model: ModelManifest
    window: int
    allowance: int  # units
    phase: Phase = Phase.GREETED
    courses: tuple[tuple[int, Course], ...] = ()
    last: int = 0
    under_way: dict[int, Course] = {}
    ledger: Ledger = Ledger()
    chains: tuple[bytes, ...] = (ZERO32,)  # the last ones, which a voucher may name
    paid: int = 0


def serve(state: Serving, event: ServerEvent) -> tuple[Serving, tuple[ServerEffect, ...]]:
    """The server's next state. PeerFault for what the client must not do: it ends the session."""
    match state.phase, event:
        case Phase.GREETED, Opened(course):
            _require_course(state.model, course)
            return msgspec.structs.replace(state, phase=Phase.OPEN, courses=((1, course),)), ()
        case Phase.OPEN, Replanned(request, course):
            _require_course(state.model, course)
            if request <= state.last:
                raise PeerFault("stale", f"a course from request {request} on, and {state.last} is here already")
            kept = tuple(one for one in state.courses if one[0] < request)[-1:]
            return msgspec.structs.replace(state, courses=(*kept, (request, course))), ()
        case Phase.OPEN, Asked(request):
            return _asked(state, request)
        case Phase.OPEN, Done(request, asked, answered):
            course = state.under_way[request]
            units = state.model.units(course.front)
            ledger = state.ledger.add(ReceiptLeaf(state.session, request, course, asked, answered, units))
            rest = {number: one for number, one in state.under_way.items() if number != request}
            chains = (*state.chains[-state.window * 2 :], ledger.chain)
            after = msgspec.structs.replace(state, ledger=ledger, under_way=rest, chains=chains)
            return after, (Answer(request, units, ledger.chain),)
        case Phase.OPEN, Dropped(request):
            rest = {number: one for number, one in state.under_way.items() if number != request}
            return msgspec.structs.replace(state, under_way=rest), ()
        case Phase.OPEN, Paid(units, chain):
            if units < state.paid or units > state.ledger.units:
                raise PeerFault("mismatch", f"a voucher for {units} units of {state.ledger.units}, after {state.paid}")
            if chain not in state.chains:
                raise PeerFault("mismatch", "a voucher over receipts that this session does not have")
            return msgspec.structs.replace(state, paid=units), ()
        case Phase.CLOSED, Done() | Dropped():
            return state, ()  # ran on while the link went: nobody is there to answer, nobody is billed
        case Phase.CLOSED, Ended():
            return state, ()
        case _, Ended():
            return msgspec.structs.replace(state, phase=Phase.CLOSED), (Record(state.ledger, state.paid),)
    raise PeerFault("malformed", f"{type(event).__name__} has no place in a session that is {state.phase}")


def _asked(state: Serving, request: int) -> tuple[Serving, tuple[ServerEffect, ...]]:
    if request <= state.last:
        raise PeerFault("replayed", f"request {request} after {state.last}")
    state = msgspec.structs.replace(state, last=request)
    if len(state.under_way) >= state.window:
        return state, (Refuse(request, "overloaded", f"{state.window} requests are under way"),)
    course = next(course for first, course in reversed(state.courses) if first <= request)
    owed = sum(state.model.units(one.front) for one in state.under_way.values()) + state.model.units(course.front)
    if state.ledger.units + owed - state.paid > state.allowance:
        unpaid = state.ledger.units - state.paid
        return state, (Refuse(request, "unpaid", f"{unpaid} units are unpaid, at most {state.allowance} may be"),)
    return msgspec.structs.replace(state, under_way={**state.under_way, request: course}), (Run(request, course),)


def _require_course(model: ModelManifest, course: Course) -> None:
    last = len(model.segments)
    if course.middle > last or course.front >= last:
        raise PeerFault("malformed", f"a course over segments {course.front} to {course.middle} of {last}")
    if (course.form in ("raw", "png", "jpeg95", "jpeg75")) != (course.front == 0) or course.form == "":
        raise PeerFault("malformed", f"what crosses behind segment {course.front} is not sent as {course.form!r}")
    if course.form == "bottleneck" and all(pair.after != course.front for pair in model.coders):
        raise PeerFault("malformed", f"the model has no coders behind segment {course.front}")


# ---------------------------------------------------------------------------------------------------------------- client


class Asking(msgspec.Struct, frozen=True):
    """The client's side of one session. `outstanding` maps requests to (their course, the digest of what was sent)."""

    session: bytes
    model: ModelManifest
    window: int
    outstanding: dict[int, tuple[Course, bytes]] = {}
    ledger: Ledger = Ledger()
    paid: int = 0  # units vouched for


def asked(state: Asking, request: int, course: Course, digest: bytes) -> Asking:
    """A request was sent. OurFault past the window, or for a number that is out already."""
    if request in state.outstanding or len(state.outstanding) >= state.window:
        raise OurFault(f"request {request} is one too many: {len(state.outstanding)} of {state.window} are under way")
    return msgspec.structs.replace(state, outstanding={**state.outstanding, request: (course, digest)})


def answered(state: Asking, request: int, answer: bytes, units: int, chain: bytes) -> Asking:
    """An answer came (`answer`: SHA-256 of the logits). PeerFault("mismatch") where it answers nothing that was asked, bills
    other units than the manifest says, or chains other receipts."""
    found = state.outstanding.get(request)
    if found is None:
        raise PeerFault("mismatch", f"an answer to request {request}, which was not asked")
    course, digest = found
    owed = state.model.units(course.front)
    if units != owed:
        raise PeerFault("mismatch", f"{units} units are billed for work of {owed}")
    ledger = state.ledger.add(ReceiptLeaf(state.session, request, course, digest, answer, owed))
    if ledger.chain != chain:
        raise PeerFault("mismatch", "the server chains other receipts than it gave")
    rest = {number: one for number, one in state.outstanding.items() if number != request}
    return msgspec.structs.replace(state, ledger=ledger, outstanding=rest)


def refused(state: Asking, request: int) -> Asking:
    """The server did not take a request: it is not outstanding any more, and not billed."""
    if request not in state.outstanding:
        raise PeerFault("mismatch", f"a refusal of request {request}, which was not asked")
    return msgspec.structs.replace(
        state, outstanding={number: one for number, one in state.outstanding.items() if number != request}
    )


def vouched(state: Asking) -> Asking:
    """Everything answered so far is paid."""
    return msgspec.structs.replace(state, paid=state.ledger.units)
