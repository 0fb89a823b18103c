"""`drystone task`: what it takes on the command line. What a verb does is in `nodes.cli.task`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from nodes.cli.options import (
    HOME,
    AggregatorOption,
    ArrivalsOption,
    BlobsOption,
    CodecOption,
    CompensationOption,
    DpClipOption,
    DpDeltaOption,
    DpModeOption,
    DpNoiseOption,
    DpOption,
    DpRateOption,
    DpStepsOption,
    EpochOption,
    GlobalEveryOption,
    HomeOption,
    JsonOption,
    PayOption,
    PeersOption,
    SecondsOption,
    ServerOption,
    ShardsOption,
    StalenessOption,
    UploadOption,
    WidthsOption,
)
from nodes.cli.output import reported

task = typer.Typer(help="Tasks: create, follow, stop.", no_args_is_help=True)

# ------------------------------------------------------------------------------------------------------------------ task


@task.command("new")
@reported
def task_new(
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Name of the cloud that runs the task.")] = "cloud",
    workload: Annotated[str, typer.Option(help="digits or table:FILE.")] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 20,
    aggregator: AggregatorOption = "multi-krum",
    tolerate: Annotated[
        Optional[int], typer.Option(help="Lying devices that the rule must survive. Default: 1, and 0 for the mean.")
    ] = None,
    server: ServerOption = "plain",
    arrangement: Annotated[str, typer.Option(help="flat or two-level.")] = "flat",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    density: Annotated[float, typer.Option(help="Fraction of the coordinates that a selection keeps.")] = 0.01,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    backup_edges: Annotated[int, typer.Option(help="Edges that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    stalest: Annotated[
        Optional[int], typer.Option(help="Rounds before the open one that an update may have started. Default: 64.")
    ] = None,
    compensation: CompensationOption = None,
    widths: WidthsOption = None,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    links: Annotated[
        Optional[str], typer.Option(help="Peers: ring, complete, or exponential (push-sum, and its default).")
    ] = None,
    gossip_step: Annotated[
        Optional[float], typer.Option(help="Peers choco: the part of a step towards the copies. Default: 0.25.")
    ] = None,
    peer_density: Annotated[
        Optional[float], typer.Option(help="Peers choco: the fraction of the coordinates that is sent. Default: 0.1.")
    ] = None,
    bit_budget: Annotated[Optional[int], typer.Option(help="Codec digital: bits of one update.")] = None,
    grid_bits: Annotated[
        Optional[int],
        typer.Option(help="Width of the integer grid, 8 to 24 bits. Default: 16; 24 for noise on the device."),
    ] = None,
    grid_exponent: Annotated[Optional[int], typer.Option(help="One grid unit is worth 2 to this power.")] = None,
    min_updates: Annotated[
        Optional[int], typer.Option(help="Fewer updates void the round. Default: what the rule needs.")
    ] = None,
    round_seconds: Annotated[
        float, typer.Option(help="Seconds until a round closes without those who are missing.")
    ] = 30.0,
    epochs: Annotated[Optional[int], typer.Option(help="Local passes over the data in a round.")] = None,
    batch: Annotated[Optional[int], typer.Option(help="Samples in a local batch.")] = None,
    learning_rate: Annotated[Optional[float], typer.Option(help="Local learning rate.")] = None,
    momentum: Annotated[Optional[float], typer.Option(help="Local momentum. Default: 0.9, 0 under dgc.")] = None,
    proximal: Annotated[Optional[float], typer.Option(help="FedProx: mu, the pull towards the round's model.")] = None,
    seconds: SecondsOption = None,
    shards: ShardsOption = None,
    readers: Annotated[
        Optional[str],
        typer.Option(help="Who may read updates after the round: public or auditors (default under central --dp)."),
    ] = None,
    auditor: Annotated[Optional[list[str]], typer.Option(help="Network key (hex) of an auditor; repeatable.")] = None,
    reward: Annotated[int, typer.Option(help="Token units that a round pays in all.")] = 1_000_000,
    samples_cap: Annotated[
        Optional[int],
        typer.Option(
            help="Declared samples count as at most this many. Default: 4096; 1 for privacy of whole clients."
        ),
    ] = None,
    pay: PayOption = "participation",
    epoch: EpochOption = 10,
    slices: Annotated[int, typer.Option(help="Parts of the evaluation set; a round uses one (pay scores).")] = 4,
    window: Annotated[int, typer.Option(help="Seconds until an anchored round is final and can be claimed.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the model and of local training.")] = 0,
    dp: DpOption = None,
    dp_mode: DpModeOption = "central",
    dp_delta: DpDeltaOption = 1e-5,
    dp_noise: DpNoiseOption = None,
    dp_clip: DpClipOption = 1.0,
    dp_rate: DpRateOption = 0.1,
    dp_steps: DpStepsOption = 20,
    dp_clients: Annotated[int, typer.Option(help="How many clients --dp expects; the sum is divided by it.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Create a task on the ledger and fund its rewards; refused at once if its policy cannot hold."""
    from nodes.cli import task as verbs

    choices = {
        "workload": workload, "client_key": client_key, "model": model, "rounds": rounds, "aggregator": aggregator,
        "server": server, "tolerate": tolerate, "arrangement": arrangement,
        "codec": codec, "density": density, "bit_budget": bit_budget, "upload_seconds": upload_seconds,
        "backup_devices": backup_devices, "backup_edges": backup_edges, "arrivals": arrivals, "staleness": staleness,
        "stalest": stalest, "compensation": compensation, "seconds": seconds, "grid_bits": grid_bits,
        "grid_exponent": grid_exponent, "min_updates": min_updates, "round_seconds": round_seconds, "epochs": epochs,
        "batch": batch, "learning_rate": learning_rate, "momentum": momentum, "proximal": proximal,
        "readers": readers,
        "auditors": tuple(auditor or ()), "reward_per_round": reward, "samples_cap": samples_cap, "seed": seed,
        "pay": pay, "epoch": epoch, "slices": slices, "dp": dp, "dp_delta": dp_delta, "dp_noise": dp_noise,
        "widths": widths, "peers": peers, "global_every": global_every, "links": links, "gossip_step": gossip_step,
        "peer_density": peer_density, "shards": shards,
        "dp_clip": dp_clip, "dp_clients": dp_clients, "dp_mode": dp_mode, "dp_rate": dp_rate, "dp_steps": dp_steps,
    }  # fmt: skip
    verbs.new(home, cloud, choices, window, as_json)


