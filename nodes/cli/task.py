"""`drystone task`: create, follow, stop, pay."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import typer

from middleware.errors import ConfigurationError, Unavailable
from nodes.cli.home import Home
from nodes.cli.output import print_json, print_table
from nodes.cli.terms import terms

WATCH_SECONDS = 0.3


def new(home: Path, cloud: str, choices: dict[str, Any], window: int, as_json: bool) -> None:
    from middleware.protocol.budget import commitment
    from nodes.operator import Choices, Operator, policy_of
    from nodes.secrets import FOLDER, keep, new_secret

    async def act() -> int:
        async with Home(home).ledger() as ledger:
            return await Operator(ledger, Home(home).operator()).create_task(cloud, policy, window)

    if choices["tolerate"] and choices["aggregator"] == "mean":
        raise ConfigurationError("the mean survives no liar: leave --tolerate out, or choose another --aggregator")
    if choices["tolerate"] is None:
        del choices["tolerate"]
    secret = new_secret()
    if choices["dp"] is not None and choices["dp_mode"] == "central":
        choices = {**choices, "dp_commitment": commitment(secret)}
    policy = policy_of(Choices(**choices))
    if policy.privacy is not None:
        here = home / "nodes" / cloud
        kept = keep(here if here.is_dir() else home, secret)
        typer.echo(
            f"secret of the noise: {kept}; the cloud needs it in its folder {FOLDER}, auditors inside the trust too",
            err=True,
        )
    number = asyncio.run(act())
    if as_json:
        print_json({"task": number, "policy": policy})
        return
    print(
        f"task {number}: {policy.workload}, {policy.model} ({policy.parameters:,} parameters), {policy.rounds} rounds"
    )
    print(f"follow it: drystone task watch {number}")


def rules(as_json: bool, markdown: bool) -> None:
    """The table of rules: what each needs and what it goes together with."""
    from middleware.policy import combinations
    from middleware.policy.rule import KINDS

    rows = combinations.rows()
    if as_json:
        print_json([{**row, "says": KINDS[row["rule"]].says if row["rule"] in KINDS else ""} for row in rows])
    elif markdown:
        typer.echo(combinations.markdown(), nl=False)
    else:
        table = [tuple(rows[0]), *(tuple(row.values()) for row in rows)]
        widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
        for row in table:
            typer.echo(" ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def listing(home: Path, as_json: bool) -> None:
    index = Home(home).read_index()
    rows = [
        (task.id, task.policy.workload[:24], task.policy.model, f"{task.head}/{task.policy.rounds}", _state(task))
        for _, task in sorted(index.tasks.items())
    ]
    if as_json:
        print_json([{**msgspec.structs.asdict(task), "state": _state(task)} for _, task in sorted(index.tasks.items())])
    else:
        print_table(f"{len(rows)} tasks", ("task", "workload", "model", "anchored", "state"), rows)


def _state(task: Any) -> str:
    if task.head >= task.policy.rounds:
        return "done"
    return "open" if task.open else "stopped"


def show(home: Path, number: int, cloud: str, as_json: bool) -> None:
    index = Home(home).read_index()
    task = index.tasks.get(number)
    if task is None:
        raise ConfigurationError(f"the ledger knows no task {number}; `drystone task list` lists them")
    try:
        status: dict[str, Any] = asyncio.run(_status(home, cloud))
    except Unavailable as error:
        status = {"state": f"cloud out of reach: {error}", "waiting_for": "", "missing": [], "rounds": {}}
    rounds = status["rounds"].get(str(number), [])
    if as_json:
        print_json({"task": task, "state": _state(task), "anchored": task.head, "status": status, "rounds": rounds})
        return
    policy = task.policy
    print(f"task {number}: {_state(task)}, {task.head} of {policy.rounds} rounds anchored, {len(rounds)} settled")
    print(f"  workload {policy.workload}, model {policy.model}, {policy.parameters:,} parameters, {policy.arrangement}")
    print(f"  rule {policy.rule.name} (f={policy.rule.f}), codec {policy.codec.name}, {policy.grid.bits}-bit grid")
    for name, words in terms(policy):
        print(f"  {name}: {words}")
    print(f"  now: {describe_wait(status)}")
    print_table("", ("round", "accuracy", "updates", "missing", "void"), [
        (r["round"], f"{r['accuracy']:.4f}", r["updates"], len(r["missing"]), "void" if r["void"] else "") for r in rounds
    ])  # fmt: skip


def describe_wait(status: dict[str, Any]) -> str:
    """ "2 of 3 edges, waiting for edge-2", or what else the cloud is doing."""
    missing = ", ".join(status.get("missing", []))
    waits = status.get("waiting_for", "")
    if waits and missing:
        return f"{waits}, waiting for {missing}"
    return waits or str(status.get("state", ""))


async def _status(home: Path, cloud: str) -> dict[str, Any]:
    import aiohttp

    base = cloud or Home(home).cloud_address()
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{base}/status") as answer:
            return msgspec.json.decode(await answer.read(), type=dict[str, Any])
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"no cloud answers at {base}; is it running?") from error


def watch(home: Path, number: int, cloud: str, as_json: bool) -> None:
    index = Home(home).read_index()
    task = index.tasks.get(number)
    if task is None:
        raise ConfigurationError(f"the ledger knows no task {number}; `drystone task list` lists them")
    if as_json:
        for row in _rounds(home, number, cloud, task.policy.rounds, lambda status: None):
            typer.echo(msgspec.json.encode(row))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("task {task.fields[number]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=task.policy.rounds, number=number)
        for row in _rounds(
            home, number, cloud, task.policy.rounds, lambda s: progress.update(bar, description=describe_wait(s))
        ):
            progress.update(bar, completed=row["round"], description=f"accuracy {row['accuracy']:.4f}")


def _rounds(home: Path, number: int, cloud: str, total: int, show: Any) -> Any:
    """Each settled round once, until the task ends; gives up when the cloud has been silent for a minute."""
    seen, silent_since = 0, time.monotonic()
    while seen < total:
        try:
            status = asyncio.run(_status(home, cloud))
            silent_since = time.monotonic()
        except Unavailable:
            if time.monotonic() - silent_since > 60:
                raise
            time.sleep(WATCH_SECONDS)
            continue
        show(status)
        for row in status["rounds"].get(str(number), [])[seen:]:
            seen += 1
            yield row
        if seen < total and not Home(home).read_index().tasks[number].open:
            return
        time.sleep(WATCH_SECONDS)


def stop(home: Path, number: int) -> None:
    from nodes.operator import Operator

    async def act() -> None:
        async with Home(home).ledger() as ledger:
            await Operator(ledger, Home(home).operator()).stop_task(number)

    asyncio.run(act())
    print(f"task {number} is ended on the ledger")


def claim(home: Path, number: int, blobs: list[str], as_json: bool) -> None:
    from nodes.operator import Operator, read_blob

    folders = [Path(folder) for folder in blobs] or Home(home).blob_folders()

    async def act() -> dict[str, int]:
        async with Home(home).ledger() as ledger:
            operator = Operator(ledger, Home(home).operator())
            paid = await operator.claim_all(number, lambda digest: read_blob(folders, digest))
            nodes = operator.index.roster().nodes
            return {nodes[node].name: amount for node, amount in paid.items()}

    paid = asyncio.run(act())
    if as_json:
        print_json(paid)
    else:
        print_table(f"paid for task {number}", ("node", "token units"), paid.items())
