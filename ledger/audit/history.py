"""What the ledger itself says, held against itself: registrations, tasks, the chain of headers, claims.

The contracts enforce these rules, so against an honest chain every line here is VALID. An auditor repeats them because
a record comes from an RPC server or a file, and because two of them no contract can check: the ed25519 proof in a
registration, and that what is paid out is what the rounds' manifests earned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

import msgspec

from ledger.audit.report import NOBODY, Bench
from ledger.audit.scene import short
from ledger.events import (
    AccountRotated,
    BatchRegistered,
    Claimed,
    Funded,
    KeyRotated,
    Registered,
    RoundAnchored,
    StatusChanged,
    TaskCreated,
    TaskEnded,
)
from middleware.errors import DrystoneError, PeerFault
from middleware.ports import Entry
from middleware.trust import eip712, keys
from middleware.types import ZERO32, Header, Status, Tier
from middleware.wire.commitment import unpack_name
from middleware.wire.policy import decode_policy


class Member(msgspec.Struct):
    """A node while the record is read from the start."""

    name: str
    account: bytes
    tier: int
    status: int
    proven: bool  # both of its keys signed its registration
    rotations: int = 0


class Anchor(msgspec.Struct, frozen=True):
    """A header and the entry that brought it."""

    header: Header
    entry: Entry


class Chain(msgspec.Struct):
    """One task while the record is read from the start."""

    cloud: int
    policy_hash: bytes
    model: bytes
    head: int = 0
    last: bytes = ZERO32
    open: bool = True
    anchors: list[Anchor] = []


class Walk:
    """One pass over the record. `members` and `chains` are as they stand behind the entries taken so far."""

    def __init__(self, registry: eip712.Domain, bench: Bench) -> None:
        self.registry, self.bench = registry, bench
        self.members: dict[int, Member] = {}
        self.count = 0  # ids given out so far
        self.enrolled: set[int] = set()  # ids of batches
        self.chains: dict[int, Chain] = {}
        self.used_keys: set[bytes] = set()
        self.funded: dict[int, int] = {}
        self.claims: dict[tuple[int, int], list[tuple[Claimed, Entry]]] = {}

    def take(self, entries: Sequence[Entry]) -> None:
        """Judge the entries in order."""
        for entry in entries:
            match entry.event:
                case Registered() as event:
                    self._registered(event)
                case BatchRegistered() as event:
                    self._enrolled(event)
                case StatusChanged(id=node, status=status):
                    self._status(node, status)
                case KeyRotated() as event:
                    self._rotated(event)
                case AccountRotated(id=node, account=account):
                    if self._known(node):
                        self.members[node].account = account
                case TaskCreated() as event:
                    self._created(event, entry)
                case RoundAnchored() as event:
                    self._anchored(event, entry)
                case TaskEnded() as event:
                    self._ended(event)
                case Funded(task=task, amount=amount):
                    self.funded[task] = self.funded.get(task, 0) + amount
                case Claimed() as event:
                    self.claims.setdefault((event.task, event.node), []).append((event, entry))

    def at(self, task: int, round: int = 0) -> Bench:
        """A bench whose findings land in this walk's list, in this place."""
        bench = Bench(task, round)
        bench.findings = self.bench.findings
        return bench

    # ------------------------------------------------------------------------------------------------------------ members

    def _registered(self, event: Registered) -> None:
        """Ids without gaps, keys used once, and both signatures."""
        bench, subject = self.bench, f"registration of node {event.id}"
        if event.id in self.enrolled and event.id not in self.members:
            expected = event.id  # a member of a batch that gets an entry of its own
        else:
            expected = self.count + 1
            self.count += 1
        if event.id != expected:
            bench.invalid("registration", subject, f"node {expected} comes next in the record", NOBODY)
        if event.net_key in self.used_keys:
            bench.invalid("registration", subject, "its network key was registered before", NOBODY)
        self.used_keys.add(event.net_key)
        wrong, proven = self._unsigned(event)
        if not wrong:
            bench.valid("registration", subject)
        elif not proven and event.status == Status.PENDING:
            # Anybody may put such an entry on the ledger; it is no member, and becomes a fault only if it is admitted.
            bench.valid("registration", f"{subject}, which is no member: {wrong}")
        else:
            bench.invalid("registration", subject, wrong, NOBODY)
        self.members[event.id] = Member(unpack_name(event.name), event.account, event.tier, event.status, not wrong)

    def _enrolled(self, event: BatchRegistered) -> None:
        """A batch takes the next ids. Who is in it is its list's to say."""
        subject, after = f"registration of batch {event.first}", self.count + 1
        self.bench.holds(
            event.first == after, "registration", subject, f"node {after} comes next in the record", NOBODY
        )
        self.enrolled.update(range(event.first, event.first + event.count))
        self.count = event.first + event.count - 1

    def _unsigned(self, event: Registered) -> tuple[str, bool]:
        """(what is wrong with the two signatures or "", whether the network key's proof holds)."""
        try:
            digest = eip712.registration_digest(
                self.registry, event.net_key, event.account, event.owner, event.tier, event.parent, event.name,
                event.meta_hash, event.deadline,
            )  # fmt: skip
            if not keys.verify_network(event.net_key, digest, event.net_key_proof):
                return "its network key did not sign it", False
            if keys.recover_account(digest, event.account_signature) != event.account:
                return f"its account 0x{event.account.hex()} did not sign it", True
        except PeerFault as fault:
            return fault.detail, True
        except DrystoneError as error:
            return str(error), False
        return "", True

    def _status(self, node: int, status: int) -> None:
        if not self._known(node):
            return
        member, subject = self.members[node], f"status of node {node}"
        if member.status == Status.REVOKED:
            self.bench.invalid("registration", subject, "it changed after its revocation, which is final", NOBODY)
        elif status == Status.ACTIVE and not member.proven:
            self.bench.invalid(
                "registration", subject, "it was admitted without both signatures", "the registrar's transaction"
            )
        else:
            self.bench.valid("registration", subject)
        member.status = status

    def _rotated(self, event: KeyRotated) -> None:
        if not self._known(event.id):
            return
        member, subject = self.members[event.id], f"key rotation of node {event.id}"
        try:
            digest = eip712.rotation_digest(self.registry, event.id, event.new_key, member.rotations, event.deadline)
            signed = keys.verify_network(event.new_key, digest, event.net_key_proof)
        except DrystoneError:
            signed = False
        fresh = event.new_key not in self.used_keys
        what = "the new network key did not sign it" if fresh else "the new network key was registered before"
        fault = "" if signed else "forged-signature"
        self.bench.holds(signed and fresh, "registration", subject, what, NOBODY, fault=fault)
        member.rotations += 1
        self.used_keys.add(event.new_key)

    def _known(self, node: int) -> bool:
        if node in self.members:
            return True
        self.bench.invalid("registration", f"node {node}", "the record changes it but never registered it", NOBODY)
        return False

    # -------------------------------------------------------------------------------------------------------------- tasks

    def _created(self, event: TaskCreated, entry: Entry) -> None:
        bench, subject = self.at(event.task), "policy"
        by = f"the publisher's transaction 0x{entry.position.transaction.hex()[:16]}"
        expected = len(self.chains) + 1
        if event.task != expected:
            bench.invalid("task", "task", f"task {expected} comes next in the record", NOBODY)
        cloud = self.members.get(event.cloud)
        bench.holds(
            cloud is not None and cloud.tier == Tier.CLOUD and cloud.status == Status.ACTIVE, "task", "cloud",
            f"node {event.cloud} was no active cloud when the task was created", by,
        )  # fmt: skip
        digest = sha256(event.policy).digest()
        if digest != event.policy_hash:
            bench.invalid(
                "task",
                subject,
                f"its bytes have SHA-256 {short(digest)}, the event says {short(event.policy_hash)}",
                NOBODY,
            )
        else:
            try:
                decode_policy(event.policy)
                bench.valid("task", subject)
            except PeerFault as fault:
                bench.invalid("task", subject, fault.detail, by)
        self.chains[event.task] = Chain(event.cloud, event.policy_hash, event.genesis_model, anchors=[])

    def _anchored(self, event: RoundAnchored, entry: Entry) -> None:
        """One more header: its hash, its links, and who sent it. What is wrong is named once, the first of it."""
        header, bench = event.header, self.at(event.task, event.round)
        chain = self.chains.get(event.task)
        if chain is None:
            bench.invalid("header", "header", "the record holds no such task", NOBODY)
            return
        cloud = self.members.get(chain.cloud)
        by = f"the anchor transaction 0x{entry.position.transaction.hex()[:16]}"
        digest = eip712.header_hash(header)
        gap = event.round > chain.head + 1
        links: tuple[tuple[bool, str, str], ...] = (
            (digest == event.header_hash, f"it hashes to {short(digest)}, the event says {short(event.header_hash)}", NOBODY),
            ((header.task, header.round) == (event.task, event.round), "it names another task or round than its event", NOBODY),
            (event.round == chain.head + 1, f"round {chain.head + 1} comes next: the record has a gap", NOBODY),
            (header.prev == chain.last, f"its prev is {short(header.prev)}, the last header is {short(chain.last)}", by),
            (header.policy == chain.policy_hash, f"its policy is {short(header.policy)}, not {short(chain.policy_hash)}", by),
            (header.model_in == chain.model, f"it starts from model {short(header.model_in)}, not {short(chain.model)}", by),
            (chain.open, "the task had ended", by),
            (
                cloud is not None and cloud.account == entry.position.sender,
                f"0x{entry.position.sender.hex()} sent it, which is not the account of the task's cloud", by,
            ),
            (cloud is not None and cloud.status == Status.ACTIVE, "the task's cloud was not active", by),
        )  # fmt: skip
        wrong = next(((what, whose) for good, what, whose in links if not good), None)
        if wrong is None:
            bench.valid("header", "header")
        else:
            bench.invalid("header", "header", *wrong, fault="skipped-round" if gap else "")
        chain.head, chain.last, chain.model = event.round, event.header_hash, header.model_out
        chain.anchors.append(Anchor(header, entry))

    def _ended(self, event: TaskEnded) -> None:
        bench, chain = self.at(event.task), self.chains.get(event.task)
        if chain is None:
            bench.invalid("task", "end", "the record holds no such task", NOBODY)
            return
        bench.holds(
            chain.open and chain.head == event.head, "task", "end",
            f"it says {event.head} rounds, the record has {chain.head}", NOBODY,
        )  # fmt: skip
        chain.open = False

    # ------------------------------------------------------------------------------------------------------------- claims

    def judge_claims(
        self, earned: Mapping[int, Sequence[tuple[int, Mapping[int, int] | None]]], tasks: Collection[int]
    ) -> None:
        """Payments of these tasks, and of none that the record does not hold, against the rounds: `earned` lists, for each
        task, (anchoring block, cumulative rewards or None)."""
        judged = {key: claims for key, claims in self.claims.items() if key[0] in tasks}
        for (task, _), claims in sorted(judged.items()):
            before = 0
            for event, entry in claims:
                self._claim(event, entry, before, earned.get(task, ()))
                before = event.cumulative
        for task in sorted({task for task, _ in judged}):
            spent = sum(event.amount for key, claims in judged.items() for event, _ in claims if key[0] == task)
            pool = self.funded.get(task, 0)
            self.at(task).holds(
                spent <= pool,
                "claim",
                "pool",
                f"{spent} was paid out of a pool that was given {pool}",
                "the Rewards contract",
            )

    def _claim(
        self, event: Claimed, entry: Entry, before: int, rounds: Sequence[tuple[int, Mapping[int, int] | None]]
    ) -> None:
        bench, subject = self.at(event.task), f"claim of node {event.node} in block {entry.position.block}"
        if event.cumulative - before != event.amount or event.amount <= 0:
            bench.invalid("claim", subject, f"{event.amount} is not {event.cumulative} less {before}", NOBODY)
            return
        known = [rewards for block, rewards in rounds if block <= entry.position.block]
        if any(rewards is not None and rewards.get(event.node) == event.cumulative for rewards in known):
            bench.valid("claim", subject)
        elif any(rewards is None for rewards in known):
            bench.unverifiable("claim", subject, "a manifest that may have promised it is missing")
        else:
            bench.invalid(
                "claim", subject, f"no round promised node {event.node} {event.cumulative}", "the Claimed event"
            )
