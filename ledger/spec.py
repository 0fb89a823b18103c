"""The contracts' rules in plain Python: what any ledger must do. `ledger.memory` is a ledger that does exactly that.

`Specification` keeps plain state and applies one call after the other. Every rule stands in the order of the Solidity
source and refuses with the name and the arguments of its custom error; tests/contracts/test_conformance.py holds the
two against each other. A refused call changes nothing. Wallets that are contracts (ERC-1271) are not modelled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec
from eth_hash.auto import keccak

from ledger import calls, events
from ledger.credit import ARITHMETIC, UINT256_MAX, Token
from middleware.errors import LedgerRefused, PeerFault
from middleware.ports import Event
from middleware.trust import eip712, keys, merkle
from middleware.types import LIMITS, ZERO20, ZERO32, Header, Status, Tier

ADMIN: Final = 0
REGISTRAR: Final = 1
PUBLISHER: Final = 2
COUNCIL: Final = 3
PAUSER: Final = 4
PUBLIC_ROLE: Final = (1 << 64) - 1  # AccessManager: everybody holds it, nobody grants it

PROOF_BYTES: Final = 64  # an ed25519 signature
UINT96_MAX: Final = (1 << 96) - 1


class NodeState(msgspec.Struct):
    """IRegistry.Node. Amounts in token units, `unbond_at` in seconds, `since` the registering block."""

    net_key: bytes = ZERO32
    account: bytes = ZERO20
    tier: int = 0
    status: int = 0
    parent: int = 0
    since: int = 0
    owner: bytes = ZERO20
    nonce: int = 0
    stake: int = 0
    unbonding: int = 0
    unbond_at: int = 0
    meta_hash: bytes = ZERO32


class TaskState(msgspec.Struct):
    """ILedger.Task, without what nothing changes yet."""

    publisher: bytes = ZERO20
    cloud: int = 0
    window: int = 0
    open: bool = False
    head: int = 0
    policy_hash: bytes = ZERO32
    genesis_model: bytes = ZERO32
    last_header: bytes = ZERO32
    last_model: bytes = ZERO32


PauseCall: TypeAlias = calls.PauseRegistry | calls.UnpauseRegistry | calls.PauseLedger | calls.UnpauseLedger


class Message(msgspec.Struct, frozen=True):
    """Who calls, and in which block: Solidity's msg.sender, block.timestamp (seconds) and block.number."""

    sender: bytes
    now: int
    block: int


def record_hash(header_hash: bytes, anchored_at: int) -> bytes:
    """keccak256(abi.encode(header hash, seconds)): what the Ledger keeps of one round."""
    return keccak(header_hash + anchored_at.to_bytes(32, "big"))


