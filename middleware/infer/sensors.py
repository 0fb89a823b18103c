"""One network over a device, an edge and a cloud with several sensors: exits at each tier, bits between them.

DDNN (Teerapittayanon, McDanel and Kung 2017): every sensor's device runs a small part of its own. It gives class scores, which a
local aggregator fuses into the first exit, and binary features, which the edge asks for only where that exit is not sure. The
edge fuses those, has the second exit, and sends binary features of its own on to the cloud, which has the last. All is trained
jointly (section III-C). Fusing is one of (section III-B)

    max      the largest of what the sensors give, number by number
    average  their mean
    concat   all of them side by side, 0 for a sensor that is not there

In training sensors are left out at random, so that the network also answers with one of them dead. What a sample costs to send
is counted as in the paper's equation 1, for both hops: scores always, device features past the first exit, edge features past
the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import require
from middleware.infer.fitting import FORWARD_BATCH, Fitting, Floats, fit, initialised, tensor

Labels = npt.NDArray[np.integer[Any]]
Fusing = Literal["max", "average", "concat"]
FUSINGS: Final = ("max", "average", "concat")
SCORE_BYTES: Final = 2  # half precision
TIERS: Final = ("device", "edge", "cloud")


class Shape(msgspec.Struct, frozen=True):
    """Windows of `time` readings of `channels` axes from each of `sensors`; sizes of the network."""

    sensors: int
    time: int
    channels: int
    classes: int
    scores: Fusing = "average"
    features: Fusing = "concat"
    width: int = 32  # maps inside
    maps: int = 16  # binary ones that a device sends, each of an eighth of the readings
    beyond: int = 16  # binary ones that the edge sends, each of a sixteenth

    def __post_init__(self) -> None:
        positive = min(self.sensors, self.channels, self.classes, self.width, self.maps, self.beyond) > 0
        require(positive and self.time >= 16 and self.time % 16 == 0, "counts above 0, readings a multiple of 16")
        for fusing in (self.scores, self.features):
            require(fusing in FUSINGS, f"fusing {fusing!r}: choose one of {', '.join(FUSINGS)}")

    @property
    def score_bytes(self) -> int:
        """Of one sensor's class scores."""
        return SCORE_BYTES * self.classes

    @property
    def device_bytes(self) -> int:
        """Of one sensor's binary features."""
        return -(-self.maps * self.time // 8 // 8)

    @property
    def edge_bytes(self) -> int:
        return -(-self.beyond * self.time // 16 // 8)

    def bytes_at(self, sensors: int) -> tuple[int, int, int]:
        """What a sample that leaves at device, edge or cloud has sent, with so many sensors alive."""
        first = sensors * self.score_bytes
        second = first + sensors * self.device_bytes
        return first, second, second + self.edge_bytes


class Distributed(nn.Module):
    """The parts of all tiers. Gives the logits of each tier's exit for windows (n, sensors, time, channels) and which sensors
    are there, bool (n, sensors)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        wide, fused = shape.width, shape.maps * (shape.sensors if shape.features == "concat" else 1)
        self.devices = nn.ModuleList(_maps((shape.channels, wide, wide, shape.maps)) for _ in range(shape.sensors))
        self.heads = nn.ModuleList(nn.Linear(shape.maps * shape.time // 8, shape.classes) for _ in range(shape.sensors))
        self.local = nn.Linear(shape.sensors * shape.classes, shape.classes) if shape.scores == "concat" else None
        self.edge = nn.Sequential(nn.Conv1d(fused, 2 * wide, 5, padding=2), nn.ReLU(), *_maps((2 * wide, shape.beyond)))
        self.edge_head = nn.Linear(shape.beyond * shape.time // 16, shape.classes)
        self.cloud = nn.Sequential(
            nn.Conv1d(shape.beyond, 4 * wide, 3, padding=1), nn.ReLU(), nn.Conv1d(4 * wide, 4 * wide, 3, padding=1),
            nn.ReLU(), nn.Flatten(), nn.Linear(4 * wide * shape.time // 16, shape.classes),
        )  # fmt: skip

    def forward(self, windows: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sources = [device(windows[:, at].transpose(1, 2)) for at, device in enumerate(self.devices)]
        scores = torch.stack([head(one.flatten(1)) for head, one in zip(self.heads, sources, strict=True)], 1)
        first = fused(scores, present, self.shape.scores)
        if self.local is not None:
            first = self.local(first.flatten(1))
        joined = fused(torch.stack(sources, 1), present, self.shape.features)
        further = self.edge(joined.flatten(1, 2) if self.shape.features == "concat" else joined)
        return first, self.edge_head(further.flatten(1)), self.cloud(further)


class _Binary(nn.Module):
    """-1 or 1; in training with the gradient of the identity between -1 and 1 (Courbariaux et al. 2016, equation 4)."""

    def forward(self, numbers: Tensor) -> Tensor:
        signs = torch.where(numbers >= 0, 1.0, -1.0)
        inside = numbers.clamp(-1, 1)
        return inside + (signs - inside).detach()


def _maps(widths: Sequence[int]) -> nn.Sequential:
    """Convolutions over time, each of stride 2, the last one's signs."""
    steps: list[nn.Module] = []
    for few, many in zip(widths[:-1], widths[1:], strict=True):
        steps += [nn.Conv1d(few, many, 5, stride=2, padding=2), nn.ReLU()]
    return nn.Sequential(*steps[:-1], _Binary())


def fused(tensors: Tensor, present: Tensor, how: Fusing) -> Tensor:
    """(n, ...) of what the sensors give (n, sensors, ...), or for "concat" (n, sensors, ...) with zeros for absent ones. A sample
    without any sensor gives zeros."""
    there = present.reshape(*present.shape, *[1] * (tensors.ndim - 2))
    if how == "concat":
        return tensors * there
    if how == "average":
        return (tensors * there).sum(1) / there.sum(1).clamp_min(1)
    lowest = torch.where(there, tensors, -torch.inf).amax(1)
    return torch.where(there.any(1), lowest, 0.0)


def distributed(shape: Shape, seed: int = 0) -> Distributed:
    with torch.device("meta"):
        made = Distributed(shape)
    return initialised(made, seed)


def train(net: Distributed, windows: Floats, labels: Labels, plan: Fitting, absent: float = 0.0) -> float:
    """Train all tiers jointly, each exit's cross entropy with weight one; each sensor is left out of a sample with probability
    `absent`, never all of them. The last epoch's mean loss."""
    samples, wanted = tensor(windows), torch.from_numpy(np.asarray(labels, np.int64))
    net.train()

    def loss(chunk: npt.NDArray[np.int64], drawn: torch.Generator) -> Tensor:
        there = torch.rand(len(chunk), net.shape.sensors, generator=drawn) >= absent
        kept = torch.randint(net.shape.sensors, (len(chunk), 1), generator=drawn)
        there |= torch.arange(net.shape.sensors) == kept
        given = net(samples[chunk], there)
        return torch.stack([nn.functional.cross_entropy(one, wanted[chunk]) for one in given]).sum()

    return fit(net.parameters(), len(labels), loss, plan)


def logits(net: Distributed, windows: Floats, dead: Sequence[int] = ()) -> Floats:
    """(3, n, classes): of the exits at device, edge and cloud, with the sensors `dead` absent."""
    net.eval()
    there = torch.ones(len(windows), net.shape.sensors, dtype=torch.bool)
    there[:, list(dead)] = False
    pieces = []
    with torch.inference_mode():
        for chunk, present in zip(
            torch.split(tensor(windows), FORWARD_BATCH), torch.split(there, FORWARD_BATCH), strict=True
        ):
            pieces.append(torch.stack(net(chunk, present)).numpy())
    return np.concatenate(pieces, axis=1)


def features(net: Distributed, window: Floats) -> list[bytes]:
    """What each sensor's device sends for one window (sensors, time, channels) past the first exit: its signs, eight a byte."""
    net.eval()
    with torch.inference_mode():
        found = [device(tensor(window[at]).T[None]).numpy() for at, device in enumerate(net.devices)]
    return [np.packbits(one.reshape(-1) > 0).tobytes() for one in found]