@task.command("rules")
@reported
def task_rules(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the rules by which updates become one: what each needs, and what it goes together with."""
    from nodes.cli import task as verbs

    verbs.rules(as_json, markdown)


@task.command("list")
@reported
def task_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the tasks on the ledger."""
    from nodes.cli import task as verbs

    verbs.listing(home, as_json)


@task.command("show")
@reported
def task_show(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Address of the cloud. Default: the one below --home.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show a task: its policy, its rounds, and what it waits for."""
    from nodes.cli import task as verbs

    verbs.show(home, number, cloud, as_json)


@task.command("watch")
@reported
def task_watch(
    number: Annotated[int, typer.Argument(help="Number of the task.")] = 1,
    home: HomeOption = HOME,
    cloud: Annotated[str, typer.Option(help="Address of the cloud. Default: the one below --home.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Follow a task until it ends (one JSON object a round with --json)."""
    from nodes.cli import task as verbs

    verbs.watch(home, number, cloud, as_json)


@task.command("stop")
@reported
def task_stop(number: Annotated[int, typer.Argument(help="Number of the task.")], home: HomeOption = HOME) -> None:
    """End a task on the ledger; the open round is abandoned."""
    from nodes.cli import task as verbs

    verbs.stop(home, number)


@task.command("claim")
@reported
def task_claim(
    number: Annotated[int, typer.Argument(help="Number of the task.")],
    home: HomeOption = HOME,
    blobs: BlobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pay out what the last final round's rewards root owes each node; the operator's key pays the gas."""
    from nodes.cli import task as verbs

    verbs.claim(home, number, blobs or [], as_json)
