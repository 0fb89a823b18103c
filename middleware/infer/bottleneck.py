"""A pair of coders at a border, trained so that far less crosses there than a network's own tensors would need.

Encoder and decoder are put around the crossing of a network that is already trained. They learn by distillation (Matsubara et al.
2020, "Head network distillation"; Matsubara and Levorato 2021, "Neural compression and filtering", generalised: GHND): what the
decoder gives is to be the network's own tensor at the border, and what the stages behind make of it is to be what they made of
that, each as a squared error relative to the tensor's variance. No label is needed, and nothing behind the border is changed,
so the owner's tail serves requests with and without the pair. Where the encoder reads the input itself, or an earlier border's
tensor, it takes the place of the stages between: a smaller front half, the papers' student.

Between the two stands what the tensor passes on its way:

    a codec    rounding to its levels, in training with the gradient of the identity (straight through)
    a channel  erasures or white noise; with it in training, source and channel are coded jointly (Shao and Zhang 2020,
               "BottleNet++")
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from middleware.errors import require
from middleware.infer import coding
from middleware.infer.export import export
from middleware.infer.fitting import Fitting, Floats, fit, forward, initialised, tensor
from middleware.infer.segments import cut
from middleware.wire.model import Coders, File


class Pair(NamedTuple):
    """Maps tensors (n, *taken) to few numbers (n, *given), and these to what was at the border."""

    encoder: nn.Module
    decoder: nn.Module
    taken: tuple[int, ...]
    given: tuple[int, ...]


class Erasures(msgspec.Struct, frozen=True):
    """Each number is lost by itself with this probability; the decoder reads 0 in its place."""

    rate: float

    def __post_init__(self) -> None:
        require(0 <= self.rate < 1, f"erasure rate {self.rate}: from 0 to below 1")

    def passed(self, numbers: Tensor, drawn: torch.Generator) -> Tensor:
        return numbers * (torch.rand(numbers.shape, generator=drawn) >= self.rate)


class Noise(msgspec.Struct, frozen=True):
    """White Gaussian noise, so many decibels below the power of each sample's numbers."""

    decibels: float

    def passed(self, numbers: Tensor, drawn: torch.Generator) -> Tensor:
        power = numbers.detach().square().flatten(1).mean(1).reshape(-1, *[1] * (numbers.ndim - 1))
        scale = torch.sqrt(power * 10 ** (-self.decibels / 10))
        return numbers + scale * torch.randn(numbers.shape, generator=drawn)


Channel = Erasures | Noise


class _Plain(nn.Module):
    """Passes on what it gets."""

    def forward(self, samples: Tensor) -> Tensor:
        return samples


