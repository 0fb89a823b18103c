"""Three apps look at one stream of frames: what their networks share runs once a frame.

    python -m devnet.examples.frames

All three end in a classifier of their own behind one frozen network (EfficientNet-Lite0). The camera keeps the network's stem and
sends what crosses; the edge's answer is the trunk's features, and each app reads them with its own head. Beside it, in the same
run: three separate networks. Outputs are the same, work is not.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from devnet.examples.measures import as_json, show, six
from devnet.examples.networks import SIDE, efficientnet, photographs
from devnet.serving import MEGABIT, serving
from middleware.infer import inputs
from middleware.infer.plan import Constraints
from middleware.infer.segments import Runner
from middleware.infer.sharing import Head, SharedTrunk

Floats = npt.NDArray[np.float32]

FRAMES: Final = 40
APPS: Final = ("building", "plant", "vehicle")


def _read(weights: Floats, features: Floats) -> Floats:
    """An app's own part: two classes from the trunk's features."""
    return features @ weights


async def run(home: Path) -> dict[str, Any]:
    model, files = efficientnet(8, 8)
    frames = photographs(FRAMES, seed=3)
    last = len(model.segments)
    runner = Runner([files[segment.file.digest] for segment in model.segments])
    numbers = np.random.default_rng(0)
    weights = {app: numbers.normal(size=(int(np.prod(model.crossing(last))), 2)).astype(np.float32) for app in APPS}
    heads = {app: Head(last, partial(_read, weights[app])) for app in APPS}
    trunk = SharedTrunk(runner.run, last, heads)

    tensors = [inputs.prepared(model, frame) for frame in frames]
    runner.run(0, last, tensors[0])
    began = time.perf_counter()
    shared = [trunk.frame(tensor) for tensor in tensors]
    together = time.perf_counter() - began
    began = time.perf_counter()
    alone = [{app: runner.run(0, last, tensor) @ weights[app] for app in APPS} for tensor in tensors]
    apart = time.perf_counter() - began
    same = all(np.array_equal(one[app], other[app]) for one, other in zip(shared, alone, strict=True) for app in APPS)

    labels = [int(np.argmax(runner.run(0, last, tensor))) for tensor in tensors]
    async with serving(home) as world:
        await world.publish(model, files)
        async with world.session(model.name):
            pass
        await world.shape("edge", 50 * MEGABIT, 2.0)
        async with world.session(model.name, Constraints(privacy="lossless", accuracy=0.95), slowdown=6.0) as session:
            replies = [await session(frame) for frame in frames]
    found = six(model, replies, labels, 3.0 * SIDE * SIDE)
    found["shared"] = {
        "apps": len(APPS), "trunk_runs_a_frame": trunk.ran[0] / FRAMES, "outputs_equal": same,
        "seconds_shared": together, "seconds_apart": apart,
    }  # fmt: skip
    return found


def main(words: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder)))
    if "--json" in words:
        print(as_json(found))
        return
    shared = found["shared"]
    show("a stream of frames over 50 Mbit/s, lossless (accuracy: agreement with the raw frame's answer)", found)
    print(
        f"{shared['apps']} apps on one trunk: it ran {shared['trunk_runs_a_frame']:g} time a frame, "
        f"{shared['seconds_shared']:.2f} s beside {shared['seconds_apart']:.2f} s apart; outputs equal: {shared['outputs_equal']}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
