"""The nouns: frozen, and checked when they are built, so that an illegal one cannot exist.

Numbers that go on the ledger are integers; bytes are raw (32 for a hash or a network key, 20 for an account). Nothing
here knows how a noun is encoded (`wire`) or hashed (`trust`).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from middleware.errors import require

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
    tensor_bytes: int = 16 * 1024 * 1024  # bytes, one request of a session
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
        require(0 < self.id < 1 << 32, f"node id {self.id} is not a positive 32-bit number")
        require(len(self.net_key) == 32, "a network key has 32 bytes")
        require(len(self.account) == 20 and len(self.owner) == 20, "an account has 20 bytes")


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
        require(self.round > 0, "the first round is number 1")
