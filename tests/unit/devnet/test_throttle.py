"""A slowed process gets its share of the time, and is never left stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from devnet.processes import Processes
from devnet.throttle import Throttle, slow


def state(pid: int) -> str:
    """R, S, T, ...: proc(5), /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_target_is_stopped_again_and_again_and_runs_once_nobody_slows_it(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
    try:
        control = tmp_path / "factor"
        control.write_text("8")
        task = asyncio.create_task(slow(child.pid, control))
        seen = set[str]()
        async with asyncio.timeout(20):
            while not {"R", "T"} <= seen:
                seen.add(state(child.pid))
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(20):
            while state(child.pid) == "T":
                await asyncio.sleep(0)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()


async def test_it_ends_with_its_target(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await child.wait()
    (tmp_path / "factor").write_text("2")
    await slow(child.pid, tmp_path / "factor")


def test_a_throttle_slows_only(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        throttle = Throttle(processes, "throttle", os.getpid())
        with pytest.raises(ValueError, match="only be slowed"):
            throttle.change(0.5)
        assert throttle.control.read_text() == "1.0"
