"""From a trained network to a published model: its segments as files, and what every way of running them gives on samples.

Measured are the whole model, every lossy upload of an image, every codec and trained pair at every border, each branch, and all
of these with the branches asked, on the same validation samples: so the planner knows what a constraint on accuracy leaves,
and nothing is claimed that was not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import require
from middleware.infer import coding, inputs
from middleware.infer.segments import Part, Runner
from middleware.maths.confidence import entropies
from middleware.wire.model import CODECS, UPLOADS, File, Measured, ModelManifest, Segment

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.integer[Any]]
BATCH = 64
GOES_ON: Final = -1  # in the place of a class
ASKED: Final = "+exits"


def assembled(
    name: str, parts: Sequence[Part], kind: str = "tensor", **more: Any
) -> tuple[ModelManifest, dict[bytes, bytes]]:
    """(manifest, the files that it names, by digest); `more` are further fields of the manifest."""
    chain = tuple(
        Segment(File.of(part.onnx), part.taken[1:], part.given[1:], part.macs, part.parameters) for part in parts
    )
    files = {segment.file.digest: part.onnx for segment, part in zip(chain, parts, strict=True)}
    fields = {"classes": (), **more}
    return ModelManifest(name=name, kind=kind, segments=chain, **fields), files  # type: ignore[arg-type]


def measured(
    model: ModelManifest, files: dict[bytes, bytes], samples: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]]
) -> ModelManifest:
    """The manifest with its table filled: `samples` (n, ...) as an app gives them, `labels` (n,) classes from 0."""
    require(
        len(samples) == len(labels) > 0, f"{len(samples)} samples have {len(labels)} labels: give at least one of each"
    )
    runner = Runner([files[segment.file.digest] for segment in model.segments])
    heads = {one.after: (one, Runner([files[one.file.digest]])) for one in model.branches}
    pairs = {one.after: one for one in model.coders}
    coders = {at: [Runner([files[file.digest]]) for file in (one.encoder, one.decoder)] for at, one in pairs.items()}
    last = len(model.segments)
    tally = _Tally()
    for chunk, wanted in _batches(samples, labels):
        ready = np.concatenate([inputs.prepared(model, sample) for sample in chunk])
        raw = sum(len(inputs.uploaded(model, sample, "raw")) for sample in chunk)
        tally.note("raw", _classes(runner.run(0, last, ready)), wanted, raw)
        for form in UPLOADS[1:] if model.kind == "image" else ():
            sent = [inputs.uploaded(model, sample, form) for sample in chunk]
            seen = np.concatenate([inputs.received(model, data, form) for data in sent])
            tally.note(form, _classes(runner.run(0, last, seen)), wanted, sum(map(len, sent)))
        crossing, left = ready, np.full(len(wanted), GOES_ON)
        for place in range(1, last):
            crossing = runner.run(place - 1, place, crossing)
            if place in heads:
                branch, head = heads[place]
                logits = head.run(0, 1, crossing)
                leaves = (left == GOES_ON) & (entropies(logits, branch.temperature) < branch.threshold)
                left[leaves] = _classes(logits)[leaves]
                tally.note(f"exit@{place}", left[leaves], wanted[leaves], 0)
            shape, answered = crossing.shape[1:], left if any(at <= place for at in heads) else None
            for codec in CODECS:
                sent = [coding.encode(codec, one) for one in crossing]
                seen = np.stack([coding.decode(codec, data, shape) for data in sent])
                tally.way(f"{codec}@{place}", _classes(runner.run(place, last, seen)), wanted, sent, answered)
            if place in pairs:
                encoder, decoder = coders[place]
                sent = [coding.encode(pairs[place].codec, one) for one in encoder.run(0, 1, crossing)]
                numbers = np.stack([coding.decode(pairs[place].codec, data, pairs[place].given) for data in sent])
                found = runner.run(place, last, decoder.run(0, 1, numbers))
                tally.way(f"bottleneck@{place}", _classes(found), wanted, sent, answered)
        if heads:
            ends = _classes(runner.run(last - 1, last, crossing))
            tally.note("device+exits", np.where(left == GOES_ON, ends, left), wanted, 0)
    return msgspec.structs.replace(model, measured=tally.table(), samples=len(labels))


class _Tally:
    """By way: how many samples went it, how many were right, how many bytes crossed."""

    def __init__(self) -> None:
        self.found: dict[str, list[int]] = {}

    def note(self, way: str, classes: Classes, labels: npt.NDArray[Any], size: int) -> None:
        sums = self.found.setdefault(way, [0, 0, 0])
        for at, more in enumerate((len(labels), int(np.sum(classes == labels)), size)):
            sums[at] += more

    def way(
        self, way: str, classes: Classes, labels: npt.NDArray[Any], sent: Sequence[bytes], left: Classes | None
    ) -> None:
        """A way past a border; `left` are the answers of the branches in front of it, if there are any."""
        self.note(way, classes, labels, sum(map(len, sent)))
        if left is not None:
            going = sum(len(data) for data, one in zip(sent, left, strict=True) if one == GOES_ON)
            self.note(f"{way}{ASKED}", np.where(left == GOES_ON, classes, left), labels, going)

    def table(self) -> tuple[Measured, ...]:
        found = sorted((way, sums) for way, sums in self.found.items() if sums[0])
        return tuple(Measured(way, sums[1] / sums[0], math.ceil(sums[2] / sums[0])) for way, sums in found)


def _classes(logits: Floats) -> Classes:
    return np.asarray(logits.reshape(len(logits), -1).argmax(1))


def _batches(
    samples: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    for first in range(0, len(labels), BATCH):
        yield samples[first : first + BATCH], labels[first : first + BATCH]
