"""`drystone audit`: the whole history, judged from the ledger's record and the blobs alone.

Pure: entries and blobs come in, a report goes out; whoever calls reads files and sockets. The order is that of cause
and effect (the record itself, members, tasks and headers, then each round from its manifest to its rewards, claims, and
what nodes remember), so the first wrong thing in the report is where to look. Bytes of strangers never raise here: they
become findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from ledger import codes
from ledger.audit.equivocation import judge_promises
from ledger.audit.evidence import Evidence
from ledger.audit.history import Anchor, Walk
from ledger.audit.memory import Facts, Memory, judge_memory
from ledger.audit.replay import After, judge_round, read_model
from ledger.audit.report import Bench, Finding, Report, summarise
from ledger.audit.scene import Before, Blobs, Evaluation, Scene, fetch
from ledger.index import ForcedUpdate
from middleware.errors import ConfigurationError, PeerFault
from middleware.policy import Task
from middleware.ports import Position
from middleware.protocol import peering, scoring
from middleware.protocol.memory import EMPTY
from middleware.protocol.settlement import Settlement
from middleware.trust.access import unproven_members
from middleware.trust.keys import NetworkKey
from middleware.types import Header
from middleware.wire.manifest import Manifest
from middleware.wire.members import decode_members

SCOPES = ("public", "auditor")
Progress = Callable[[int, int], None]  # (rounds judged, rounds in all)


class Judged(msgspec.Struct, frozen=True):
    """One round as the audit saw it. `manifest` and `settlement` are None where they could not be read or repeated."""

    header: Header
    position: Position
    manifest: Manifest | None
    settlement: Settlement | None
    models: (
        tuple[tuple[int, bytes], ...] | None
    ) = ()  # edges' own, as it opened with them; None where that is not known


class Examined(msgspec.Struct, frozen=True):
    """Findings in order, and what was established on the way."""

    findings: list[Finding]
    rounds: dict[tuple[int, int], Judged]
    tasks: dict[int, Task]


def verify(
    record: Evidence,
    blobs: Blobs,
    scope: str = "public",
    reader: NetworkKey | None = None,
    task: int = 0,
    memories: Iterable[Memory] = (),
    progress: Progress | None = None,
    evaluation: Evaluation | None = None,
    secret: bytes = b"",
) -> Report:
    """The audit of one task (0: of all), and of the nodes' databases that are given. Of one task alone nothing is said of other
    tasks' rounds, claims or rows: nobody is blamed for what was not looked at."""
    examined = examine(record, blobs, scope, reader, task, progress, evaluation, secret)
    facts, known = _facts(record, examined, task), tuple(memories)
    bench = Bench()
    disputed = judge_promises(facts, known, bench)
    for memory in known:
        judge_memory(facts, memory, bench, disputed)
    return summarise(examined.findings + bench.findings, scope, _left_out(record, examined, scope, evaluation))


def examine(
    record: Evidence,
    blobs: Blobs,
    scope: str = "public",
    reader: NetworkKey | None = None,
    task: int = 0,
    progress: Progress | None = None,
    evaluation: Evaluation | None = None,
    secret: bytes = b"",
) -> Examined:
    """Every check of the record but those of the nodes' databases, in order."""
    if scope not in SCOPES:
        raise ConfigurationError(f"scope {scope!r}: choose one of {', '.join(SCOPES)}")
    bench = Bench()
    bench.findings.extend(record.faults)
    _learn_lists(record, blobs, bench)
    _judge_codes(record, bench)
    walk = Walk(record.registry_domain, bench)
    walk.take(record.entries)
    examined = Examined(bench.findings, {}, dict(record.index.tasks))
    wanted = [number for number in sorted(walk.chains) if task in (0, number)]
    if not wanted:
        bench.unverifiable("task", f"task {task}" if task else "tasks", "the record holds none such")
    total, done = sum(len(walk.chains[number].anchors) for number in wanted), 0
    for number in wanted:
        known = record.index.tasks.get(number)
        if known is None:
            if walk.chains[number].anchors:
                walk.at(number).unverifiable("task", "rounds", "they cannot be judged: the task's policy does not hold")
            continue
        before: Before | None = None
        last = 0
        for anchor in walk.chains[number].anchors:
            if anchor.header.round != last + 1:
                before = (
                    None  # nothing follows from a round that is not there: this one starts from what its header says
                )
            last = anchor.header.round
            forced = tuple(record.index.forced.get(number, ()))
            scene = _scene(record, known, anchor, blobs, scope, reader, evaluation, forced, secret)
            at = walk.at(number, anchor.header.round)
            models = _models(known, anchor.header.round, before)
            after = _judge(record, scene, at, before)
            before, done = after.before, done + 1
            examined.rounds[number, anchor.header.round] = Judged(
                anchor.header, anchor.entry.position, after.manifest, after.settlement, models
            )
            if progress is not None:
                progress(done, total)
    walk.judge_claims(_earned(examined), wanted)
    return examined


