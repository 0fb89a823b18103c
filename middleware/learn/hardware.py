"""What a node trains on, and what that allows: where tensors live, how wide the arithmetic is, what may be replayed.

A small model on a GPU spends its time launching kernels, not running them: `replayed` records one step as a CUDA graph and
launches it whole. bfloat16 autocast keeps parameters, gradients' sums and the optimiser in float32 and multiplies matrices
in bfloat16. Neither touches what is aggregated: an update is put on the integer grid after training, whatever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from middleware.errors import ConfigurationError

WARM_UP: Final = 3  # eager steps before a recording: libraries choose their algorithms and allocate in them
Step = Callable[[Tensor, Tensor], Tensor]


class Hardware(NamedTuple):
    """A torch device, the precision of its matrix products, and whether steps may be recorded as CUDA graphs."""

    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    graphs: bool = True

    @property
    def is_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def require(self) -> None:
        """ConfigurationError unless torch can use this device here."""
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigurationError(
                f'device = "{self.device}" cannot be used here ({str(error).splitlines()[0]}): set device = "cpu"'
            ) from error


CPU: Final = Hardware()


def placed(array: npt.NDArray[Any], hardware: Hardware) -> Tensor:
    """The array on the device. To a GPU it goes through pinned memory, while the caller goes on."""
    tensor = torch.as_tensor(array)
    if not hardware.is_cuda:
        return tensor.to(hardware.device)
    return tensor.pin_memory().to(hardware.device, non_blocking=True)


def autocast(hardware: Hardware) -> AbstractContextManager[object]:
    """The context in which a model's forward pass and loss are computed."""
    if hardware.precision == "float32":
        return nullcontext()
    # Weights that were cast once would be stale after a step that a graph replays.
    return torch.autocast(torch.device(hardware.device).type, torch.bfloat16, cache_enabled=False)


def replayed(step: Step, touched: Sequence[Tensor], hardware: Hardware) -> Step:
    """`step` (features, labels -> loss), recorded at its first call for each shape of batch and replayed after that.

    `touched` are the tensors that a step changes (parameters, gradients, velocity): recording leaves them as they were.
    Without CUDA, or with graphs = False, it is `step` itself. A returned loss is the caller's own copy.
    """
    if not (hardware.is_cuda and hardware.graphs):
        return step
    recorded: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]] = {}

    def run(features: Tensor, labels: Tensor) -> Tensor:
        shape = tuple(features.shape)
        if shape not in recorded:
            recorded[shape] = _record(step, features, labels, touched)
        graph, batch, wanted, loss = recorded[shape]
        batch.copy_(features, non_blocking=True)
        wanted.copy_(labels, non_blocking=True)
        graph.replay()
        return loss.clone()

    return run


def _record(
    step: Step, features: Tensor, labels: Tensor, touched: Sequence[Tensor]
) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]:
    batch, wanted, before = features.clone(), labels.clone(), [tensor.clone() for tensor in touched]
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            step(batch, wanted)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(batch, wanted)
    for tensor, value in zip(touched, before, strict=True):
        tensor.copy_(value)
    return graph, batch, wanted, loss
