"""Published models on a node that runs them: fetched by digest, loaded once, measured here.

A model is ready when all files that this node may hold are here and each stretch that a plan can ask for has been timed: on a
device those from the input on, on a server those to the end. Stretches are timed as they are run, since segments do not add up: a
runtime lays tensors out anew at every border (up to twice the time in all, for networks of small layers). What is left, in the
middle of three tiers, is the difference of two that were. Requests correct one factor for all of them, an exponential mean of
what a stretch took over what it took alone: a node that slows down does so for every stretch, also for those nobody asks for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.infer.plan import Times
from middleware.infer.segments import Runner
from middleware.maths import confidence
from middleware.wire.model import MODEL_BYTES, Branch, File, ModelManifest, decode_model_manifest, require_file

Floats = npt.NDArray[np.float32]

ROUNDS: Final = 5  # timings of one stretch, of which the least counts: what else ran on the node only adds
NEWEST: Final = 0.3  # weight of a new factor in the mean

Fetch = Callable[[bytes, int], Awaitable[bytes]]
"""(digest, most bytes) -> the blob."""


class LoadedModel:
    """A model and what runs it here. `files` are the ONNX bytes of its segments, empty where this node may not hold one."""

    def __init__(
        self, root: bytes, manifest: ModelManifest, files: Sequence[bytes], extra: dict[bytes, bytes], threads: int,
        serves: bool = False,
    ) -> None:  # fmt: skip
        """`serves`: requests come from below and start anywhere; otherwise they start here, at the input."""

        def beside(found: Iterable[tuple[int, File]]) -> dict[int, Runner]:
            return {place: Runner([extra[one.digest]], threads) for place, one in found if one.digest in extra}

        self.root, self.manifest, self.serves = root, manifest, serves
        self.runner = Runner(files, threads)
        self.branches = beside((one.after, one.file) for one in manifest.branches)
        self.encoders = beside((one.after, one.encoder) for one in manifest.coders)
        self.decoders = beside((one.after, one.decoder) for one in manifest.coders)
        self.held = next((place for place, data in enumerate(files) if not data), len(files))
        self.measured: dict[tuple[int, int], float] = {}  # milliseconds of a stretch that runs alone
        self.slowness = 1.0  # of the node now, against that

    def warm(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Time what this node would run: every stretch up to the end where it holds all, else every one from the input on."""
        last = len(self.manifest.segments)
        for place in range(self.held) if self.serves else ():
            self.measured[place, last] = self._timed(place, last, self.blank(place), clock)
        starts = () if self.serves else (0, *sorted(self.branches))
        for start in starts:
            for end in range(start + 1, self.held + 1):
                self.measured[start, end] = self._timed(start, end, self.blank(start), clock)

    def blank(self, place: int) -> Floats:
        """Zeros of the shape that segment `place` takes."""
        return np.zeros((1, *self.manifest.crossing(place)), np.float32)

    def _timed(self, first: int, last: int, tensor: Floats, clock: Callable[[], float]) -> float:
        self.runner.run(first, last, tensor)  # the first run also makes the session
        times = []
        for _ in range(ROUNDS):
            began = clock()
            self.runner.run(first, last, tensor)
            times.append(1000 * (clock() - began))
        return min(times)

    def noted(self, first: int, last: int, ms: float, weight: float = NEWEST) -> None:
        """A stretch was run for a request and took so long; `weight` of that in the mean."""
        alone = self.alone().of(first, last)
        if math.isfinite(alone) and alone > 0:
            self.slowness += weight * (ms / alone - self.slowness)
        else:
            self.measured[first, last] = ms / self.slowness

    def alone(self) -> Times:
        """What stretches take while nothing else slows the node."""
        return Times(self.measured, len(self.manifest.segments))

    def times(self) -> Times:
        """What they take now, as the planner takes it."""
        return Times({key: ms * self.slowness for key, ms in self.measured.items()}, len(self.manifest.segments))

    def tails(self) -> tuple[tuple[int, int, float], ...]:
        """(first, last, milliseconds) of every stretch to the end, as an offer states them."""
        last = len(self.manifest.segments)
        return tuple((first, end, ms) for (first, end), ms in sorted(self.times().measured.items()) if end == last)


async def load(root: bytes, fetch: Fetch, held: int | None = None, threads: int = 1) -> LoadedModel:
    """The model of this root with its first `held` segments (None: all, and the decoders). Raises PeerFault for files that are
    not the manifest's, Unavailable where one cannot be had."""
    manifest = decode_model_manifest(await fetch(root, MODEL_BYTES))
    count = len(manifest.segments) if held is None else min(held, manifest.held, len(manifest.segments))
    decoders = [*(one.file for one in manifest.segments), *(pair.decoder for pair in manifest.coders)]
    wanted = decoders if held is None else manifest.device_files(count)
    data = {one.digest: require_file(await fetch(one.digest, one.length), one) for one in wanted}
    files = [data[one.file.digest] if place < count else b"" for place, one in enumerate(manifest.segments)]
    return LoadedModel(root, manifest, files, data, threads, held is None)


def sure(branch: Branch, logits: Floats) -> bool:
    """Whether a branch answers a batch of one: the entropy of its calibrated probabilities is below its threshold."""
    return bool(confidence.entropies(logits.reshape(1, -1), branch.temperature)[0] < branch.threshold)


class Served(msgspec.Struct):
    """What a node counts about one model."""

    requests: int = 0
    refused: int = 0
    units: int = 0
    unpaid: int = 0
    compute_ms: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
