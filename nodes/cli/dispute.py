"""`drystone dispute`: the verbs. Evidence is `ledger.dispute`'s work, sending is `nodes.disputes`'; here it is said in words.

Every verb that sends simulates first, says who pays, and with --dry-run stops before it costs anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Optional, TypeVar

import typer

from ledger import events
from ledger.audit.check import examine
from ledger.audit.evidence import Evidence
from ledger.audit.memory import Memory
from ledger.calls import Challenge, Collect, Commit, Conclude, Expire, Lapse, Reveal, WithdrawShares
from ledger.demands import KINDS, SUBJECTS, committed
from ledger.demands import answer as answer_of
from ledger.demands import demand as demand_of
from ledger.dispute import Case, Offence
from ledger.dispute import find as find_offences
from ledger.keystore import is_keystore
from middleware.errors import ConfigurationError
from middleware.trust import eip712
from middleware.trust.keys import AccountKey, KeyFile, NetworkKey, checksum_address
from middleware.types import ZERO32, Node
from nodes.cli.audit import _blobs, _evidence
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table
from nodes.config import Settings
from nodes.disputes import Disputes, Request, Sent, deliver, loss, request_of, unanswered, write
from nodes.operator import named
from nodes.records import Copies, nodes_below, read_memories, read_memory

T = TypeVar("T")
EQUIVOCATION = ("conflictingReceipts", "conflictingRoots")
SENDERS = ("inactiveSender", "duplicateSender")
OMISSIONS = ("omission", "edgeOmission")


class Where:
    """Where a verb reads and who pays: the options that every verb takes."""

    def __init__(
        self, home: Path, log: Optional[Path] = None, blobs: Optional[list[str]] = None,
        key_file: Optional[Path] = None, password_file: Optional[Path] = None, dry_run: bool = False,
        as_json: bool = False,
    ) -> None:  # fmt: skip
        self.folder, self.log, self.places, self.key_file, self.password_file = (
            home,
            log,
            blobs or [],
            key_file,
            password_file,
        )
        self.dry_run, self.as_json = dry_run, as_json
        self.home = Home(home)

    def record(self) -> Evidence:
        return _evidence(self.folder, self.log)

    def blobs(self) -> Copies:
        return _blobs(self.folder, self.places)

    def payer(self, node: str = "") -> AccountKey:
        """The key of --key-file, plain or encrypted; without it that of `node`, who alone may send, or the operator's."""
        if self.key_file is None:
            return self.keys(node).account if node else self.home.operator(self.password_file)
        from nodes.cli.account import unlock

        if self.key_file.is_file() and not is_keystore(data := self.key_file.read_bytes()):
            return KeyFile.from_bytes(data).account
        return unlock(self.key_file, self.password_file)

    def act(self, work: Callable[[Disputes], Coroutine[Any, Any, T]], node: str = "") -> T:
        """Run `work` with the ledger and the payer's key."""
        key = self.payer(node)

        async def acting() -> T:
            async with self.home.ledger() as ledger:
                return await work(Disputes(ledger, key))

        return asyncio.run(acting())

    def node(self, name: str) -> Settings:
        """The settings of a node below the home."""
        found = next((node for node in nodes_below(self.folder) if node.config.name == name), None)
        if found is None:
            known = ", ".join(node.config.name for node in nodes_below(self.folder)) or "none"
            raise ConfigurationError(f"no node {name!r} below {self.folder}: there are {known}")
        return found

    def memory(self, name: str, record: Evidence) -> Memory:
        settings = self.node(name)
        node = record.index.roster().by_name(name)
        return read_memory(settings.path(settings.config.state) / "node.db", name, node.id if node else 0)

    def keys(self, name: str) -> KeyFile:
        settings = self.node(name)
        return KeyFile.from_bytes(settings.path(settings.config.keys).read_bytes())


# ------------------------------------------------------------------------------------------------------------ what there is


def find(where: Where, reader: Optional[Path]) -> None:
    """Everything that can be proven now."""
    record = where.record()
    memories = read_memories(where.folder, record.index.roster())
    offences = find_offences(record, where.blobs(), memories, _reader(reader))
    if where.as_json:
        print_json([_told(record, offence) for offence in offences])
        return
    if not offences:
        typer.echo("nothing can be proven from this record, these blobs and these stores")
        return
    rows = [
        (offence.task, offence.round, offence.kind, _who(record, offence.accused), offence.what) for offence in offences
    ]
    print_table(f"{len(offences)} provable", ("task", "round", "offence", "accused", "what"), rows)
    typer.echo("each takes one transaction: its gas and no bond; the accused loses its whole stake")


