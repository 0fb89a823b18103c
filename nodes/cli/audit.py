"""`drystone audit`: the verbs. Reading is `nodes.records`, judging is `ledger.audit`; here it is only said in words.

Every verb reads the chain below --home, or the file that --log names; blobs come from --blobs, else from every node
below --home.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import typer

from ledger.audit.anchors import judge_anchors
from ledger.audit.check import SCOPES, examine
from ledger.audit.check import verify as verify_record
from ledger.audit.evidence import Addresses, Evidence, read, take, unreadable
from ledger.audit.explain import Payment, anchored, manifest_of, participants, payment, standing, task_of
from ledger.audit.report import CHECKS, Finding, Report, summarise
from ledger.audit.worth import Worth
from ledger.client import AddressBook
from ledger.connect import AnyLedger, connect
from ledger.journal import BadLog, LogForked
from ledger.local import LocalLedger
from ledger.record import OPENING
from middleware.errors import ConfigurationError, PeerFault
from middleware.maths.contribution import NOVEL_BITS, POINT_BITS
from middleware.policy import Policy
from middleware.protocol import memory
from middleware.protocol.inclusion import Step
from middleware.trust.keys import KeyFile, NetworkKey, checksum_address
from middleware.types import ZERO32, Node, Verdict
from middleware.wire.manifest import Manifest
from nodes import secrets
from nodes.cli.output import print_json, print_table, rounds_bar
from nodes.cli.terms import terms
from nodes.evaluation import Evaluation
from nodes.operator import told
from nodes.records import Copies, blob_folders, nodes_below, verify_exported, verify_home

__all__ = ["explain", "log", "node", "replay", "round", "task", "update", "verify", "verify_exported"]

MARKS = {Verdict.VALID: "ok", Verdict.INVALID: "INVALID", Verdict.UNVERIFIABLE: "?"}
COMPARED = {"sums": "chunks_root", "model": "model_out", "scores": "scores_root", "rewards": "rewards_root"}
SHOWN = 12  # findings printed in full; the rest is counted (--json has them all)


# ------------------------------------------------------------------------------------------------------------ the record


def log(home: Path, log: Path | None, export: Path | None, as_json: bool) -> None:
    """The record, event by event; or, with `export`, as a file that needs no chain to be audited."""
    evidence = _evidence(home, log)
    if export is not None:
        from ledger.record import export_record

        export.write_bytes(export_record(evidence.entries, evidence.head, evidence.about, evidence.blocks))
        typer.echo(f"{len(evidence.entries)} entries up to block {evidence.head.number} written to {export}")
        return
    if as_json:
        print_json([_entry(entry) for entry in evidence.entries])
        return
    rows = [
        (e.position.block, type(e.event).__name__, _said(e.event), f"{e.position.gas_used:,}") for e in evidence.entries
    ]
    print_table(f"record up to block {evidence.head.number}", ("block", "event", "what", "gas"), rows)
    _warn(evidence)


def task(home: Path, log: Path | None, blobs: list[str], number: int, as_json: bool) -> None:
    """What the record says of a task."""
    evidence = _evidence(home, log)
    found, rounds = task_of(evidence, number), evidence.index.anchored.get(number, [])
    if as_json:
        print_json({"task": found, "rounds": [{"header": item.header, "position": item.position} for item in rounds]})
        return
    policy = found.policy
    state = "done" if found.head == policy.rounds else "open" if found.open else "ended"
    lines = [
        ("cloud", _who(evidence, found.cloud)),
        ("workload", f"{policy.workload}, model {policy.model}, {policy.parameters:,} numbers"),
        ("rule", f"{policy.rule.name} (f={policy.rule.f}), {policy.arrangement}, codec {policy.codec.name}"),
        *terms(policy),
        ("grid", f"{policy.grid.bits} bits, one unit is 2^{policy.grid.exponent}"),
        ("rounds", f"{found.head} of {policy.rounds} anchored, {state}"),
        ("reward", f"{policy.reward_per_round:,} a round; pool {evidence.index.funded.get(number, 0):,}"),
        ("readers", policy.readers), ("window", f"{found.window} s"), ("policy", found.policy_hash.hex()),
    ]  # fmt: skip
    _print_pairs(f"task {number}", lines)
    heads = [
        (item.header.round, item.position.block, item.header_hash.hex()[:16], item.header.model_out.hex()[:16],
         item.header.inputs_count, f"{item.position.gas_used:,}")
        for item in rounds
    ]  # fmt: skip
    print_table("rounds", ("round", "block", "header", "model out", "edges", "gas"), heads)


def round(home: Path, log: Path | None, blobs: list[str], task_number: int, number: int, as_json: bool) -> None:
    """A round's header, its manifest, and who took part with which weight."""
    evidence = _evidence(home, log)
    item = anchored(evidence, task_number, number)
    places = _blobs(home, blobs)
    manifest = manifest_of(places, item)
    rows, kept = participants(manifest), _remembered(places, task_of(evidence, task_number).policy, manifest)
    if as_json:
        told = {
            name: getattr(manifest, name) for name in ("roster_block", "exponent", "void", "weight_total", "rewards")
        }
        told |= {"state": manifest.state.hex() if manifest.state != ZERO32 else "", "standing": kept}
        metrics = {"metrics": manifest.metrics.decode()}
        print_json({"header": item.header, "position": item.position, "manifest": told | metrics, "participants": rows})
        return
    fields = [(name, _shown(getattr(item.header, name))) for name in item.header.__struct_fields__]
    _print_pairs(f"header of round {number}, anchored in block {item.position.block}", fields)
    if manifest.state != ZERO32:
        words = [(_who(evidence, node), f"{first} {second}") for node, (first, second) in kept.items()]
        _print_pairs("carried to the next round", [("state", manifest.state.hex()), *words])
    void = " (void: the model stays)" if manifest.void else ""
    late = any(row.base is not None for row in rows)
    table = [
        (
            _who(evidence, row.node),
            _who(evidence, row.edge),
            row.index,
            row.samples,
            row.weight,
            row.refused,
            f"{row.body_bytes:,}",
            *((row.base,) if late else ()),
        )
        for row in rows
    ]
    title = f"{len(rows)} updates{void}; the cloud reports {manifest.metrics.decode()}"
    heads = ("device", "edge", "index", "samples", "weight", "refused", "bytes", *(("model of",) if late else ()))
    print_table(title, heads, table)


