"""Heads at borders: trained with the chain, exact where nobody leaves, and files that a manifest holds."""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from middleware.errors import ConfigurationError
from middleware.infer import exits, graph
from middleware.infer.fitting import Fitting, fit, forward, initialised
from middleware.infer.recurrent import recurrent
from middleware.infer.segments import Runner
from middleware.learn import models
from middleware.maths import confidence
from tests.unit.infer.learned_world import CLASSES, images, windows

NET = f"cnn1d:32x3-8-16-16-{CLASSES}"


@functools.cache
def trained() -> exits.Branched:
    torch.set_num_threads(1)
    net = exits.branched(initialised(models.build(NET), 0), (32, 3), [1, 2])
    samples, labels = windows(1500, 0)
    exits.train(net, samples, labels, Fitting(epochs=6, rate=5e-3))
    return net


def costs(net: exits.Branched) -> list[float]:
    """Multiply-accumulates of a sample that leaves at each exit, heads included."""
    chain = exits.parts(net, (32, 3))
    return [float(sum(part.macs for part in chain[:after])) for after in (*net.after, len(chain))]


def test_the_stages_share_the_layers_and_are_the_whole_to_the_bit() -> None:
    whole = initialised(models.build("cnn2d:12x12x1-4-8-4"), 3)
    network = graph.trace(whole, (12, 12, 1))
    places = graph.borders(network)
    stages = graph.stages(network, places)
    samples = torch.from_numpy(images(5, 1)[0])
    with torch.no_grad():
        found = samples
        for stage in stages:
            found = stage(found)
        assert torch.equal(found, whole(samples)) and len(stages) == len(places) + 1 == 3
    assert {id(one) for stage in stages for one in stage.parameters()} == {id(one) for one in whole.parameters()}
    with pytest.raises(ConfigurationError, match="no ascending places"):
        graph.stages(network, places[::-1])


def test_branchynet_the_first_exit_is_surer_on_what_it_has_right_and_the_last_is_best() -> None:
    net = trained()
    samples, labels = windows(1000, 1)
    given = exits.logits(net, samples)
    correct = exits.right(given, labels)
    accuracy = correct.mean(1)
    assert accuracy[-1] > 0.8 and accuracy[-1] > 1 / CLASSES + 0.4
    unsure = confidence.entropies(given[0])
    assert unsure[correct[0]].mean() < unsure[~correct[0]].mean()


def test_branchynet_leaving_nowhere_gives_the_logits_of_the_net_alone() -> None:
    net = trained()
    samples, labels = windows(64, 2)
    given = exits.logits(net, samples)
    alone = nn.Sequential(*net.stages)
    assert np.array_equal(given[-1], forward(alone, samples))
    unsure = exits.unsure(given, (1.0, 1.0))
    correct = exits.right(given, labels)
    none = confidence.outcome(unsure, correct, costs(net), (0.0, 0.0))
    all_leave = confidence.outcome(unsure, correct, costs(net), (math.inf, math.inf))
    assert none.shares == (0, 0, 1) and none.accuracy == correct[-1].mean()
    assert all_leave.shares == (1, 0, 0) and all_leave.accuracy == correct[0].mean()


def test_branchynet_thresholds_from_validation_keep_the_accuracy_for_less_work_on_other_samples() -> None:
    net = trained()
    price = costs(net)
    samples, labels = windows(1500, 3)
    found = exits.calibrate(exits.logits(net, samples), labels, price, points=0.01)
    samples, labels = windows(3000, 4)
    given = exits.logits(net, samples)
    other = confidence.outcome(
        exits.unsure(given, found.temperatures), exits.right(given, labels), price, found.chosen.thresholds
    )
    assert other.cost < 0.8 * price[-1]
    assert other.accuracy >= exits.right(given, labels)[-1].mean() - 0.03


def test_branchynet_its_files_are_what_was_trained() -> None:
    net = trained()
    samples, labels = windows(200, 5)
    chain = exits.parts(net, (32, 3))
    given = exits.logits(net, samples)
    calibrated = exits.calibrate(given, labels, costs(net))
    branches, files = exits.published(net.by_place, lambda after: chain[after - 1].given[1:], calibrated)
    runner = Runner([part.onnx for part in chain])
    assert [branch.after for branch in branches] == [1, 2] and len(chain) == len(net.stages)
    assert np.abs(runner.run(0, len(chain), samples) - given[-1]).max() <= 1e-5 * np.abs(given[-1]).max()
    for at, branch in enumerate(branches):
        found = Runner([files[branch.file.digest]]).run(0, 1, runner.run(0, branch.after, samples))
        assert np.abs(found - given[at]).max() <= 1e-5 * np.abs(given[at]).max()
    reached, shares = 1.0, []
    for branch in branches:
        shares.append(reached * branch.rate)
        reached -= shares[-1]
    assert shares == pytest.approx(calibrated.chosen.shares[:-1])


def test_exits_stand_behind_recurrent_layers_too() -> None:
    torch.set_num_threads(1)
    net = exits.branched(recurrent(3, 16, 16, CLASSES), (32, 3), [1], sequence=True)
    samples, labels = windows(600, 0)
    exits.train(net, samples, labels, Fitting(epochs=6, rate=1e-2), weights=[0.5])
    samples, labels = windows(500, 1)
    given = exits.logits(net, samples)
    assert exits.right(given, labels).mean(1).min() > 0.6
    chain = exits.parts(net, (32, 3))
    found = Runner([part.onnx for part in chain]).run(0, len(chain), samples)
    assert np.abs(found - given[-1]).max() <= 1e-5 * np.abs(given[-1]).max()


def test_training_is_the_same_again_and_leaves_the_global_generator_alone() -> None:
    samples, labels = windows(100, 0)

    def once() -> exits.Branched:
        net = exits.branched(initialised(models.build(NET), 0), (32, 3), [1])
        exits.train(net, samples, labels, Fitting(epochs=1))
        return net

    before = torch.random.get_rng_state()
    one, other = once(), once()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(left, right) for left, right in zip(one.parameters(), other.parameters(), strict=True))


def test_what_cannot_be_is_refused() -> None:
    whole = initialised(models.build(NET), 0)
    with pytest.raises(ConfigurationError, match="borders 1 to"):
        exits.branched(whole, (32, 3), [9])
    with pytest.raises(ConfigurationError, match="one to three sizes"):
        exits.head((1, 2, 3, 4), 2, 0)
    net = copy.deepcopy(trained())
    with pytest.raises(ConfigurationError, match="2 heads have 1 weights"):
        exits.train(net, *windows(10, 0), Fitting(), weights=[1.0])
    with pytest.raises(ConfigurationError, match="diverged"):
        fit(
            [next(net.parameters())], 2, lambda chunk, drawn: next(net.parameters()).sum() * math.nan, Fitting(epochs=1)
        )