def _told(record: Evidence, offence: Offence) -> dict[str, Any]:
    names = ("kind", "task", "round", "accused", "what")
    told: dict[str, Any] = {name: getattr(offence, name) for name in names}
    return {**told, "who": _who(record, offence.accused), "beneficiary": offence.beneficiary, "takes": offence.takes}


# ------------------------------------------------------------------------------------------------------------------ proofs


def omission(where: Where, name: str, task: int, round: int) -> None:
    """From a node's own store: its receipt against what became of it."""
    record = where.record()
    found = find_offences(record, where.blobs(), [where.memory(name, record)])
    _prove(
        where, record, [o for o in found if o.kind in OMISSIONS], task, round, f"a receipt of {name} that was not kept"
    )


def against(where: Where, name: str, kinds: tuple[str, ...], task: int, round: int, what: str) -> None:
    """What can be proven of one node."""
    record = where.record()
    accused = named(record.index.roster(), name).id
    found = find_offences(record, where.blobs(), read_memories(where.folder, record.index.roster()))
    mine = [offence for offence in found if offence.accused == accused and offence.kind in kinds]
    _prove(where, record, mine, task, round, f"{what} by {name}")


def sums(where: Where, task: int, round: int, reader: Optional[Path]) -> None:
    """The first wrong sum, weight or coordinate of a round."""
    record = where.record()
    found = find_offences(record, where.blobs(), (), _reader(reader))
    _prove(where, record, [o for o in found if o.kind.startswith("wrong")], task, round, "a wrong sum that is shown")


def ignored(where: Where, task: int) -> None:
    """A forced update that the cloud has not read for an hour."""
    record = where.record()
    found = find_offences(record, where.blobs())
    _prove(
        where, record, [o for o in found if o.kind == "forcedIgnored"], task, 0, "a forced update left out for an hour"
    )


def _prove(where: Where, record: Evidence, offences: list[Offence], task: int, round: int, what: str) -> None:
    wanted = [o for o in offences if task in (0, o.task) and round in (0, o.round)]
    if not wanted:
        raise ConfigurationError(f"nothing shows {what}: `drystone dispute find` lists what can be proven here")
    offence = wanted[0]
    sent = where.act(lambda disputes: disputes.send(offence.proof, where.dry_run))
    _report(where, sent, {"offence": _told(record, offence)}, f"{offence.kind}: {offence.what}")


def collect(where: Where, kind: str, name: str, task: int, round: int) -> None:
    """Have paid what somebody's proof seized."""
    record = where.record()
    accused = named(record.index.roster(), name).id
    call = Collect(kind.encode().ljust(32, b"\0"), task, round, accused)
    sent = where.act(lambda disputes: disputes.send(call, where.dry_run))
    paid = next((event for event in sent.said if isinstance(event, events.Settled)), None)
    about: dict[str, Any] = {"kind": kind, "accused": accused}
    line = f"{kind} of {name} in round {round} is paid"
    if paid is not None:
        about |= {"reward": paid.reward, "to": checksum_address(paid.to), "burned": paid.burned}
        line += f": {paid.reward:,} to {checksum_address(paid.to)}, {paid.burned:,} burned"
    _report(where, sent, about, line)


# ------------------------------------------------------------------------------------------------------------------- force


def force(where: Where, name: str, task: int, round: int, relay: Optional[Path], address: str) -> None:
    """A device's composed update, past its edge."""
    record = where.record()
    settings = where.node(name)
    memory = where.memory(name, record)
    row = unanswered(record.index, memory.outgoing, task, round)
    body = Copies([settings.path(settings.config.state) / "blobs"]).get(row.body)
    request = request_of(record.ledger_domain, row, body, where.keys(name).account)
    if relay is not None:
        write(relay, request.to_bytes())
        typer.echo(f"round {row.round} of task {row.task}: written to {relay}, signed by {name}")
        typer.echo(f"whoever pays the gas sends it: drystone dispute relay {relay}")
        return
    _forced(where, request, address)


def relay(where: Where, file: Path, address: str) -> None:
    """Somebody's forced update, at one's own cost."""
    if not file.is_file():
        raise ConfigurationError(f"no file {file}: `drystone dispute force NODE --relay {file}` writes it")
    _forced(where, Request.from_bytes(file.read_bytes()), address)


