"""The nouns: frozen, and checked when they are built, so that an illegal one cannot exist.

Numbers that go on the ledger are integers; bytes are raw (32 for a hash or a network key, 20 for an account). Nothing
here knows how a noun is encoded (`wire`) or hashed (`trust`).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, Literal

import msgspec

from middleware.errors import ConfigurationError

ZERO32: Final = bytes(32)
ZERO20: Final = bytes(20)
SUM_FAN_IN: Final = 16  # children of one node of the sum tree: what one dispute can show (contracts/src/Arbiter.sol)


class Limits(msgspec.Struct, frozen=True):
    """Every limit of the wire and of the daemons, with its unit. A daemon's TOML file may lower them."""

    header_bytes: int = 65_536  # bytes, the signed part of one message
    body_bytes: int = 256 * 1024 * 1024  # bytes, the part that is committed by digest
    blob_bytes: int = 1024 * 1024 * 1024  # bytes, one content-addressed blob
    parameters: int = 128 * 1024 * 1024  # numbers in one model
    samples: int = 1 << 20  # samples that one update may declare, before the policy's cap
    children: int = 65_536  # updates below one edge in one round
    path_hashes: int = 40  # hashes in one Merkle path
    name_bytes: int = 32  # bytes of UTF-8 in a node's name
    policy_bytes: int = 8_192  # bytes of one encoded policy
    metrics_bytes: int = 1_024  # bytes of one update's encoded metrics
    readers: int = 64  # readers to whom one body's content key is wrapped
    poll_seconds: float = 20.0  # seconds that a long poll waits before it answers "nothing new"
    request_seconds: float = 60.0  # seconds that one request may take
    requests_in_flight: int = 256  # requests served at once before 429
    requests_per_second: float = 200.0  # requests one sender may make, averaged
    requests_burst: int = 400  # requests one sender may make at once
    uploads_in_flight: int = 4  # large bodies held in memory at once; further ones wait
    witness_blocks: int = 16  # blocks below the head before a signer vouches for an entry's block


LIMITS: Final = Limits()


class Tier(IntEnum):
    END = 1
    EDGE = 2
    CLOUD = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Status(IntEnum):
    PENDING = 1
    ACTIVE = 2
    SUSPENDED = 3
    REVOKED = 4


class Verdict(StrEnum):
    VALID = "VALID"
    INVALID = "INVALID"
    UNVERIFIABLE = "UNVERIFIABLE"


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ConfigurationError(what)


class Node(msgspec.Struct, frozen=True):
    """A member as the ledger knows it. `parent` is 0 for a cloud; `since` is the block that registered it."""

    id: int
    net_key: bytes
    account: bytes
    owner: bytes
    tier: Tier
    status: Status
    parent: int
    name: str
    meta_hash: bytes = ZERO32
    since: int = 0
    batch: int = 0  # the first number of the batch that it stands for; 0: the ledger has an entry of its own

    def __post_init__(self) -> None:
        _require(0 < self.id < 1 << 32, f"node id {self.id} is not a positive 32-bit number")
        _require(len(self.net_key) == 32, "a network key has 32 bytes")
        _require(len(self.account) == 20 and len(self.owner) == 20, "an account has 20 bytes")


class DeviceBatch(msgspec.Struct, frozen=True):
    """Devices `first` to `first` + `count` - 1, registered at once; `status` is that of those who are no nodes of their own.
    `list` is the digest of the blob that lists them (`wire.members`)."""

    first: int
    count: int
    root: bytes
    list: bytes
    owner: bytes
    status: Status
    since: int  # the registering block


class Roster(msgspec.Struct, frozen=True):
    """Every node that the ledger knew at the end of `block`, by id; members of a batch only where its list is known.
    `batches` are the ledger's, whether their lists are known or not."""

    block: int
    nodes: dict[int, Node]
    batches: tuple[DeviceBatch, ...] = ()

    def active(self, tier: Tier | None = None) -> list[Node]:
        return [n for n in self.nodes.values() if n.status is Status.ACTIVE and (tier is None or n.tier is tier)]

    def children(self, parent: int) -> list[Node]:
        """Active nodes directly below `parent`, in order of id."""
        return sorted((n for n in self.active() if n.parent == parent), key=lambda n: n.id)

    def by_key(self, net_key: bytes) -> Node | None:
        return next((n for n in self.nodes.values() if n.net_key == net_key), None)

    def by_name(self, name: str) -> Node | None:
        return next((n for n in self.nodes.values() if n.name == name), None)


# --------------------------------------------------------------------------------------------------------------- policy

