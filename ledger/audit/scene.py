"""What a round is judged against: the ledger's word, the blobs, and who is asking.

Nothing here judges; it names nodes as people know them, says whose signature stands under what, and fetches blobs so
that a missing one and an altered one are told apart in one place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from ledger.audit.report import NOBODY, Bench
from ledger.index import ForcedUpdate
from middleware.policy import Policy, Task
from middleware.protocol.scoring import Carried, Moves
from middleware.protocol.update import Floats
from middleware.trust import eip712, keys
from middleware.trust.keys import NetworkKey
from middleware.types import ZERO32, Header, Roster, Seen
from middleware.wire.commitment import Context
from middleware.wire.message import M, Signed
from middleware.wire.state import State

KeysOf = Callable[[int], Sequence[tuple[int, bytes]]]  # node -> (block that made it so, network key), ascending

Doubles = npt.NDArray[np.float64]


class Blobs(Protocol):
    """Where the auditor reads blobs. Whatever comes back is hashed before it is believed."""

    def get(self, digest: bytes) -> bytes | None:
        """The bytes kept under this SHA-256, or None when nobody has them."""
        ...


class Evaluation(Protocol):
    """The evaluation data of tasks that pay scores or whose rule measures, where the auditor has it (`nodes.evaluation`)."""

    def root(self, policy: Policy) -> bytes | None:
        """The root over the slices of the auditor's own data; None where there is none."""
        ...

    def measure(self, policy: Policy, model: Floats, move: Doubles, slice: int) -> Doubles | None:
        """v (d,) for a round that moved `model` by `move`; None for a model that is past measuring."""
        ...

    def error(self, policy: Policy, model: Floats, slice: int) -> tuple[float, float] | None:
        """(the fraction of a slice that `model` gets wrong, its mean loss there); None without the data."""
        ...


class Before(msgspec.Struct, frozen=True):
    """What a round starts from. A field is None where the rounds before could not be read."""

    model: Floats | None
    rewards: Mapping[int, int] | None
    roster_block: int
    carried: Carried | None = None  # pay = scores
    moves: Moves | None = None
    forced: int = 0  # updates that were acknowledged so far
    state: State | None = None  # what the rule and the server step carry


class Scene(msgspec.Struct, frozen=True):
    """One anchored round, as the ledger tells it. `roster` is the ledger's at the manifest's block, once that is known."""

    domain: eip712.Domain
    task: Task
    header: Header
    block: int  # that anchored it
    transaction: bytes
    blobs: Blobs
    roster: Roster
    scope: str  # public | auditor
    reader: NetworkKey | None
    holds: Callable[[Seen], bool]  # whether the ledger's record has this block
    keys_of: KeysOf
    evaluation: Evaluation | None = None
    secret: bytes = b""  # of the noise, where the auditor has it
    forced: tuple[ForcedUpdate, ...] = ()  # the task's forced updates, in the ledger's order

    @property
    def context(self) -> Context:
        return self.domain.context

    def who(self, node: int) -> str:
        """ "edge-1 (node 3)", or "node 3" for one that the ledger does not know."""
        known = self.roster.nodes.get(node)
        return f"{known.name} (node {node})" if known is not None and known.name else f"node {node}"

    @property
    def cloud(self) -> str:
        return self.who(self.task.cloud)

    @property
    def by_cloud(self) -> str:
        """Whose word the header and everything below it is."""
        return f"the anchor transaction 0x{self.transaction.hex()[:16]} of {self.cloud}"

    def by_edge(self, edge: int) -> str:
        return f"the root signature of {self.who(edge)}"

    def by_device(self, node: int) -> str:
        return f"the update signature of {self.who(node)}"

    def forgotten(self, seen: Seen) -> str:
        """What is wrong when a signer vouches for a block that this record does not have, or ""."""
        return "" if seen == Seen() or self.holds(seen) else rewound(seen)

    def closed(self) -> str:
        """Why this reader may not open contents, or "" when it may."""
        if self.task.policy.readers == "public":
            return ""
        if self.scope == "public":
            return "not in scope public: only the task's auditors can open it (--scope auditor --key-file FILE)"
        if self.reader is None or self.reader.public.hex() not in self.task.policy.auditors:
            return "the key given is not one of the task's auditors"
        return ""


def rewound(seen: Seen) -> str:
    """What is wrong with a record that lacks a block that somebody vouches for."""
    block = f"block {seen.block} with hash {short(seen.hash)}"
    return f"it vouches for {block}, which this record does not have: the ledger was rewound or forked"


def unsigned(context: Context, keys_of: KeysOf, roster: Roster, signed: Signed[M]) -> tuple[str, str]:
    """(what is wrong with a message's signature, the fault's name); ("", "") when its sender's key of that time made it."""
    sender, block = signed.message.sender, roster.block
    node = roster.nodes.get(sender)
    if node is None:
        return f"the ledger knows no node {sender}", ""
    if keys.message_is_signed_by(context, node.net_key, signed):
        return "", ""
    what = f"the network key of node {sender} did not sign this {type(signed.message).__name__}"
    for since, key in keys_of(sender):
        if key != node.net_key and keys.message_is_signed_by(context, key, signed):
            if since > block:
                return (
                    f"{what}: a key did that is its own only from block {since} on, and this is of block {block}",
                    "early-key",
                )
            return f"{what}: a key did that it had given up before block {block}", "retired-key"
    return what, "forged-signature"


def fetch(bench: Bench, blobs: Blobs, check: str, subject: str, digest: bytes, keeper: str) -> bytes | None:
    """A blob with the bytes that its name says; else the finding that says why not, and None."""
    data = blobs.get(digest)
    name = digest.hex()
    if data is None:
        bench.unverifiable(
            check, subject, f"blob {name[:16]} is missing: {keeper} should serve it", digest, "withheld-blob"
        )
    elif hashlib.sha256(data).digest() != digest:
        what = f"blob {name[:16]} does not have the SHA-256 that is its name"
        bench.invalid(check, subject, what, NOBODY, digest, "altered-blob")
    else:
        return data
    return None


def short(value: bytes) -> str:
    """A hash as a person reads it."""
    return "none" if value == ZERO32 else f"{value.hex()[:16]}"
