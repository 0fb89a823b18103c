"""Whose fault it is.

    DrystoneError                what every error of ours derives from
    ├── OurFault                 a bug, or a setting of our own that cannot work
    │   └── ConfigurationError   a file, flag or policy names something impossible
    ├── PeerFault                somebody else's message is wrong; carries a code and an HTTP status
    ├── LedgerRefused            the contracts (or their specification) said no, with the error's name and arguments
    └── Unavailable              the weather: a chain that is down, a deadline that passed; trying again may help

One class stands for every lie a peer can tell; which lie it was is its `code`, one of `FAULTS`. A code is counted in
`/metrics`, sent back to the sender, and shown by the command line, so the three never disagree.
"""

from __future__ import annotations

from typing import Final

FAULTS: Final[dict[str, tuple[int, str]]] = {
    # code: (HTTP status, what the sender can do about it)
    "malformed": (400, "send bytes as FORMAT.md describes them"),
    "forged": (401, "sign with the network key that the ledger holds for this node"),
    "unknown": (403, "register the node on the ledger first"),
    "pending": (403, "ask a registrar to admit the node, or stake"),
    "suspended": (403, "ask a registrar to reinstate the node"),
    "revoked": (403, "revocation is final: register a new node"),
    "wrong-tier": (403, "send this message from the tier that may send it"),
    "wrong-parent": (403, "send to the parent that the ledger names for this node"),
    "wrong-task": (409, "fetch the current offer: this task is not running here"),
    "wrong-round": (409, "fetch the current offer: this round is not open here"),
    "stale": (409, "train from a model of this task that is not too old, and say which it was"),
    "too-large": (413, "stay below the limits of the task's policy"),
    "off-grid": (422, "encode on the grid that the offer fixes"),
    "mismatch": (422, "commit to exactly the bytes that are sent"),
    "duplicate": (409, "one update a node and round: the first one stands"),
    "replayed": (409, "use a sequence number above the last one sent"),
    "unlicensed": (403, "ask the model's owner for a grant, or choose another model"),
    "unpaid": (402, "hand over a voucher for what was answered"),
    "over-quota": (429, "wait, then try again more slowly"),
    "overloaded": (429, "wait as Retry-After says, then try again"),
}


class DrystoneError(Exception):
    """What every error of ours derives from; `str()` is one line that names the fault and the remedy."""


class OurFault(DrystoneError):
    """A bug, or a setting of our own that cannot work."""


class ConfigurationError(OurFault):
    """A file, flag or policy names something impossible."""


class PeerFault(DrystoneError):
    """Somebody else's message is wrong. `code` is a key of `FAULTS`; `detail` says what was seen."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        self.status, self.remedy = FAULTS[code]
        super().__init__(f"{code}: {detail} ({self.remedy})")


class LedgerRefused(DrystoneError):
    """The contracts said no. `name` and `arguments` are those of the Solidity custom error."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name = name
        self.arguments = arguments
        super().__init__(f"the ledger refused: {name}({', '.join(map(_shown, arguments))})")


def _shown(argument: object) -> str:
    return f"0x{argument.hex()}" if isinstance(argument, bytes) else str(argument)


class Unavailable(DrystoneError):
    """The weather: something that may work when it is tried again."""


def require(condition: bool, what: str) -> None:
    """ConfigurationError(what) unless `condition`: how a noun checks itself."""
    if not condition:
        raise ConfigurationError(what)
