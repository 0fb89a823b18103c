"""Child processes of a devnet: each in a session of its own with a log file, none outliving the parent.

A session of its own keeps the terminal's Ctrl-C away from a child, so that children are stopped by their parent alone:
in the reverse order of their start, each by its own pid, first asked and then killed. On Linux the kernel is told to
kill a child when the thread that started it dies (prctl(2), PR_SET_PDEATHSIG), so that not even `kill -9` of the parent
leaves one behind. Start children from a thread that lives as long as they shall.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from middleware.errors import ConfigurationError, Unavailable

GRACE_SECONDS: Final = 5.0  # between SIGTERM and SIGKILL
TAIL_BYTES: Final = 2_000  # of a log, shown in an error message
PR_SET_PDEATHSIG: Final = 1  # prctl(2)
# Loaded before any fork: between fork and exec a child of a threaded parent must not wait for a lock.
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _dying_with(parent: int) -> Callable[[], None] | None:
    """What runs in the child before exec. The second look at the parent closes the gap in which it may have died."""
    libc = _LIBC
    if libc is None:
        return None

    def ask_the_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


class Process:
    """One child: its command, its log and, while it runs, its pid."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name, self.command, self.log = name, command, log
        self.environment = {**os.environ, **(environment or {})}
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again); what it prints is added to its log. ConfigurationError when it runs already."""
        if self.running:
            raise ConfigurationError(f"{self.name} is running already: stop it first")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as file:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=self.environment,
                start_new_session=True, preexec_fn=_dying_with(os.getpid()),
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now; None when none does."""
        return self.child.pid if self.child is not None and self.running else None

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def terminate(self) -> None:
        """Ask it to end; does not wait."""
        if self.child is not None:
            self.child.terminate()

    def wait_gone(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill it. Afterwards it is gone."""
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
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")


class Processes:
    """The children of one devnet, as a context: leaving it stops them all. Logs are `folder`/NAME.log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: dict[str, Process] = {}  # in the order of their first start

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> Process:
        """Start a child of this name, or start it anew where it has ended."""
        if name in self.all and self.all[name].running:
            raise ConfigurationError(f"{name} is running already: stop it first")
        process = Process(name, command, self.folder / f"{name}.log", environment)
        process.start()
        self.all[name] = process
        return process

    def kill(self, name: str) -> None:
        """kill -9 one child by its pid, and wait until it is gone."""
        self.all[name].kill()

    def restart(self, name: str) -> None:
        """Start an ended child again as it was started before."""
        self.all[name].start()

    def require_running(self) -> None:
        """Unavailable, with the end of its log, when a child has ended by itself."""
        for process in self.all.values():
            if process.child is not None and not process.running:
                code = process.child.returncode
                raise Unavailable(f"{process.name} ended with exit code {code}; its log ends:\n{process.tail()}")

    def stop(self) -> None:
        """End every child. Interrupted while it waits (an impatient second Ctrl-C), it kills what is left."""
        order = list(reversed(self.all.values()))
        try:
            for process in order:
                process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
            for process in order:
                process.wait_gone(deadline)
        except BaseException:
            for process in order:
                process.kill()
            raise

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
