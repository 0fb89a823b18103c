"""What the owner of a key does about a fault: proofs, demands and challenges, sent after they were simulated.

The command line calls this; of the daemons only the answers to demands do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from eth_hash.auto import keccak

from ledger import events
from ledger.audit.memory import OutgoingRow
from ledger.calls import AnyCall, Approve, Collect, SubmitDirect, decode_call, encode_call
from ledger.connect import AnyLedger
from ledger.index import Index
from ledger.local import LocalLedger
from ledger.rpc import hexed
from middleware.errors import ConfigurationError, LedgerRefused, PeerFault, Unavailable
from middleware.ports import Outcome
from middleware.trust import eip712, roots
from middleware.trust.keys import AccountKey
from middleware.types import LIMITS
from middleware.wire.message import Update, decode_stored
from nodes.link import Link

DELIVER_SECONDS: Final = 30.0  # that a forced update's body may take to be accepted
STEP_SECONDS: Final = 0.3
_BOND: Final = keccak(b"bond()")[:4]

# What a refusal means to the person who reads it; the error's name stays in the message.
EXPLAINED: Final = {
    "AlreadyProven": "this fault was punished before",
    "NothingToCollect": "it was paid already, or never proven",
    "NotProven": "the evidence holds, and shows no fault",
    "TooLate": "the time for it is over",
    "TooEarly": "the time for it has not come",
    "AlreadyForced": "this node has forced an update into this round",
    "WrongRound": "this round is over: force the update of the open round",
    "UnknownDispute": "no such dispute is open",
    "NotFinal": "the round may still be disputed",
    "ERC20InsufficientBalance": "the payer does not hold the bond: get token units first",
    "ERC20InsufficientAllowance": "the bond was not approved",
    "NotWitness": "this node may not judge here: an active edge or cloud of another owner than the parties, one an owner",
}


class Sent(msgspec.Struct, frozen=True):
    """A call that was sent, or (without an outcome) simulated and found good."""

    call: AnyCall
    payer: bytes
    outcome: Outcome | None
    collected: Outcome | None = None  # what followed from a verdict

    @property
    def said(self) -> tuple[object, ...]:
        """The contracts' events."""
        outcomes = [outcome for outcome in (self.outcome, self.collected) if outcome is not None]
        return tuple(entry.event for outcome in outcomes for entry in outcome.entries)


class Loss(msgspec.Struct, frozen=True):
    """What a node lost, in token units, and who got how much of it; the rest was burned."""

    node: int
    amount: int
    reward: int
    to: bytes


class Disputes:
    """A key that pays, and the ledger it acts on."""

    def __init__(self, ledger: AnyLedger, key: AccountKey) -> None:
        self.ledger, self.key = ledger, key

    async def send(self, call: AnyCall, dry_run: bool = False) -> Sent:
        """Simulate, then send. LedgerRefused with the reason in words."""
        try:
            await self.ledger.simulate(call, self.key.address)
            outcome = None if dry_run else await self.ledger.send(call, self.key)
        except LedgerRefused as refused:
            raise explained(refused) from refused
        return Sent(call, self.key.address, outcome, await self._collect(outcome) if outcome is not None else None)

    async def _collect(self, outcome: Outcome) -> Outcome | None:
        """Where the Arbiter has just seized a stake: have it paid and burned, which anybody may."""
        proven = next((entry.event for entry in outcome.entries if isinstance(entry.event, events.Proven)), None)
        if proven is None or proven.amount == 0:
            return None
        call = Collect(proven.kind, proven.task, proven.round, proven.accused)
        return await self.ledger.send(call, self.key)

    async def send_bonded(self, call: AnyCall, dry_run: bool = False) -> Sent:
        """As `send`, for a call that takes the Court's bond: it is approved first, which spends nothing by itself. A dry run
        approves nothing, so it can only say what the bond is."""
        bond = await self.bond()
        if dry_run:
            return Sent(call, self.key.address, None)
        await self.send(Approve(self.ledger.book.court, bond))
        return await self.send(call)

    async def bond(self) -> int:
        """What opening a dispute costs until it is decided, in token units."""
        if isinstance(self.ledger, LocalLedger):
            raise ConfigurationError("a local log takes no bonds: anchor it on a chain, and dispute there")
        request = {"to": hexed(self.ledger.book.court), "data": hexed(_BOND)}
        return int(await self.ledger.rpc.ask("eth_call", request, "latest"), 16)


