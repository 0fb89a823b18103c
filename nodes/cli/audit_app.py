"""`drystone audit`: what it takes on the command line. What a verb does is in `nodes.cli.audit` and beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.options import (
    HOME,
    BlobsOption,
    DataOption,
    HomeOption,
    JsonOption,
    KeyFileOption,
    LogOption,
    ScopeOption,
    TaskOption,
)
from nodes.cli.output import reported

audit = typer.Typer(help="Check what happened, from the ledger and the blobs alone.", no_args_is_help=True)

# ----------------------------------------------------------------------------------------------------------------- audit


@audit.command("log")
@reported
def audit_log(
    home: HomeOption = HOME,
    log: LogOption = None,
    export: Annotated[Optional[Path], typer.Option(help="Write the whole ledger record to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ledger's record, event by event, or export it."""
    from nodes.cli import audit as verbs

    verbs.log(home, log, export, as_json)


@audit.command("task")
@reported
def audit_task(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print what the record says of a task."""
    from nodes.cli import audit as verbs

    verbs.task(home, log, blobs or [], number, as_json)


@audit.command("round")
@reported
def audit_round(
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a round's header and manifest: who took part, with which weight."""
    from nodes.cli import audit as verbs

    verbs.round(home, log, blobs or [], task_number, number, as_json)


@audit.command("node")
@reported
def audit_node(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a node's history: registration, status, keys, and its part in each round."""
    from nodes.cli import audit as verbs

    verbs.node(home, log, blobs or [], task_number, name, as_json)


@audit.command("update")
@reported
def audit_update(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print one update with its inclusion proof up to the header on the ledger."""
    from nodes.cli import audit as verbs

    verbs.update(home, log, blobs or [], task_number, name, number, as_json)


@audit.command("verify")
@reported
def audit_verify(
    task_number: TaskOption = 0,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None,
    scope: ScopeOption = "public", key_file: KeyFileOption = None, data: DataOption = None,
    anchors: Annotated[
        Optional[Path],
        typer.Option(help="Address book or exported record of the chain that a local log was anchored on."),
    ] = None,
    anchored_by: Annotated[str, typer.Option(help="Name or number of the node whose checkpoints are this log's.")] = "",
    noise_secret: Annotated[
        Optional[Path], typer.Option(help="File with the secret of a private task's noise, to repeat it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check the whole history: VALID exits 0, INVALID 3 and names the first wrong thing, UNVERIFIABLE 4."""
    from nodes.cli import audit as verbs

    verbs.verify(
        home, log, blobs or [], task_number, scope, key_file, as_json, data or [], anchors, anchored_by, noise_secret
    )


@audit.command("replay")
@reported
def audit_replay(
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None,
    scope: ScopeOption = "public", key_file: KeyFileOption = None, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Recompute every aggregate, model, score and reward of a task and compare them to the bit."""
    from nodes.cli import audit as verbs

    verbs.replay(home, log, blobs or [], task_number, scope, key_file, as_json, data or [])


@audit.command("tamper")
@reported
def audit_tamper(
    fault: Annotated[str, typer.Argument(help="Name of one fault, e.g. padded-reward. Default: all.")] = "",
    run: Annotated[
        Optional[Path], typer.Option(help="A finished run of `drystone demo`; it stays as it is. Default: a new one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run that is made.")] = 0,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
) -> None:
    """Put each fault into a copy of a run and show that the audit names it; exits 0 only when all are caught."""
    from nodes.cli import tamper as verbs

    verbs.tamper(run, fault, seed, as_json, markdown)


@audit.command("explain")
@reported
def audit_explain(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    task_number: TaskOption = 1,
    home: HomeOption = HOME, log: LogOption = None, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Say why a node was paid what it was paid in a round, with the proof to the rewards root."""
    from nodes.cli import audit as verbs

    verbs.explain(home, log, blobs or [], task_number, name, number, as_json)


@audit.command("bundle")
@reported
def audit_bundle(
    name: Annotated[str, typer.Argument(help="Name or number of the node.")],
    number: Annotated[int, typer.Argument(help="Number of the round.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    task_number: TaskOption = 1,
    block: Annotated[
        Optional[int], typer.Option(help="Block whose state is proven; by default the one that anchored the round.")
    ] = None,
    rpc: Annotated[
        Optional[str], typer.Option(help="Node of the chain to ask instead of the address book's, such as an archive node.")
    ] = None,
    home: HomeOption = HOME, blobs: BlobsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write a file that proves a node's update and reward against one block hash, with no node to be trusted."""
    from nodes.cli import bundle as verbs

    verbs.bundle(home, blobs or [], task_number, name, number, out, block, rpc, as_json)


@audit.command("verify-bundle")
@reported
def audit_verify_bundle(
    file: Annotated[Path, typer.Argument(help="File that `audit bundle` wrote.")],
    block_hash: Annotated[Optional[str], typer.Option(help="Hash of the bundle's block, from a source you trust.")] = None,
    ledger: Annotated[
        Optional[str], typer.Option(help="Address of the ledger; by default the address book's below --home.")
    ] = None,
    chain_id: Annotated[
        Optional[int], typer.Option(help="Id of the chain; by default the address book's below --home.")
    ] = None,
    home: HomeOption = HOME, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check such a file offline: VALID exits 0, INVALID 3, UNVERIFIABLE 4 while no block hash is given."""
    from nodes.cli import bundle as verbs

    verbs.verify_bundle(home, file, block_hash, ledger, chain_id, as_json)


@audit.command("session")
@reported
def audit_session(
    session: Annotated[str, typer.Argument(help="First digits of a kept session. Default: the newest.")] = "",
    node: Annotated[
        str, typer.Option(help="The device whose session it was. Default: the only one below --home.")
    ] = "",
    share: Annotated[float, typer.Option(help="Part of the answers that is run again.")] = 0.1,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Run drawn answers of an edge again, and hold them against what it put on the ledger (sessions of `infer --keep`)."""
    from nodes.cli import infer as verbs

    verbs.audit(home, session, node, share, as_json)
