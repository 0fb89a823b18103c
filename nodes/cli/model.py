"""`drystone model cuts`: what crosses each cut of a network, beside what sending the picture itself would cost.

Splitting a network between a device and a server pays by traffic only where some tensor is smaller than the input, as it would
really be sent. For photographs that is a JPEG, and most networks have no such tensor before their last layers. So every
row stands beside the picture raw, as PNG, and as JPEG.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from middleware.errors import ConfigurationError
from nodes.cli.output import print_json, print_table

QUALITIES: Final = (95, 75)  # of JPEG
EARLY: Final = 0.5  # of the multiply-accumulates: a cut behind more of them leaves the server little to do


def cuts(network: str, image: Path | None, size: int, width: float, everything: bool, as_json: bool) -> None:
    from middleware.infer import graph, lightweight
    from middleware.maths.cut import bottlenecks

    sent = picture_bytes(image, size)
    traced = graph.trace(lightweight.build(network, width=width), (3, size, size))
    rows = _rows(traced, bottlenecks(len(traced.operations), traced.edges), sent)
    found = {
        "network": network, "macs": traced.macs, "parameters": traced.parameters, "picture": sent, "cuts": rows,
        "natural_bottleneck": natural(rows, sent),
    }  # fmt: skip
    if as_json:
        print_json(found)
    else:
        show(found, everything)


def picture_bytes(image: Path | None, size: int) -> dict[str, int]:
    """Bytes of the picture's middle square at `size`, by how it is sent. Without a file: a photograph that scikit-learn has."""
    from PIL import Image, UnidentifiedImageError

    if image is None:
        from sklearn.datasets import load_sample_image

        whole = Image.fromarray(np.asarray(load_sample_image("china.jpg")))
    else:
        try:
            whole = Image.open(image).convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise ConfigurationError(f"{image} is not a picture that can be read: {error}") from error
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    square = whole.crop((left, top, left + side, top + side)).resize((size, size))

    def encoded(kind: str, **options: Any) -> int:
        stream = io.BytesIO()
        square.save(stream, kind, **options)
        return stream.tell()

    jpeg = {f"jpeg{quality}": encoded("JPEG", quality=quality) for quality in QUALITIES}
    return {"raw": 3 * size * size, "png": encoded("PNG", optimize=True), **jpeg}


def _rows(traced: Any, places: list[int], sent: dict[str, int]) -> list[dict[str, Any]]:
    """One row a cut; of several with the same tensor and the same work in front, such as behind a convolution and behind its
    activation, the last."""
    ahead = np.cumsum([operation.macs for operation in traced.operations])
    rows: list[dict[str, Any]] = []
    for place in places[:-1]:  # the last is the result itself
        operation = traced.operations[place]
        row = {
            "after": operation.name, "kind": operation.kind, "shape": operation.shapes[0][1:],
            "share_of_macs": float(ahead[place] / ahead[-1]), "float32": 4 * operation.numbers, "int8": operation.numbers,
            "int4": -(-operation.numbers // 2),
        }  # fmt: skip
        same = rows and (rows[-1]["share_of_macs"], rows[-1]["shape"]) == (row["share_of_macs"], row["shape"])
        rows[len(rows) - bool(same) :] = [row]
    return rows


def natural(rows: list[dict[str, Any]], sent: dict[str, int]) -> dict[str, str]:
    """By how the picture is sent: the first cut whose tensor is smaller in int8, while half of the work is still ahead; "" for
    none."""
    early = [row for row in rows[1:] if row["share_of_macs"] <= EARLY]
    return {how: next((row["after"] for row in early if row["int8"] < size), "") for how, size in sent.items()}


def narrowest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The input, and every cut that carries less than all before it: no other is ever the better one."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if not kept or row["int8"] < kept[-1]["int8"]:
            kept.append(row)
    return kept


def show(found: dict[str, Any], everything: bool) -> None:
    sent = found["picture"]
    title = (
        f"{found['network']}: {found['macs'] / 1e6:.1f} M multiply-accumulates, {found['parameters'] / 1e6:.3f} M parameters; "
        f"the picture: {', '.join(f'{how} {size:,} B' for how, size in sent.items())}"
    )
    shown = found["cuts"] if everything else narrowest(found["cuts"])
    rows = [
        (
            row["after"], "x".join(map(str, row["shape"])), f"{row['share_of_macs']:.0%}", f"{row['int8']:,}",
            f"{row['int4']:,}", *(f"{row['int8'] / size:.2f}" for size in sent.values()),
        )
        for row in shown
    ]  # fmt: skip
    print_table(title, ("cut after", "shape", "work", "int8", "4 bit", *(f"/{how}" for how in sent)), rows)
    print(
        "work: share of the multiply-accumulates in front; int8 and 4 bit in bytes; /X: int8 over the picture sent as X"
    )
    if len(shown) < len(found["cuts"]):
        print(f"{len(found['cuts']) - len(shown)} cuts carry no less than one before them: --all shows them")
    for how, place in found["natural_bottleneck"].items():
        smaller = f"a cut after {place} sends less" if place else "no natural bottleneck in the first half of the work"
        print(f"against {how}: {smaller}")
