"""The Court's rules (contracts/src/Court.sol): data that somebody keeps back, and results that only computing again can
judge. ICourt.sol states them; this is the same in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from eth_abi.abi import encode
from eth_hash.auto import keccak

from ledger import calls, events
from ledger.evidence import Evidence, require_under
from ledger.state import COUNCIL, ChallengeState, DemandState, Message, signer_of
from middleware.errors import LedgerRefused
from middleware.ports import Event
from middleware.trust import chunks, eip712
from middleware.types import ZERO32, EdgeLeaf, Header, Status, Tier

LEAF, CHUNK, EDGE_ROOT = 1, 2, 3  # what is demanded
MOST_WITNESSES: Final = 7
LEAST_WITNESSES: Final = 3

_SUBJECTS: Final[dict[int, Callable[[Header], bytes]]] = {
    1: lambda header: header.weights_root,
    2: lambda header: header.chunks_root,
    3: lambda header: header.model_out,
    4: lambda header: header.scores_root,
    5: lambda header: header.rewards_root,
    6: lambda header: header.manifest,
}
_EDGE: Final = "(uint64,uint64,uint32,bytes32,uint64,bytes32,bytes32,uint64)"
_LEAF: Final = "(uint64,uint64,uint32,uint32,uint64,uint32,bytes32,bytes32,bytes32)"


def asked_hash(edge: EdgeLeaf, index: int, chunk: int) -> bytes:
    """keccak256(abi.encode(edge report, index, chunk)): what an answer must be about."""
    return keccak(encode((_EDGE, "uint64", "uint32"), (msgspec.structs.astuple(edge), index, chunk)))


def commitment(id: int, node: int, digest: bytes, salt: bytes) -> bytes:
    """keccak256(abi.encode(id, node, digest, salt)): what a witness commits to."""
    return keccak(encode(("uint256", "uint32", "bytes32", "bytes32"), (id, node, digest, salt)))


class Court(Evidence):
    """What ICourt.sol says, one method a function."""

    # ---------------------------------------------------------------------------------------------------------- demands

    def _demand(self, call: calls.Demand, message: Message) -> list[Event]:
        header, edge, kind = call.header, call.member.edge, call.kind
        if not LEAF <= kind <= EDGE_ROOT:
            raise LedgerRefused("BadKind", kind)
        self._require_anchored(header, call.anchored_at)
        self._require_member(header, call.member)
        task = self.task(header.task)
        self._require_disputable(call.anchored_at, task.window, message)
        index = 0 if kind == EDGE_ROOT else call.index
        if kind != EDGE_ROOT and index >= edge.count:
            raise LedgerRefused("OutOfRange")
        chunk = call.chunk if kind == CHUNK else 0
        if kind == CHUNK and chunk >= task.chunks:
            raise LedgerRefused("OutOfRange")
        by_edge = kind == LEAF or (kind == CHUNK and task.rule == calls.TWO_LEVELS)
        accused = edge.edge if by_edge else task.cloud
        deadline = message.now + self.terms.answer_seconds
        self.disputes += 1
        id = self.disputes
        self.demands[id] = DemandState(
            message.sender, deadline, accused, kind, header.task, header.round, asked_hash(edge, index, chunk)
        )
        asked = events.Demanded(
            id, header.task, accused, header.round, message.sender, kind, edge, index, chunk, deadline
        )
        return [asked, *self._open(accused, header.task, message)]

    def _answer_leaf(self, call: calls.AnswerLeaf, message: Message) -> list[Event]:
        self._require_asked(call.id, LEAF, call.edge, call.placed.index, 0, message)
        self._require_placed(call.edge, call.placed)
        return self._answered(call.id, encode((_LEAF,), (msgspec.structs.astuple(call.placed.leaf),)), message)

    def _answer_chunk(self, call: calls.AnswerChunk, message: Message) -> list[Event]:
        self._require_asked(call.id, CHUNK, call.edge, call.placed.index, call.chunk, message)
        self._require_placed(call.edge, call.placed)
        task = self.task(call.edge.task)
        if len(call.data) != chunks.SALT_BYTES + chunks.CHUNK * task.width:
            raise LedgerRefused("BadProof")
        leaf = chunks.chunk_leaf(call.data)
        require_under(call.path, call.chunk, task.chunks, leaf, call.placed.leaf.update_root)
        return self._answered(call.id, call.data, message)

    def _answer_root(self, call: calls.AnswerRoot, message: Message) -> list[Event]:
        self._require_asked(call.id, EDGE_ROOT, call.edge, 0, 0, message)
        digest = eip712.edge_root_digest(self.ledger_domain, call.edge)
        edge = call.edge.edge
        if edge == 0 or self.id_of_account.get(signer_of(digest, call.signature), 0) != edge:
            raise LedgerRefused("BadSignature", edge)
        return self._answered(call.id, call.signature, message)

    def _expire(self, call: calls.Expire, message: Message) -> list[Event]:
        demand = self._known_demand(call.id)
        if message.now < demand.deadline:
            raise LedgerRefused("TooEarly", demand.deadline)
        del self.demands[call.id]
        court = self._as("Court", message)
        happened: list[Event] = [events.Expired(call.id, demand.accused, self.slashable(demand.accused))]
        happened += self._close(demand.accused, demand.task, court)
        happened += self._punish(demand.accused, b"withheld".ljust(32, b"\0"), demand.challenger, court)
        if demand.accused == self.task(demand.task).cloud:
            happened += self.strike(demand.task, demand.round, court)
        return [*happened, self._pay(demand.challenger, self.terms.bond)]

    # ------------------------------------------------------------------------------------------------------- challenges

    def _challenge(self, call: calls.Challenge, message: Message) -> list[Event]:
        header = call.header
        if call.subject not in _SUBJECTS:
            raise LedgerRefused("BadSubject", call.subject)
        committed = _SUBJECTS[call.subject](header)
        self._require_anchored(header, call.anchored_at)
        task = self.task(header.task)
        self._require_disputable(call.anchored_at, task.window, message)
        if call.claim == committed:
            raise LedgerRefused("SameClaim")
        commit_end = message.now + self.terms.commit_seconds
        self.disputes += 1
        id = self.disputes
        self.challenges[id] = ChallengeState(
            challenger=message.sender, accused=task.cloud, subject=call.subject, task=header.task, round=header.round,
            commit_end=commit_end, reveal_end=commit_end + self.terms.reveal_seconds, committed=committed,
        )  # fmt: skip
        said = events.Challenged(
            id, header.task, task.cloud, header.round, message.sender, call.subject, committed, call.claim
        )
        return [said, *self._open(task.cloud, header.task, message)]

    def _commit(self, call: calls.Commit, message: Message) -> list[Event]:
        challenge = self._known_challenge(call.id)
        if message.now >= challenge.commit_end:
            raise LedgerRefused("TooLate", challenge.commit_end)
        owner = self._witness(call.id, call.node, challenge, message)
        if challenge.commits == MOST_WITNESSES:
            raise LedgerRefused("TooMany", call.id)
        self.seated.add((call.id, owner))
        self.committed_to[call.id, call.node] = call.hash
        challenge.commits += 1
        return [events.Committed(call.id, call.node, call.hash)]

    def _reveal(self, call: calls.Reveal, message: Message) -> list[Event]:
        challenge = self._known_challenge(call.id)
        if message.now < challenge.commit_end:
            raise LedgerRefused("TooEarly", challenge.commit_end)
        if message.now >= challenge.reveal_end:
            raise LedgerRefused("TooLate", challenge.reveal_end)
        hash = commitment(call.id, call.node, call.digest, call.salt)
        said = self.committed_to.get((call.id, call.node), ZERO32)
        if message.sender != self.node(call.node).account or said != hash:
            raise LedgerRefused("BadReveal", call.node)
        del self.committed_to[call.id, call.node]
        if challenge.reveals == 0:
            challenge.digest = call.digest
        elif challenge.digest != call.digest:
            challenge.split = True
        challenge.reveals += 1
        self.witnesses[call.id] = (*self.witnesses.get(call.id, ()), message.sender)
        return [events.Revealed(call.id, call.node, call.digest)]

    def _conclude(self, call: calls.Conclude, message: Message) -> list[Event]:
        challenge = self._known_challenge(call.id)
        if message.now < challenge.reveal_end:
            raise LedgerRefused("TooEarly", challenge.reveal_end)
        if challenge.council_end != 0:
            raise LedgerRefused("TooLate", challenge.reveal_end)
        if challenge.reveals < LEAST_WITNESSES or challenge.split:
            challenge.council_end = message.now + self.terms.council_seconds
            return [events.Referred(call.id, challenge.council_end)]
        if challenge.digest != challenge.committed:
            return self._convict(call.id, challenge, message)
        self._share(self.witnesses[call.id])
        return self._acquit(call.id, challenge, message)

    def _decide(self, call: calls.Decide, message: Message) -> list[Event]:
        challenge = self._known_challenge(call.id)
        self._require_role(COUNCIL, message)
        if challenge.council_end == 0:
            raise LedgerRefused("TooEarly", challenge.reveal_end)
        if message.now >= challenge.council_end:
            raise LedgerRefused("TooLate", challenge.council_end)
        if call.guilty:
            return self._convict(call.id, challenge, message)
        self._owe(self.node(challenge.accused).account, self.terms.bond)
        return self._acquit(call.id, challenge, message)

    def _lapse(self, call: calls.Lapse, message: Message) -> list[Event]:
        challenge = self._known_challenge(call.id)
        if challenge.council_end == 0:
            raise LedgerRefused("TooEarly", challenge.reveal_end)
        if message.now < challenge.council_end:
            raise LedgerRefused("TooEarly", challenge.council_end)
        del self.challenges[call.id]
        released = self._close(challenge.accused, challenge.task, self._as("Court", message))
        return [events.Lapsed(call.id), *released, self._pay(challenge.challenger, self.terms.bond)]

    def _withdraw_shares(self, call: calls.WithdrawShares, message: Message) -> list[Event]:
        amount = self.withdrawable.get(message.sender, 0)
        if amount == 0:
            raise LedgerRefused("NothingToWithdraw", message.sender)
        self.withdrawable[message.sender] = 0
        return [self._pay(message.sender, amount)]

    # ---------------------------------------------------------------------------------------------------------- together

    def _open(self, accused: int, task: int, message: Message) -> list[Event]:
        """Holds what a dispute is about, and takes the caller's bond."""
        judge, court = self._as("Court", message), self.addresses["Court"]
        held = self.hold_node(accused, judge)
        self.hold_task(task, judge)
        return [*held, self.token.transfer_from(court, message.sender, court, self.terms.bond)]

    def _punish(self, accused: int, reason: bytes, challenger: bytes, court: Message) -> list[Event]:
        """Takes the whole stake of `accused`, and settles it."""
        amount = self.slashable(accused)
        taken = self.slash(accused, amount, reason, court)
        return taken + self._settle_half(amount, challenger, court)

    def _close(self, accused: int, task: int, judge: Message) -> list[Event]:
        released = self.release_node(accused, judge)
        self.release_task(task, judge)
        return released

    def _answered(self, id: int, data: bytes, message: Message) -> list[Event]:
        demand = self.demands.pop(id)
        released = self._close(demand.accused, demand.task, self._as("Court", message))
        return [events.Answered(id, message.sender, data), *released, self._pay(message.sender, self.terms.bond)]

    def _convict(self, id: int, challenge: ChallengeState, message: Message) -> list[Event]:
        del self.challenges[id]
        court = self._as("Court", message)
        happened: list[Event] = [events.Decided(id, challenge.accused, True, self.slashable(challenge.accused))]
        happened += self._close(challenge.accused, challenge.task, court)
        happened += self._punish(challenge.accused, b"challenge".ljust(32, b"\0"), challenge.challenger, court)
        happened += self.strike(challenge.task, challenge.round, court)
        return [*happened, self._pay(challenge.challenger, self.terms.bond)]

    def _acquit(self, id: int, challenge: ChallengeState, message: Message) -> list[Event]:
        """The bond is somebody's already."""
        del self.challenges[id]
        released = self._close(challenge.accused, challenge.task, self._as("Court", message))
        return [events.Decided(id, challenge.accused, False, 0), *released]

    def _share(self, witnesses: tuple[bytes, ...]) -> None:
        """Shares the bond; what does not divide is the last one's."""
        part, rest = divmod(self.terms.bond, len(witnesses))
        for witness in witnesses:
            self._owe(witness, part)
        self._owe(witnesses[-1], rest)

    def _owe(self, account: bytes, amount: int) -> None:
        self.withdrawable[account] = self.withdrawable.get(account, 0) + amount

    def _pay(self, to: bytes, amount: int) -> Event:
        return self.token.transfer(self.addresses["Court"], to, amount)

    def _known_demand(self, id: int) -> DemandState:
        if id not in self.demands:
            raise LedgerRefused("UnknownDispute", id)
        return self.demands[id]

    def _known_challenge(self, id: int) -> ChallengeState:
        if id not in self.challenges:
            raise LedgerRefused("UnknownDispute", id)
        return self.challenges[id]

    def _require_asked(
        self, id: int, kind: int, edge: EdgeLeaf, index: int, chunk: int, message: Message
    ) -> None:  # fmt: skip
        demand = self._known_demand(id)
        if demand.kind != kind:
            raise LedgerRefused("BadKind", kind)
        if message.now >= demand.deadline:
            raise LedgerRefused("TooLate", demand.deadline)
        if asked_hash(edge, index, chunk) != demand.asked:
            raise LedgerRefused("Unrelated")

    def _require_disputable(self, anchored_at: int, window: int, message: Message) -> None:
        if not self._disputable(anchored_at, window, message):
            raise LedgerRefused("TooLate", anchored_at + window)

    def _witness(self, id: int, number: int, challenge: ChallengeState, message: Message) -> bytes:
        """The owner of a node that may judge here, and whose account calls."""
        node = self.node(number)
        can_judge = node.status == Status.ACTIVE and node.tier in (Tier.EDGE, Tier.CLOUD)
        if message.sender != node.account or not can_judge:
            raise LedgerRefused("NotWitness", number)
        if (id, node.owner) in self.seated or node.owner == self.node(challenge.accused).owner:
            raise LedgerRefused("NotWitness", number)
        other = self.node(self.id_of_account.get(challenge.challenger, 0)).owner
        if node.owner in (challenge.challenger, other):
            raise LedgerRefused("NotWitness", number)
        return node.owner


RULES: Final[dict[type[calls.AnyCall], Callable[[Any, Any, Message], list[Event]]]] = {
    calls.Demand: Court._demand,
    calls.AnswerLeaf: Court._answer_leaf,
    calls.AnswerChunk: Court._answer_chunk,
    calls.AnswerRoot: Court._answer_root,
    calls.Expire: Court._expire,
    calls.Challenge: Court._challenge,
    calls.Commit: Court._commit,
    calls.Reveal: Court._reveal,
    calls.Conclude: Court._conclude,
    calls.Decide: Court._decide,
    calls.Lapse: Court._lapse,
    calls.WithdrawShares: Court._withdraw_shares,
}
