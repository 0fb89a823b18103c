"""Does it learn, does it catch, does compression cost? Real runs, five seeds each, medians.

make bench Q=accuracy
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from devnet.bench.report import Row, write
from devnet.demo import Progress, run_demo
from devnet.fleet import Shape
from nodes.operator import Choices

SEEDS = range(5)


def run(
    seed: int, liars: int, aggregator: str = "multi-krum", codec: str = "none", tolerate: int | None = None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        choices = Choices(
            aggregator=aggregator, codec=codec, seed=seed, tolerate=liars if tolerate is None else tolerate,
        )  # fmt: skip
        report = asyncio.run(run_demo(Shape(liars=liars, seed=seed), choices, Path(folder), Progress()))
    print(
        f"seed {seed}, {liars} liars, {aggregator}, {codec}: accuracy {report['accuracy'][-1]:.4f}, "
        f"central {report['central_accuracy']:.4f}, caught {report['caught']}, "
        f"bytes {report['bytes_up_sent'] / report['bytes_up_dense']:.4f}, audit {report['audit']}",
        flush=True,
    )
    return report


def last(report: dict[str, Any]) -> float:
    return float(report["accuracy"][-1])


def main() -> None:
    one = [run(seed, 1) for seed in SEEDS]
    sparse = [run(seed, 1, codec="topk+int8") for seed in SEEDS]
    median = statistics.median(map(last, one))
    central = statistics.median(float(report["central_accuracy"]) for report in one)
    named = sum(report["caught"] == ["device-1"] for report in one)
    small = statistics.median(map(last, sparse))
    share = max(report["bytes_up_sent"] / report["bytes_up_dense"] for report in sparse)
    honest = statistics.median(last(run(seed, 0)) for seed in SEEDS)
    two = statistics.median(last(run(seed, 2)) for seed in SEEDS)
    mean = statistics.median(last(run(seed, 2, aggregator="mean")) for seed in SEEDS)
    write(
        "accuracy",
        [
            Row(
                "digits, one liar, 20 rounds", median, "accuracy", central, median / central, ">= 0.94", median >= 0.94
            ),
            Row("points below central", 100 * (central - median), "points", bar="<= 2", ok=central - median <= 0.02),
            Row("seeds in which exactly the liar was caught", named, "of 5", bar="5", ok=named == 5),
            Row(
                "two liars under one edge, multi-krum",
                two,
                "accuracy",
                honest,
                two / honest,
                "within 2 points",
                honest - two <= 0.02,
            ),
            Row(
                "two liars under one edge, mean",
                mean,
                "accuracy",
                honest,
                mean / honest,
                "visibly fails",
                mean < honest - 0.1,
            ),
            Row("topk+int8 at 1 %: bytes up", share, "of dense", 1.0, share, "<= 0.03", share <= 0.03),
            Row(
                "topk+int8 at 1 %: accuracy",
                small,
                "accuracy",
                median,
                small / median,
                "<= 1.5 points lost",
                median - small <= 0.015,
            ),
        ],
    )


if __name__ == "__main__":
    main()