def _learn_lists(record: Evidence, blobs: Blobs, bench: Bench) -> None:
    """The lists of batches, without which nobody knows their members, and the signatures of everybody in them."""
    for batch in record.index.unlisted():
        subject = f"list of nodes {batch.first} to {batch.first + batch.count - 1}"
        data = fetch(bench, blobs, "registration", subject, batch.list, "its owner or a cloud")
        if data is None:
            continue
        try:
            bad = unproven_members(record.registry_domain, batch.owner, decode_members(data))
            record.index.learn(data, bad)
        except PeerFault as fault:
            bench.invalid("registration", subject, fault.detail, f"the batch's owner 0x{batch.owner.hex()}", batch.list)
            continue
        bench.valid("registration", subject)  # whoever did not agree to be in it is in no roster, and may not take part


def _judge_codes(record: Evidence, bench: Bench) -> None:
    """The code at each contract's address, where the record tells it."""
    contracts = record.contracts
    for name, text in sorted(record.about.items()):
        if name.startswith(codes.PREFIX):
            contract = name.removeprefix(codes.PREFIX)
            wrong = codes.wrong_code(contract, text, record.addresses.chain_id, contracts)
            by = f"the code at 0x{contracts.get(contract, b'').hex()}"
            bench.holds(not wrong, "code", f"code of contract {contract}", wrong, by, fault="replaced-code")


def _scene(
    record: Evidence, task: Task, anchor: Anchor, blobs: Blobs, scope: str, reader: NetworkKey | None,
    evaluation: Evaluation | None,
    forced: tuple[ForcedUpdate, ...], secret: bytes,
) -> Scene:  # fmt: skip
    position = anchor.entry.position
    return Scene(
        domain=record.ledger_domain, task=task, header=anchor.header, block=position.block,
        transaction=position.transaction, blobs=blobs, roster=record.index.roster(position.block), scope=scope,
        reader=reader, holds=record.index.holds, keys_of=record.index.keys_of, evaluation=evaluation, forced=forced,
        secret=secret,
    )  # fmt: skip


def _judge(record: Evidence, scene: Scene, bench: Bench, before: Before | None) -> After:
    """One round; the first starts from the genesis model, with nothing earned and any roster block before its anchor."""
    if before is None:
        first = scene.header.round == 1
        subject = "genesis model" if first else "model the round starts from"
        model = read_model(scene, bench, subject, scene.header.model_in)
        carried = scoring.carried(scene.task.policy, None) if first else None
        moves, state = (() if first else None), (EMPTY if first else None)
        before = Before(model, {} if first else None, 0, carried, moves, state=state)
    return judge_round(scene, bench, before, record.index.roster)


def _models(task: Task, round: int, before: Before | None) -> tuple[tuple[int, bytes], ...] | None:
    """The models that edges have of their own when a round opens, by what the rounds before it left."""
    if task.policy.peers is None or round == 1:
        return ()
    if before is None or before.model is None or before.state is None:
        return None
    with np.errstate(
        all="ignore"
    ):  # a hostile state may be infinitely far from its model; what counts is the same bits
        return peering.models_below(task.policy, before.model, before.state.peers)


def _earned(examined: Examined) -> dict[int, Sequence[tuple[int, dict[int, int] | None]]]:
    earned: dict[int, list[tuple[int, dict[int, int] | None]]] = {}
    for (task, _), judged in sorted(examined.rounds.items()):
        rewards = dict(judged.manifest.rewards) if judged.manifest is not None else None
        earned.setdefault(task, []).append((judged.position.block, rewards))
    return dict(earned)


def _facts(record: Evidence, examined: Examined, task: int) -> Facts:
    return Facts(
        domain=record.ledger_domain,
        tasks=examined.tasks,
        headers={place: judged.header for place, judged in examined.rounds.items()},
        models={place: judged.models for place, judged in examined.rounds.items() if judged.models is not None},
        manifests={place: j.manifest for place, j in examined.rounds.items() if j.manifest is not None},
        transactions={entry.position.transaction: entry.position for entry in record.entries},
        roster_at=record.index.roster,
        keys_of=record.index.keys_of,
        holds=record.index.holds,
        checkpoints=record.index.checkpoints,
        head_block=record.index.head_block,
        task=task,
    )


def _left_out(record: Evidence, examined: Examined, scope: str, evaluation: Evaluation | None) -> list[str]:
    """What this audit does not look at by nature: said, so that VALID is not read as more than it is."""
    words = [
        "accuracy and loss in a manifest: the cloud's claims, which need the evaluation data",
        "whether a device trained honestly: only that what it committed is what was used",
        "samples declared by a device, below the policy's cap",
    ]
    if not any(name.startswith(codes.PREFIX) for name in record.about):
        words.append("the code of the contracts: the record does not tell it")
    if scope == "public" and any(task.policy.readers == "auditors" for task in examined.tasks.values()):
        words.append("contents of updates that only auditors may open, and the aggregates and models made of them")
    measured = [task.policy for task in examined.tasks.values() if task.policy.evaluation]
    if any(evaluation is None or evaluation.root(policy) is None for policy in measured):
        words.append("what rounds were measured with, against the evaluation data: give the table with --data FILE")
    return words
