"""The contracts' rules in plain Python: what any ledger must do. `ledger.memory` is a ledger that does exactly that.

`Specification` keeps plain state and applies one call after the other. Every rule stands in the order of the Solidity
source and refuses with the name and the arguments of its custom error; tests/contracts/test_conformance.py holds the
two against each other. A refused call changes nothing: rules check before they write, except those of the Arbiter and the
Court, which call other contracts half-way as they do on a chain; what these did is taken back. Here are the Registry, the
Ledger, Rewards and the administration; `ledger.arbiter`, `ledger.court` and `ledger.models` have the others. Wallets that are
contracts (ERC-1271) are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, TypeAlias

from eth_hash.auto import keccak

from ledger import arbiter, calls, court, events, models
from ledger.credit import ARITHMETIC, Token
from ledger.evidence import root_from_path
from ledger.state import (
    ADMIN,
    COUNCIL,
    PAUSER,
    PUBLISHER,
    REGISTRAR,
    BatchState,
    ChallengeState,
    ChannelState,
    CourtTerms,
    DemandState,
    LogState,
    Message,
    NodeState,
    TaskState,
    record_hash,
    require_signature,
    set_status,
)
from middleware.errors import LedgerRefused, PeerFault
from middleware.ports import Event
from middleware.trust import eip712, merkle
from middleware.types import LIMITS, ZERO20, ZERO32, Status, Tier
from middleware.wire.members import MEMBER_PURPOSE, MOST_MEMBERS

__all__ = [
    "ADMIN", "COUNCIL", "PAUSER", "PUBLISHER", "REGISTRAR", "BatchState", "ChallengeState", "ChannelState", "CourtTerms",
    "DemandState",
    "LogState", "Message", "NodeState", "Specification", "TaskState", "Token", "record_hash",
]  # fmt: skip

PUBLIC_ROLE: Final = (1 << 64) - 1  # AccessManager: everybody holds it, nobody grants it

PROOF_BYTES: Final = 64  # an ed25519 signature
OPEN_BATCH: Final = 1 << 14  # members of a batch by somebody who is no registrar
UINT96_MAX: Final = (1 << 96) - 1
UINT128_MAX: Final = (1 << 128) - 1

PauseCall: TypeAlias = calls.PauseRegistry | calls.UnpauseRegistry | calls.PauseLedger | calls.UnpauseLedger
ArbitersCall: TypeAlias = calls.SetRegistryArbiters | calls.SetLedgerArbiters
BatchCall: TypeAlias = calls.AdmitBatch | calls.SuspendBatch | calls.ReinstateBatch | calls.RevokeBatch
Joining: TypeAlias = calls.Register | calls.Materialise


def member_hash(call: calls.Materialise) -> bytes:
    """The leaf hash of a member under its batch's root (`wire.members.member_data`)."""
    parent = call.parent.to_bytes(4, "big")
    return merkle.leaf_hash(MEMBER_PURPOSE + call.net_key + call.account + parent + call.name + call.meta_hash)