def _remembered(places: Copies, policy: Policy, manifest: Manifest) -> dict[int, tuple[int, int]]:
    """How the rule thinks of nodes behind a round; empty where it does not, or where nobody has the state any more."""
    blob = places.get(manifest.state) if manifest.state != ZERO32 else None
    return {} if blob is None else dict(memory.read(policy, blob).standing)


def node(home: Path, log: Path | None, blobs: list[str], task_number: int, name: str, as_json: bool) -> None:
    """A node's history on the ledger, and its part in each round."""
    evidence = _evidence(home, log)
    found = _named(evidence, name)
    events = [entry for entry in evidence.entries if getattr(entry.event, "id", None) == found.id]
    places = _blobs(home, blobs)
    part = []
    for item in evidence.index.anchored.get(task_number, []):
        row = next((row for row in participants(manifest_of(places, item)) if row.node == found.id), None)
        if row is not None:
            part.append(
                {"round": item.header.round, "weight": row.weight, "samples": row.samples, "refused": row.refused}
            )
    if as_json:
        print_json({"node": found, "events": [_entry(entry) for entry in events], "rounds": part})
        return
    lines = [
        ("number", found.id), ("tier", found.tier.label), ("status", found.status.name.lower()),
        ("parent", _who(evidence, found.parent) if found.parent else "none"), ("network key", found.net_key.hex()),
        ("account", checksum_address(found.account)), ("owner", checksum_address(found.owner)),
    ]  # fmt: skip
    _print_pairs(found.name, lines)
    history = [(e.position.block, type(e.event).__name__, _said(e.event)) for e in events]
    print_table("on the ledger", ("block", "event", "what"), history)
    if part:
        print_table(f"in task {task_number}", tuple(part[0]), [tuple(row.values()) for row in part])


def update(
    home: Path, log: Path | None, blobs: list[str], task_number: int, name: str, number: int, as_json: bool
) -> None:
    """One update, and line by line the proof that it stands under the anchored header."""
    evidence = _evidence(home, log)
    found = standing(evidence, _blobs(home, blobs), task_number, number, _named(evidence, name).id)
    if as_json:
        print_json(found)
    else:
        leaf = found.update.leaf
        typer.echo(f"update of {_who(evidence, leaf.node)} in round {number} of task {task_number}")
        typer.echo(
            f"  declared {leaf.weight} samples, weight {found.weight}"
            + (f", refused: {found.refused}" * bool(found.refused))
        )
        typer.echo(f"  body {leaf.ciphertext.hex()}, {found.update.body_bytes:,} bytes sealed")
        typer.echo(f"  integers under {leaf.update_root.hex()}")
        typer.echo(f"  metrics {found.update.metrics.decode()}")
        _print_steps(found.steps)
    _exit_unless(found.steps)


