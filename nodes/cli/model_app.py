"""`drystone model`: what it takes on the command line. What a verb does is in `nodes.cli.model` and `nodes.cli.market`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.options import HOME, HomeOption, JsonOption
from nodes.cli.output import reported

model = typer.Typer(
    help="Models: where they can be cut, who may run them, and what is paid for it.", no_args_is_help=True
)

ModelArgument = Annotated[str, typer.Argument(help="Name of a published model, or its root in hex.")]


@model.command("cuts")
@reported
def cuts(
    network: Annotated[str, typer.Argument(help="Such as mobilenet-v2, squeezenet or resnet-18.")],
    image: Annotated[
        Optional[Path],
        typer.Option(help="Picture to compare with. Default: a photograph that comes with scikit-learn."),
    ] = None,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Height and width of the input in pixels.")] = 224,
    width: Annotated[float, typer.Option(help="Factor on the network's channels.")] = 1.0,
    everything: Annotated[
        bool, typer.Option("--all", help="Also cuts that carry no less than one before them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bytes that cross each cut of a network, beside the picture raw, as PNG and as JPEG."""
    from nodes.cli import model as verbs

    verbs.cuts(network, image, size, width, everything, as_json)


@model.command("publish")
@reported
def publish(
    source: Annotated[
        str,
        typer.Argument(
            help="A .onnx file, a .pt2 (torch.export.save), or task:NUMBER for the model of its last round."
        ),
    ],
    name: Annotated[str, typer.Option(help="What users call it. Default: the file's or the task's name.")] = "",
    price: Annotated[int, typer.Option(help="Token units for a unit of work (a million multiply-accumulates).")] = 0,
    share: Annotated[int, typer.Option(help="Of the price, for the edge that did it, in ten-thousandths.")] = 5000,
    held: Annotated[
        Optional[int], typer.Option(help="Segments that a device may hold; the rest stays at edges. Default: all.")
    ] = None,
    licence: Annotated[
        Optional[Path], typer.Option(help="Text of the licence; its SHA-256 goes on the ledger.")
    ] = None,
    kind: Annotated[str, typer.Option(help="image (uint8, height x width x 3) or tensor.")] = "tensor",
    scale: Annotated[
        str, typer.Option(help="Image: mean and deviation of the three channels, six numbers with commas.")
    ] = "",
    samples: Annotated[
        Optional[Path], typer.Option(help=".npz with X and y to measure accuracy on. A task brings its own.")
    ] = None,
    segments: Annotated[int, typer.Option(help="Into how many it is cut, at most.")] = 12,
    exits: Annotated[
        str, typer.Option(help="Train branches behind so many segments, with commas: 1,3. Sure answers stop there.")
    ] = "",
    bottlenecks: Annotated[
        str, typer.Option(help="Train coders behind so many segments, with commas: what crosses there gets small.")
    ] = "",
    lose: Annotated[float, typer.Option(help="Points of accuracy that exits may cost.")] = 1.0,
    workload: Annotated[str, typer.Option(help="task:NUMBER on a table: its file, table:FILE.")] = "",
    cloud: Annotated[str, typer.Option(help="Address of the cloud that serves it. Default: the one here.")] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Cut a model into segments, measure it, put its root on the ledger and its files on a cloud."""
    from nodes.cli import market as verbs

    verbs.publish(
        home, source, name, price, share, held, licence, kind, scale, samples, segments, workload, cloud, as_json,
        verbs.places(exits), verbs.places(bottlenecks), lose,
    )  # fmt: skip


@model.command("list")
@reported
def show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Every published model: lineage, price, licences, channels."""
    from nodes.cli import market as verbs

    verbs.show(home, as_json)


@model.command("grant")
@reported
def grant(
    model: ModelArgument,
    user: Annotated[str, typer.Option(help="Account that may run it.")] = "",
    node: Annotated[str, typer.Option(help="Or the node whose account may.")] = "",
    days: Annotated[float, typer.Option(help="How long. 0: without end.")] = 0,
    quota: Annotated[int, typer.Option(help="Units of work in all. 0: without end.")] = 0,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Let somebody run a model that the operator owns."""
    from nodes.cli import market as verbs

    verbs.grant(home, model, user, node, days, quota, False, as_json)


@model.command("revoke")
@reported
def revoke(
    model: ModelArgument,
    user: Annotated[str, typer.Option(help="Account that may no longer run it.")] = "",
    node: Annotated[str, typer.Option(help="Or the node whose account may not.")] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a licence back; sessions that are open end with their next request."""
    from nodes.cli import market as verbs

    verbs.grant(home, model, user, node, 0, 0, True, as_json)


@model.command("deposit")
@reported
def deposit(
    model: ModelArgument,
    node: Annotated[str, typer.Option(help="The device that will pay; its key must be here.")],
    amount: Annotated[int, typer.Option(help="Token units.")],
    edge: Annotated[str, typer.Option(help="The edge that is paid. Default: the device's own.")] = "",
    mint: Annotated[bool, typer.Option("--mint", help="Devnet: make the credit, and send gas, first.")] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Open a payment channel from a device to an edge with a deposit."""
    from nodes.cli import market as verbs

    verbs.deposit(home, model, node, edge, amount, mint, as_json)


@model.command("redeem")
@reported
def redeem(
    edge: Annotated[str, typer.Argument(help="The edge whose vouchers are redeemed; its folder must be here.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Redeem the last voucher of each channel that an edge keeps: one transaction a channel."""
    from nodes.cli import market as verbs

    verbs.redeem(home, edge, as_json)


@model.command("close")
@reported
def close(
    channel: Annotated[int, typer.Argument(help="The channel's number.")],
    node: Annotated[str, typer.Option(help="The device that opened it; its key must be here.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Close a channel; a day later, asked again, take back what is left."""
    from nodes.cli import market as verbs

    verbs.close(home, channel, node, as_json)