class Specification:
    """The five contracts as one object. Addresses are those under which they would be deployed.

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
    ) -> None:
        self.addresses = addresses
        self.domain = eip712.Domain(chain_id, addresses["Registry"])
        self.min_stake = dict(zip(Tier, min_stake, strict=True))
        self.unbonding_seconds = unbonding_seconds
        self.roles: set[tuple[int, bytes]] = {(ADMIN, admin)}
        self.token = Token()
        self.nodes: dict[int, NodeState] = {}
        self.id_of_account: dict[bytes, int] = {}
        self.id_of_key: dict[bytes, int] = {}
        self.proposed: dict[int, bytes] = {}
        self.tasks: dict[int, TaskState] = {}
        self.records: dict[tuple[int, int], bytes] = {}
        self.funded: dict[int, int] = {}
        self.paid: dict[int, int] = {}
        self.claimed: dict[tuple[int, int], int] = {}
        self.paused = {"Registry": False, "Ledger": False}

    def copy(self) -> Specification:
        """The same state, sharing nothing that a call changes."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | set):
                setattr(other, name, value.copy())
        other.nodes = {id: copy.copy(node) for id, node in self.nodes.items()}
        other.tasks = {id: copy.copy(task) for id, task in self.tasks.items()}
        other.token = self.token.copy()
        return other

    def apply(self, call: calls.AnyCall, sender: bytes, now: int, block: int) -> list[Event]:
        """What `call` by `sender` (20 bytes) does in a block of time `now` (seconds). LedgerRefused changes nothing."""
        return _RULES[type(call)](self, call, Message(sender, now, block))

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

    def is_final(self, header: Header, anchored_at: int, now: int) -> bool:
        """Whether `header` was anchored at `anchored_at` and its window is over at `now` (both in seconds)."""
        record = record_hash(eip712.header_hash(header), anchored_at)
        if self.records.get((header.task, header.round)) != record:
            return False
        return now >= anchored_at + self.tasks[header.task].window

    # -------------------------------------------------------------------------------------------------------- registry

    def _register(self, call: calls.Register, message: Message) -> list[Event]:
        if self.paused["Registry"]:
            raise LedgerRefused("Paused")
        if message.now > call.deadline:
            raise LedgerRefused("Expired", call.deadline)
        if not Tier.END <= call.tier <= Tier.CLOUD:
            raise LedgerRefused("BadTier", call.tier)
        if not self._fits(call.parent, call.tier):
            raise LedgerRefused("BadParent", call.parent, call.tier)
        if call.net_key == ZERO32 or len(call.net_key_proof) != PROOF_BYTES:
            raise LedgerRefused("BadKey")
        if call.name == ZERO32:
            raise LedgerRefused("BadName")
        if call.net_key in self.id_of_key:
            raise LedgerRefused("KeyTaken", call.net_key)
        if call.account in self.id_of_account:
            raise LedgerRefused("AccountTaken", call.account)
        if call.owner not in (call.account, message.sender):
            raise LedgerRefused("NotOwner", message.sender)
        digest = eip712.registration_digest(
            self.domain, call.net_key, call.account, call.owner, call.tier, call.parent, call.name, call.meta_hash,
            call.deadline,
        )  # fmt: skip
        _require_signature(call.account, digest, call.account_signature)
        status = Status.ACTIVE if (REGISTRAR, message.sender) in self.roles else Status.PENDING
        id = len(self.nodes) + 1
        self.id_of_key[call.net_key] = self.id_of_account[call.account] = id
        self.nodes[id] = NodeState(
            net_key=call.net_key, account=call.account, tier=int(call.tier), status=int(status), parent=call.parent,
            since=message.block, owner=call.owner, meta_hash=call.meta_hash,
        )  # fmt: skip
        return [
            events.Registered(
                id=id, net_key=call.net_key, account=call.account, owner=call.owner, tier=int(call.tier),
                status=int(status), parent=call.parent, name=call.name, meta_hash=call.meta_hash,
                deadline=call.deadline, account_signature=call.account_signature, net_key_proof=call.net_key_proof,
            )
        ]  # fmt: skip

    def _rotate_net_key(self, call: calls.RotateNetKey, message: Message) -> list[Event]:
        node = self._known(call.id)
        _refuse_revoked(call.id, node)
        if message.now > call.deadline:
            raise LedgerRefused("Expired", call.deadline)
        if call.new_key == ZERO32 or len(call.net_key_proof) != PROOF_BYTES:
            raise LedgerRefused("BadKey")
        if call.new_key in self.id_of_key:
            raise LedgerRefused("KeyTaken", call.new_key)
        digest = eip712.rotation_digest(self.domain, call.id, call.new_key, node.nonce, call.deadline)
        _require_signature(node.account, digest, call.account_signature)
        node.nonce += 1
        node.net_key = call.new_key
        self.id_of_key[call.new_key] = call.id
        return [events.KeyRotated(call.id, call.new_key, call.deadline, call.net_key_proof)]

    def _propose_account(self, call: calls.ProposeAccount, message: Message) -> list[Event]:
        _refuse_revoked(call.id, self._spoken_for(call.id, message))
        self.proposed[call.id] = call.new_account
        return [events.AccountProposed(call.id, call.new_account)]

    def _accept_account(self, call: calls.AcceptAccount, message: Message) -> list[Event]:
        node = self._known(call.id)
        if message.sender != self.proposed.get(call.id, ZERO20):
            raise LedgerRefused("NotOwner", message.sender)
        _refuse_revoked(call.id, node)
        if message.sender in self.id_of_account:
            raise LedgerRefused("AccountTaken", message.sender)
        del self.proposed[call.id]
        node.account = message.sender
        self.id_of_account[message.sender] = call.id
        return [events.AccountRotated(call.id, message.sender)]

    def _set_meta(self, call: calls.SetMeta, message: Message) -> list[Event]:
        node = self._spoken_for(call.id, message)
        _refuse_revoked(call.id, node)
        node.meta_hash = call.meta_hash
        return [events.MetaChanged(call.id, call.meta_hash)]

    def _admit(self, call: calls.Admit, message: Message) -> list[Event]:
        node = self._known(call.id)
        self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.PENDING, Status.ACTIVE)

    def _suspend(self, call: calls.Suspend, message: Message) -> list[Event]:
        node = self._known(call.id)
        if message.sender != node.owner:
            self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.ACTIVE, Status.SUSPENDED)

    def _reinstate(self, call: calls.Reinstate, message: Message) -> list[Event]:
        node = self._known(call.id)
        self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.SUSPENDED, Status.ACTIVE)

    def _revoke(self, call: calls.Revoke, message: Message) -> list[Event]:
        node = self._known(call.id)
        if message.sender != node.owner:
            self._require_role(REGISTRAR, message)
        _refuse_revoked(call.id, node)
        return _set_status(call.id, node, Status.REVOKED)

    # ----------------------------------------------------------------------------------------------------------- stake

    def _stake(self, call: calls.Stake, message: Message) -> list[Event]:
        node = self._known(call.id)
        _refuse_revoked(call.id, node)
        if call.amount > UINT96_MAX:
            raise LedgerRefused("SafeCastOverflowedUintDowncast", 96, call.amount)
        if node.stake + call.amount > UINT96_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        registry = self.addresses["Registry"]
        paid = self.token.transfer_from(registry, message.sender, registry, call.amount)
        node.stake += call.amount
        least = self.min_stake[Tier(node.tier)]
        admitted = node.status == Status.PENDING and 0 < least <= node.stake
        promoted = _set_status(call.id, node, Status.ACTIVE) if admitted else []
        return [events.Staked(call.id, call.amount), *promoted, paid]

    def _unstake(self, call: calls.Unstake, message: Message) -> list[Event]:
        node = self._owned(call.id, message)
        if call.amount > node.stake:
            raise LedgerRefused("InsufficientStake", call.id, node.stake)
        least = self.min_stake[Tier(node.tier)]
        if node.status == Status.ACTIVE and node.stake >= least > node.stake - call.amount:
            raise LedgerRefused("InsufficientStake", call.id, node.stake)
        node.stake -= call.amount
        node.unbonding += call.amount
        node.unbond_at = message.now + self.unbonding_seconds
        return [events.Unbonding(call.id, call.amount, node.unbond_at)]

    def _withdraw(self, call: calls.Withdraw, message: Message) -> list[Event]:
        node = self._owned(call.id, message)
        if message.now < node.unbond_at:
            raise LedgerRefused("StillBonded", node.unbond_at)
        amount = node.unbonding
        if amount == 0:
            raise LedgerRefused("InsufficientStake", call.id, 0)
        paid = self.token.transfer(self.addresses["Registry"], message.sender, amount)
        node.unbonding = 0
        return [events.Withdrawn(call.id, amount), paid]

    # ---------------------------------------------------------------------------------------------------------- ledger

    def _create_task(self, call: calls.CreateTask, message: Message) -> list[Event]:
        self._require_role(PUBLISHER, message)
        if not self.active(call.cloud, Tier.CLOUD):
            raise LedgerRefused("NotActive", call.cloud)
        if not 0 < len(call.policy) <= LIMITS.policy_bytes:
            raise LedgerRefused("BadPolicy")
        if self.paused["Ledger"]:
            raise LedgerRefused("Paused")
        id = len(self.tasks) + 1
        policy_hash = sha256(call.policy).digest()
        self.tasks[id] = TaskState(
            publisher=message.sender, cloud=call.cloud, window=call.window, open=True, policy_hash=policy_hash,
            genesis_model=call.genesis_model, last_model=call.genesis_model,
        )  # fmt: skip
        return [
            events.TaskCreated(
                task=id, cloud=call.cloud, publisher=message.sender, window=call.window, policy_hash=policy_hash,
                genesis_model=call.genesis_model, policy=call.policy,
            )
        ]  # fmt: skip

    def _close_task(self, call: calls.CloseTask, message: Message) -> list[Event]:
        task = self._known_task(call.task)
        if message.sender not in (task.publisher, self.node(task.cloud).account):
            raise LedgerRefused("NotAuthorised", message.sender, PUBLISHER)
        if not task.open:
            raise LedgerRefused("TaskClosed", call.task)
        task.open = False
        return [events.TaskEnded(call.task, task.head)]

    def _anchor_round(self, call: calls.AnchorRound, message: Message) -> list[Event]:
        header = call.header
        task = self._known_task(header.task)
        header_hash = eip712.header_hash(header)
        if header_hash == task.last_header:
            return []
        cloud = self.node(task.cloud)
        if message.sender != cloud.account or cloud.status != Status.ACTIVE:
            raise LedgerRefused("NotCloud", message.sender)
        if not task.open:
            raise LedgerRefused("TaskClosed", header.task)
        if header.round != task.head + 1:
            raise LedgerRefused("WrongRound", task.head + 1, header.round)
        if header.prev != task.last_header:
            raise LedgerRefused("WrongPrev", task.last_header)
        if header.policy != task.policy_hash:
            raise LedgerRefused("WrongPolicy", task.policy_hash)
        if header.model_in != task.last_model:
            raise LedgerRefused("WrongModel", task.last_model)
        task.head, task.last_header, task.last_model = header.round, header_hash, header.model_out
        self.records[header.task, header.round] = record_hash(header_hash, message.now)
        return [events.RoundAnchored(header.task, header.round, header_hash, header)]

    # --------------------------------------------------------------------------------------------------------- rewards

    def _fund(self, call: calls.Fund, message: Message) -> list[Event]:
        self._known_task(call.task)
        pool = self.funded.get(call.task, 0) + call.amount
        if pool > UINT256_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        rewards = self.addresses["Rewards"]
        paid = self.token.transfer_from(rewards, message.sender, rewards, call.amount)
        self.funded[call.task] = pool
        return [events.Funded(call.task, message.sender, call.amount), paid]

    def _claim(self, call: calls.Claim, message: Message) -> list[Event]:
        task, node = call.header.task, call.node
        if not self.is_final(call.header, call.anchored_at, message.now):
            raise LedgerRefused("NotFinal", task, call.header.round)
        total = _proven_total(call)
        account = self.node(node).account
        if account == ZERO20:
            raise LedgerRefused("UnknownNode", node)
        before = self.claimed.get((task, node), 0)
        if call.cumulative <= before:
            raise LedgerRefused("NothingToClaim", node)
        amount, pool = call.cumulative - before, self.funded.get(task, 0)
        if total > pool:
            raise LedgerRefused("PoolExceeded", task, total, pool)
        spent = self.paid.get(task, 0) + amount
        if spent > pool:
            raise LedgerRefused("PoolExceeded", task, spent, pool)
        moved = self.token.transfer(self.addresses["Rewards"], account, amount)
        self.claimed[task, node] = call.cumulative
        self.paid[task] = spent
        return [events.Claimed(task, node, account, amount, call.cumulative), moved]

    # --------------------------------------------------------------------------------------------------- administration

    def _mint(self, call: calls.Mint, message: Message) -> list[Event]:
        self._require_role(ADMIN, message)
        return [self.token.mint(call.to, call.amount)]

    def _approve(self, call: calls.Approve, message: Message) -> list[Event]:
        return [self.token.approve(message.sender, call.spender, call.amount)]

    def _grant_role(self, call: calls.GrantRole, message: Message) -> list[Event]:
        if (ADMIN, message.sender) not in self.roles:
            raise LedgerRefused("AccessManagerUnauthorizedAccount", message.sender, ADMIN)
        if call.role == PUBLIC_ROLE:
            raise LedgerRefused("AccessManagerLockedRole", call.role)
        new = (call.role, call.account) not in self.roles
        self.roles.add((call.role, call.account))
        return [events.RoleGranted(call.role, call.account, 0, message.now, new)]

    def _set_paused(self, call: PauseCall, message: Message) -> list[Event]:
        self._require_role(PAUSER, message)
        paused = call.function == "pause"
        self.paused[call.contract] = paused
        return [events.PauseChanged(paused)]

    # ----------------------------------------------------------------------------------------------------------- checks

    def _require_role(self, role: int, message: Message) -> None:
        if (role, message.sender) not in self.roles:
            raise LedgerRefused("NotAuthorised", message.sender, role)

    def _fits(self, parent: int, tier: int) -> bool:
        if tier == Tier.CLOUD:
            return parent == 0
        above = self.node(parent)
        return above.tier == tier + 1 and above.status != Status.REVOKED

    def _known(self, id: int) -> NodeState:
        if id not in self.nodes:
            raise LedgerRefused("UnknownNode", id)
        return self.nodes[id]

    def _owned(self, id: int, message: Message) -> NodeState:
        node = self._known(id)
        if message.sender != node.owner:
            raise LedgerRefused("NotOwner", message.sender)
        return node

    def _spoken_for(self, id: int, message: Message) -> NodeState:
        node = self._known(id)
        if message.sender not in (node.account, node.owner):
            raise LedgerRefused("NotOwner", message.sender)
        return node

    def _known_task(self, id: int) -> TaskState:
        if id not in self.tasks:
            raise LedgerRefused("UnknownTask", id)
        return self.tasks[id]


