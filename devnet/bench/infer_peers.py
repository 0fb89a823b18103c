"""Does it pay to compute one network's maps on several peers, and to check what they answer? Tiles and stripes against whole
maps, and Freivalds' check against the layer itself, in the same run.

make bench Q=infer-peers
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final

import numpy as np
import numpy.typing as npt

from devnet.bench.report import Row, against, write
from middleware.infer.lightweight import convolution
from middleware.infer.tiles import Tile, Tiled
from middleware.maths.freivalds import float_check, float_holds, integer_check, integer_holds
from middleware.maths.tiles import Region, Span, proportional

Floats = npt.NDArray[np.float32]

FRAMES: Final = 20
GRIDS: Final = (3, 5)


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The median of so many runs, after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


# ------------------------------------------------------------------------------------------------------------------ peers


def chain() -> Tiled:
    """The front of a network in the manner of VGG, which both papers cut: plain 3 x 3 convolutions, down to 56 x 56."""
    widths = ((3, 64, 1), (64, 64, 1), (64, 64, 2), (64, 128, 1), (128, 128, 2), (128, 128, 1))
    layers = [layer for before, after, stride in widths for layer in convolution(before, after, 3, stride)]
    return Tiled(layers, 3, (224, 224))


def peer(pipe: Connection, tiled: Tiled, tile: Tile) -> None:
    """A second process that computes one stripe of each frame."""
    pipe.send("ready")
    while (piece := pipe.recv()) is not None:
        pipe.send(tiled.compute(piece, tile))


def stripes(tiled: Tiled, speeds: list[float]) -> list[Tile]:
    rows, columns = tiled.given
    return tiled.tiles([Region(span, Span(0, columns)) for span in proportional(rows, speeds)])


def error(found: Floats, expected: Floats) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def peer_rows() -> list[Row]:
    tiled = chain()
    picture = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    whole = tiled.grid(1, 1)[0]
    expected, peak = tiled.compute(picture, whole), tiled.peak_bytes(whole)

    def all_of(tiles: list[Tile]) -> Floats:
        return tiled.stitch(tiles, [tiled.compute(tiled.piece(picture, tile), tile) for tile in tiles])

    rows, worst = [], 0.0
    single = milliseconds(lambda: tiled.compute(picture, whole), FRAMES)
    for places in GRIDS:
        tiles = tiled.grid(places, places)
        worst = max(worst, error(all_of(tiles), expected))
        most = max(map(tiled.peak_bytes, tiles))
        name, ratio = f"{places} x {places} fused tiles", most / peak
        bar = ("-68 % (DeepThings)", ratio <= 0.32) if places == GRIDS[-1] else (None, None)
        rows.append(Row(f"{name}: most bytes of maps at once", most / 1e6, "MB", peak / 1e6, ratio, *bar))
        work = milliseconds(lambda tiles=tiles: all_of(tiles), FRAMES)  # type: ignore[misc]
        rows.append(Row(f"{name}: all of them on one peer", work, "ms", single, work / single))
    rows.append(
        Row("stitched tiles: largest difference over largest value", worst, "", None, None, "<= 1e-5", worst <= 1e-5)
    )
    return [*rows, speed_row(tiled, picture, expected)]


def speed_row(tiled: Tiled, picture: Floats, expected: Floats) -> Row:
    """Two processes with a stripe each against one with all."""
    tiles = stripes(tiled, [1.0, 1.0])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=peer, args=(theirs, tiled, tiles[1]))
    process.start()
    try:
        ours.recv()

        def together() -> Floats:
            ours.send(tiled.piece(picture, tiles[1]))
            mine = tiled.compute(tiled.piece(picture, tiles[0]), tiles[0])
            return tiled.stitch(tiles, [mine, ours.recv()])

        if error(together(), expected) > 1e-5:
            raise RuntimeError("two peers do not give what one gives")
        two = milliseconds(together, FRAMES)
        one = milliseconds(lambda: tiled.compute(picture, tiled.grid(1, 1)[0]), FRAMES)
    finally:
        ours.send(None)
        process.join()
    return Row("two processes, a stripe each, against one: speed-up", one / two, "x", 1.0, one / two, "> 1", one > two)


# ----------------------------------------------------------------------------------------------------------------- checks


def check_rows() -> list[Row]:
    generator = np.random.default_rng(0)
    weights = generator.normal(0, 1 / 32, (1024, 1024)).astype(np.float32)
    taken = generator.normal(size=(256, 1024)).astype(np.float32)
    given = taken @ weights
    check = float_check(weights, 10, generator)
    layer = milliseconds(lambda: taken @ weights, 50)
    cost = milliseconds(lambda: float_holds(check, taken, given), 50)
    small = generator.integers(-128, 128, (1024, 1024))
    inputs = generator.integers(-128, 128, (256, 1024))
    exact = integer_check(small, 128, 40, generator)
    product = (inputs.astype(np.float64) @ small.astype(np.float64)).astype(np.int64)
    whole = milliseconds(lambda: inputs.astype(np.float64) @ small.astype(np.float64), 30)
    tested = milliseconds(lambda: integer_holds(exact, inputs, product), 30)
    if not (float_holds(check, taken, given) and integer_holds(exact, inputs, product)):
        raise RuntimeError("an honest layer was refused")
    return [
        against("Freivalds, float32, 2**-10, 256 x 1024 x 1024", cost, "ms", layer, "<= 10 % of the layer", 0.1),
        against("Freivalds, integers, 2**-40, the same size", tested, "ms", whole, "<= 10 % of the layer", 0.1),
    ]


def main() -> None:
    write("infer-peers", peer_rows() + check_rows())


if __name__ == "__main__":
    main()
