"""Side branches: classifiers at a network's borders, trained with it, so that easy samples need not go on.

BranchyNet (Teerapittayanon et al. 2016): heads behind some segments of a chain are trained jointly with it, by the weighted
sum of their cross entropies (section 3.1). A sample leaves at the first head that is sure enough (`maths.confidence`);
temperatures and thresholds come from validation samples, never from those trained on or tested with. A published model holds
one file a head beside its segments; planner and session know a branch by the number of segments in front of it.

A head averages maps down to a few positions, so it costs little behind large maps, and then has two linear layers. Behind a
recurrent layer, whose tensors are (time, channels), it averages over stretches of time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from middleware.errors import require
from middleware.infer import graph
from middleware.infer.export import INPUT, OUTPUT, export
from middleware.infer.fitting import FORWARD_BATCH, Fitting, Floats, fit, forward, initialised, tensor
from middleware.infer.segments import Part, cut
from middleware.maths import confidence
from middleware.wire.model import Branch, File

Labels = npt.NDArray[np.integer[Any]]

POSITIONS: Final = (
    4  # to which each axis of a map is averaged, or up to twice as many less one where it does not divide
)
HIDDEN: Final = 64  # units of a head's first layer


class _Turned(nn.Module):
    """(n, time, channels) to (n, channels, time)."""

    def forward(self, sequence: Tensor) -> Tensor:
        return sequence.transpose(1, 2)


def head(shape: Sequence[int], classes: int, seed: int, hidden: int = HIDDEN, sequence: bool = False) -> nn.Module:
    """A classifier of tensors (n, *shape): (channels, height, width), (channels, time), with `sequence` (time, channels), or
    a vector. ConfigurationError for other shapes."""
    require(1 <= len(shape) <= 3, f"a head stands behind tensors of one to three sizes, not {tuple(shape)}")
    sizes = (shape[1], shape[0]) if sequence else tuple(shape)
    windows = [max(1, size // POSITIONS) for size in sizes[1:]]
    pooled = sizes[0] * math.prod(size // window for size, window in zip(sizes[1:], windows, strict=True))
    steps: list[nn.Module] = [_Turned()] if sequence else []
    with torch.device("meta"):
        if windows:
            steps.append(nn.AvgPool1d(windows[0]) if len(windows) == 1 else nn.AvgPool2d((windows[0], windows[1])))
        steps += [nn.Flatten(), nn.Linear(pooled, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
        made = nn.Sequential(*steps)
    return initialised(made, seed)


class Branched(nn.Module):
    """A chain of stages with heads behind some: gives the logits of each head, and the chain's own last."""

    def __init__(self, stages: Sequence[nn.Module], heads: Mapping[int, nn.Module]) -> None:
        """`heads` by the number of stages in front."""
        super().__init__()
        within = all(0 < after < len(stages) for after in heads)
        require(within, f"heads stand behind stages 1 to {len(stages) - 1}, not {sorted(heads)}")
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleDict({str(after): heads[after] for after in sorted(heads)})

    @property
    def by_place(self) -> dict[int, nn.Module]:
        """Each head by the number of stages in front."""
        return {int(after): head for after, head in self.heads.items()}

    @property
    def after(self) -> tuple[int, ...]:
        """The stages in front of each head."""
        return tuple(map(int, self.heads))

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        given = []
        for place, stage in enumerate(self.stages, start=1):
            samples = stage(samples)
            if str(place) in self.heads:
                given.append(self.heads[str(place)](samples))
        return (*given, samples)


def branched(
    module: nn.Module, shape: Sequence[int], after: Sequence[int], seed: int = 0, sequence: bool = False
) -> Branched:
    """The module cut at all its `graph.borders`, with heads behind `after` of its stages."""
    network = graph.trace(module, shape)
    stages = graph.stages(network, graph.borders(network))
    crossing, shapes = torch.zeros(1, *shape), []
    with torch.no_grad():
        for stage in stages:
            crossing = stage(crossing)
            shapes.append(crossing.shape[1:])
    heads = {}
    for at in after:
        require(0 < at < len(stages), f"a head behind stage {at}: this network has borders 1 to {len(stages) - 1}")
        heads[at] = head(shapes[at - 1], shapes[-1][0], seed + at, sequence=sequence)
    return Branched(stages, heads)


