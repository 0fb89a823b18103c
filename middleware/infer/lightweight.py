"""Lightweight convolutional networks by name, as models of a device and as parents of splits.

    mobilenet-v1  Howard et al. 2017: depthwise, then pointwise convolutions
    mobilenet-v2  Sandler et al. 2018, table 2: inverted residuals with linear bottlenecks
    mobilenet-v3-large, mobilenet-v3-small
                  Howard et al. 2019, tables 1 and 2: with squeeze-and-excite and hard swish
    squeezenet    Iandola et al. 2016, version 1.1: fire modules
    shufflenet    Zhang et al. 2018, table 1, 3 groups: grouped pointwise convolutions and a shuffle of channels
    pp-lcnet      Cui et al. 2021, table 1: depthwise separable throughout, large kernels and squeeze-and-excite at the end
    resnet-18     He et al. 2016, table 1: not lightweight, but what split computing is measured on

`build(name, classes, width)` takes images (n, 3, height, width). `width` scales the channels, rounded to multiples of 8 and never
down by more than a tenth, as in the papers' code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish, "none": nn.Identity,
}  # fmt: skip


def rounded(channels: float) -> int:
    """The multiple of 8 that is nearest, at least 8 and at least nine tenths."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def convolution(
    inside: int, outside: int, size: int = 1, stride: int = 1, groups: int = 1, activation: str = "relu"
) -> nn.Sequential:
    """A convolution that keeps the map's size but for its stride, batch normalisation, an activation."""
    steps: list[nn.Module] = [
        nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outside),
    ]  # fmt: skip
    if activation != "none":
        steps.append(ACTIVATIONS[activation]())
    return nn.Sequential(*steps)


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.inner(maps)  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Each channel scaled by what two small layers make of all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.gate(maps)  # type: ignore[no-any-return]


def head(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(channels, classes)]


# ------------------------------------------------------------------------------------------------------------ MobileNets


def mobilenet_v1(classes: int, width: float) -> nn.Module:
    stages = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
    channels = rounded(32 * width)
    steps: list[nn.Module] = [convolution(3, channels, 3, 2)]
    for outside, stride in stages:
        wide = rounded(outside * width)
        steps += [convolution(channels, channels, 3, stride, channels), convolution(channels, wide)]
        channels = wide
    return nn.Sequential(*steps, *head(channels, classes))


def inverted(
    inside: int, hidden: int, outside: int, size: int, stride: int, activation: str, squeezed: int = 0
) -> nn.Module:
    """Widen, convolve each channel, narrow without an activation; a residual where the shapes allow it."""
    steps: list[nn.Module] = [convolution(inside, hidden, activation=activation)] if hidden != inside else []
    steps.append(convolution(hidden, hidden, size, stride, hidden, activation))
    if squeezed:
        steps.append(SqueezeExcite(hidden, squeezed))
    steps.append(convolution(hidden, outside, activation="none"))
    inner = nn.Sequential(*steps)
    return Residual(inner) if stride == 1 and inside == outside else inner


def mobilenet_v2(classes: int, width: float) -> nn.Module:
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    channels = rounded(32 * width)
    steps: list[nn.Module] = [convolution(3, channels, 3, 2, activation="relu6")]
    for factor, outside, repeats, stride in stages:
        wide = rounded(outside * width)
        for place in range(repeats):
            steps.append(inverted(channels, channels * factor, wide, 3, 1 if place else stride, "relu6"))
            channels = wide
    last = rounded(1280 * max(1.0, width))
    return nn.Sequential(*steps, convolution(channels, last, activation="relu6"), *head(last, classes))


# (kernel, hidden, outside, squeeze-and-excite, activation, stride)
LARGE: Final = (
    (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1), (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1), (3, 240, 80, False, "hswish", 2),
    (3, 200, 80, False, "hswish", 1), (3, 184, 80, False, "hswish", 1), (3, 184, 80, False, "hswish", 1),
    (3, 480, 112, True, "hswish", 1), (3, 672, 112, True, "hswish", 1), (5, 672, 160, True, "hswish", 2),
    (5, 960, 160, True, "hswish", 1), (5, 960, 160, True, "hswish", 1),
)  # fmt: skip
SMALL: Final = (
    (3, 16, 16, True, "relu", 2), (3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1), (5, 96, 40, True, "hswish", 2),
    (5, 240, 40, True, "hswish", 1), (5, 240, 40, True, "hswish", 1), (5, 120, 48, True, "hswish", 1),
    (5, 144, 48, True, "hswish", 1), (5, 288, 96, True, "hswish", 2), (5, 576, 96, True, "hswish", 1),
    (5, 576, 96, True, "hswish", 1),
)  # fmt: skip


