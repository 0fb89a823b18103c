from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import fleet, models
from middleware.learn.train import train
from middleware.learn.workload import Classification, Samples
from middleware.policy import Policy, Training

COUNTS = [5, 16, 33, 1, 20, 16]  # one batch that is not full, several, one sample, equal ones
SHAPES = {"mlp:12-9-4": (12,), "cnn1d:16x3-4-4": (16, 3), "cnn2d:9x8x2-3-5-4": (9, 8, 2)}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shards(name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Padded shards; what stands behind a shard's count is poison that nobody may train on."""
    generator = np.random.default_rng(3)
    features = generator.standard_normal((len(COUNTS), max(COUNTS), *SHAPES[name])).astype(np.float32)
    for place, held in enumerate(COUNTS):
        features[place, held:] = np.nan
    return features, generator.integers(0, 4, (len(COUNTS), max(COUNTS)))


def alone(name: str, training: Training, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], node: int):  # type: ignore[no-untyped-def]
    """What `learn.train` makes of one shard in round 2."""
    policy = Policy(workload="digits", model=name, parameters=models.count(name), training=training, seed=7)
    data = Samples(features, labels)
    return train(Classification(name, data, data), policy, models.initial(name, 1), round=2, node=node)


@pytest.mark.parametrize("name", SHAPES)
def test_a_fleet_learns_what_its_devices_learn_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MOST_AT_ONCE", 4)  # more than one group, of unlike sizes
    features, labels = shards(name)
    training = Training(epochs=2, batch=16, learning_rate=0.1, momentum=0.9)
    seeds = [[7, 2, node] for node in range(len(COUNTS))]
    updates, losses = fleet.train_fleet(name, models.initial(name, 1), features, labels, COUNTS, training, seeds)
    for place, held in enumerate(COUNTS):
        expected = alone(name, training, features[place, :held], labels[place, :held], place)
        assert np.abs(expected.update).max() > 0.01
        assert np.allclose(updates[place], expected.update, atol=2e-6)
        assert losses[place] == pytest.approx(expected.metrics["loss"], abs=2e-6)


def test_a_device_of_a_fleet_may_start_from_its_own_model() -> None:
    name = "mlp:12-9-4"
    features, labels = shards(name)
    own = np.stack([models.initial(name, seed) for seed in range(len(COUNTS))])
    training = Training(1, 8, 0.1, 0.0)
    together, _ = fleet.train_fleet(name, own, features, labels, COUNTS, training, range(len(COUNTS)))
    for place, held in enumerate(COUNTS):
        apart, _ = fleet.train_fleet(
            name, own[place], features[place : place + 1], labels[place : place + 1], [held], training, [place]
        )
        assert np.allclose(together[place], apart[0], atol=1e-6)


def test_devices_may_hold_the_same_samples_of_one_pool() -> None:
    name = "mlp:12-9-4"
    features, labels = shards(name)
    pool, share = Samples(features[2], labels[2]), np.arange(30)
    (taught,) = fleet.teach(name, models.initial(name, 0), pool, [share, share], Training(), [[1], [1]])
    assert sorted(taught.places) == [0, 1]
    assert np.array_equal(taught.updates[0], taught.updates[1])


def test_training_of_a_fleet_that_diverges_names_the_devices() -> None:
    name = "mlp:12-9-4"
    features, labels = shards(name)
    features[4] *= 1e30
    with pytest.raises(ConfigurationError, match="diverged on 1 devices .number 4.*learning rate"):
        fleet.train_fleet(name, models.initial(name, 0), features, labels, COUNTS, Training(), range(len(COUNTS)))


@pytest.mark.parametrize("counts", [[5], [5, 16, 33, 0, 20, 16], [34] * 6])
def test_counts_that_do_not_fit_the_shards_are_refused(counts: list[int]) -> None:
    features, labels = shards("mlp:12-9-4")
    with pytest.raises(ConfigurationError, match="counts of 1 to s"):
        fleet.train_fleet("mlp:12-9-4", models.initial("mlp:12-9-4", 0), features, labels, counts, Training(), counts)


def test_models_of_another_size_are_refused() -> None:
    features, labels = shards("mlp:12-9-4")
    with pytest.raises(ConfigurationError, match="do not fit 6 devices"):
        fleet.train_fleet("mlp:12-9-4", np.zeros(3, np.float32), features, labels, COUNTS, Training(), COUNTS)


def test_a_large_model_trains_few_devices_at_once() -> None:
    assert fleet.chunk_for(100) == fleet.MOST_AT_ONCE
    assert fleet.chunk_for(1_000_000) * 16_000_000 <= fleet.WORKING_BYTES
    assert fleet.chunk_for(1 << 30) == 1