def pair(
    taken: Sequence[int], border: Sequence[int], channels: int, halvings: int, seed: int, hidden: int = 32
) -> Pair:
    """Coders from tensors (n, *taken) to those at the border (n, *border), both maps (channels, height, width) or
    (channels, time), by way of `channels` maps, each axis halved `halvings` times (rounded up) from what the border has.

    ConfigurationError for vectors, for axes of `taken` that halving does not bring to those of the border, and for pairs that
    make nothing smaller.
    """
    require(2 <= len(taken) == len(border) <= 3, f"a pair stands between maps, not {tuple(taken)} and {tuple(border)}")
    convolution: Any
    back: Any
    convolution, back = (nn.Conv1d, nn.ConvTranspose1d) if len(border) == 2 else (nn.Conv2d, nn.ConvTranspose2d)
    sizes, before = [tuple(border[1:])], 0
    for _ in range(halvings):
        sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
    reached = tuple(taken[1:])
    while reached != sizes[0] and min(reached) > 1:
        reached, before = tuple(-(-size // 2) for size in reached), before + 1
    require(reached == sizes[0], f"axes {tuple(taken[1:])} are not halved to {sizes[0]}")
    given = (channels, *sizes[-1])
    require(math.prod(given) < math.prod(border), f"{given} is no fewer numbers than {tuple(border)}")
    widths = [taken[0], *[hidden] * (before + halvings - 1 if before + halvings else 0)]
    encoder: list[nn.Module] = []
    decoder: list[nn.Module] = []
    with torch.device("meta"):
        for width in widths[1:]:
            encoder += [convolution(widths[0] if not encoder else hidden, width, 3, stride=2, padding=1), nn.ReLU()]
        last = hidden if encoder else taken[0]
        encoder.append(convolution(last, channels, 3, stride=2 if before + halvings else 1, padding=1))
        width = channels
        for small, large in zip(sizes[:0:-1], sizes[-2::-1], strict=True):
            odd = tuple(2 * one - 1 for one in small)
            more = tuple(big - less for big, less in zip(large, odd, strict=True))
            decoder += [back(width, hidden, 3, stride=2, padding=1, output_padding=more), nn.ReLU()]
            width = hidden
        decoder += [convolution(width, hidden, 3, padding=1), nn.ReLU(), convolution(hidden, border[0], 3, padding=1)]
        made = nn.ModuleList([nn.Sequential(*encoder), nn.Sequential(*decoder)])
    initialised(made, seed)
    return Pair(made[0], made[1], tuple(taken), given)


def rounded(numbers: Tensor, codec: str) -> Tensor:
    """Each sample as it comes out of the codec, with the gradient of the identity."""
    if codec not in coding.LEVELS:
        return numbers
    flat = numbers.detach().flatten(1)
    low, high = (flat.amin(1, keepdim=True), flat.amax(1, keepdim=True))
    step = ((high - low) / (coding.LEVELS[codec] - 1)).clamp_min(1e-12)
    found = (low + torch.round((flat - low) / step) * step).reshape(numbers.shape)
    return numbers + (found - numbers.detach())


def distil(
    coders: Pair, taken: Floats, wanted: Floats, behind: Sequence[nn.Module], plan: Fitting, codec: str = "f32",
    channel: Channel | None = None,
) -> float:  # fmt: skip
    """Train the pair on tensors `taken` (n, ...) where its encoder stands and `wanted` (n, ...) at the border, with the stages
    `behind` frozen; the last epoch's mean loss."""
    sources, targets = tensor(taken), tensor(wanted)
    further = [(stage, tensor(forward(nn.Sequential(*behind[: at + 1]), wanted))) for at, stage in enumerate(behind)]
    parameters = [*coders.encoder.parameters(), *coders.decoder.parameters()]
    frozen = [(one, one.requires_grad) for stage in behind for one in stage.parameters()]
    for one, _ in frozen:
        one.requires_grad_(False)

    def loss(chunk: npt.NDArray[np.int64], drawn: torch.Generator) -> Tensor:
        crossing = rounded(coders.encoder(sources[chunk]), codec)
        if channel is not None:
            crossing = channel.passed(crossing, drawn)
        found = coders.decoder(crossing)
        parts = [_relative(found, targets[chunk])]
        for stage, aim in further:
            found = stage(found)
            parts.append(_relative(found, aim[chunk]))
        return torch.stack(parts).sum()

    try:
        return fit(parameters, len(taken), loss, plan)
    finally:
        for one, before in frozen:
            one.requires_grad_(before)


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean() / wanted.var().clamp_min(1e-12)


def sent(coders: Pair, taken: Floats, codec: str) -> list[bytes]:
    """What crosses for each sample, coded."""
    return [coding.encode(codec, one) for one in forward(coders.encoder, taken)]


def received(coders: Pair, data: Sequence[bytes], codec: str, channel: Channel | None = None, seed: int = 0) -> Floats:
    """The tensors at the border (n, ...) that coded ones give, after a channel if there is one."""
    numbers = np.stack([coding.decode(codec, one, coders.given) for one in data])
    if channel is not None:
        numbers = channel.passed(tensor(numbers), torch.Generator().manual_seed(seed)).numpy()
    return forward(coders.decoder, numbers)


def digest(modules: Sequence[nn.Module]) -> bytes:
    """SHA-256 over the numbers of all parameters, in order: equal where nothing was changed."""
    found = hashlib.sha256()
    for module in modules:
        for parameter in module.parameters():
            found.update(parameter.detach().numpy().tobytes())
    return found.digest()


def published(coders: Pair, after: int, codec: Any) -> tuple[Coders, dict[bytes, bytes]]:
    """(the pair as a manifest names it behind `after` segments, its two files by digest)."""
    (encoder,) = cut(export(coders.encoder, coders.taken), 1)
    (decoder,) = cut(export(coders.decoder, coders.given), 1)
    both = File.of(encoder.onnx), File.of(decoder.onnx)
    files = {both[0].digest: encoder.onnx, both[1].digest: decoder.onnx}
    return Coders(after, *both, coders.given, codec, encoder.macs, decoder.macs), files
