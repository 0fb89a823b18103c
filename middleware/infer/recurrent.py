"""A classifier of windows made of recurrent layers: what exits and cuts do is not a matter of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from middleware.infer.fitting import initialised


class Recurrent(nn.Module):
    """Two gated recurrent layers (Cho et al. 2014) over windows (n, time, channels), and a class from the last step."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.GRU(channels, hidden, batch_first=True)
        self.second = nn.GRU(hidden, hidden, batch_first=True)
        self.last = nn.Linear(hidden, classes)

    def forward(self, windows: Tensor) -> Tensor:
        sequence, _ = self.first(windows)
        sequence, _ = self.second(sequence)
        return self.last(sequence[:, -1])  # type: ignore[no-any-return]


def recurrent(channels: int, hidden: int, classes: int, seed: int = 0) -> Recurrent:
    with torch.device("meta"):
        made = Recurrent(channels, hidden, classes)
    return initialised(made, seed)
