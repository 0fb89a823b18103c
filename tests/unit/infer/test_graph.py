"""Cuts are exact: head and tail together are the whole network, to the bit, at every cut (inference acceptance test 1)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.infer import graph, lightweight

DOWNSETS = 40  # of each of six networks: 240


class Recurrent(nn.Module):
    """Windows (n, time, channels): a recurrent layer whose sequence and last state are both used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(6, 16, batch_first=True)
        self.both = nn.Linear(32, 5)

    def forward(self, windows: Tensor) -> Tensor:
        sequence, last = self.layer(windows)
        return self.both(torch.cat([sequence.mean(1), last[-1]], 1))


NETWORKS = {
    **{
        name: (name, (3, 64, 64))
        for name in ("mobilenet-v2", "mobilenet-v3-small", "squeezenet", "shufflenet", "resnet-18")
    },
    "recurrent": ("", (30, 6)),
}


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    network, shape = NETWORKS[name]
    return (lightweight.build(network, 10, 0.5) if network else Recurrent()).eval(), shape


def downsets(network: graph.Network, generator: np.random.Generator) -> Iterator[frozenset[int]]:
    """The two trivial ones, then random ones: some operations and all that come before them."""
    count = len(network.operations)
    yield frozenset({0})
    yield frozenset(range(count))
    before = {u: {u} for u in range(count)}
    for tail, head in network.edges:  # ascending: a tail's own set is whole by then
        before[head] |= before[tail]
    for _ in range(DOWNSETS - 2):
        top = generator.integers(1, count, size=int(generator.integers(1, 4)))
        yield frozenset({0}).union(*(before[int(u)] for u in top))


@pytest.mark.parametrize("name", NETWORKS)
def test_end_edge_co_inference_is_bit_equal_at_every_cut(name: str) -> None:
    module, shape = made(name)
    network = graph.trace(module, shape)
    given = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    several = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = module(given)
        for front in downsets(network, np.random.default_rng(2)):
            cut = graph.halves(network, front)
            carried = cut.head(given)
            assert [tuple(one.shape) for one in carried] == list(cut.crossing)
            assert torch.equal(cut.tail(*carried), whole), sorted(front)
        assert torch.equal(cut.tail(*cut.head(several)), module(several))  # the last of them, on more than one sample


def test_what_crosses_is_what_somebody_behind_reads() -> None:
    network = graph.trace(lightweight.build("resnet-18", 10, 0.5), (3, 64, 64))
    plus = next(u for u, one in enumerate(network.operations) if one.kind == "add")
    sources = {tail for tail, head in network.edges if head == plus}
    front = frozenset(range(max(sources) + 1))
    assert set(network.carried(front)) == sources  # inside a residual block two tensors are alive
    assert len(graph.halves(network, front).crossing) == 2


def test_every_operation_is_counted_once() -> None:
    module, shape = made("recurrent")
    network = graph.trace(module, shape)
    assert network.parameters == sum(one.numel() for one in module.parameters())
    assert network.macs == 30 * 3 * 16 * (6 + 16) + 32 * 5
    assert network.operations[0].kind == "input"
    assert network.operations[0].numbers == 180


def test_no_set_but_a_downset_is_cut() -> None:
    network = graph.trace(*made("recurrent"))
    with pytest.raises(ConfigurationError, match="travel back"):
        graph.halves(network, frozenset({0, len(network.operations) - 1}))
    with pytest.raises(ConfigurationError, match="the input"):
        graph.halves(network, frozenset({1}))


class Branching(nn.Module):
    def forward(self, given: Tensor) -> Tensor:
        return given if given.sum() > 0 else -given


class Measuring(nn.Module):
    def forward(self, given: Tensor) -> Tensor:
        return given.view(given.size(0), -1)


class Several(nn.Module):
    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        return given + 1, given + 2


@pytest.mark.parametrize(
    ("module", "shape", "remedy"),
    [
        (Branching(), (4,), "without such branches"),
        (Measuring(), (4,), "flatten"),
        (nn.Linear(3, 2), (4,), "does not take samples of shape"),
    ],
)
def test_a_model_that_cannot_be_cut_says_why(module: nn.Module, shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        graph.trace(module, shape)


def test_a_model_with_several_answers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="one tensor"):
        graph.halves(graph.trace(Several(), (4,)), frozenset({0}))
