"""From a trained network to a published model: its segments as files, and what every way of running them gives on samples.

Measured are the whole model, every lossy upload of an image, and every codec at every border, all on the same validation samples,
so the planner knows what a constraint on accuracy leaves, and nothing is claimed that was not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from middleware.errors import require
from middleware.infer import coding, inputs
from middleware.infer.segments import Part, Runner
from middleware.wire.model import CODECS, UPLOADS, File, Measured, ModelManifest, Segment

Floats = npt.NDArray[np.float32]
BATCH = 64


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
    last = len(model.segments)
    right: dict[str, int] = {}
    crossed: dict[str, int] = {}

    def note(way: str, logits: Floats, labels: npt.NDArray[Any], size: int) -> None:
        right[way] = right.get(way, 0) + int(np.sum(np.argmax(logits.reshape(len(labels), -1), 1) == labels))
        crossed[way] = crossed.get(way, 0) + size

    for chunk, wanted in _batches(samples, labels):
        ready = np.concatenate([inputs.prepared(model, sample) for sample in chunk])
        raw = sum(len(inputs.uploaded(model, sample, "raw")) for sample in chunk)
        note("raw", runner.run(0, last, ready), wanted, raw)
        for form in UPLOADS[1:] if model.kind == "image" else ():
            sent = [inputs.uploaded(model, sample, form) for sample in chunk]
            seen = np.concatenate([inputs.received(model, data, form) for data in sent])
            note(form, runner.run(0, last, seen), wanted, sum(map(len, sent)))
        crossing = ready
        for place in range(1, last):
            crossing = runner.run(place - 1, place, crossing)
            for codec in CODECS:
                sent = [coding.encode(codec, one) for one in crossing]
                shape = crossing.shape[1:]
                seen = np.stack([coding.decode(codec, data, shape) for data in sent])
                logits = runner.run(place, last, seen)
                note(f"{codec}@{place}", logits, wanted, sum(map(len, sent)))
    count = len(labels)
    table = tuple(Measured(way, right[way] / count, math.ceil(crossed[way] / count)) for way in sorted(right))
    return msgspec.structs.replace(model, measured=table, samples=count)


def _batches(
    samples: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    for first in range(0, len(labels), BATCH):
        yield samples[first : first + BATCH], labels[first : first + BATCH]
