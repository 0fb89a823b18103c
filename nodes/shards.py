"""The servers over which a cloud lays a task's model (`protocol.sharding`): one process each, alive as long as the task runs.

A server keeps its slice of the model and of the server step's vectors between rounds and is sent only its slice of a round's
sums. One that was killed is named in the log, started afresh with its slice of the last settled model, and asked again. A round
is not settled around a hole.

    cloud -> server   {policy, slice of the model and vectors} when it starts, then {sums, weight} a round
    server -> cloud   {the aggregate, model and vectors of its slice}

Each message is its length in 8 bytes and MessagePack, over the pipes that the cloud holds both ends of: when the cloud dies, so
do they.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TypeVar

import msgspec
import numpy as np

from middleware.errors import Unavailable
from middleware.policy import Policy
from middleware.protocol import sharding
from middleware.protocol.sharding import Moved, Slice
from middleware.protocol.update import Floats, Integers
from middleware.wire.policy import decode_policy, encode_policy

LOG = logging.getLogger("drystone")
ATTEMPTS = 5  # times that a server is started for one round before the round waits for its operator
LENGTH_BYTES = 8
END_SECONDS = 5.0  # that a server has to end by itself when its task is over

T = TypeVar("T")


class Hold(msgspec.Struct, frozen=True, tag=True):
    """Start with this slice."""

    policy: bytes
    model: bytes
    vectors: list[bytes]


class Step(msgspec.Struct, frozen=True, tag=True):
    """One round's sums of the slice, int64."""

    sums: bytes
    weight: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    applied: bytes  # int64
    model: bytes  # float32, as are the vectors
    vectors: list[bytes]


class ShardServers:
    """The servers of one running task; call it as `settle` wants its servers called."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.count = policy.shards or 1
        self.servers: list[_Server | None] = [None] * self.count

    def __call__(
        self, policy: Policy, model: Floats, vectors: tuple[Floats, ...], sums: Integers, weight: int
    ) -> Moved:
        """Every server's slice, put together. Raises Unavailable, naming the server that could not be kept alive."""
        parts = sharding.cut(self.count, model, vectors, sums)
        with ThreadPoolExecutor(self.count) as pool:
            answers = list(pool.map(lambda j: self._ask(j, parts[j], weight), range(self.count)))
        return sharding.join(dict(enumerate(answers)), policy.parameters, self.count)

    def _ask(self, number: int, part: Slice, weight: int) -> Moved:
        for _ in range(ATTEMPTS):
            server = self.servers[number]
            try:
                if server is None or not server.holds(part):
                    if server is not None:
                        server.end()
                    server = self.servers[number] = _Server(self.policy, part)
                return server.step(part.sums, weight)
            except (OSError, EOFError):
                LOG.warning(
                    "shard %d of %d is gone: it is started again with its slice of the last model", number, self.count
                )
                if server is not None:
                    server.end()
                self.servers[number] = None
        raise Unavailable(f"shard {number} of {self.count} ended {ATTEMPTS} times in one round: see its memory and log")

    def processes(self) -> dict[int, int]:
        """Process id by shard, of those that were started."""
        return {j: server.process.pid for j, server in enumerate(self.servers) if server is not None}

    def close(self) -> None:
        for server in self.servers:
            if server is not None:
                server.end()
        self.servers = [None] * self.count


class _Server:
    """One process, and what it was last seen to hold."""

    def __init__(self, policy: Policy, part: Slice) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nodes.shards"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.held = _bytes_of(part.model, part.vectors)
        _send(_open(self.process.stdin), Hold(encode_policy(policy), *self.held))

    def holds(self, part: Slice) -> bool:
        return self.held == _bytes_of(part.model, part.vectors)

    def step(self, sums: Integers, weight: int) -> Moved:
        _send(_open(self.process.stdin), Step(sums.tobytes(), weight))
        answer = _receive(_open(self.process.stdout), Answer)
        if answer is None:
            raise EOFError
        self.held = answer.model, answer.vectors
        return Moved(np.frombuffer(answer.applied, np.int64), *_arrays(answer.model, answer.vectors))

    def end(self) -> None:
        with suppress(BrokenPipeError):  # what it was not sent any more is of no use to anyone
            _open(self.process.stdin).close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _open(self.process.stdout).close()


def serve(taken: IO[bytes], given: IO[bytes]) -> None:
    """A server's life: hold a slice, move it round by round, end when the cloud is gone."""
    hold = _receive(taken, Hold)
    if hold is None:
        return
    policy = decode_policy(hold.policy)
    model, vectors = _arrays(hold.model, hold.vectors)
    while (order := _receive(taken, Step)) is not None:
        moved = sharding.step(policy, Slice(model, vectors, np.frombuffer(order.sums, np.int64)), order.weight)
        model, vectors = moved.model, moved.vectors
        _send(given, Answer(moved.applied.astype(np.int64).tobytes(), *_bytes_of(model, vectors)))


def _bytes_of(model: Floats, vectors: tuple[Floats, ...]) -> tuple[bytes, list[bytes]]:
    return model.tobytes(), [one.tobytes() for one in vectors]


def _arrays(model: bytes, vectors: list[bytes]) -> tuple[Floats, tuple[Floats, ...]]:
    return np.frombuffer(model, np.float32), tuple(np.frombuffer(one, np.float32) for one in vectors)


def _send(stream: IO[bytes], message: msgspec.Struct) -> None:
    data = msgspec.msgpack.encode(message)
    stream.write(len(data).to_bytes(LENGTH_BYTES, "big"))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes], kind: type[T]) -> T | None:
    """The next message; None when the other side is gone."""
    head = stream.read(LENGTH_BYTES)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == LENGTH_BYTES else b""
    return msgspec.msgpack.decode(data, type=kind) if data and len(data) == size else None


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise EOFError
    return stream


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