RULES: Final = ("mean", "median", "trimmed-mean", "multi-krum")
CODECS: Final = ("none", "topk", "int8", "topk+int8")
ARRANGEMENTS: Final = ("flat", "two-level")
PAYS: Final = ("participation", "scores")
SCORED_RULES: Final = ("mean", "multi-krum")  # an update's share of what they give is its weight times its integers
MOST_SLICES: Final = 4096


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The integers that everything aggregated lives on: `bits` wide and signed, one unit worth 2**exponent."""

    bits: int = 16
    exponent: int = -12

    def __post_init__(self) -> None:
        _require(8 <= self.bits <= 24, f"grid bits {self.bits}: choose 8 to 24")
        _require(-60 <= self.exponent <= 20, f"grid exponent {self.exponent}: choose -60 to 20")

    @property
    def limit(self) -> int:
        """The largest magnitude on the grid, 2**(bits-1) - 1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        return float(2.0**self.exponent)

    @property
    def width(self) -> int:
        """Bytes of one integer where updates are committed."""
        return 2 if self.bits <= 16 else 4


class CodecSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an update is compressed; `density` is the fraction of coordinates that topk keeps."""

    name: str = "none"
    density: float = 0.01

    def __post_init__(self) -> None:
        _require(self.name in CODECS, f"codec {self.name!r}: choose one of {', '.join(CODECS)}")
        _require(0 < self.density <= 1, f"codec density {self.density}: choose a fraction above 0, at most 1")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How updates become one; `f` is the number of lying devices that the task must survive."""

    name: str = "multi-krum"
    f: int = 1

    def __post_init__(self) -> None:
        _require(self.name in RULES, f"aggregator {self.name!r}: choose one of {', '.join(RULES)}")
        _require(self.f >= 0, "the number of tolerated liars cannot be negative")

    @property
    def least_updates(self) -> int:
        """The fewest updates for which the rule's bound holds (Blanchard 2017, Yin 2018)."""
        return {"mean": 1, "median": 2 * self.f + 1, "trimmed-mean": 2 * self.f + 1, "multi-krum": 2 * self.f + 3}[
            self.name
        ]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Local training: plain SGD with momentum, `epochs` passes in batches of `batch` samples."""

    epochs: int = 5
    batch: int = 16
    learning_rate: float = 0.05
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _require(self.epochs > 0 and self.batch > 0, "epochs and batch must be positive")
        _require(self.learning_rate > 0 and 0 <= self.momentum < 1, "learning rate above 0, momentum in [0, 1)")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a task promises, fixed when it is created. Its bytes are on the ledger, in `TaskCreated`."""

    workload: str  # "digits", or "table:" and the SHA-256 of the file in hex
    model: str  # the model's name, e.g. "mlp:64-256-10"
    parameters: int  # numbers in the model
    rounds: int = 20
    arrangement: str = "flat"
    rule: Rule = Rule()
    grid: Grid = Grid()
    codec: CodecSpec = CodecSpec()
    training: Training = Training()
    min_updates: int = 5
    round_seconds: float = 30.0  # seconds until a round closes without those who are missing
    readers: Literal["public", "auditors"] = "public"
    auditors: tuple[str, ...] = ()  # network keys in hex, to whom content keys are wrapped
    samples_cap: int = 4096  # declared samples count as at most this many
    reward_per_round: int = 1_000_000  # token units shared by the round's paid participants
    seed: int = 0
    pay: str = "participation"
    epoch_rounds: int = 0  # pay = scores: rounds from one settlement to the next; the last round settles too
    evaluation: str = ""  # pay = scores: root over the hashes of the evaluation slices, in hex
    evaluation_slices: int = 0  # pay = scores: how many there are; each round is measured on one

    def __post_init__(self) -> None:
        _require(0 < self.parameters <= LIMITS.parameters, f"parameters {self.parameters}: at most {LIMITS.parameters}")
        _require(self.rounds > 0, "a task needs at least one round")
        _require(
            self.arrangement in ARRANGEMENTS,
            f"arrangement {self.arrangement!r}: choose one of {', '.join(ARRANGEMENTS)}",
        )
        _require(
            self.arrangement == "flat" or self.rule.name == "mean",
            f"{self.rule.name} needs every update in one place: use --arrangement flat, or --aggregator mean",
        )
        _require(
            self.min_updates >= self.rule.least_updates,
            f"{self.rule.name} with f={self.rule.f} needs at least {self.rule.least_updates} updates, "
            f"but min_updates is {self.min_updates}: raise it, or lower f",
        )
        _require(self.round_seconds > 0, "round_seconds must be positive")
        _require(0 < self.samples_cap <= LIMITS.samples, f"samples_cap {self.samples_cap}: 1 to {LIMITS.samples}")
        _require(0 <= self.reward_per_round < 1 << 96, "reward_per_round must fit 96 bits")
        _require(
            self.readers == "public" or len(self.auditors) > 0,
            "readers = auditors needs at least one auditor key, or nobody could ever check the task",
        )
        _require(all(len(k) == 64 for k in self.auditors), "an auditor is a network key of 64 hex digits")
        _require(self.pay in PAYS, f"pay {self.pay!r}: choose one of {', '.join(PAYS)}")
        if self.pay == "scores":
            self._require_scores()
        else:
            unset = (self.epoch_rounds, self.evaluation, self.evaluation_slices) == (0, "", 0)
            _require(unset, "epochs and evaluation slices belong to pay = scores")

    def _require_scores(self) -> None:
        _require(
            self.rule.name in SCORED_RULES,
            f"{self.rule.name} has no weight an update, so it cannot be scored: use --aggregator mean or multi-krum",
        )
        _require(
            self.arrangement == "flat",
            "scores need every update in one place: use --arrangement flat, or --pay participation",
        )
        _require(self.grid.exponent <= 0, "scores need a grid whose unit is at most 1")
        _require(
            0 < self.epoch_rounds <= self.rounds, f"epoch_rounds {self.epoch_rounds}: 1 to {self.rounds}, the rounds"
        )
        digits = len(self.evaluation) == 64 and set(self.evaluation) <= set("0123456789abcdef")
        _require(digits, "the evaluation root has 64 hex digits")
        _require(
            0 < self.evaluation_slices <= MOST_SLICES, f"evaluation_slices {self.evaluation_slices}: 1 to {MOST_SLICES}"
        )


