"""What is added to a model whose weights stay as they are: branches, and coders at its borders, trained on samples.

Nothing but the segments is needed, so a file from anywhere can be extended. Heads learn from the tensors that cross their
border; that is less than training them with the network (`infer.exits`, BranchyNet section 3.1), and costs its last exit
nothing. Coders learn to give back what crosses (`infer.bottleneck`); the stages behind are files and pass no gradient, so of
the distillation's terms the one at the border is left.

Samples are dealt in three: heads and coders are trained on the first part, temperatures and thresholds chosen on the second, and
the third is left to measure what came of it (`infer.publish`), so nothing is claimed of samples that decided anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from middleware.errors import require
from middleware.infer import bottleneck, exits, inputs
from middleware.infer.fitting import Fitting, Floats, fit, forward, tensor
from middleware.infer.segments import Runner
from middleware.wire.model import Branch, Coders, ModelManifest

Labels = npt.NDArray[np.integer[Any]]

TRAINED: Final = 0.6  # of the samples
CHOSEN: Final = 0.2
LEAST_SAMPLES: Final = 50
BATCH: Final = 64
PLAN: Final = Fitting(epochs=30)
NARROWED: Final = 4  # a pair's maps are a border's over so many
CODEC: Final = "u4"


class Extended(NamedTuple):
    """The manifest with branches and coders, all its files by digest, and the samples that decided nothing."""

    model: ModelManifest
    files: dict[bytes, bytes]
    samples: npt.NDArray[Any]
    labels: Labels


def extended(
    model: ModelManifest, files: dict[bytes, bytes], samples: npt.NDArray[Any], labels: Labels,
    branches: Sequence[int] = (), coders: Sequence[int] = (), points: float = 0.01, plan: Fitting = PLAN,
) -> Extended:  # fmt: skip
    """A branch behind each of the first `branches` segments, and a pair of coders behind each of the first `coders`, trained on
    `samples` (n, ...) as an app gives them and `labels` (n,) classes from 0. Early answers lose at most `points` of accuracy on
    the samples that choose their thresholds.

    Raises ConfigurationError for places where there is no border, too few samples, and borders that no pair makes smaller.
    """
    last = len(model.segments)
    for place in (*branches, *coders):
        require(0 < place < last, f"segment {place}: this model has borders behind 1 to {last - 1}")
    require(
        len(samples) == len(labels) >= LEAST_SAMPLES,
        f"{len(samples)} samples with {len(labels)} labels: give at least {LEAST_SAMPLES} to train on, choose by, and measure",
    )
    order = np.random.default_rng(plan.seed).permutation(len(labels))
    first, second = round(TRAINED * len(labels)), round((TRAINED + CHOSEN) * len(labels))
    train, choose, rest = order[:first], order[first:second], order[second:]
    crossing = crossings(model, files, samples[order[:second]], {*branches, *coders})
    more = dict(files)
    found_branches = _branches(model, crossing, labels[train], labels[choose], sorted(branches), points, plan, more)
    found_coders = _coders(model, crossing, first, sorted(coders), plan, more)
    made = msgspec.structs.replace(model, branches=found_branches, coders=found_coders)
    return Extended(made, more, samples[rest], labels[rest])


def crossings(
    model: ModelManifest, files: Mapping[bytes, bytes], samples: npt.NDArray[Any], places: set[int]
) -> dict[int, Floats]:
    """What crosses behind so many segments (n, ...), by their number; behind all of them, the logits, too."""
    runner, last = Runner([files[segment.file.digest] for segment in model.segments]), len(model.segments)
    found: dict[int, list[Floats]] = {place: [] for place in sorted({*places, last})}
    for start in range(0, len(samples), BATCH):
        given = np.concatenate([inputs.prepared(model, sample) for sample in samples[start : start + BATCH]])
        before = 0
        for place, kept in found.items():
            given = runner.run(before, place, given)
            kept.append(given)
            before = place
    return {place: np.concatenate(kept) for place, kept in found.items()}


def _branches(
    model: ModelManifest, crossing: Mapping[int, Floats], trained: Labels, choosing: Labels, places: Sequence[int],
    points: float, plan: Fitting, files: dict[bytes, bytes],
) -> tuple[Branch, ...]:  # fmt: skip
    if not places:
        return ()
    last, first = len(model.segments), len(trained)
    classes = crossing[last][0].size
    require(
        int(trained.max()) < classes and int(trained.min()) >= 0,
        f"labels are classes from 0 to {classes - 1}, not {int(trained.min())} to {int(trained.max())}",
    )
    heads = {place: exits.head(model.crossing(place), classes, plan.seed + place) for place in places}
    for place, head in heads.items():
        learn_head(head, crossing[place][:first], trained, plan)
    given = np.stack([forward(head, crossing[place][first:]) for place, head in heads.items()])
    whole = crossing[last][first:].reshape(1, len(choosing), classes)
    ahead = [float(sum(segment.macs for segment in model.segments[:place])) for place in (*places, last)]
    calibrated = exits.calibrate(np.concatenate([given, whole]), choosing, ahead, points)
    found, made = exits.published(heads, model.crossing, calibrated)
    files |= made
    return found


def learn_head(head: nn.Module, crossing: Floats, labels: Labels, plan: Fitting) -> float:
    """Train one head on what crosses its border (n, ...) and the classes (n,); the last epoch's mean loss."""
    features, wanted = tensor(crossing), torch.from_numpy(np.asarray(labels, np.int64))
    head.train()
    return fit(
        head.parameters(),
        len(labels),
        lambda chunk, _: nn.functional.cross_entropy(head(features[chunk]), wanted[chunk]),
        plan,
    )


def _coders(
    model: ModelManifest, crossing: Mapping[int, Floats], first: int, places: Sequence[int], plan: Fitting,
    files: dict[bytes, bytes],
) -> tuple[Coders, ...]:  # fmt: skip
    found = []
    for place in places:
        border = model.crossing(place)
        require(
            2 <= len(border) <= 3,
            f"what crosses behind segment {place} has shape {border}: a pair stands between maps (channels, height, width)",
        )
        pair = bottleneck.pair(border, border, max(1, border[0] // NARROWED), 0, plan.seed + place)
        bottleneck.distil(pair, crossing[place][:first], crossing[place][:first], (), plan, CODEC)
        coders, made = bottleneck.published(pair, place, CODEC)
        files |= made
        found.append(coders)
    return tuple(found)
