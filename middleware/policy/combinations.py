"""Which rule goes together with what: one table, asked when a task is created and printed in the documents.

The rows are the rules by name, and the steps that may stand before one; the columns are what a task may ask of a rule. An
empty string in a cell is a yes; anything else is why not, and what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from middleware.policy.rule import KINDS, MIXERS, SCREENS, Rule

# How a dispute about a round is judged on the ledger (`ledger.calls`).
LINEAR, COORDINATE, REPLAY = "sum", "coordinate", "replay"

_COORDINATES: Final = ("median", "trimmed-mean")  # whose order the contract can follow


def _one_place(rule: Rule) -> str:
    if rule.adds:
        return ""
    return f"{rule.name} needs every update in one place: use --arrangement flat, or --aggregator mean"


def _scored(rule: Rule) -> str:
    if rule.linear:
        return ""
    return f"{rule.name} has no weight an update, so it cannot be scored: use --aggregator mean or multi-krum"


def _private(rule: Rule) -> str:
    if rule.adds:
        return ""
    return f"the noise of --dp covers a sum of cut updates, and {rule.name} is none: use --aggregator mean, or leave --dp out"


def _masked(rule: Rule) -> str:
    if rule.adds:
        return ""
    return f"masked updates can only be added up, and {rule.name} must see each one: use --aggregator mean"


def _weighed(rule: Rule) -> str:
    if rule.adds:
        return ""
    return f"{rule.name} does not weigh updates by samples, so staleness has no weight to change: use --aggregator mean"


def _alone(rule: Rule) -> str:
    if rule.adds:
        return ""
    return (
        f"with --peers each edge adds up its own devices' updates, and {rule.name} must see all: use --aggregator mean"
    )


def _held(rule: Rule) -> str:
    if rule.adds:
        return ""
    return f"a narrow model holds a part of the numbers, and {rule.name} compares whole updates: use --aggregator mean"


COLUMNS: Final[dict[str, Callable[[Rule], str]]] = {
    "flat": lambda rule: "",
    "two-level": _one_place,
    "server": lambda rule: "",
    "scores": _scored,
    "dp": _private,
    "masks": _masked,
    "staleness": _weighed,
    "peers": _alone,
    "widths": _held,
}


def refusal(rule: Rule, column: str) -> str:
    """Why this rule does not go together with that, or ""."""
    return COLUMNS[column](rule)


def judged(rule: Rule) -> str:
    """How the ledger can judge a dispute about a round under this rule; what it cannot is for whoever replays the round."""
    if rule.linear:
        return LINEAR
    return COORDINATE if rule.name in _COORDINATES else REPLAY


def least(name: str) -> str:
    """The least number of updates under this rule, as a formula of f."""
    first = Rule(name, 0).least_updates
    slope = Rule(name, 1).least_updates - first
    return f"{slope}f+{first}" if slope else str(first)


def rows() -> list[dict[str, str]]:
    """The table, a row a rule: every cell a word. What masks are for is not built yet, so a yes there is "later"."""
    behind = {f"{mixer}+median": f"{mixer}+RULE" for mixer in MIXERS} | {
        f"{one}:mean": f"{one}:RULE" for one in SCREENS
    }
    needs = {"nnm+RULE": "RULE's", "bucketing+RULE": "2 RULE's - 1"} | {f"{one}:RULE": "RULE's + f" for one in SCREENS}
    table = []
    for name in (*KINDS, *behind):
        rule, shown = Rule(name, 0), behind.get(name, name)
        row = {"rule": shown, "updates": needs.get(shown) or least(name)}
        row |= {column: "no" if why(rule) else "yes" for column, why in COLUMNS.items()}
        row["masks"] = row["masks"].replace("yes", "later")
        row |= {"carries": "yes" if rule.remembers else "no", "disputes": judged(rule)}
        table.append(row)
    return table


def markdown() -> str:
    """The table as the guide shows it."""
    table = rows()
    lines = [tuple(table[0]), ("---",) * len(table[0]), *(tuple(row.values()) for row in table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
