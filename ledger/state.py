"""What the contracts keep, in plain Python, and the few changes to it that one contract asks of another.

`State` is the storage of all of them as one object, with the views, the role and signature checks and the arbiters'
functions that several contracts share. The rules that callers see are in `ledger.spec` (Registry, Ledger, Rewards),
`ledger.arbiter`, `ledger.court` and `ledger.models`.
"""

from __future__ import annotations

import copy
from typing import Final, Self

import msgspec
from eth_hash.auto import keccak

from ledger import events
from ledger.credit import ARITHMETIC, Token
from middleware.errors import LedgerRefused, PeerFault
from middleware.ports import Event
from middleware.trust import eip712, keys
from middleware.types import ZERO20, ZERO32, Header, Status, Tier

ADMIN: Final = 0
REGISTRAR: Final = 1
PUBLISHER: Final = 2
COUNCIL: Final = 3
PAUSER: Final = 4

RETIRED_SECONDS: Final = 24 * 3600  # for which what a replaced account signed still binds its node
UINT16_MAX: Final = (1 << 16) - 1


class NodeState(msgspec.Struct):
    """IRegistry.Node. Amounts in token units, `unbond_at` in seconds, `since` the registering block, `status_block` that of
    the last change of status; `holds` open disputes."""

    net_key: bytes = ZERO32
    account: bytes = ZERO20
    tier: int = 0
    status: int = 0
    parent: int = 0
    since: int = 0
    owner: bytes = ZERO20
    nonce: int = 0
    status_block: int = 0
    holds: int = 0
    stake: int = 0
    unbonding: int = 0
    unbond_at: int = 0


class BatchState(msgspec.Struct):
    """IRegistry.Batch: of the members that are no nodes of their own."""

    root: bytes = ZERO32
    owner: bytes = ZERO20
    count: int = 0
    status: int = 0
    since: int = 0
    status_block: int = 0


class TaskState(msgspec.Struct):
    """ILedger.Task. `window` in seconds; `struck` is the first round that does not count, 0 if all do."""

    publisher: bytes = ZERO20
    cloud: int = 0
    open: bool = False
    rule: int = 0
    trim: int = 0
    width: int = 0
    chunks: int = 0
    head: int = 0
    struck: int = 0
    forced_count: int = 0
    forced_done: int = 0
    open_disputes: int = 0
    window: int = 0
    policy_hash: bytes = ZERO32
    genesis_model: bytes = ZERO32
    last_header: bytes = ZERO32
    last_model: bytes = ZERO32


class LogState(msgspec.Struct, frozen=True):
    """How far a node's own log was recorded."""

    size: int = 0
    root: bytes = ZERO32


class DemandState(msgspec.Struct, frozen=True):
    """ICourt.Demand. `asked` is what the answer must be about, hashed."""

    challenger: bytes = ZERO20
    deadline: int = 0
    accused: int = 0
    kind: int = 0
    task: int = 0
    round: int = 0
    asked: bytes = ZERO32


class ChallengeState(msgspec.Struct):
    """ICourt.Challenge. Times in seconds; `council_end` is 0 until the council is asked."""

    challenger: bytes = ZERO20
    accused: int = 0
    subject: int = 0
    commits: int = 0
    reveals: int = 0
    split: bool = False
    task: int = 0
    round: int = 0
    commit_end: int = 0
    reveal_end: int = 0
    council_end: int = 0
    committed: bytes = ZERO32
    digest: bytes = ZERO32


class Verdict(msgspec.Struct, frozen=True):
    """Who gets half of `amount` (token units), when it is collected."""

    beneficiary: bytes = ZERO20
    amount: int = 0


class ModelState(msgspec.Struct):
    """IModels.Model. `price` in token units a unit of work, `share` in ten-thousandths."""

    owner: bytes = ZERO20
    price: int = 0
    task: int = 0
    round: int = 0
    share: int = 0
    licence: bytes = ZERO32


class GrantState(msgspec.Struct, frozen=True):
    """IModels.Grant. `expiry` in seconds, the others in units of work."""

    expiry: int = 0
    quota: int = 0
    used: int = 0


class ChannelState(msgspec.Struct, frozen=True):
    """IModels.Channel. `deposit` in token units, `closing` in seconds."""

    user: bytes = ZERO20
    price: int = 0
    root: bytes = ZERO32
    deposit: int = 0
    redeemed: int = 0
    closing: int = 0
    edge: int = 0
    share: int = 0


class CourtTerms(msgspec.Struct, frozen=True):
    """The Court's constructor: what a dispute costs until it is decided, in token units, and how long everybody has."""

    bond: int = 0
    answer_seconds: int = 0
    commit_seconds: int = 0
    reveal_seconds: int = 0
    council_seconds: int = 0


class Message(msgspec.Struct, frozen=True):
    """Who calls, and in which block: Solidity's msg.sender, block.timestamp (seconds) and block.number."""

    sender: bytes
    now: int
    block: int


def record_hash(header_hash: bytes, rewards_root: bytes, anchored_at: int) -> bytes:
    """keccak256(abi.encode(header hash, the header's rewards root, seconds)): what the Ledger keeps of one round."""
    return keccak(header_hash + rewards_root + anchored_at.to_bytes(32, "big"))