def _forced(where: Where, request: Request, address: str) -> None:
    leaf = request.call.leaf
    cloud = address or where.home.cloud_address()

    async def act(disputes: Disputes) -> Optional[Sent]:
        from ledger.index import Index
        from middleware.trust import roots

        index = Index()
        index.extend(await disputes.ledger.entries(None))
        domain = eip712.Domain(disputes.ledger.book.chain_id, disputes.ledger.book.ledger)
        known = {one.leaf_hash for one in index.forced.get(leaf.task, [])}
        sent = None
        if roots.leaf_hash(domain.context, leaf) not in known:
            sent = await disputes.send(request.call, where.dry_run)
        if not where.dry_run:
            await deliver(cloud, request)
        return sent

    sent = where.act(act)
    what = f"round {leaf.round} of task {leaf.task}: the update of node {leaf.node}"
    about = {"task": leaf.task, "round": leaf.round, "node": leaf.node, "cloud": cloud}
    if sent is None:
        if where.as_json:
            print_json({**about, "delivered": True})
        else:
            typer.echo(f"{what} was on the ledger already; its body is at {cloud}")
        return
    _report(where, sent, about, f"{what} is on the ledger" + ("" if where.dry_run else f", its body at {cloud}"))


# ----------------------------------------------------------------------------------------------------------------- demands


def demand(where: Where, task: int, round: int, edge: str, kind: str, index: int, chunk: int) -> None:
    if kind not in KINDS:
        raise ConfigurationError(f"--kind {kind!r}: choose one of {', '.join(KINDS)}")
    record = where.record()
    case = Case(record.index, record.ledger_domain, where.blobs(), only=(task, round))
    found = next((r for r in case.rounds if (r.header.task, r.header.round) == (task, round)), None)
    if found is None:
        raise ConfigurationError(f"round {round} of task {task} is not anchored")
    call = demand_of(case, found, named(record.index.roster(), edge).id, KINDS[kind], index, chunk)
    sent = where.act(lambda disputes: disputes.send_bonded(call, where.dry_run))
    asked = next((event for event in sent.said if isinstance(event, events.Demanded)), None)
    about = {"demand": asked.id if asked else None, "deadline": asked.deadline if asked else None}
    line = f"demand {asked.id}: {_who(record, asked.accused)} must answer" if asked else f"demands {kind} of {edge}"
    _report(where, sent, about, line)


def answer(where: Where, number: int, node: str) -> None:
    record = where.record()
    open_ = record.index.demands.get(number)
    if open_ is None:
        raise ConfigurationError(f"demand {number} is not open")
    reader = where.keys(node).network if node else None
    memories = read_memories(where.folder, record.index.roster())
    case = Case(record.index, record.ledger_domain, where.blobs(), memories, reader, (open_.task, open_.round))
    call = answer_of(case, open_)
    sent = where.act(lambda disputes: disputes.send(call, where.dry_run))
    _report(where, sent, {"demand": number}, f"demand {number} is answered; the bond went to the payer")


def expire(where: Where, number: int) -> None:
    sent = where.act(lambda disputes: disputes.send(Expire(number), where.dry_run))
    _report(where, sent, {"demand": number}, f"demand {number} went unanswered")


# -------------------------------------------------------------------------------------------------------------- challenges


def challenge(where: Where, task: int, round: int, subject: str, claim: str, reader: Optional[Path]) -> None:
    if subject not in SUBJECTS:
        raise ConfigurationError(f"--subject {subject!r}: choose one of {', '.join(SUBJECTS)}")
    record = where.record()
    found = next((a for a in record.index.anchored.get(task, []) if a.header.round == round), None)
    if found is None:
        raise ConfigurationError(f"round {round} of task {task} is not anchored")
    digest = _digest(claim) if claim else _replayed(where, record, task, round, subject, reader)
    if digest == committed(found.header, subject):
        raise ConfigurationError(
            f"the header of round {round} says of its {subject} what replaying it says: nothing to claim"
        )
    call = Challenge(found.header, found.position.time, SUBJECTS[subject], digest)
    sent = where.act(lambda disputes: disputes.send_bonded(call, where.dry_run))
    opened = next((event for event in sent.said if isinstance(event, events.Challenged)), None)
    line = f"challenge {opened.id}: " if opened else ""
    about = {"challenge": opened.id if opened else None, "claim": digest}
    _report(where, sent, about, f"{line}the {subject} of round {round} should be 0x{digest.hex()[:16]}")


def commit(where: Where, number: int, node: str, digest: str, reader: Optional[Path]) -> None:
    """A witness's digest, hidden until the time for reveals."""
    from eth_hash.auto import keccak

    record = where.record()
    opened = _challenge(record, number)
    subject = next(name for name, code in SUBJECTS.items() if code == opened.subject)
    value = _digest(digest) if digest else _replayed(where, record, opened.task, opened.round, subject, reader)
    witness, salt = named(record.index.roster(), node), os.urandom(32)
    words = number.to_bytes(32, "big") + witness.id.to_bytes(32, "big") + value + salt
    file = _kept(where, number, node)
    if not where.dry_run:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, f"{value.hex()} {salt.hex()}\n".encode())  # before it is sent: without it nothing can be revealed
    call = Commit(number, witness.id, keccak(words))
    sent = where.act(lambda disputes: disputes.send(call, where.dry_run), node)
    _report(
        where, sent, {"challenge": number}, f"challenge {number}: {node} committed; what it will reveal is in {file}"
    )


