"""`drystone model`: what it takes on the command line. What a verb does is in `nodes.cli.model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from nodes.cli.output import reported

model = typer.Typer(help="Networks: where they can be cut, and what crosses a cut.", no_args_is_help=True)


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Bytes that cross each cut of a network, beside the picture raw, as PNG and as JPEG."""
    from nodes.cli import model as verbs

    verbs.cuts(network, image, size, width, everything, as_json)
