"""What an audit says: a finding for each thing it looked at, and one verdict over all of them.

    VALID          it was checked and it holds
    INVALID        it was checked and it does not hold; `proven_by` says whose signature stands under the wrong thing
    UNVERIFIABLE   it could not be checked; `what` says what is missing and who should have it

One INVALID makes the history INVALID; else one UNVERIFIABLE makes it UNVERIFIABLE: "could not check" never passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from middleware.errors import ConfigurationError
from middleware.types import Verdict

NOBODY = "nobody: the bytes were altered after they were signed"

# What a finding can be called by name. A finding without one is told by its check and its subject.
NAMES: Final = {
    "altered-blob": "a blob does not have the SHA-256 that is its name",
    "withheld-blob": "a blob that the history rests on is nowhere to be had",
    "forged-signature": "a signature was not made by any key that its node ever had",
    "early-key": "a message is signed with a key before the ledger made it its node's",
    "retired-key": "a message is signed with a key that its node had given up",
    "omitted-update": "an update that has a receipt, or stands under a signed root, was left out",
    "omitted-report": "an edge's report that has a receipt was left out",
    "added-update": "an update is listed that its edge never signed",
    "duplicated-update": "an update counts twice in one round",
    "reordered-update": "updates stand in another order than was promised and signed",
    "wrong-weight": "the rule gives an update another weight than it was given",
    "wrong-aggregate": "the sums, or the model made of them, are not what the inputs add up to",
    "wrong-budget": "the header hides, skips or misstates the epsilon that the task has spent, or the round passes it",
    "wrong-state": "what the rule or the server step carries to the next round is not what the round makes of the last one's",
    "wrong-edge-model": "an offer shows an edge another model than the rounds before left it",
    "padded-reward": "a node is owed more than it earned",
    "short-reward": "a node is owed less than it earned",
    "skipped-round": "the chain of headers has a gap",
    "rewound-chain": "the ledger no longer has a block that somebody signed, or noted, as its past",
    "forked-log": "a node's log of what it signed does not continue the one that it put on the ledger",
    "unlogged-promise": "a node signed something that its log does not hold",
    "replaced-code": "a contract's code is not what its committed sources compile to",
    "other-receipts": "an edge recorded other receipts of a session of inference than it gave",
    "false-answer": "an edge put its name to an answer that the model does not give",
    "equivocation": "one signer signed two things of which only one can be",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `task` and `round` are 0 outside a task or a round; `blob` is a hex digest or "".

    `fault` is one of NAMES, or "". `evidence` lists what a third party needs to see it too, such as two signatures."""

    verdict: Verdict
    subject: str  # the object, as a person names it: "update of node 7"
    check: str  # which of CHECKS looked at it
    what: str = ""  # empty when VALID
    proven_by: str = ""
    task: int = 0
    round: int = 0
    blob: str = ""
    fault: str = ""
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fault and (self.fault not in NAMES or self.verdict is Verdict.VALID):
            raise ConfigurationError(f"fault {self.fault!r}: a finding that is not VALID has one of the names in NAMES")

    @property
    def place(self) -> str:
        """The subject with where it is: "task 1, round 3, update of node 7"."""
        parts = [f"task {self.task}"] * (self.task > 0) + [f"round {self.round}"] * (self.round > 0)
        return ", ".join([*parts, self.subject])

    def line(self) -> str:
        """The finding in one line."""
        text = f"{self.verdict.value}: {self.place}"
        text += f": {self.what}" if self.what else ""
        text += f" [{self.fault}]" if self.fault else ""
        return text + (f" (proven by {self.proven_by})" if self.proven_by else "")


# The order in which a round is judged: the first wrong thing is the first in this order.
CHECKS = (
    "log", "code", "registration", "task", "header", "manifest", "roster", "past", "edge", "update", "content", "aggregate",
    "model", "state", "scores", "rewards", "claim", "promise", "record", "session", "answer",
)  # fmt: skip


class Bench:
    """Where findings are laid down while one part of the history is judged: a list with short words for its entries."""

    def __init__(self, task: int = 0, round: int = 0) -> None:
        self.task, self.round = task, round
        self.findings: list[Finding] = []

    def valid(self, check: str, subject: str) -> None:
        self.findings.append(Finding(Verdict.VALID, subject, check, task=self.task, round=self.round))

    def invalid(
        self, check: str, subject: str, what: str, proven_by: str, blob: bytes = b"", fault: str = "",
        evidence: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.findings.append(
            Finding(
                Verdict.INVALID, subject, check, what, proven_by, self.task, self.round, blob.hex(), fault, tuple(evidence)
            )
        )  # fmt: skip

    def unverifiable(self, check: str, subject: str, what: str, blob: bytes = b"", fault: str = "") -> None:
        self.findings.append(
            Finding(Verdict.UNVERIFIABLE, subject, check, what, "", self.task, self.round, blob.hex(), fault)
        )

    def holds(
        self, condition: bool, check: str, subject: str, what: str, proven_by: str, blob: bytes = b"", fault: str = ""
    ) -> bool:
        """VALID when `condition`, else INVALID; says which."""
        if condition:
            self.valid(check, subject)
        else:
            self.invalid(check, subject, what, proven_by, blob, fault)
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
