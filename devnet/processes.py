"""Child processes of a devnet: each in a session of its own with a log file, none outliving the parent.

On Linux the kernel is asked to kill a child when its parent dies, so that not even `kill -9` of the parent leaves one
behind. Processes are stopped in the reverse order of their start, by their own pid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from middleware.errors import Unavailable

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
TAIL_BYTES = 2_000
PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with_parent() -> None:
    """Runs in the child before exec; a failure leaves only the ordinary clean-up."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child: its command, its log and, while it runs, its pid."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name, self.command, self.log = name, command, log
        self.environment = {**os.environ, **(environment or {})}
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as file:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=self.environment,
                start_new_session=True, preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def terminate(self) -> None:
        if self.running and self.child is not None:
            self.child.terminate()

    def wait_gone(self, deadline: float) -> None:
        if self.child is None:
            return
        try:
            self.child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        """The end of its log, for an error message."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")


class Processes:
    """The children of one devnet, as a context: leaving it stops them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, Process] = {}

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> Process:
        process = Process(name, command, self.folder / f"{name}.log", environment)
        process.start()
        self.all[name] = process
        return process

    def require_running(self) -> None:
        """Unavailable, with the end of its log, when a child has ended by itself."""
        for process in self.all.values():
            if process.child is not None and not process.running:
                raise Unavailable(f"{process.name} ended with exit code {process.child.returncode}; its log ends:\n{process.tail()}")

    def stop(self) -> None:
        order = list(reversed(self.all.values()))
        for process in order:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in order:
            process.wait_gone(deadline)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
