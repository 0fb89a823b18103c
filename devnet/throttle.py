"""A process that computes slower than it could: it is stopped for a part of every few milliseconds.

    python -m devnet.throttle PID CONTROL_FILE

A process of its own. The control file holds the factor, read again and again: with 4 the target runs a quarter of the time. What
the target measures of itself by the wall clock is then four times as long, as on a machine that others saturate.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from devnet.processes import Processes

PERIOD_SECONDS: Final = 0.008  # of one stop and the run behind it
LOOK_SECONDS: Final = 0.02  # between two looks at the file while nothing is slowed


class Throttle:
    """Slows the process `pid`, from a process of `processes`; at first by nothing."""

    def __init__(self, processes: Processes, name: str, pid: int) -> None:
        self.control = processes.folder / f"{name}.factor"
        self.change(1.0)
        processes.start(name, [sys.executable, "-m", "devnet.throttle", str(pid), str(self.control)])

    def change(self, factor: float) -> None:
        """From within LOOK_SECONDS on. ValueError for a factor below 1."""
        if factor < 1:
            raise ValueError(f"factor {factor}: a process can only be slowed, by 1 or more")
        partial = self.control.with_suffix(".part")
        partial.write_text(f"{factor}")
        os.replace(partial, self.control)


async def slow(pid: int, control: Path) -> None:
    """Until the process is gone. It is left running, whatever ends this."""
    try:
        while True:
            factor = float(control.read_text())
            if factor <= 1:
                os.kill(pid, 0)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(PERIOD_SECONDS * (1 - 1 / factor))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(PERIOD_SECONDS / factor)
    except ProcessLookupError:
        return
    finally:
        _resume(pid)


def _resume(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def main(words: Sequence[str]) -> None:
    async def until_told() -> None:
        task = asyncio.create_task(slow(int(words[0]), Path(words[1])))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(until_told())


if __name__ == "__main__":
    main(sys.argv[1:])
