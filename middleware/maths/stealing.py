"""Pieces of work over workers of unlike speed: each has a share, and who is done takes from who has most left.

A worker takes from the front of its own share; when that is empty, from the back of the longest one, which is what its owner
would come to last (Blumofe and Leiserson, "Scheduling multithreaded computations by work stealing", J. ACM 46, 1999). A worker
that is lost gives back what it had and what it was working on, so every piece is done, and counted once. Results are kept by the
piece's number, so their order is the pieces', whoever did them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Worker = TypeVar("Worker", bound=Hashable)
Result = TypeVar("Result")


class Stealing(Generic[Worker, Result]):
    """Pieces 0 .. n - 1, who works on which, and what came of them."""

    def __init__(self, shares: Mapping[Worker, Sequence[int]]) -> None:
        """`shares`: the pieces each worker begins with. ValueError unless every number from 0 on is in one share."""
        pieces = sorted(piece for share in shares.values() for piece in share)
        if not shares or pieces != list(range(len(pieces))):
            raise ValueError("every piece from 0 on lies in one share, of one worker at least")
        self.count = len(pieces)
        self.left = {worker: deque(share) for worker, share in shares.items()}
        self.working: dict[Worker, int] = {}
        self.results: dict[int, Result] = {}
        self.stolen = 0

    def take(self, worker: Worker) -> int | None:
        """The piece that a worker does next; None when nothing is left for it. ValueError for one that is lost, or at work."""
        if worker not in self.left or worker in self.working:
            raise ValueError(f"worker {worker!r} is lost, or has not brought its last piece")
        own = self.left[worker]
        if not own:
            richest = max(self.left, key=lambda one: len(self.left[one]))
            if not self.left[richest]:
                return None
            self.stolen += 1
            piece = self.left[richest].pop()
        else:
            piece = own.popleft()
        self.working[worker] = piece
        return piece

    def done(self, worker: Worker, result: Result) -> None:
        """A worker brings the piece that it had taken. ValueError where it had none."""
        if worker not in self.working:
            raise ValueError(f"worker {worker!r} has taken no piece")
        self.results[self.working.pop(worker)] = result

    def lost(self, worker: Worker) -> None:
        """A worker is gone: its pieces go to the one that has least. ValueError if it was the last."""
        pieces = self.left.pop(worker)
        if worker in self.working:
            pieces.appendleft(self.working.pop(worker))
        if not self.left and len(self.results) < self.count:
            raise ValueError(f"the last worker is lost, with {self.count - len(self.results)} pieces undone")
        if pieces:
            self.left[min(self.left, key=lambda one: len(self.left[one]))].extend(pieces)

    @property
    def finished(self) -> bool:
        return len(self.results) == self.count

    def in_order(self) -> list[Result]:
        """The results by the pieces' numbers. ValueError while some are missing."""
        missing = [piece for piece in range(self.count) if piece not in self.results]
        if missing:
            raise ValueError(f"pieces {missing[:8]} are not done")
        return [self.results[piece] for piece in range(self.count)]