class Specification(arbiter.Arbiter, court.Court, models.Models):
    """The contracts as one object, with the rules for every call. `State` says what it is made of."""

    def apply(self, call: calls.AnyCall, sender: bytes, now: int, block: int) -> list[Event]:
        """What `call` by `sender` (20 bytes) does in a block of time `now` (seconds). LedgerRefused changes nothing."""
        message = Message(sender, now, block)
        rule = _RULES[type(call)]
        if call.contract not in ("Arbiter", "Court"):
            return rule(self, call, message)
        before = self.copy()
        try:
            return rule(self, call, message)
        except LedgerRefused:
            vars(self).update(vars(before))
            raise

    # -------------------------------------------------------------------------------------------------------- registry

    def _register(self, call: calls.Register, message: Message) -> list[Event]:
        if self.paused["Registry"]:
            raise LedgerRefused("Paused")
        if message.now > call.deadline:
            raise LedgerRefused("Expired", call.deadline)
        if not Tier.END <= call.tier <= Tier.CLOUD:
            raise LedgerRefused("BadTier", call.tier)
        self._require_fit(call)
        if call.owner not in (call.account, message.sender):
            raise LedgerRefused("NotOwner", message.sender)
        self._require_registration(call)
        status = Status.ACTIVE if (REGISTRAR, message.sender) in self.roles else Status.PENDING
        self.count += 1
        return [self._join(self.count, call, int(status), message.block, message.block)]

    def _require_fit(self, call: Joining) -> None:
        """What `register` and `materialise` both ask of a node before they look at signatures."""
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

    def _require_registration(self, call: Joining) -> None:
        digest = eip712.registration_digest(
            self.domain, call.net_key, call.account, call.owner, call.tier, call.parent, call.name, call.meta_hash,
            call.deadline,
        )  # fmt: skip
        require_signature(call.account, digest, call.account_signature)

    def _join(self, id: int, call: Joining, status: int, since: int, status_block: int) -> Event:
        self.id_of_key[call.net_key] = self.id_of_account[call.account] = id
        self.nodes[id] = NodeState(
            net_key=call.net_key, account=call.account, tier=int(call.tier), status=status, parent=call.parent,
            since=since, owner=call.owner, status_block=status_block,
        )  # fmt: skip
        return events.Registered(
            id=id, net_key=call.net_key, account=call.account, owner=call.owner, tier=int(call.tier), status=status,
            parent=call.parent, name=call.name, meta_hash=call.meta_hash, deadline=call.deadline,
            account_signature=call.account_signature, net_key_proof=call.net_key_proof,
        )  # fmt: skip

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
        require_signature(node.account, digest, call.account_signature)
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
        self.retired_at[node.account] = message.now
        node.account = message.sender
        self.id_of_account[message.sender] = call.id
        return [events.AccountRotated(call.id, message.sender)]

    def _set_meta(self, call: calls.SetMeta, message: Message) -> list[Event]:
        _refuse_revoked(call.id, self._spoken_for(call.id, message))
        return [events.MetaChanged(call.id, call.meta_hash)]

    def _admit(self, call: calls.Admit, message: Message) -> list[Event]:
        node = self._known(call.id)
        self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.PENDING, Status.ACTIVE, message)

    def _suspend(self, call: calls.Suspend, message: Message) -> list[Event]:
        node = self._known(call.id)
        if message.sender != node.owner:
            self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.ACTIVE, Status.SUSPENDED, message)

    def _reinstate(self, call: calls.Reinstate, message: Message) -> list[Event]:
        node = self._known(call.id)
        self._require_role(REGISTRAR, message)
        return _move(call.id, node, Status.SUSPENDED, Status.ACTIVE, message)

    def _revoke(self, call: calls.Revoke, message: Message) -> list[Event]:
        node = self._known(call.id)
        if message.sender != node.owner:
            self._require_role(REGISTRAR, message)
        _refuse_revoked(call.id, node)
        return set_status(call.id, node, Status.REVOKED, message)

    # --------------------------------------------------------------------------------------------------------- batches

    def _register_batch(self, call: calls.RegisterBatch, message: Message) -> list[Event]:
        if self.paused["Registry"]:
            raise LedgerRefused("Paused")
        registrar = (REGISTRAR, message.sender) in self.roles
        if not 0 < call.count <= (MOST_MEMBERS if registrar else OPEN_BATCH):
            raise LedgerRefused("BadBatch", call.count)
        status = int(Status.ACTIVE if registrar else Status.PENDING)
        first = self.count + 1
        self.count += call.count
        self.batches[first] = BatchState(call.root, message.sender, call.count, status, message.block, message.block)
        return [events.BatchRegistered(first, call.count, message.sender, status, call.root, call.list)]

    def _change_batch(self, call: BatchCall, message: Message) -> list[Event]:
        source, to, owner_may = _BATCH_MOVES[type(call)]
        batch = self._known_batch(call.first)
        if not owner_may or message.sender != batch.owner:
            self._require_role(REGISTRAR, message)
        if batch.status == Status.REVOKED if source is None else batch.status != source:
            raise LedgerRefused("BadStatus", call.first, batch.status)
        batch.status, batch.status_block = int(to), message.block
        return [events.BatchStatusChanged(call.first, int(to))]

    def _materialise(self, call: calls.Materialise, message: Message) -> list[Event]:
        batch = self._known_batch(call.first)
        if call.index >= batch.count:
            raise LedgerRefused("NotMember", call.first, call.index)
        id = call.first + call.index
        if id in self.nodes:
            raise LedgerRefused("AlreadyMaterialised", id)
        if call.tier != Tier.END:
            raise LedgerRefused("BadTier", call.tier)
        if call.owner != batch.owner:
            raise LedgerRefused("NotOwner", call.owner)
        if root_from_path(call.path, call.index, batch.count, member_hash(call)) != batch.root:
            raise LedgerRefused("NotMember", call.first, call.index)
        self._require_fit(call)
        self._require_registration(call)
        return [self._join(id, call, batch.status, batch.since, batch.status_block)]

    def _known_batch(self, first: int) -> BatchState:
        if first not in self.batches:
            raise LedgerRefused("UnknownBatch", first)
        return self.batches[first]

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
        promoted = set_status(call.id, node, Status.ACTIVE, message) if admitted else []
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
        if node.holds:
            raise LedgerRefused("OnHold", call.id)
        if message.now < node.unbond_at:
            raise LedgerRefused("StillBonded", node.unbond_at)
        amount = node.unbonding
        if amount == 0:
            raise LedgerRefused("InsufficientStake", call.id, 0)
        paid = self.token.transfer(self.addresses["Registry"], message.sender, amount)
        node.unbonding = 0
        return [events.Withdrawn(call.id, amount), paid]

    # -------------------------------------------------------------------------------------------------------- arbiters

    def _slash(self, call: calls.Slash, message: Message) -> list[Event]:
        return self.slash(call.id, call.amount, call.reason, message)

    def _settle(self, call: calls.Settle, message: Message) -> list[Event]:
        return self.settle(call.to, call.reward, call.burned, message)

    def _hold_node(self, call: calls.HoldNode, message: Message) -> list[Event]:
        return self.hold_node(call.id, message)

    def _release_node(self, call: calls.ReleaseNode, message: Message) -> list[Event]:
        return self.release_node(call.id, message)

    def _strike(self, call: calls.Strike, message: Message) -> list[Event]:
        return self.strike(call.task, call.round, message)

    def _hold_task(self, call: calls.HoldTask, message: Message) -> list[Event]:
        self.hold_task(call.task, message)
        return []

    def _release_task(self, call: calls.ReleaseTask, message: Message) -> list[Event]:
        self.release_task(call.task, message)
        return []

    def _set_arbiters(self, call: ArbitersCall, message: Message) -> list[Event]:
        self._require_role(ADMIN, message)
        if known := self.arbiters[call.contract]:
            raise LedgerRefused("ArbiterAlreadySet", known[0])
        if ZERO20 in (call.first, call.second):
            raise LedgerRefused("NotArbiter", ZERO20)
        self.arbiters[call.contract] = (call.first, call.second)
        return [events.ArbitersSet(call.first, call.second)]

    # ---------------------------------------------------------------------------------------------------------- ledger

    def _create_task(self, call: calls.CreateTask, message: Message) -> list[Event]:
        self._require_role(PUBLISHER, message)
        if not self.active(call.cloud, Tier.CLOUD):
            raise LedgerRefused("NotActive", call.cloud)
        if not 0 < len(call.policy) <= LIMITS.policy_bytes:
            raise LedgerRefused("BadPolicy")
        bad_trim = call.trim != 0 and call.rule != calls.TRIMMED_MEAN
        if call.rule > calls.TRIMMED_MEAN or bad_trim or call.width not in (2, 4):
            raise LedgerRefused("BadRule", call.rule, call.trim, call.width)
        if call.chunks == 0:
            raise LedgerRefused("BadChunks")
        if self.paused["Ledger"]:
            raise LedgerRefused("Paused")
        id = len(self.tasks) + 1
        policy_hash = sha256(call.policy).digest()
        self.tasks[id] = TaskState(
            publisher=message.sender, cloud=call.cloud, open=True, rule=call.rule, trim=call.trim, width=call.width,
            chunks=call.chunks, window=call.window, policy_hash=policy_hash, genesis_model=call.genesis_model,
            last_model=call.genesis_model,
        )  # fmt: skip
        return [
            events.TaskCreated(
                task=id, cloud=call.cloud, publisher=message.sender, window=call.window, policy_hash=policy_hash,
                genesis_model=call.genesis_model, rule=call.rule, trim=call.trim, width=call.width, chunks=call.chunks,
                policy=call.policy,
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
        done = task.forced_done
        if header.forced != ZERO32 or done:
            done = self.forced_index.get((header.task, header.forced), 0)
            if done == 0 or done < task.forced_done:
                raise LedgerRefused("WrongForced", task.forced_done, done)
        task.forced_done = done
        task.head, task.last_header, task.last_model = header.round, header_hash, header.model_out
        self.records[header.task, header.round] = record_hash(header_hash, header.rewards_root, message.now)
        return [events.RoundAnchored(header.task, header.round, header_hash, header)]

    def _submit_direct(self, call: calls.SubmitDirect, message: Message) -> list[Event]:
        leaf = call.leaf
        task = self._known_task(leaf.task)
        if not task.open:
            raise LedgerRefused("TaskClosed", leaf.task)
        if leaf.round <= task.head:
            raise LedgerRefused("WrongRound", task.head + 1, leaf.round)
        if not self.active(leaf.node, Tier.END):
            raise LedgerRefused("NotActive", leaf.node)
        sender = self.node(leaf.node)
        if sender.parent != leaf.edge or self.node(leaf.edge).parent != task.cloud:
            raise LedgerRefused("BadSender", leaf.node)
        if leaf.weight == 0:
            raise LedgerRefused("BadWeight")
        if (leaf.task, leaf.round, leaf.node) in self.forced:
            raise LedgerRefused("AlreadyForced", leaf.task, leaf.round, leaf.node)
        hash = self.leaf_hash(leaf)
        digest = eip712.direct_digest(self.ledger_domain, leaf.task, leaf.round, leaf.node, hash)
        require_signature(sender.account, digest, call.signature)
        task.forced_count += 1
        k, chain = task.forced_count, forced_chain(self.forced_chain.get(leaf.task, ZERO32), hash)
        self.forced.add((leaf.task, leaf.round, leaf.node))
        self.forced_chain[leaf.task] = chain
        self.forced_index[leaf.task, chain] = k
        self.forced_at[leaf.task, k] = message.now
        return [events.Forced(leaf.task, leaf.round, leaf.node, k, chain, hash, leaf)]

    def _checkpoint(self, call: calls.Checkpoint, message: Message) -> list[Event]:
        node = self.node(call.node)
        if message.sender != node.account or node.status != Status.ACTIVE:
            raise LedgerRefused("NotNode", message.sender)
        if call.size == 0:
            raise LedgerRefused("EmptyLog")
        held = self.logs.get(call.node, LogState())
        if call.size < held.size:
            raise LedgerRefused("LogRewound", held.size)
        now = LogState(call.size, call.root)
        if now == held:
            return []
        _require_continued(held, now, call.path)
        self.logs[call.node] = now
        return [events.Checkpointed(call.node, call.size, call.root)]

    # --------------------------------------------------------------------------------------------------------- rewards

    def _fund(self, call: calls.Fund, message: Message) -> list[Event]:
        self._known_task(call.task)
        if call.amount > UINT128_MAX:
            raise LedgerRefused("SafeCastOverflowedUintDowncast", 128, call.amount)
        pool = self.funded.get(call.task, 0) + call.amount
        if pool > UINT128_MAX:
            raise LedgerRefused("Panic", ARITHMETIC)
        rewards = self.addresses["Rewards"]
        paid = self.token.transfer_from(rewards, message.sender, rewards, call.amount)
        self.funded[call.task] = pool
        return [events.Funded(call.task, message.sender, call.amount), paid]

    def _claim(self, call: calls.Claim, message: Message) -> list[Event]:
        task, node = call.task, call.node
        total, root = _proven(call)
        if not self.is_final_record(task, call.round, record_hash(call.header_hash, root, call.anchored_at),
                                    call.anchored_at, message.now):  # fmt: skip
            raise LedgerRefused("NotFinal", task, call.round)
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

    def _reclaim(self, call: calls.Reclaim, message: Message) -> list[Event]:
        header, last = call.header, self._last_of_ended(call.header.task, message)
        if not self.is_final(header, call.anchored_at, message.now):
            raise LedgerRefused("NotFinal", header.task, header.round)
        if header.round != last:
            raise LedgerRefused("NotLast", header.task, last)
        promises = call.total != 0 or call.tree != ZERO32
        if (merkle.seal_sum(call.total, call.tree) if promises else ZERO32) != header.rewards_root:
            raise LedgerRefused("BadProof")
        return self._pay_back(header.task, call.total, message)

    def _reclaim_unused(self, call: calls.ReclaimUnused, message: Message) -> list[Event]:
        last = self._last_of_ended(call.task, message)
        if last != 0:
            raise LedgerRefused("NotLast", call.task, last)
        return self._pay_back(call.task, 0, message)

    def _pay_back(self, task: int, promised: int, message: Message) -> list[Event]:
        pool, kept = self.funded.get(task, 0), max(promised, self.paid.get(task, 0))
        if pool <= kept:
            raise LedgerRefused("NothingToReclaim", task)
        self.funded[task] = kept
        moved = self.token.transfer(self.addresses["Rewards"], message.sender, pool - kept)
        return [events.Reclaimed(task, message.sender, pool - kept), moved]

    def _last_of_ended(self, id: int, message: Message) -> int:
        """The last round that counts of a task that its publisher, the caller, sees ended; 0 if none counts."""
        task = self.task(id)
        if message.sender != task.publisher:
            raise LedgerRefused("NotPublisher", message.sender)
        if task.open:
            raise LedgerRefused("TaskOpen", id)
        return task.struck - 1 if task.struck else task.head

    # --------------------------------------------------------------------------------------------------- administration

    def _mint(self, call: calls.Mint, message: Message) -> list[Event]:
        self._require_role(ADMIN, message)
        return [self.token.mint(call.to, call.amount)]

    def _burn(self, call: calls.Burn, message: Message) -> list[Event]:
        return [self.token.burn(message.sender, call.amount)]

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

    def _fits(self, parent: int, tier: int) -> bool:
        if tier == Tier.CLOUD:
            return parent == 0
        above = self.node(parent)
        return above.tier == tier + 1 and above.status != Status.REVOKED

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


def _refuse_revoked(id: int, node: NodeState) -> None:
    if node.status == Status.REVOKED:
        raise LedgerRefused("BadStatus", id, node.status)


def _move(id: int, node: NodeState, source: Status, to: Status, message: Message) -> list[Event]:
    if node.status != source:
        raise LedgerRefused("BadStatus", id, node.status)
    return set_status(id, node, to, message)


def forced_chain(before: bytes, leaf_hash: bytes) -> bytes:
    """keccak256(abi.encode(chain before or zero, leaf hash)): by which a header acknowledges a forced update."""
    return keccak(before + leaf_hash)


def _require_continued(held: LogState, now: LogState, path: tuple[bytes, ...]) -> None:
    """LedgerRefused unless `path` proves that the log of `now` continues the recorded one."""
    if held.size == 0:
        if path:
            raise LedgerRefused("BadProof")
        return
    if len(path) > LIMITS.path_hashes:
        raise LedgerRefused("PathTooLong", len(path))
    if not merkle.verify_consistency(held.size, held.root, now.size, now.root, path):
        raise LedgerRefused("BadProof")


def _proven(call: calls.Claim) -> tuple[int, bytes]:
    """(total, rewards root) to which the claim's path leads."""
    if len(call.path) > merkle.SUM_STEP_BYTES * LIMITS.path_hashes:
        raise LedgerRefused("PathTooLong", len(call.path) // merkle.SUM_STEP_BYTES)
    try:
        steps = merkle.unpack_sum_path(call.path)
        return merkle.sum_root_from_path(call.node, call.cumulative, call.index, call.size, steps)
    except PeerFault as fault:
        raise LedgerRefused("BadProof") from fault


_BATCH_MOVES: Final[
    dict[type[BatchCall], tuple[Status | None, Status, bool]]
] = {  # from (any but revoked), to, by owner
    calls.AdmitBatch: (Status.PENDING, Status.ACTIVE, False),
    calls.SuspendBatch: (Status.ACTIVE, Status.SUSPENDED, True),
    calls.ReinstateBatch: (Status.SUSPENDED, Status.ACTIVE, False),
    calls.RevokeBatch: (None, Status.REVOKED, True),
}

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
    calls.RegisterBatch: Specification._register_batch,
    calls.AdmitBatch: Specification._change_batch,
    calls.SuspendBatch: Specification._change_batch,
    calls.ReinstateBatch: Specification._change_batch,
    calls.RevokeBatch: Specification._change_batch,
    calls.Materialise: Specification._materialise,
    calls.Slash: Specification._slash,
    calls.Settle: Specification._settle,
    calls.HoldNode: Specification._hold_node,
    calls.ReleaseNode: Specification._release_node,
    calls.SetRegistryArbiters: Specification._set_arbiters,
    calls.PauseRegistry: Specification._set_paused,
    calls.UnpauseRegistry: Specification._set_paused,
    calls.CreateTask: Specification._create_task,
    calls.CloseTask: Specification._close_task,
    calls.AnchorRound: Specification._anchor_round,
    calls.SubmitDirect: Specification._submit_direct,
    calls.Checkpoint: Specification._checkpoint,
    calls.Strike: Specification._strike,
    calls.HoldTask: Specification._hold_task,
    calls.ReleaseTask: Specification._release_task,
    calls.SetLedgerArbiters: Specification._set_arbiters,
    calls.PauseLedger: Specification._set_paused,
    calls.UnpauseLedger: Specification._set_paused,
    calls.Fund: Specification._fund,
    calls.Claim: Specification._claim,
    calls.Reclaim: Specification._reclaim,
    calls.ReclaimUnused: Specification._reclaim_unused,
    calls.Mint: Specification._mint,
    calls.Burn: Specification._burn,
    calls.Approve: Specification._approve,
    calls.GrantRole: Specification._grant_role,
    **arbiter.RULES,
    **court.RULES,
    **models.RULES,
}
