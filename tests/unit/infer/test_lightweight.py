"""Lightweight networks have the sizes that their papers and reference code give (catalogue of inference, 1.4)."""

from __future__ import annotations

import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.infer import graph, lightweight

IMAGE = (3, 224, 224)
# Millions of multiply-accumulates and of parameters at 224 x 224 and 1,000 classes.
PUBLISHED = {
    "mobilenet-v1": (569, 4.2),
    "mobilenet-v2": (300, 3.5),
    "mobilenet-v3-large": (219, 5.4),
    "mobilenet-v3-small": (56, 2.5),
    "squeezenet": (349, 1.24),
    "shufflenet": (137, 1.87),
    "resnet-18": (1814, 11.69),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_are_the_published_ones(name: str) -> None:
    macs, parameters = PUBLISHED[name]
    network = graph.trace(lightweight.build(name), IMAGE)
    assert network.macs / 1e6 == pytest.approx(macs, rel=0.012)  # the papers round to three digits, and 5.4 is 5.48
    assert network.parameters / 1e6 == pytest.approx(parameters, rel=0.02)


def test_pp_lcnet_has_the_published_parameters_and_fewer_multiplications() -> None:
    network = graph.trace(lightweight.build("pp-lcnet"), IMAGE)
    assert network.parameters / 1e6 == pytest.approx(3.0, rel=0.02)
    assert network.macs / 1e6 == pytest.approx(
        155.7, rel=0.001
    )  # the paper's tool counts 161: more than multiplications


def test_a_shuffle_is_a_permutation_whose_inverse_restores() -> None:
    maps = torch.arange(24.0).reshape(1, 24, 1, 1)
    dealt = lightweight.Shuffle(3)(maps)
    assert sorted(dealt.flatten().tolist()) == list(range(24))
    assert dealt.flatten().tolist() != list(range(24))
    assert torch.equal(lightweight.Shuffle(8)(dealt), maps)


@pytest.mark.parametrize("name", lightweight.NETWORKS)
def test_a_network_maps_images_to_classes_at_any_width(name: str) -> None:
    made = lightweight.build(name, 7, 0.5).eval()
    with torch.no_grad():
        assert made(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


def test_an_unknown_network_is_one_clear_line() -> None:
    with pytest.raises(ConfigurationError, match="squeezenet"):
        lightweight.build("alexnet")
    with pytest.raises(ConfigurationError, match="width"):
        lightweight.build("squeezenet", width=0)
