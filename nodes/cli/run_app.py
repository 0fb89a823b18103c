"""`drystone demo`, `sim` and `bench`: whole runs on this machine. What a verb does is in the module of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.options import (
    HOME,
    AggregatorOption,
    ArrivalsOption,
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
    LinkBytesOption,
    PayOption,
    PeersOption,
    SecondsOption,
    ServerOption,
    ShardsOption,
    SlowLinksOption,
    StalenessOption,
    UploadOption,
    WidthsOption,
)
from nodes.cli.output import reported

run = typer.Typer()

# ------------------------------------------------------------------------------------------------------------------ demo


@run.command("demo")
@reported
def demo(
    workload: Annotated[
        str, typer.Option(help="digits, or table:FILE for a .npz or .csv with X, y and maybe client, test.")
    ] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    devices: Annotated[int, typer.Option(help="Devices to start.")] = 8,
    edges: Annotated[int, typer.Option(help="Edges to start; devices are dealt to them in blocks.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 20,
    byzantine: Annotated[str, typer.Option(help="N[:ATTACK]: the first N devices lie.")] = "1",
    aggregator: AggregatorOption = "multi-krum",
    server: ServerOption = "plain",
    arrangement: Annotated[str, typer.Option(help="flat or two-level.")] = "flat",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    slow_links: SlowLinksOption = 0,
    link_bytes: LinkBytesOption = 1e5,
    split: Annotated[str, typer.Option(help="iid, dirichlet:A or client.")] = "dirichlet:0.5",
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    slow: Annotated[int, typer.Option(help="The last so many devices take ten times as long to train.")] = 0,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    compensation: CompensationOption = None,
    widths: WidthsOption = None,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    seconds: SecondsOption = None,
    shards: ShardsOption = None,
    pay: PayOption = "participation",
    epoch: EpochOption = 10,
    dp: DpOption = None,
    dp_mode: DpModeOption = "central",
    dp_delta: DpDeltaOption = 1e-5,
    dp_noise: DpNoiseOption = None,
    dp_clip: DpClipOption = 1.0,
    dp_rate: DpRateOption = 0.1,
    dp_steps: DpStepsOption = 20,
    seed: Annotated[int, typer.Option(help="Seed of the deal, the model and the training.")] = 0,
    on: Annotated[
        str, typer.Option("--ledger", help="evm: a chain on this machine; local: a signed log, no chain.")
    ] = "evm",
    out: Annotated[Path, typer.Option(help="Folder for the report, the picture and the record.")] = Path("runs/demo"),
    as_json: JsonOption = False,
) -> None:
    """Start a chain and three tiers as processes, train with liars among them, anchor, pay, and audit it all."""
    from nodes.cli import demo as verbs

    verbs.run(
        out, as_json, workload=workload, client_key=client_key, devices=devices, edges=edges, rounds=rounds,
        byzantine=byzantine, aggregator=aggregator, server=server,
        arrangement=arrangement, codec=codec, upload_seconds=upload_seconds,
        slow_links=slow_links, link_bytes=link_bytes, split=split, model=model, seed=seed,
        pay=pay, epoch=epoch, ledger=on, dp=dp, dp_delta=dp_delta, dp_noise=dp_noise, dp_clip=dp_clip,
        slow=slow, backup_devices=backup_devices, arrivals=arrivals, staleness=staleness, compensation=compensation,
        seconds=seconds, shards=shards, widths=widths, peers=peers, global_every=global_every,
        dp_mode=dp_mode, dp_rate=dp_rate, dp_steps=dp_steps,
    )  # fmt: skip


@run.command("sim")
@reported
def sim(
    workload: Annotated[
        str,
        typer.Option(help="digits, mnist, hapt, or table:FILE for a .npz or .csv with X, y and maybe client, test."),
    ] = "digits",
    client_key: Annotated[str, typer.Option(help="Name of the column or array that says whose row it is.")] = "client",
    devices: Annotated[int, typer.Option(help="Devices to simulate.")] = 1000,
    edges: Annotated[int, typer.Option(help="Edges; devices are dealt to them in blocks.")] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds to run.")] = 5,
    byzantine: Annotated[str, typer.Option(help="N[:ATTACK]: the first N devices lie.")] = "0",
    aggregator: Annotated[
        str, typer.Option(help="The rule, such as mean or nnm+median; `task rules` lists them.")
    ] = "trimmed-mean",
    codec: CodecOption = "none",
    upload_seconds: UploadOption = None,
    density: Annotated[float, typer.Option(help="Fraction of the coordinates that a selection keeps.")] = 0.01,
    slow_links: SlowLinksOption = 0,
    link_bytes: LinkBytesOption = 1e5,
    partition: Annotated[str, typer.Option(help="Who holds what: iid, dirichlet:A or client.")] = "iid",
    samples: Annotated[
        int, typer.Option(help="Samples that each device draws; 0 deals the data, or draws where there is too little.")
    ] = 0,
    model: Annotated[str, typer.Option(help="auto, mlp:A-B-C, cnn1d or cnn2d.")] = "auto",
    epochs: Annotated[int, typer.Option(help="Passes over its samples that a device trains in a round.")] = 5,
    peers: PeersOption = None,
    global_every: GlobalEveryOption = None,
    batch: Annotated[int, typer.Option(help="Samples in a batch.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Step size of local training.")] = 0.05,
    momentum: Annotated[
        Optional[float], typer.Option(help="Momentum of local training. Default: 0.9, and 0 under codec dgc.")
    ] = None,
    wire: Annotated[
        bool,
        typer.Option("--wire/--no-wire", help="Keys, signatures, sealing and trees as on the wire, or none of them."),
    ] = True,
    ledger: Annotated[
        Optional[bool],
        typer.Option("--ledger/--no-ledger", help="Anchor each round on a ledger in memory. Default: as --wire."),
    ] = None,
    slow: Annotated[int, typer.Option(help="The last so many devices take ten times as long for an update.")] = 0,
    backup_devices: Annotated[int, typer.Option(help="Devices below each edge that a round does not wait for.")] = 0,
    arrivals: ArrivalsOption = None,
    staleness: StalenessOption = None,
    server: ServerOption = "plain",
    seed: Annotated[int, typer.Option(help="Seed of the deal, the model and the training.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads that training may use.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the report and the picture.")] = Path("runs/sim"),
    as_json: JsonOption = False,
) -> None:
    """Simulate thousands of devices in one process, with the code that daemons run."""
    from nodes.cli import sim as verbs

    verbs.run(
        out, as_json, threads, workload=workload, client_key=client_key, devices=devices, edges=edges, rounds=rounds,
        byzantine=byzantine, aggregator=aggregator, codec=codec, density=density, upload_seconds=upload_seconds,
        slow_links=slow_links, link_bytes=link_bytes, split=partition, samples=samples,
        model=model, epochs=epochs, batch=batch, learning_rate=learning_rate, momentum=momentum, wire=wire,
        ledger=wire if ledger is None else ledger, seed=seed, slow=slow, backup_devices=backup_devices, arrivals=arrivals,
        staleness=staleness, server=server, peers=peers, global_every=global_every,
    )  # fmt: skip


@run.command("infer")
@reported
def infer(
    files: Annotated[
        list[str],
        typer.Argument(help="Samples: pictures, or .npy and .npz (X) of one or many. `bench`: the win table."),
    ],
    model: Annotated[str, typer.Option(help="Name of a published model, or its root in hex.")] = "",
    node: Annotated[str, typer.Option(help="Which device asks. Default: the only one below --home.")] = "",
    privacy: Annotated[
        str, typer.Option(help="What may leave the device: open, lossless, features (of the input), local (nothing).")
    ] = "open",
    accuracy: Annotated[float, typer.Option(help="At least, of the samples that the model was measured on.")] = 0.0,
    deadline: Annotated[float, typer.Option(help="Milliseconds that a request may be expected to take. 0: any.")] = 0.0,
    price: Annotated[Optional[float], typer.Option(help="Token units that a request may cost. Default: any.")] = None,
    way: Annotated[str, typer.Option(help="Always this way, such as device, raw or u8@3 (see --explain).")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Every way that was considered, and why not.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what is sent and answered, for `drystone audit session`.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Run a published model on samples, wherever that is best: on the device, its edge, the cloud, or split."""
    from nodes.cli import infer as verbs

    if files == ["bench"]:
        bench("infer-win", False, as_json)
        return
    verbs.run(home, files, model, node, privacy, accuracy, deadline, price, way, explain, keep, as_json)


@run.command("top")
@reported
def top(
    home: HomeOption = HOME,
    seconds: Annotated[float, typer.Option(help="Between two looks.")] = 1.0,
    looks: Annotated[int, typer.Option(help="How many looks. 0: until Ctrl-C.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Watch shared inference on the nodes below --home: requests, latency by part, bytes, joules, what is unpaid."""
    from nodes.cli import top as verbs

    verbs.watch(home, seconds, looks, as_json)


@run.command("bench")
@reported
def bench(
    name: Annotated[Optional[str], typer.Argument(help="Which one; without a name they are listed.")] = None,
    long: Annotated[bool, typer.Option("--long", help="The long form, of those that have one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure on this machine what the documents claim: a table, pictures, and JSON in runs/bench."""
    from nodes.cli import bench as verbs

    if name is None:
        verbs.show(as_json)
    elif status := verbs.run(name, long, as_json):
        raise typer.Exit(status)
