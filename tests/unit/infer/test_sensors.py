"""A network over three tiers and several sensors: bits between them, and an answer with one of them dead."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.infer import exits, sensors
from middleware.infer.fitting import Fitting
from middleware.maths import confidence
from tests.unit.infer.learned_world import CLASSES, windows

SHAPE = sensors.Shape(sensors=3, time=32, channels=1, classes=CLASSES, width=16, maps=8, beyond=8)


def seen(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three sensors that each see one channel of the same wave."""
    samples, labels = windows(count, seed)
    return np.ascontiguousarray(samples.transpose(0, 2, 1)[..., None]), labels


@functools.cache
def trained() -> sensors.Distributed:
    torch.set_num_threads(1)
    net = sensors.distributed(SHAPE)
    sensors.train(net, *seen(1500, 0), Fitting(epochs=6, rate=5e-3), absent=0.2)
    return net


def test_ddnn_exits_chosen_by_bytes_send_less_for_two_points_at_most() -> None:
    net = trained()
    costs = SHAPE.bytes_at(3)
    samples, labels = seen(1500, 1)
    found = exits.calibrate(sensors.logits(net, samples), labels, costs, points=0.01)
    samples, labels = seen(2000, 2)
    given = sensors.logits(net, samples)
    told = confidence.outcome(
        exits.unsure(given, found.temperatures), exits.right(given, labels), costs, found.chosen.thresholds
    )
    assert told.accuracy >= exits.right(given, labels)[-1].mean() - 0.02
    raw = 2 * samples[0].size  # the readings in half precision
    assert told.cost < costs[-1] < raw / 4


def test_ddnn_one_sensor_dead_costs_little() -> None:
    net = trained()
    samples, labels = seen(2000, 2)
    whole = exits.right(sensors.logits(net, samples), labels)[-1].mean()
    for dead in range(3):
        assert exits.right(sensors.logits(net, samples, [dead]), labels)[-1].mean() >= whole - 0.05


def test_ddnn_a_dead_sensors_readings_change_nothing() -> None:
    net = trained()
    samples, _ = seen(20, 3)
    other = samples.copy()
    other[:, 1] = 99
    assert np.array_equal(sensors.logits(net, samples, [1]), sensors.logits(net, other, [1]))
    assert not np.array_equal(sensors.logits(net, samples), sensors.logits(net, other))


def test_ddnn_what_is_sent_is_as_long_as_it_is_counted_and_is_bits() -> None:
    net = trained()
    samples, _ = seen(4, 3)
    sent = sensors.features(net, samples[0])
    assert [len(one) for one in sent] == [SHAPE.device_bytes] * 3
    assert SHAPE.bytes_at(2) == (2 * 8, 2 * 8 + 2 * 4, 2 * 8 + 2 * 4 + 2)
    assert len(set(sent)) > 1


def test_ddnn_fusing_is_over_the_sensors_that_are_there() -> None:
    tensors = torch.tensor([[[1.0, 5.0], [3.0, -2.0]], [[1.0, 5.0], [3.0, -2.0]], [[1.0, 5.0], [3.0, -2.0]]])
    present = torch.tensor([[True, True], [True, False], [False, False]])
    assert sensors.fused(tensors, present, "max").tolist() == [[3, 5], [1, 5], [0, 0]]
    assert sensors.fused(tensors, present, "average").tolist() == [[2, 1.5], [1, 5], [0, 0]]
    assert sensors.fused(tensors, present, "concat")[1].tolist() == [[1, 5], [0, 0]]


@pytest.mark.parametrize("how", ["max", "average", "concat"])
def test_every_fusing_trains(how: sensors.Fusing) -> None:
    torch.set_num_threads(1)
    net = sensors.distributed(sensors.Shape(3, 32, 1, CLASSES, how, how, width=8, maps=4, beyond=4))
    sensors.train(net, *seen(600, 0), Fitting(epochs=4, rate=1e-2))
    samples, labels = seen(500, 1)
    assert exits.right(sensors.logits(net, samples), labels).mean(1).min() > 1 / CLASSES + 0.2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="multiple of 16"):
        sensors.Shape(2, 30, 3, 6)
    with pytest.raises(ConfigurationError, match="fusing 'sum'"):
        sensors.Shape(2, 32, 3, 6, scores="sum")  # type: ignore[arg-type]