def explained(refused: LedgerRefused) -> LedgerRefused:
    """The refusal, with what it means to a person behind it."""
    meaning = EXPLAINED.get(refused.name)
    if meaning is None:
        return refused
    told = LedgerRefused(refused.name, *refused.arguments)
    told.args = (f"{refused}: {meaning}",)
    return told


def loss(sent: Sent) -> Loss | None:
    """What the accused lost, where something was proven or an answer stayed out."""
    seized = next((event for event in sent.said if isinstance(event, events.Slashed)), None)
    settled = next((event for event in sent.said if isinstance(event, events.Settled)), None)
    if seized is None or settled is None:
        return None
    return Loss(seized.id, seized.amount, settled.reward, settled.to)


# ------------------------------------------------------------------------------------------------------------- by force


class Request(msgspec.Struct, frozen=True):
    """A forced update on its way: the signed call that anybody may send, and what the cloud needs with it."""

    call: SubmitDirect
    frame: bytes  # the stored Update
    body: bytes

    def to_bytes(self) -> bytes:
        tree = {"call": encode_call(self.call).decode(), "frame": self.frame.hex(), "body": self.body.hex()}
        return msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """ConfigurationError for a file that `to_bytes` does not write."""
        try:
            tree = msgspec.json.decode(data, type=dict[str, str])
            call = decode_call(tree["call"].encode())
            frame, body = bytes.fromhex(tree["frame"]), bytes.fromhex(tree["body"])
        except (msgspec.MsgspecError, KeyError, ValueError, PeerFault) as error:
            raise ConfigurationError(f"this is no file that `dispute force --relay` writes: {error}") from error
        if not isinstance(call, SubmitDirect):
            raise ConfigurationError("the file holds another call than a forced update")
        return cls(call, frame, body)


def request_of(domain: eip712.Domain, row: OutgoingRow, body: bytes | None, account: AccountKey) -> Request:
    """A device's composed update as a request; `domain` is the Ledger's."""
    leaf = decode_stored(row.frame, Update).message.leaf
    if body is None:
        raise ConfigurationError(f"the body of this node's update of round {leaf.round} is gone from its store")
    leaf_hash = roots.leaf_hash(domain.context, leaf)
    signature = account.sign_digest(eip712.direct_digest(domain, leaf.task, leaf.round, leaf.node, leaf_hash))
    return Request(SubmitDirect(leaf, signature), row.frame, body)


def unanswered(index: Index, rows: tuple[OutgoingRow, ...], task: int, round: int) -> OutgoingRow:
    """The newest own update without a receipt (of `task` and `round` where they are not 0). ConfigurationError says why there
    is none to force."""
    wanted = [row for row in rows if task in (0, row.task) and round in (0, row.round)]
    if not wanted:
        raise ConfigurationError("this node's store holds no such update: it is composed when its edge shows a round")
    row = max(wanted, key=lambda row: (row.task, row.round))
    if row.reply:
        raise ConfigurationError(
            f"round {row.round} of task {row.task}: the edge gave a receipt, there is nothing to force"
        )
    if len(index.anchored.get(row.task, [])) >= row.round:
        raise ConfigurationError(f"round {row.round} of task {row.task} is over: wait for the next update")
    return row


async def deliver(address: str, request: Request) -> None:
    """Bring a forced update to the cloud, or to any edge. PeerFault when it is refused, Unavailable when nobody takes it."""
    deadline = asyncio.get_running_loop().time() + DELIVER_SECONDS
    async with aiohttp.ClientSession() as session:
        link = Link(address, session, LIMITS)
        while True:
            try:
                await link.post(request.frame, request.body, direct=True)
                return
            except Unavailable:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(STEP_SECONDS)


def write(path: Path, data: bytes) -> None:
    """Write a file that did not exist. ConfigurationError otherwise."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
