"""Published models on a node that runs them: fetched by digest, loaded once, measured here.

A model is ready when all files that this node may hold are here and each stretch that a plan can ask for has been timed. Single
segments are timed, and the whole; what a stretch takes is its segments' sum, scaled by what the whole takes against the sum of
all, until requests show better (an exponentially weighted mean a stretch).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.infer.plan import Times
from middleware.infer.segments import Runner
from middleware.wire.model import MODEL_BYTES, Branch, File, ModelManifest, decode_model_manifest, require_file

Floats = npt.NDArray[np.float32]

ROUNDS: Final = 3  # timings of one stretch, of which the median counts
NEWEST: Final = 0.1  # weight of a new time in the mean

Fetch = Callable[[bytes, int], Awaitable[bytes]]
"""(digest, most bytes) -> the blob."""


class LoadedModel:
    """A model and what runs it here. `files` are the ONNX bytes of its segments, empty where this node may not hold one."""

    def __init__(
        self, root: bytes, manifest: ModelManifest, files: Sequence[bytes], extra: dict[bytes, bytes], threads: int
    ) -> None:
        def beside(found: Iterable[tuple[int, File]]) -> dict[int, Runner]:
            return {place: Runner([extra[one.digest]], threads) for place, one in found if one.digest in extra}

        self.root, self.manifest = root, manifest
        self.runner = Runner(files, threads)
        self.branches = beside((one.after, one.file) for one in manifest.branches)
        self.encoders = beside((one.after, one.encoder) for one in manifest.coders)
        self.decoders = beside((one.after, one.decoder) for one in manifest.coders)
        self.held = next((place for place, data in enumerate(files) if not data), len(files))
        self.measured: dict[tuple[int, int], float] = {}
        self.scale = 1.0

    def warm(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Time every segment that is held, and the whole."""
        tensor: Floats = np.zeros((1, *self.manifest.taken), np.float32)
        for place in range(self.held):
            ms, tensor = self._timed(place, place + 1, tensor, clock)
            self.measured[place, place + 1] = ms
        if self.held > 1:
            whole, _ = self._timed(0, self.held, np.zeros((1, *self.manifest.taken), np.float32), clock)
            self.scale = whole / max(1e-9, sum(self.measured[place, place + 1] for place in range(self.held)))
            self.measured[0, self.held] = whole

    def _timed(self, first: int, last: int, tensor: Floats, clock: Callable[[], float]) -> tuple[float, Floats]:
        given = self.runner.run(first, last, tensor)  # the first run also makes the session
        times = []
        for _ in range(ROUNDS):
            began = clock()
            given = self.runner.run(first, last, tensor)
            times.append(1000 * (clock() - began))
        return sorted(times)[ROUNDS // 2], given

    def noted(self, first: int, last: int, ms: float) -> None:
        """A stretch was run for a request and took so long."""
        known = self.measured.get((first, last))
        self.measured[first, last] = ms if known is None else (1 - NEWEST) * known + NEWEST * ms

    def ms(self, first: int, last: int) -> float:
        found = self.measured.get((first, last))
        if found is not None:
            return found
        return self.scale * sum(self.measured.get((place, place + 1), 0.0) for place in range(first, last))

    def times(self, stretches: Sequence[tuple[int, int]]) -> tuple[tuple[int, int, float], ...]:
        """(first, last, milliseconds) as an offer states them."""
        return tuple((first, last, self.ms(first, last)) for first, last in stretches if first < last <= self.held)

    def tails(self) -> tuple[tuple[int, int, float], ...]:
        """Of every stretch up to the end, and of every single segment."""
        last = len(self.manifest.segments)
        ends = [(place, last) for place in range(last)]
        return self.times([*ends, *((place, place + 1) for place in range(last - 1))])

    def heads(self) -> Times:
        """What the planner of a device needs: every stretch from the input on, and from every branch on."""
        starts = [0, *sorted(self.branches)]
        found = {(first, last): self.ms(first, last) for first in starts for last in range(first + 1, self.held + 1)}
        return Times(found, len(self.manifest.segments))


async def load(root: bytes, fetch: Fetch, held: int | None = None, threads: int = 1) -> LoadedModel:
    """The model of this root with its first `held` segments (None: all, and the decoders). Raises PeerFault for files that are
    not the manifest's, Unavailable where one cannot be had."""
    manifest = decode_model_manifest(await fetch(root, MODEL_BYTES))
    count = len(manifest.segments) if held is None else min(held, manifest.held, len(manifest.segments))

    async def file(one: File) -> bytes:
        return require_file(await fetch(one.digest, one.length), one)

    files = [await file(one.file) if place < count else b"" for place, one in enumerate(manifest.segments)]
    wanted: list[File] = []
    for branch in manifest.branches:
        if held is not None and branch.after <= count:
            wanted.append(branch.file)
    for pair in manifest.coders:
        if held is None:
            wanted.append(pair.decoder)
        elif pair.after <= count:
            wanted.append(pair.encoder)
    extra = {one.digest: await file(one) for one in wanted}
    return LoadedModel(root, manifest, files, extra, threads)


def sure(branch: Branch, logits: npt.NDArray[Any]) -> bool:
    """Whether a branch answers: the entropy of its calibrated probabilities is below its threshold (BranchyNet)."""
    scaled = np.asarray(logits, np.float64).ravel() / branch.temperature
    shifted = np.exp(scaled - scaled.max())
    probabilities = shifted / shifted.sum()
    entropy = -float(np.sum(probabilities * np.log(np.maximum(probabilities, 1e-300))))
    return entropy < branch.threshold


class Served(msgspec.Struct):
    """What a node counts about one model."""

    requests: int = 0
    refused: int = 0
    units: int = 0
    unpaid: int = 0
    compute_ms: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
