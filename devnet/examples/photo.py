"""What is in a photograph? EfficientNet-Lite0 with its published weights, a slow phone, a link of 10 Mbit/s: the planner sends a
JPEG while it may, features where the picture may not leave, and says what it would have cost otherwise.

    python -m devnet.examples.photo
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from devnet.examples.measures import as_json, show, show_ways, six
from devnet.examples.networks import SIDE, efficientnet, photographs
from devnet.serving import MEGABIT, serving
from middleware.infer import inputs
from middleware.infer.plan import Constraints
from middleware.infer.segments import Runner

PHOTOGRAPHS: Final = 24
SLOWDOWN: Final = 10.0


async def run(home: Path, quiet: bool) -> dict[str, Any]:
    model, files = efficientnet(10, 12)
    samples = photographs(PHOTOGRAPHS, seed=2)
    runner = Runner([files[segment.file.digest] for segment in model.segments])
    labels = [int(np.argmax(runner.run(0, len(model.segments), inputs.prepared(model, one)))) for one in samples]
    found = {}
    async with serving(home) as world:
        await world.publish(model, files)
        async with world.session(model.name):
            pass  # the files are fetched over a fast link
        await world.shape("edge", 10 * MEGABIT, 5.0)
        for privacy in ("open", "features"):
            async with world.session(model.name, Constraints(privacy=privacy), slowdown=SLOWDOWN) as session:
                replies = [await session(sample) for sample in samples]
                if not quiet:
                    show_ways(session.explain()[:8], model)
            found[privacy] = six(model, replies, labels, 3.0 * SIDE * SIDE)
            if not quiet:
                show(
                    f"photographs, privacy {privacy} (accuracy: agreement with the raw picture's answer)",
                    found[privacy],
                )
    return found


def main(words: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder), "--json" in words))
    if "--json" in words:
        print(as_json(found))


if __name__ == "__main__":
    main(sys.argv[1:])