# --------------------------------------------------------------------------------------------------------------- the audit


def verify(
    home: Path, log: Path | None, blobs: list[str], task_number: int, scope: str, key_file: Path | None, as_json: bool,
    data: list[str], anchors: Path | None = None, anchored_by: str = "",
    noise_secret: Path | None = None,
) -> None:  # fmt: skip
    """Check everything and say it; the exit code is the verdict."""
    reader = _reader(scope, key_file)
    secret = b"" if noise_secret is None else secrets.read(noise_secret)
    try:
        evidence = _evidence(home, log)
    except PeerFault as fault:
        report = summarise([unreadable(fault)], scope)
    except (BadLog, LogForked) as bad:
        report = summarise([Finding(Verdict.INVALID, "local log", "log", str(bad), "the log's operator")], scope)
    else:
        if anchors is not None:
            evidence = _anchored(evidence, anchors, anchored_by, whole=log is None)
        with rounds_bar("auditing") as bar:
            if (home / "nodes").is_dir():
                report = verify_home(evidence, home, blobs, scope, reader, task_number, bar, data, secret)
            else:
                report = verify_record(
                    evidence,
                    _blobs(home, blobs),
                    scope,
                    reader,
                    task_number,
                    progress=bar,
                    evaluation=Evaluation(data),
                    secret=secret,
                )
    show_report(report, as_json)


def show_report(report: Report, as_json: bool) -> None:
    """Say it; the exit code is the verdict."""
    if as_json:
        print_json({"counts": report.counts, **_fields(report)})
    else:
        _print_report(report)
    raise typer.Exit(report.exit_code)


def replay(
    home: Path, log: Path | None, blobs: list[str], task_number: int, scope: str, key_file: Path | None, as_json: bool,
    data: list[str],
) -> None:  # fmt: skip
    """Recompute every aggregate, model, score and reward of a task, and compare."""
    evidence = _evidence(home, log)
    scored = task_of(evidence, task_number).policy.pay == "scores"
    fields = {what: field for what, field in COMPARED.items() if scored or what != "scores"}
    with rounds_bar("replaying") as bar:
        examined = examine(
            evidence, _blobs(home, blobs), scope, _reader(scope, key_file), task_number, bar, Evaluation(data)
        )
    rows, worst = [], 0
    for (_, number), judged in sorted(examined.rounds.items()):
        mine = judged.settlement
        compared: dict[str, Any] = {"round": number, "repeated": mine is not None}
        for what, field in fields.items():
            there = getattr(judged.header, field)
            here = getattr(mine.header, field) if mine is not None else b""
            compared[what] = {"ledger": there, "replayed": here, "equal": here == there}
        different = not all(compared[what]["equal"] for what in fields)
        worst = max(worst, 4 if mine is None else 3 if different else 0, key=(0, 4, 3).index)
        rows.append(compared)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            word = (
                "cannot be repeated"
                if not row["repeated"]
                else ", ".join(f"{what} {'equal' if row[what]['equal'] else 'NOT EQUAL'}" for what in fields)
            )
            typer.echo(f"round {row['round']:>3}  model {row['model']['ledger'].hex()}  {word}")
        for finding in examined.findings:
            if finding.verdict is not Verdict.VALID and finding.check in (
                "content",
                "aggregate",
                "model",
                "scores",
                "rewards",
            ):
                typer.echo(finding.line())
                break
    raise typer.Exit(worst)


def explain(
    home: Path, log: Path | None, blobs: list[str], task_number: int, name: str, number: int, as_json: bool
) -> None:
    """Why a node was paid what it was paid in a round."""
    evidence = _evidence(home, log)
    found = payment(evidence, _blobs(home, blobs), task_number, number, _named(evidence, name).id)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{_who(evidence, found.node)} in round {number} of task {task_number}")
        if found.worth is not None:
            _print_worth(found, found.worth)
        else:
            _print_participation(found)
        typer.echo(
            f"  before {found.before:,}, earned {found.earned:,}, now {found.after:,} of {found.total:,} owed to all"
        )
        if found.path:
            typer.echo(f"  entry {found.index} of {found.size}, path:")
            for amount, digest in found.path:
                typer.echo(f"    {amount:>20,}  {digest.hex()}")
        _print_steps(found.steps)
    _exit_unless(found.steps)


