"""A classifier of windows made of recurrent layers: what exits and cuts do is not a matter of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from middleware.infer.fitting import initialised


class Recurrent(nn.Module):
    """Two gated recurrent layers (Cho et al. 2014) over windows (n, time, channels), of `first` and `second` units, and a class
    from the last step."""

    def __init__(self, channels: int, first: int, second: int, classes: int) -> None:
        super().__init__()
        self.first = nn.GRU(channels, first, batch_first=True)
        self.second = nn.GRU(first, second, batch_first=True)
        self.last = nn.Linear(second, classes)

    def forward(self, windows: Tensor) -> Tensor:
        sequence, _ = self.first(windows)
        sequence, _ = self.second(sequence)
        return self.last(sequence[:, -1])  # type: ignore[no-any-return]


def recurrent(channels: int, first: int, second: int, classes: int, seed: int = 0) -> Recurrent:
    """The classifier with first values drawn from a seed."""
    with torch.device("meta"):
        made = Recurrent(channels, first, second, classes)
    return initialised(made, seed)
