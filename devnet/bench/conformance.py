"""Do the specification in Python and the contracts on a chain ever differ? Random sequences of calls, made to both.

make bench Q=conformance
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from devnet.bench.report import Row, write
from devnet.conformance import Difference, Step, Walk, open_both
from devnet.evm import Evm, bare_chain
from devnet.market import WALKS
from ledger.calls import AnyCall

SEQUENCES = 2_000
STEPS = 15
EXAMPLES = SEQUENCES // len(WALKS) + 1


class Tally:
    """What happened in all sequences."""

    def __init__(self) -> None:
        self.sequences = self.differences = 0
        self.calls: Counter[tuple[str, str]] = (
            Counter()
        )  # by the call's name and the error, empty where it was accepted

    @property
    def accepted(self) -> int:
        return sum(count for (_, error), count in self.calls.items() if not error)


def counted(kind: type[Walk], tally: Tally, bar: Progress) -> type[Walk]:
    """The walk, telling the tally what it does."""
    job = bar.add_task(kind.__name__.lower(), total=EXAMPLES)

    class Counted(kind):  # type: ignore[misc,valid-type]
        def both(self, call: AnyCall, sender: bytes, wait: int = 1) -> Step:
            step: Step = super().both(call, sender, wait)
            tally.calls[type(call).__name__, step.error] += 1
            return step

        def teardown(self) -> None:
            super().teardown()
            tally.sequences += 1
            bar.advance(job)

    return Counted


def main() -> None:
    tally, began = Tally(), time.monotonic()
    bounds = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, Progress(*columns) as bar:
        for kind in WALKS:
            with bare_chain(Path(folder) / kind.__name__) as rpc:
                evm = Evm(rpc)
                evm.deploy()
                walk = counted(kind, tally, bar)
                walk.opened = open_both(evm)
                try:
                    run_state_machine_as_test(walk, settings=bounds)
                except Difference as difference:
                    tally.differences += 1
                    bar.print(difference)
                evm.close()
    kinds, errors = {name for name, _ in tally.calls}, {error for _, error in tally.calls if error}
    write(
        "conformance",
        [
            Row("differences", tally.differences, "differences", bar="0", ok=tally.differences == 0),
            Row("sequences", tally.sequences, "sequences", bar=f">= {SEQUENCES}", ok=tally.sequences >= SEQUENCES),
            Row("calls", tally.calls.total(), "calls"),
            Row("calls accepted", tally.accepted, "calls"),
            Row("different functions", len(kinds), "functions"),
            Row("different errors", len(errors), "errors"),
            Row("time", time.monotonic() - began, "s"),
        ],
    )


if __name__ == "__main__":
    main()