def _refuse_revoked(id: int, node: NodeState) -> None:
    if node.status == Status.REVOKED:
        raise LedgerRefused("BadStatus", id, node.status)


def _move(id: int, node: NodeState, source: Status, to: Status) -> list[Event]:
    if node.status != source:
        raise LedgerRefused("BadStatus", id, node.status)
    return _set_status(id, node, to)


def _set_status(id: int, node: NodeState, status: Status) -> list[Event]:
    node.status = int(status)
    return [events.StatusChanged(id, int(status))]


def _require_signature(account: bytes, digest: bytes, signature: bytes) -> None:
    try:
        signer = keys.recover_account(digest, signature)
    except PeerFault as fault:
        raise LedgerRefused("BadSignature") from fault
    if signer != account:
        raise LedgerRefused("BadSignature")


def _proven_total(call: calls.Claim) -> int:
    if len(call.hashes) > LIMITS.path_hashes:
        raise LedgerRefused("PathTooLong", len(call.hashes))
    if len(call.sums) != len(call.hashes):
        raise LedgerRefused("BadProof")
    steps = list(zip(call.sums, call.hashes, strict=True))
    try:
        total, root = merkle.sum_root_from_path(call.node, call.cumulative, call.index, call.size, steps)
    except PeerFault as fault:
        raise LedgerRefused("BadProof") from fault
    if root != call.header.rewards_root:
        raise LedgerRefused("BadProof")
    return total