def reveal(where: Where, number: int, node: str) -> None:
    record, file = where.record(), _kept(where, number, node)
    if not file.is_file():
        raise ConfigurationError(f"no file {file}: `drystone dispute commit {number} --node {node}` writes it")
    value, salt = (bytes.fromhex(word) for word in file.read_text().split())
    call = Reveal(number, named(record.index.roster(), node).id, value, salt)
    sent = where.act(lambda disputes: disputes.send(call, where.dry_run), node)
    _report(
        where, sent, {"challenge": number, "digest": value}, f"challenge {number}: {node} says 0x{value.hex()[:16]}"
    )


def conclude(where: Where, number: int, lapse: bool) -> None:
    call = Lapse(number) if lapse else Conclude(number)
    sent = where.act(lambda disputes: disputes.send(call, where.dry_run))
    decided = next((event for event in sent.said if isinstance(event, events.Decided)), None)
    words = "it lapsed" if lapse else "the council is asked"
    if decided is not None:
        words = "guilty" if decided.guilty else "not guilty"
    _report(where, sent, {"challenge": number, "verdict": words}, f"challenge {number}: {words}")


def withdraw(where: Where) -> None:
    sent = where.act(lambda disputes: disputes.send(WithdrawShares(), where.dry_run))
    paid = next((event for event in sent.said if isinstance(event, events.Transfer)), None)
    amount = paid.value if paid is not None else None
    _report(where, sent, {"amount": amount}, "shares of bonds" + (f": {amount:,} token units" if amount else ""))


# ------------------------------------------------------------------------------------------------------------------ pieces


def _challenge(record: Evidence, number: int) -> events.Challenged:
    found = record.index.challenges.get(number)
    if found is None:
        raise ConfigurationError(f"challenge {number} is not open")
    return found


def _replayed(where: Where, record: Evidence, task: int, round: int, subject: str, reader: Optional[Path]) -> bytes:
    """What this round's header should say of a subject, by computing the round again."""
    key = _reader(reader)
    examined = examine(record, where.blobs(), "auditor" if key is not None else "public", key, task)
    judged = examined.rounds.get((task, round))
    if judged is None or judged.settlement is None or subject == "manifest":
        raise ConfigurationError(
            f"round {round} of task {task} cannot be computed again here: give the digest yourself"
        )
    value = committed(judged.settlement.header, subject)
    if value == ZERO32:
        raise ConfigurationError(f"round {round} of task {task} has no {subject}")
    return value


def _digest(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no digest: 64 hex digits") from error
    if len(value) != 32:
        raise ConfigurationError(f"{text!r} is no digest: 64 hex digits")
    return value


def _kept(where: Where, number: int, node: str) -> Path:
    return where.folder / "disputes" / f"{number}-{node}.txt"


def _reader(key_file: Optional[Path]) -> Optional[NetworkKey]:
    if key_file is None:
        return None
    if not key_file.is_file():
        raise ConfigurationError(f"no key file {key_file}")
    return KeyFile.from_bytes(key_file.read_bytes()).network


def _who(record: Evidence, number: int) -> str:
    node: Optional[Node] = record.index.roster().nodes.get(number)
    return f"{node.name} (node {number})" if node is not None else f"node {number}"


def _report(where: Where, sent: Sent, about: dict[str, Any], line: str) -> None:
    """One sentence about what was done, who paid, and what it cost whom."""
    lost, outcome = loss(sent), sent.outcome
    if where.as_json:
        told: dict[str, Any] = {**about, "payer": checksum_address(sent.payer), "sent": outcome is not None}
        if outcome is not None:
            told |= {"transaction": outcome.transaction, "block": outcome.block, "gas": outcome.gas_used}
        if lost is not None:
            told |= {"slashed": lost.amount, "reward": lost.reward, "to": checksum_address(lost.to)}
            told["burned"] = lost.amount - lost.reward
        print_json(told)
        return
    typer.echo(line)
    payer = checksum_address(sent.payer)
    if outcome is None:
        typer.echo(f"not sent (--dry-run): the contracts would take it from {payer}")
        return
    gas = f"{outcome.gas_used:,}" + (f" + {sent.collected.gas_used:,}" if sent.collected is not None else "")
    typer.echo(f"sent by {payer} in block {outcome.block}, gas {gas}")
    if lost is not None:
        typer.echo(
            f"node {lost.node} lost {lost.amount:,} token units of stake: {lost.reward:,} to {checksum_address(lost.to)}, "
            f"{lost.amount - lost.reward:,} burned"
        )