def mobilenet_v3(
    stages: tuple[tuple[int, int, int, bool, str, int], ...], last: int, classes: int, width: float
) -> nn.Module:
    channels = rounded(16 * width)
    steps: list[nn.Module] = [convolution(3, channels, 3, 2, activation="hswish")]
    for size, hidden, outside, squeezes, activation, stride in stages:
        inner, wide = rounded(hidden * width), rounded(outside * width)
        steps.append(inverted(channels, inner, wide, size, stride, activation, rounded(inner / 4) if squeezes else 0))
        channels = wide
    steps += [convolution(channels, 6 * channels, activation="hswish"), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    return nn.Sequential(*steps, nn.Linear(6 * channels, last), nn.Hardswish(), nn.Linear(last, classes))


# --------------------------------------------------------------------------------------------------- the other families


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1 x 1 and 3 x 3 convolutions side by side."""

    def __init__(self, inside: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(inside, squeezed, 1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        few = self.squeeze(maps)
        return torch.cat([self.one(few), self.three(few)], 1)


def squeezenet(classes: int, width: float) -> nn.Module:
    def wide(channels: int) -> int:
        return rounded(channels * width)

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    channels = wide(64)
    steps: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2), nn.ReLU(), pool()]
    for squeezed, expanded, pools in (
        (16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True), (48, 192, False), (48, 192, False),
        (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        steps.append(Fire(channels, wide(squeezed), wide(expanded)))
        channels = 2 * wide(expanded)
        if pools:
            steps.append(pool())
    return nn.Sequential(*steps, nn.Conv2d(channels, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


class Shuffle(nn.Module):
    """Channels of every group dealt over all groups: channel (g, c) goes to place (c, g)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        dealt = maps.unflatten(1, (self.groups, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return dealt.flatten(1, 2)  # type: ignore[no-any-return]


class ShuffleUnit(nn.Module):
    """Grouped pointwise, shuffle, depthwise, grouped pointwise; added to its input, or beside its pooled input."""

    def __init__(self, inside: int, outside: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        hidden, made = outside // 4, outside - inside if stride == 2 else outside
        self.inner = nn.Sequential(
            convolution(inside, hidden, groups=first_groups), Shuffle(groups),
            convolution(hidden, hidden, 3, stride, hidden, "none"), convolution(hidden, made, groups=groups, activation="none"),
        )  # fmt: skip
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.last = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        if self.pool is None:
            return self.last(maps + self.inner(maps))  # type: ignore[no-any-return]
        return self.last(torch.cat([self.pool(maps), self.inner(maps)], 1))  # type: ignore[no-any-return]


def shufflenet(classes: int, width: float) -> nn.Module:
    groups, channels = 3, 24
    steps: list[nn.Module] = [convolution(3, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for outside, repeats in ((240, 4), (480, 8), (960, 4)):
        wide = max(1, round(outside * width / 24)) * 24  # a quarter of them is dealt to three groups
        for place in range(repeats):
            first = 1 if channels == 24 else groups
            steps.append(ShuffleUnit(channels, wide, 1 if place else 2, groups, first))
            channels = wide
    return nn.Sequential(*steps, *head(channels, classes))


def pp_lcnet(classes: int, width: float) -> nn.Module:
    stages = (
        (3, 32, 1, False), (3, 64, 2, False), (3, 64, 1, False), (3, 128, 2, False), (3, 128, 1, False), (3, 256, 2, False),
        *((5, 256, 1, False),) * 5, (5, 512, 2, True), (5, 512, 1, True),
    )  # fmt: skip
    channels = rounded(16 * width)
    steps: list[nn.Module] = [convolution(3, channels, 3, 2, activation="hswish")]
    for size, outside, stride, squeezes in stages:
        wide = rounded(outside * width)
        steps.append(convolution(channels, channels, size, stride, channels, "hswish"))
        if squeezes:
            steps.append(SqueezeExcite(channels, channels // 4))
        steps.append(convolution(channels, wide, activation="hswish"))
        channels = wide
    steps += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 1280, 1, bias=False), nn.Hardswish(), nn.Flatten(1)]
    return nn.Sequential(*steps, nn.Linear(1280, classes))


class Basic(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            convolution(inside, outside, 3, stride), convolution(outside, outside, 3, activation="none")
        )
        same = stride == 1 and inside == outside
        self.short = nn.Identity() if same else convolution(inside, outside, 1, stride, activation="none")
        self.last = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        return self.last(self.inner(maps) + self.short(maps))  # type: ignore[no-any-return]


def resnet_18(classes: int, width: float) -> nn.Module:
    channels = rounded(64 * width)
    steps: list[nn.Module] = [convolution(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for outside, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        wide = rounded(outside * width)
        steps += [Basic(channels, wide, stride), Basic(wide, wide, 1)]
        channels = wide
    return nn.Sequential(*steps, *head(channels, classes))


NETWORKS: Final[dict[str, Callable[[int, float], nn.Module]]] = {
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": mobilenet_v2,
    "mobilenet-v3-large": lambda classes, width: mobilenet_v3(LARGE, 1280, classes, width),
    "mobilenet-v3-small": lambda classes, width: mobilenet_v3(SMALL, 1024, classes, width),
    "squeezenet": squeezenet,
    "shufflenet": shufflenet,
    "pp-lcnet": pp_lcnet,
    "resnet-18": resnet_18,
}


def build(name: str, classes: int = 1000, width: float = 1.0) -> nn.Module:
    """The network of that name for images (n, 3, height, width) of so many classes. ConfigurationError for no such name."""
    if name not in NETWORKS:
        raise ConfigurationError(f"network {name!r}: choose one of {', '.join(NETWORKS)}")
    if classes < 2 or width <= 0:
        raise ConfigurationError(f"{classes} classes at width {width}: give at least 2 classes and a width above 0")
    return NETWORKS[name](classes, width)