_RULES: Final[dict[type[calls.AnyCall], Callable[[Specification, Any, Message], list[Event]]]] = {
    calls.Register: Specification._register,
    calls.RotateNetKey: Specification._rotate_net_key,
    calls.ProposeAccount: Specification._propose_account,
    calls.AcceptAccount: Specification._accept_account,
    calls.SetMeta: Specification._set_meta,
    calls.Admit: Specification._admit,
    calls.Suspend: Specification._suspend,
    calls.Reinstate: Specification._reinstate,
    calls.Revoke: Specification._revoke,
    calls.Stake: Specification._stake,
    calls.Unstake: Specification._unstake,
    calls.Withdraw: Specification._withdraw,
    calls.PauseRegistry: Specification._set_paused,
    calls.UnpauseRegistry: Specification._set_paused,
    calls.CreateTask: Specification._create_task,
    calls.CloseTask: Specification._close_task,
    calls.AnchorRound: Specification._anchor_round,
    calls.PauseLedger: Specification._set_paused,
    calls.UnpauseLedger: Specification._set_paused,
    calls.Fund: Specification._fund,
    calls.Claim: Specification._claim,
    calls.Mint: Specification._mint,
    calls.Approve: Specification._approve,
    calls.GrantRole: Specification._grant_role,
}