def train(net: Branched, samples: Floats, labels: Labels, plan: Fitting, weights: Sequence[float] = ()) -> float:
    """Train chain and heads jointly on samples (n, ...) of classes (n,); the last epoch's mean loss. `weights` of the heads,
    by default one each; the chain's own is one."""
    shares = [*(weights or [1.0] * len(net.heads)), 1.0]
    require(len(shares) == len(net.heads) + 1, f"{len(net.heads)} heads have {len(shares) - 1} weights")
    features, wanted = tensor(samples), torch.from_numpy(np.asarray(labels, np.int64))
    net.train()

    def loss(chunk: npt.NDArray[np.int64], drawn: torch.Generator) -> Tensor:
        given = net(features[chunk])
        parts = [
            share * nn.functional.cross_entropy(one, wanted[chunk]) for share, one in zip(shares, given, strict=True)
        ]
        return torch.stack(parts).sum()

    return fit(net.parameters(), len(labels), loss, plan)


def logits(net: Branched, samples: Floats) -> Floats:
    """(heads + 1, n, classes): of each head, and the chain's own last."""
    net.eval()
    with torch.inference_mode():
        pieces = [torch.stack(net(chunk)).numpy() for chunk in torch.split(tensor(samples), FORWARD_BATCH)]
    return np.concatenate(pieces, axis=1)


def run(net: Branched, first: int, last: int, samples: Floats) -> Floats:
    """What stages [first, last) make of tensors (n, ...)."""
    return forward(nn.Sequential(*net.stages[first:last]), samples)


class Calibrated(NamedTuple):
    """By head: temperature; and the thresholds with what they gave on the validation samples."""

    temperatures: tuple[float, ...]
    chosen: confidence.Chosen


def unsure(given: Floats, temperatures: Sequence[float]) -> npt.NDArray[np.float64]:
    """(heads, n): the calibrated entropy of each head's answer, of `logits` (heads + 1, n, classes)."""
    return np.stack([confidence.entropies(one, value) for one, value in zip(given[:-1], temperatures, strict=True)])


def right(given: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """(heads + 1, n): whether each exit's answer is the label."""
    out: npt.NDArray[np.bool_] = given.argmax(2) == np.asarray(labels)
    return out


def calibrate(
    given: Floats, labels: Labels, costs: Sequence[float], points: float = 0.01, levels: int = 41
) -> Calibrated:
    """Temperatures, and the cheapest thresholds that lose at most `points` of accuracy against the last exit, on validation
    samples: `given` as of `logits`, `costs` (heads + 1,) of a sample that leaves there, in any unit."""
    temperatures = tuple(confidence.temperature(one, labels) for one in given[:-1])
    correct = right(given, labels)
    floor = float(correct[-1].mean()) - points
    return Calibrated(temperatures, confidence.cheapest(unsure(given, temperatures), correct, costs, floor, levels))


def parts(net: Branched, shape: Sequence[int]) -> tuple[Part, ...]:
    """The chain's segments, one a stage, so that a head's `after` counts them too."""
    found, taken = list[Part](), tuple(shape)
    for at, stage in enumerate(net.stages):
        (part,) = cut(_named(export(stage, taken), at), 1)
        found.append(part)
        taken = part.given[1:]
    return tuple(found)


def _named(data: bytes, at: int) -> bytes:
    """The file of stage `at` with names that no other stage has, but for the tensors that cross: then stages can be joined."""
    model = onnx.load_from_string(data)
    ends = {INPUT: f"border/{at}", OUTPUT: f"border/{at + 1}", "": ""}
    for node in model.graph.node:
        node.input[:] = [ends.get(name, f"{at}/{name}") for name in node.input]
        node.output[:] = [ends.get(name, f"{at}/{name}") for name in node.output]
    for named in (*model.graph.initializer, *model.graph.input, *model.graph.output, *model.graph.value_info):
        named.name = ends.get(named.name, f"{at}/{named.name}")
    return bytes(model.SerializeToString())


def published(
    heads: Mapping[int, nn.Module], crossing: Callable[[int], Sequence[int]], calibrated: Calibrated
) -> tuple[tuple[Branch, ...], dict[bytes, bytes]]:
    """(branches of a manifest, their files by digest): `heads` by the number of segments in front, ascending; `crossing` gives
    the shape there. A branch's rate is among those that reach it."""
    found, files, reached = [], {}, 1.0
    for at, (after, made) in enumerate(heads.items()):
        (part,) = cut(export(made, crossing(after)), 1)
        leaves = calibrated.chosen.shares[at]
        rate = min(1.0, leaves / reached) if reached > 0 else 0.0
        threshold = min(calibrated.chosen.thresholds[at], 1e9)
        found.append(Branch(after, File.of(part.onnx), part.macs, threshold, calibrated.temperatures[at], rate))
        files[found[-1].file.digest] = part.onnx
        reached -= leaves
    return tuple(found), files