def _print_participation(found: Payment) -> None:
    if not found.took_part:
        typer.echo("  it brought no update: no share")
    elif found.refused:
        typer.echo(f"  its update was refused ({found.refused}): no share")
    elif not found.weight:
        typer.echo("  the rule gave its update the weight 0: no share")
    typer.echo(f"  the round pays {found.pool:,}, shared by {found.paid_nodes} nodes whose update was used")
    typer.echo(
        f"  a share is floor({found.pool:,} / {found.paid_nodes}) = {found.share:,}; {found.remainder:,} stays in the pool"
    )


def _print_worth(found: Payment, worth: Worth) -> None:
    """Every factor of pay by scores, in the order in which one follows from the other."""
    mine = worth.score
    if not found.took_part:
        typer.echo("  it brought no update: no score")
    elif found.refused:
        typer.echo(f"  its update was refused ({found.refused}): no score")
    elif not found.weight:
        typer.echo("  the rule gave its update the weight 0: no score")
    typer.echo(f"  measured on evaluation slice {worth.slice}, importance v in blob {worth.importance or 'none'}")
    typer.echo(f"  weight w = {mine.weight:,} of {worth.weight_total:,}")
    exponent = worth.importance_exponent + worth.grid_exponent
    typer.echo(
        f"  raw score -w (v . q) = {mine.raw:,}: it lowered the loss by {worth.value:.6g} "
        f"(raw * 2^{exponent} / (2 * {worth.weight_total:,}))"
    )
    said = {"copy": "nothing counts: another's update, to the bit", "echo": "nothing counts: a move that was known"}
    counts = said.get(mine.reason, "of which this counts, without what the last moves already contained")
    typer.echo(f"  counted {mine.counted:,} (in units of raw / 2^{NOVEL_BITS}): {counts}")
    typer.echo(f"  points {mine.points:,}: counted in units of 2^-{POINT_BITS} of the loss, rounded to nearest")
    typer.echo(f"  epoch of rounds {worth.epoch_first} to {worth.epoch_last}:")
    for row in worth.epoch:
        note = f"  {row.reason}" if row.reason else ""
        typer.echo(
            f"    round {row.round:>4}  weight {row.weight:>6,}  points {row.points:>20,}  sum {row.epoch:>20,}{note}"
        )
    clipped = max(0, mine.epoch)
    typer.echo(f"  sum of the epoch {mine.epoch:,}, cut off at zero {clipped:,}")
    history = ", ".join(f"{number}: {value}" for number, value in worth.reputation)
    typer.echo(f"  reputation {mine.reputation} thousandths (behind round {history})")
    typer.echo(f"  claim {clipped:,} * {mine.reputation} = {worth.claim:,} of {worth.claims:,}")
    if worth.divisor > worth.claims:
        typer.echo(f"  most lost in this epoch, so claims are measured against typical scores: {worth.divisor:,}")
    if not worth.claims:
        typer.echo(f"  nobody has a claim: {worth.remainder:,} stays in the pool")
    elif worth.settles:
        typer.echo(
            f"  the epoch ends here: floor({worth.pool:,} * {worth.claim:,} / {worth.divisor:,}) = {worth.share:,}; "
            f"{worth.remainder:,} stays in the pool"
        )
    else:
        typer.echo(
            f"  the epoch goes on to round {worth.epoch_last} and pays then; it would pay {worth.share:,} of {worth.pool:,} now"
        )
    typer.echo(f"  line {worth.index} of {worth.size} under scoresRoot, path:")
    for digest in worth.path:
        typer.echo(f"    {digest.hex()}")
    if worth.not_derived:
        typer.echo(f"  {worth.not_derived}")


# ----------------------------------------------------------------------------------------------------------------- reading


def _evidence(home: Path, log: Path | None) -> Evidence:
    """From the file, else from the ledger that the home's address book names."""
    if log is not None:
        if not log.is_file():
            raise ConfigurationError(f"no record at {log}: `drystone audit log --export {log}` writes one")
        return read(log.read_bytes())
    from nodes.cli.home import Home

    return _read_ledger(Home(home).ledger())


def _read_ledger(connection: AnyLedger) -> Evidence:
    """Everything that a ledger shows now."""

    async def entries() -> Evidence:
        async with connection as ledger:
            about = await told(ledger)
            evidence = take(await ledger.entries(None), Addresses.parse(about), about)
            if not isinstance(ledger, LocalLedger):
                return evidence
            blocks = (await ledger.blocks())[: evidence.head.number + 1]
            return msgspec.structs.replace(evidence, blocks=blocks)

    return asyncio.run(entries())


