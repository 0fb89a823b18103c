"""Trained coders at a border: a fraction of the bytes, an untouched tail, and a channel that may lose some of it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from middleware.errors import ConfigurationError
from middleware.infer import bottleneck, coding, exits
from middleware.infer.fitting import Fitting, forward, initialised
from middleware.infer.segments import Runner
from middleware.learn import models
from tests.unit.infer.learned_world import CLASSES, windows

PLACE = 2


@functools.cache
def trained() -> tuple[exits.Branched, np.ndarray]:
    """(a network of windows, what crosses behind its first two stages for 1,500 of them)."""
    torch.set_num_threads(1)
    net = exits.branched(initialised(models.build(f"cnn1d:32x3-16-32-32-{CLASSES}"), 0), (32, 3), [])
    samples, labels = windows(1500, 0)
    exits.train(net, samples, labels, Fitting(epochs=6, rate=5e-3))
    return net, forward(nn.Sequential(*net.stages[:PLACE]), samples)


def accuracy(net: exits.Branched, border: np.ndarray, labels: np.ndarray) -> float:
    return float((forward(nn.Sequential(*net.stages[PLACE:]), border).argmax(1) == labels).mean())


def test_bottleneck_a_distilled_pair_sends_a_twentieth_and_leaves_the_tail_as_it_was() -> None:
    net, crossing = trained()
    behind = list(net.stages[PLACE:])
    before = bottleneck.digest(behind)
    coders = bottleneck.pair(crossing.shape[1:], crossing.shape[1:], 4, 1, seed=1)
    bottleneck.distil(coders, crossing, crossing, behind, Fitting(epochs=10, rate=5e-3), "u4")
    assert bottleneck.digest(behind) == before
    assert all(one.requires_grad for stage in behind for one in stage.parameters())
    samples, labels = windows(1000, 1)
    border = forward(nn.Sequential(*net.stages[:PLACE]), samples)
    data = bottleneck.sent(coders, border, "u4")
    assert max(map(len, data)) <= border[0].nbytes / 20
    assert accuracy(net, bottleneck.received(coders, data, "u4"), labels) >= accuracy(net, border, labels) - 0.04
    untrained = bottleneck.pair(crossing.shape[1:], crossing.shape[1:], 4, 1, seed=1)
    guessed = bottleneck.received(untrained, bottleneck.sent(untrained, border, "u4"), "u4")
    assert accuracy(net, guessed, labels) < accuracy(net, border, labels) - 0.2


def test_head_distillation_a_student_from_the_input_on_takes_the_place_of_the_front() -> None:
    net, crossing = trained()
    samples, _ = windows(1500, 0)
    student = bottleneck.pair((3, 32), crossing.shape[1:], 8, 1, seed=2, hidden=24)
    turned = np.ascontiguousarray(samples.transpose(0, 2, 1))
    bottleneck.distil(student, turned, crossing, list(net.stages[PLACE:]), Fitting(epochs=12, rate=5e-3), "u4")
    found, labels = windows(1000, 1)
    data = bottleneck.sent(student, np.ascontiguousarray(found.transpose(0, 2, 1)), "u4")
    assert student.given == (8, 4) and len(data[0]) == coding.size("u4", 32)
    whole = accuracy(net, forward(nn.Sequential(*net.stages[:PLACE]), found), labels)
    assert accuracy(net, bottleneck.received(student, data, "u4"), labels) >= whole - 0.08


def test_rounding_in_training_is_what_the_codec_does() -> None:
    numbers = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    taken = torch.from_numpy(numbers).requires_grad_()
    for codec in ("u8", "u4"):
        found = bottleneck.rounded(taken, codec)
        coded = np.stack([coding.decode(codec, coding.encode(codec, one), one.shape) for one in numbers])
        assert np.abs(found.detach().numpy() - coded).max() < 1e-5
        (slope,) = torch.autograd.grad(found.sum(), taken)
        assert torch.equal(slope, torch.ones_like(slope))


def test_bottlenet_the_channel_does_what_was_asked_of_it() -> None:
    numbers, drawn = torch.randn(200, 500, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    lost = bottleneck.Erasures(0.1).passed(numbers, drawn)
    share = float((lost == 0).float().mean())
    assert abs(share - 0.1) < 3 * (0.1 * 0.9 / numbers.numel()) ** 0.5
    assert torch.equal(lost[lost != 0], numbers[lost != 0])
    noise = bottleneck.Noise(12.0).passed(5 * numbers, drawn) - 5 * numbers
    told = 10 * np.log10(float((5 * numbers).square().mean() / noise.square().mean()))
    assert abs(told - 12) < 0.1


@pytest.mark.slow
def test_bottlenet_a_pair_trained_with_erasures_bears_them_better() -> None:
    net, crossing = trained()
    behind, shape = list(net.stages[PLACE:]), crossing.shape[1:]
    samples, labels = windows(1000, 1)
    border = forward(nn.Sequential(*net.stages[:PLACE]), samples)
    lossy = bottleneck.Erasures(0.3)
    told = []
    for channel in (None, lossy):
        coders = bottleneck.pair(shape, shape, 4, 1, seed=1)
        bottleneck.distil(coders, crossing, crossing, behind, Fitting(epochs=10, rate=5e-3), "u4", channel)
        data = bottleneck.sent(coders, border, "u4")
        told.append(accuracy(net, bottleneck.received(coders, data, "u4", lossy, seed=3), labels))
    assert told[1] > told[0] + 0.02


def test_the_published_pair_is_the_trained_one() -> None:
    _, crossing = trained()
    coders = bottleneck.pair(crossing.shape[1:], crossing.shape[1:], 4, 2, seed=1)
    named, files = bottleneck.published(coders, PLACE, "u4")
    encoder, decoder = Runner([files[named.encoder.digest]]), Runner([files[named.decoder.digest]])
    few = encoder.run(0, 1, crossing[:5])
    assert few.shape[1:] == named.given == coders.given and named.encoder_macs > 0 and named.decoder_macs > 0
    wanted = forward(coders.decoder, forward(coders.encoder, crossing[:5]))
    assert np.abs(decoder.run(0, 1, few) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="between maps"):
        bottleneck.pair((8,), (8,), 1, 1, 0)
    with pytest.raises(ConfigurationError, match="not halved to"):
        bottleneck.pair((3, 20), (8, 9), 1, 1, 0)
    with pytest.raises(ConfigurationError, match="no fewer numbers"):
        bottleneck.pair((8, 9), (8, 9), 16, 1, 0)
    with pytest.raises(ConfigurationError, match="erasure rate"):
        bottleneck.Erasures(1.0)