# -------------------------------------------------------------------------------------------------------- commitments


class Leaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one update commits to. Its hash is a leaf of the edge's tree; `weight` is the declared samples, capped."""

    task: int
    round: int
    node: int
    edge: int
    sequence: int
    weight: int
    ciphertext: bytes  # SHA-256 of the sealed body
    update_root: bytes  # salted tree over the decoded integers
    metrics: bytes  # SHA-256 of the encoded metrics


class EdgeLeaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one edge commits to in a round: a leaf of the tree under the header's `inputs_root`."""

    task: int
    round: int
    edge: int
    root: bytes  # RFC 9162 root over the edge's update leaves
    count: int  # leaves under `root`
    aggregate: bytes = ZERO32  # two-level: the sum node over its updates (trust.roots.sum_node); flat: zero
    weights: bytes = ZERO32  # two-level: root over (node, integer weight) of its updates; flat: zero
    roster_block: int = 0  # senders were admitted by the roster at the end of this block


class Seen(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block with an entry of ours, deep below the head, that a signer vouches for: a witness against a rewound chain."""

    block: int = 0
    hash: bytes = ZERO32  # zero: nothing was deep enough yet


class Receipt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A parent's promise that `leaf` is number `index` of its round. `edge` is the promising node, edge or cloud."""

    task: int
    round: int
    edge: int
    index: int
    leaf: bytes


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one round anchors: frozen, see design section 5. All hashes are 32 bytes; zero means "none"."""

    task: int
    round: int  # 1 for the first
    prev: bytes  # hash of the previous header; zero for round 1
    roster: bytes  # root over the roster at the manifest's block
    policy: bytes  # SHA-256 of the policy's bytes
    model_in: bytes  # SHA-256 of the model's blob
    inputs_root: bytes  # RFC 9162 root over the edge leaves
    inputs_count: int  # leaves under inputs_root
    forced: bytes
    weights_root: bytes  # root over the edges' weight roots, in the inputs' order
    model_out: bytes
    chunks_root: bytes  # the sum node over the round's undivided sums (trust.roots.sum_node)
    scores_root: bytes  # pay = scores: root over the round's scores; else zero
    rewards_root: bytes  # cumulative sum-Merkle root
    budget: bytes
    manifest: bytes  # SHA-256 of the round's manifest blob

    def __post_init__(self) -> None:
        _require(self.round > 0, "the first round is number 1")


class Task(msgspec.Struct, frozen=True):
    """A task as the ledger knows it."""

    id: int
    cloud: int
    policy: Policy
    policy_hash: bytes
    genesis_model: bytes
    window: int  # seconds until an anchored round is final
    block: int
    open: bool = True
    head: int = 0  # the last anchored round