def _anchored(evidence: Evidence, anchors: Path, by: str, whole: bool) -> Evidence:
    """The evidence with what a chain's checkpoints say of it. `anchors` is the chain's address book, or its exported record."""
    if not evidence.addresses.operator:
        raise ConfigurationError("--anchors is for the record of a local log: this one is a chain's")
    try:
        data = anchors.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"no address book or record at {anchors}: {error.strerror}") from error
    chain = read(data) if data.startswith(OPENING) else _read_ledger(connect(AddressBook.from_bytes(data)))
    known = chain.index.checkpoints
    node = _named(chain, by).id if by else next(iter(known), 0)
    if not by and len(known) > 1:
        raise ConfigurationError(
            f"nodes {', '.join(map(str, sorted(known)))} have checkpoints there: say with --anchored-by whose are this log's"
        )
    found = judge_anchors(evidence.blocks, known.get(node, []), chain.addresses.chain_id, whole)
    return msgspec.structs.replace(evidence, faults=evidence.faults + chain.faults + found)


def _blobs(home: Path, places: list[str]) -> Copies:
    return Copies(places or blob_folders(nodes_below(home)))


def _reader(scope: str, key_file: Path | None) -> NetworkKey | None:
    if scope not in SCOPES:
        raise ConfigurationError(f"--scope {scope!r}: choose one of {', '.join(SCOPES)}")
    if scope == "auditor" and key_file is None:
        raise ConfigurationError(
            "--scope auditor needs --key-file: the auditor's key opens what the public may not read"
        )
    if key_file is None:
        return None
    if not key_file.is_file():
        raise ConfigurationError(f"no key file {key_file}")
    return KeyFile.from_bytes(key_file.read_bytes()).network


def _named(evidence: Evidence, name: str) -> Node:
    roster = evidence.index.roster()
    found = roster.nodes.get(int(name)) if name.isdigit() else roster.by_name(name)
    if found is None:
        known = ", ".join(sorted(node.name for node in roster.nodes.values())) or "none"
        raise ConfigurationError(f"the record knows no node {name!r}; it knows: {known}")
    return found


def _who(evidence: Evidence, number: int) -> str:
    known = evidence.index.roster().nodes.get(number)
    return f"{known.name} ({number})" if known is not None else f"node {number}"


# ---------------------------------------------------------------------------------------------------------------- printing


def _print_report(report: Report) -> None:
    """One line a round, the first wrong thing in full, what else there is, and the verdict last."""
    for row in report.rounds:
        marks = "  ".join(f"{check} {MARKS[row.checks[check]]}" for check in CHECKS if check in row.checks)
        typer.echo(f"task {row.task} round {row.round:>3}  {marks}")
    if report.first is not None:
        typer.echo("")
        typer.echo("first: " + report.first.line())
        rest = [finding for finding in report.findings if finding is not report.first]
        for finding in rest[:SHOWN]:
            typer.echo("then:  " + finding.line())
        if len(rest) > SHOWN:
            count = Counter(finding.verdict.value for finding in rest[SHOWN:])
            typer.echo(
                f"and {', '.join(f'{number} more {verdict}' for verdict, number in count.items())} (--json lists them)"
            )
    typer.echo("")
    for words in report.not_checked:
        typer.echo(f"not checked: {words}")
    counts = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    typer.echo(f"{report.verdict.value}: {counts} (scope {report.scope})")


def _print_pairs(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Names and values as plain lines: a hash is never cut to fit the screen."""
    typer.echo(title)
    for name, value in rows:
        typer.echo(f"  {name:<12} {value}")


def _print_steps(steps: tuple[Step, ...]) -> None:
    for step in steps:
        typer.echo(f"  {'holds ' if step.holds else 'FAILS '} {step.what}")
        typer.echo(f"         {step.computed}" + ("" if step.holds else f"\n         is not {step.expected}"))


def _exit_unless(steps: tuple[Step, ...]) -> None:
    if not all(step.holds for step in steps):
        raise typer.Exit(3)


def _warn(evidence: Evidence) -> None:
    for fault in evidence.faults:
        typer.echo(fault.line(), err=True)


def _fields(report: Report) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "event": type(entry.event).__name__,
        "fields": entry.event,
        "position": entry.position,
        "address": entry.address,
    }


def _said(event: Any) -> str:
    """An event's fields in one short line."""
    words = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        words.append(f"{name}={_shown(value)}")
    text = " ".join(words)
    return text if len(text) <= 150 else text[:147] + "..."


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{len(value)} bytes"
    if hasattr(value, "__struct_fields__"):
        return f"{type(value).__name__} {getattr(value, 'round', '')}".strip()
    return str(value)
