"""What an audit says: a finding for each thing it looked at, and one verdict over all of them.

    VALID          it was checked and it holds
    INVALID        it was checked and it does not hold; `proven_by` says whose signature stands under the wrong thing
    UNVERIFIABLE   it could not be checked; `what` says what is missing and who should have it

One INVALID makes the history INVALID; else one UNVERIFIABLE makes it UNVERIFIABLE: "could not check" never passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from middleware.types import Verdict

NOBODY = "nobody: the bytes were altered after they were signed"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `task` and `round` are 0 outside a task or a round; `blob` is a hex digest or ""."""

    verdict: Verdict
    subject: str  # the object, as a person names it: "update of node 7"
    check: str  # which of CHECKS looked at it
    what: str = ""  # empty when VALID
    proven_by: str = ""
    task: int = 0
    round: int = 0
    blob: str = ""

    @property
    def place(self) -> str:
        """The subject with where it is: "task 1, round 3, update of node 7"."""
        parts = [f"task {self.task}"] * (self.task > 0) + [f"round {self.round}"] * (self.round > 0)
        return ", ".join([*parts, self.subject])

    def line(self) -> str:
        """The finding in one line."""
        text = f"{self.verdict.value}: {self.place}"
        text += f": {self.what}" if self.what else ""
        return text + (f" (proven by {self.proven_by})" if self.proven_by else "")


# The order in which a round is judged: the first wrong thing is the first in this order.
CHECKS = (
    "log", "registration", "task", "header", "manifest", "roster", "past", "edge", "update", "content", "aggregate", "model",
    "scores", "rewards", "claim", "record",
)  # fmt: skip


class Bench:
    """Where findings are laid down while one part of the history is judged: a list with short words for its entries."""

    def __init__(self, task: int = 0, round: int = 0) -> None:
        self.task, self.round = task, round
        self.findings: list[Finding] = []

    def valid(self, check: str, subject: str) -> None:
        self.findings.append(Finding(Verdict.VALID, subject, check, task=self.task, round=self.round))

    def invalid(self, check: str, subject: str, what: str, proven_by: str, blob: bytes = b"") -> None:
        self.findings.append(
            Finding(Verdict.INVALID, subject, check, what, proven_by, self.task, self.round, blob.hex())
        )

    def unverifiable(self, check: str, subject: str, what: str, blob: bytes = b"") -> None:
        self.findings.append(Finding(Verdict.UNVERIFIABLE, subject, check, what, "", self.task, self.round, blob.hex()))

    def holds(self, condition: bool, check: str, subject: str, what: str, proven_by: str, blob: bytes = b"") -> bool:
        """VALID when `condition`, else INVALID; says which."""
        if condition:
            self.valid(check, subject)
        else:
            self.invalid(check, subject, what, proven_by, blob)
        return condition


class Report(msgspec.Struct, frozen=True):
    """The whole audit. `findings` are in the order of the checks; those that are VALID are counted, not listed."""

    verdict: Verdict
    scope: str
    valid: int
    invalid: int
    unverifiable: int
    first: Finding | None  # the first wrong thing, else the first that could not be checked
    findings: tuple[Finding, ...]
    rounds: tuple[RoundMarks, ...]
    not_checked: tuple[str, ...]  # what this scope leaves out by nature

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that a run's report keeps."""
        return {"valid": self.valid, "invalid": self.invalid, "unverifiable": self.unverifiable}

    @property
    def exit_code(self) -> int:
        """0 VALID, 3 INVALID, 4 UNVERIFIABLE."""
        return {Verdict.VALID: 0, Verdict.INVALID: 3, Verdict.UNVERIFIABLE: 4}[self.verdict]


class RoundMarks(msgspec.Struct, frozen=True):
    """One line of the overview: the worst verdict of each check in one round."""

    task: int
    round: int
    checks: dict[str, Verdict]

    @property
    def verdict(self) -> Verdict:
        return worst(self.checks.values())


_WORSE = (Verdict.INVALID, Verdict.UNVERIFIABLE, Verdict.VALID)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """INVALID before UNVERIFIABLE before VALID; nothing at all is VALID."""
    found = set(verdicts)
    return next((verdict for verdict in _WORSE if verdict in found), Verdict.VALID)


def summarise(findings: Iterable[Finding], scope: str, not_checked: Iterable[str] = ()) -> Report:
    """One report over findings that stand in the order in which they were made."""
    everything = list(findings)
    count = Counter(finding.verdict for finding in everything)
    listed = tuple(finding for finding in everything if finding.verdict is not Verdict.VALID)
    verdict = worst(count)
    marks: dict[tuple[int, int], dict[str, Verdict]] = {}
    for finding in everything:
        if finding.round:
            checks = marks.setdefault((finding.task, finding.round), {})
            checks[finding.check] = worst((finding.verdict, checks.get(finding.check, Verdict.VALID)))
    return Report(
        verdict=verdict,
        scope=scope,
        valid=count[Verdict.VALID],
        invalid=count[Verdict.INVALID],
        unverifiable=count[Verdict.UNVERIFIABLE],
        first=next((finding for finding in listed if finding.verdict is verdict), None),
        findings=listed,
        rounds=tuple(RoundMarks(task, round, checks) for (task, round), checks in sorted(marks.items())),
        not_checked=tuple(not_checked),
    )
