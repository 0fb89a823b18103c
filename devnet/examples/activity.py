"""What is somebody doing? Windows of a motion sensor, a network with an early exit on the device, its end at the edge.

    python -m devnet.examples.activity

Trained on 21 people, asked about others. The device answers by itself where its exit is sure enough; else features go to the
edge; when the edge is killed in the middle the exit answers all the same. The input never leaves the device (privacy = features).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from devnet import datasets
from devnet.examples.measures import as_json, show, six
from devnet.serving import MEGABIT, serving
from middleware.infer import exits
from middleware.infer.fitting import Fitting
from middleware.infer.plan import Constraints
from middleware.infer.publish import assembled, measured
from middleware.learn import models
from middleware.learn.vector import bind
from middleware.wire.model import Measured, ModelManifest

MODEL: Final = "cnn1d:128x6-16-32-64-6"
TRAINED, CHECKED, ASKED = 3000, 600, 200  # windows
LAST_TRAINED: Final = 21  # of 30 people
ACTIVITIES: Final = ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")


def network(seed: int = 0) -> tuple[ModelManifest, dict[bytes, bytes], Any, Any]:
    """(manifest, files, windows of people whom nobody trained on, their activities)."""
    data = datasets.hapt()
    if data.client is None:
        raise RuntimeError("the windows say whose they are")
    numbers = np.random.default_rng(seed)
    windows = data.samples.astype(np.float32)
    known = numbers.permutation(np.flatnonzero(data.client <= LAST_TRAINED))
    others = numbers.permutation(np.flatnonzero(data.client > LAST_TRAINED))[:ASKED]
    train, check = known[:TRAINED], known[TRAINED : TRAINED + CHECKED]
    module = bind(models.build(MODEL), models.initial(MODEL, seed)).module
    net = exits.branched(module, windows.shape[1:], after=(1,), seed=seed)
    exits.train(net, windows[train], data.labels[train], Fitting(epochs=8, seed=seed))
    given = exits.logits(net, windows[check])
    chain = exits.parts(net, windows.shape[1:])
    costs = [sum(part.macs for part in chain[:after]) for after in net.after] + [sum(part.macs for part in chain)]
    calibrated = exits.calibrate(given, data.labels[check], costs)
    branches, heads = exits.published(net.by_place, lambda after: chain[after - 1].given[1:], calibrated)
    model, files = assembled("activity", chain, branches=branches, classes=ACTIVITIES, held=len(chain) - 1)
    model = measured(model, files, windows[check], data.labels[check].astype(np.int64))
    correct = exits.right(given, data.labels[check])
    early = exits.unsure(given, calibrated.temperatures) < np.array(calibrated.chosen.thresholds)[:, None]
    table = [*model.measured]
    for place, after in enumerate(net.after):
        share = float(correct[place][early[place]].mean()) if early[place].any() else 0.0
        table.append(Measured(f"exit@{after}", share, 0))
    full = msgspec.structs.replace(model, measured=tuple(sorted(table, key=lambda one: one.way)))
    return full, {**files, **heads}, windows[others], data.labels[others]


async def run(home: Path) -> tuple[dict[str, Any], ModelManifest]:
    model, files, windows, labels = network()
    async with serving(home) as world:
        await world.publish(model, files)
        await world.shape("edge", 2 * MEGABIT, 5.0)
        async with world.session("activity", Constraints(privacy="features"), slowdown=5.0) as session:
            replies = []
            for number, window in enumerate(windows):
                if number == 3 * len(windows) // 4:
                    world.fleet.kill("edge-1")
                replies.append(await session(window))
    found = six(model, replies, labels.tolist(), 4.0 * windows[0].size)
    found["degraded"] = sum(bool(reply.degraded) or (reply.tier != "edge" and place >= 3 * len(windows) // 4)
                            for place, reply in enumerate(replies))  # fmt: skip
    return found, model


def main(words: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, model = asyncio.run(run(Path(folder)))
    if "--json" in words:
        print(as_json(found))
        return
    show(
        f"activities: {len(model.segments)} segments, an exit on the device, the edge killed after three quarters",
        found,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