def _record_of(header: Header, anchored_at: int) -> bytes:
    return record_hash(eip712.header_hash(header), header.rewards_root, anchored_at)


class State:
    """The contracts' storage. Addresses are those under which they would be deployed, by the artifacts' names; Arbiter and
    Court may be missing where nobody calls them.

    min_stake: by tier, end, edge, cloud, in token units; 0: stake never admits. unbonding_seconds: how long stake stays
    slashable after `Unstake`.
    """

    def __init__(
        self,
        chain_id: int,
        addresses: dict[str, bytes],
        admin: bytes,
        min_stake: tuple[int, int, int] = (0, 0, 0),
        unbonding_seconds: int = 0,
        terms: CourtTerms = CourtTerms(),
    ) -> None:
        self.addresses = addresses
        self.domain = eip712.Domain(chain_id, addresses["Registry"])
        self.ledger_domain = eip712.Domain(chain_id, addresses["Ledger"])
        self.min_stake = dict(zip(Tier, min_stake, strict=True))
        self.unbonding_seconds = unbonding_seconds
        self.terms = terms
        self.roles: set[tuple[int, bytes]] = {(ADMIN, admin)}
        self.arbiters: dict[str, tuple[bytes, ...]] = {"Registry": (), "Ledger": ()}
        self.paused = {"Registry": False, "Ledger": False}
        self.token = Token()
        # Registry
        self.count = 0
        self.seized = 0  # token units that were slashed and not settled yet
        self.nodes: dict[int, NodeState] = {}
        self.batches: dict[int, BatchState] = {}  # by first id
        self.id_of_account: dict[bytes, int] = {}
        self.id_of_key: dict[bytes, int] = {}
        self.retired_at: dict[bytes, int] = {}
        self.proposed: dict[int, bytes] = {}
        # Ledger
        self.tasks: dict[int, TaskState] = {}
        self.records: dict[tuple[int, int], bytes] = {}  # by (task, round)
        self.forced: set[tuple[int, int, int]] = set()  # (task, round, node)
        self.forced_index: dict[tuple[int, bytes], int] = {}  # by (task, chain value)
        self.forced_at: dict[tuple[int, int], int] = {}  # by (task, number)
        self.forced_chain: dict[int, bytes] = {}
        self.logs: dict[int, LogState] = {}
        # Rewards
        self.funded: dict[int, int] = {}
        self.paid: dict[int, int] = {}
        self.claimed: dict[tuple[int, int], int] = {}
        # Arbiter
        self.verdicts: dict[tuple[bytes, int, int, int], Verdict] = {}  # by (kind, task, round, accused)
        # Court
        self.disputes = 0
        self.demands: dict[int, DemandState] = {}
        self.challenges: dict[int, ChallengeState] = {}
        self.committed_to: dict[tuple[int, int], bytes] = {}  # by (dispute, node)
        self.seated: set[tuple[int, bytes]] = set()  # (dispute, owner)
        self.witnesses: dict[int, tuple[bytes, ...]] = {}
        self.withdrawable: dict[bytes, int] = {}
        # Models
        self.models: dict[bytes, ModelState] = {}  # by root
        self.grants: dict[tuple[bytes, bytes], GrantState] = {}  # by (root, user)
        self.channels: dict[int, ChannelState] = {}
        self.opened_channels = 0

    def copy(self) -> Self:
        """The same state, sharing nothing that a call changes."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | set):
                setattr(other, name, value.copy())
        for name in ("nodes", "batches", "tasks", "challenges", "models"):
            setattr(other, name, {id: copy.copy(state) for id, state in getattr(self, name).items()})
        other.token = self.token.copy()
        return other

    # ----------------------------------------------------------------------------------------------------------- views

    def node(self, id: int) -> NodeState:
        """A node, all zero if there is none. Not a copy: do not change it."""
        return self.nodes.get(id, NodeState())

    def task(self, id: int) -> TaskState:
        """A task, all zero if there is none. Not a copy: do not change it."""
        return self.tasks.get(id, TaskState())

    def active(self, id: int, tier: int) -> bool:
        node = self.node(id)
        return node.status == Status.ACTIVE and node.tier == tier

    def slashable(self, id: int) -> int:
        """What `slash` can take from a node, in token units."""
        return self.node(id).stake + self.node(id).unbonding

    def bound(self, id: int, signer: bytes, now: int) -> bool:
        """Whether what `signer` signed binds the node: it is its account, or was until a day ago at most."""
        if id == 0 or self.id_of_account.get(signer, 0) != id:
            return False
        retired = self.retired_at.get(signer, 0)
        return retired == 0 or now <= retired + RETIRED_SECONDS

    def is_final(self, header: Header, anchored_at: int, now: int) -> bool:
        """Whether `header` was anchored at `anchored_at`, can no longer be disputed at `now` (both in seconds), is not being
        disputed, and was not struck, nor any before it."""
        record = _record_of(header, anchored_at)
        return self.is_final_record(header.task, header.round, record, anchored_at, now)

    def is_final_record(self, id: int, round: int, record: bytes, anchored_at: int, now: int) -> bool:
        """`is_final` for the header of which `record` is kept: `record_hash`, with this same `anchored_at`."""
        if self.records.get((id, round)) != record:
            return False
        task = self.tasks[id]
        counts = task.struck == 0 or round < task.struck
        return task.open_disputes == 0 and counts and now >= anchored_at + task.window

    def is_anchored(self, header: Header, anchored_at: int) -> bool:
        """Whether `header` was anchored at `anchored_at` (seconds)."""
        return self.records.get((header.task, header.round)) == _record_of(header, anchored_at)

    # -------------------------------------------------------------------------------------------------- arbiters' functions

    def slash(self, id: int, amount: int, reason: bytes, message: Message) -> list[Event]:
        """Registry.slash: seizes, from what is unbonding first."""
        node = self._judged_node(id, message)
        if amount > self.slashable(id):
            raise LedgerRefused("InsufficientStake", id, self.slashable(id))
        leaving = min(amount, node.unbonding)
        node.unbonding -= leaving
        node.stake -= amount - leaving
        self.seized += amount
        suspended = set_status(id, node, Status.SUSPENDED, message) if node.status == Status.ACTIVE else []
        return [events.Slashed(id, amount, reason), *suspended]

    def settle(self, to: bytes, reward: int, burned: int, message: Message) -> list[Event]:
        """Registry.settle: of what was seized, `reward` goes to `to`, and `burned` is burned."""
        if message.sender not in self.arbiters["Registry"]:
            raise LedgerRefused("NotArbiter", message.sender)
        if reward + burned > self.seized:
            raise LedgerRefused("NotSeized", self.seized)
        if reward and to == ZERO20:
            raise LedgerRefused("ERC20InvalidReceiver", to)
        self.seized -= reward + burned
        happened: list[Event] = [events.Settled(to, reward, burned)]
        registry = self.addresses["Registry"]
        if burned:
            happened.append(self.token.burn(registry, burned))
        if reward:
            happened.append(self.token.transfer(registry, to, reward))
        return happened

    def hold_node(self, id: int, message: Message) -> list[Event]:
        """Registry.hold."""
        node = self._judged_node(id, message)
        if node.holds == UINT16_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        node.holds += 1
        return [events.Held(id, node.holds)]

    def release_node(self, id: int, message: Message) -> list[Event]:
        """Registry.release."""
        node = self._judged_node(id, message)
        if node.holds == 0:
            raise LedgerRefused("NotHeld", id)
        node.holds -= 1
        return [events.Released(id, node.holds)]

    def strike(self, id: int, round: int, message: Message) -> list[Event]:
        """Ledger.strike: `round` and all later ones do not count, and the task has ended."""
        task = self._judged_task(id, message)
        if not 0 < round <= task.head:
            raise LedgerRefused("WrongRound", task.head, round)
        task.struck = min(task.struck or round, round)
        task.open = False
        return [events.RoundStruck(id, round)]

    def hold_task(self, id: int, message: Message) -> None:
        """Ledger.hold."""
        self._judged_task(id, message).open_disputes += 1

    def release_task(self, id: int, message: Message) -> None:
        """Ledger.release."""
        task = self._judged_task(id, message)
        if task.open_disputes == 0:
            raise LedgerRefused("NotHeld", id)
        task.open_disputes -= 1

    def _judged_node(self, id: int, message: Message) -> NodeState:
        if message.sender not in self.arbiters["Registry"]:
            raise LedgerRefused("NotArbiter", message.sender)
        return self._known(id)

    def _judged_task(self, id: int, message: Message) -> TaskState:
        if message.sender not in self.arbiters["Ledger"]:
            raise LedgerRefused("NotArbiter", message.sender)
        return self._known_task(id)

    # ----------------------------------------------------------------------------------------------------------- checks

    def _require_role(self, role: int, message: Message) -> None:
        if (role, message.sender) not in self.roles:
            raise LedgerRefused("NotAuthorised", message.sender, role)

    def _known(self, id: int) -> NodeState:
        if id not in self.nodes:
            raise LedgerRefused("UnknownNode", id)
        return self.nodes[id]

    def _known_task(self, id: int) -> TaskState:
        if id not in self.tasks:
            raise LedgerRefused("UnknownTask", id)
        return self.tasks[id]


def set_status(id: int, node: NodeState, status: Status, message: Message) -> list[Event]:
    """Every change of a node's status after its registration."""
    node.status, node.status_block = int(status), message.block
    return [events.StatusChanged(id, int(status))]


def signer_of(digest: bytes, signature: bytes) -> bytes:
    """The account that signed `digest`, zero if the signature is nobody's."""
    try:
        return keys.recover_account(digest, signature)
    except PeerFault:
        return ZERO20


def require_signature(account: bytes, digest: bytes, signature: bytes) -> None:
    """LedgerRefused("BadSignature") unless `account` signed `digest`."""
    if signer_of(digest, signature) != account or account == ZERO20:
        raise LedgerRefused("BadSignature")
