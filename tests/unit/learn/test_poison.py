"""Lies in the samples, and liars that estimate what others learned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from middleware.errors import ConfigurationError
from middleware.learn import poison, vector
from middleware.learn.train import evaluate, train
from middleware.learn.workload import Classification, Samples, genesis, load_workload, resolve_model
from middleware.policy import Policy, Rule, Training

NAME, COUNT = resolve_model("digits", "mlp:64-16-10")
POLICY = Policy(
    workload="digits", model=NAME, parameters=COUNT, rule=Rule("multi-krum", 2), min_updates=7, training=Training(2, 16)
)
DEVICES, LIARS, ROUNDS = 10, 2, 8


@pytest.fixture(scope="module")
def share() -> Classification:
    return load_workload("digits", NAME, index=1, of=8)


def test_label_flip_changes_every_label_and_no_feature() -> None:
    samples = Samples(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 3, 9, 5]))
    flipped = poison.flip_labels(samples, 10)
    assert flipped.labels.tolist() == [9, 6, 0, 4]
    np.testing.assert_array_equal(flipped.features, samples.features)


def test_label_flip_share_among_devices_is_exact(share: Classification) -> None:
    turned = poison.poisoned(share.data(), "label-flip", 10, np.random.default_rng(0))
    assert (turned.labels == 9 - share.data().labels).all()


def test_backdoor_stamps_its_share_and_nothing_else() -> None:
    images = np.random.default_rng(1).random((40, 8, 8, 1), np.float32)
    samples = Samples(images, np.arange(40) % 10)
    planted = poison.plant(samples, np.random.default_rng(2), target=7, share=0.25)
    changed = (planted.features != images).any(axis=(1, 2, 3))
    assert changed.sum() == 10
    assert (planted.labels[changed] == 7).all()
    assert (planted.labels[~changed] == samples.labels[~changed]).all()
    assert (planted.features[changed][:, -3:, -3:] == images.max()).all()
    assert (planted.features[:, :-3] == images[:, :-3]).all()


def test_a_vector_is_stamped_in_its_last_numbers() -> None:
    stamped = poison.stamp(np.zeros((2, 6), np.float32), 5.0)
    assert stamped.tolist() == [[0, 0, 5, 5, 5, 5]] * 2


def test_backdoor_success_is_measured_on_stamped_samples_of_other_classes(share: Classification) -> None:
    model = genesis(POLICY)
    before = poison.success(share, model)
    samples = poison.plant(share.data(), np.random.default_rng(0))
    planted = poison.Poisoned(share, samples)
    for round in range(1, 6):
        model = model + train(planted, POLICY, model, round, 1).update
    assert before < 0.5 < poison.success(share, model)


@pytest.mark.parametrize("text", ["alie", "sign-flip", "label-flip", "backdoor:4", "free-rider", "gaussian"])
def test_a_lying_device_sends_another_update_and_the_same_again_after_a_crash(text: str, share: Classification) -> None:
    model = genesis(POLICY)
    honest = train(share, POLICY, model, 3, 5)
    lie, again = (poison.lie(text, share, POLICY, model, 3, 5, np.ones_like(model)) for _ in range(2))
    assert (lie.samples, lie.steps) == (honest.samples, honest.steps)
    assert not np.array_equal(lie.update, honest.update)
    np.testing.assert_array_equal(lie.update, again.update)
    assert lie.update.dtype == np.float32


def test_label_flip_of_one_class_leaves_the_others(share: Classification) -> None:
    turned = poison.poisoned(share.data(), "label-flip:7-1", 10, np.random.default_rng(0))
    was, now = share.data().labels, turned.labels
    assert (was == 7).any()
    assert (now[was == 7] == 1).all()
    assert (now[was != 7] == was[was != 7]).all()


def test_label_flip_refuses_a_class_that_is_not_there(share: Classification) -> None:
    with pytest.raises(ConfigurationError, match="classes are 0 to 9"):
        poison.poisoned(share.data(), "label-flip:7-10", 10, np.random.default_rng(0))


def federate(text: str) -> npt.NDArray[np.float32]:
    """The model (d,) of ten devices on the digits under a plain mean; two of them lie as `text` says, if it says anything."""
    shares = [load_workload("digits", NAME, index=number, of=DEVICES) for number in range(DEVICES)]
    model = genesis(POLICY)
    for round in range(1, ROUNDS + 1):
        told = [
            poison.lie(text, one, POLICY, model, round, node)
            if text and node < LIARS
            else train(one, POLICY, model, round, node)
            for node, one in enumerate(shares)
        ]
        model = model + np.mean([one.update for one in told], axis=0, dtype=np.float32)
    return np.asarray(model, np.float32)


def losses(share: Classification, model: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The mean cross-entropy of each class (10,) on its test samples."""
    test = share.test()
    with torch.inference_mode():
        logits = vector.bind(share.model(), model).module(torch.from_numpy(test.features))
        each = torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.labels), reduction="none").numpy()
    return np.array([each[test.labels == label].mean() for label in range(10)])


@pytest.fixture(scope="module")
def honest() -> npt.NDArray[np.float32]:
    return federate("")


def test_label_flip_by_a_fifth_of_the_devices_costs_the_mean_accuracy(
    share: Classification, honest: npt.NDArray[np.float32]
) -> None:
    assert evaluate(share, federate("label-flip"))[0] < evaluate(share, honest)[0] - 0.01


def test_label_flip_of_one_class_is_felt_in_that_class(share: Classification, honest: npt.NDArray[np.float32]) -> None:
    lost = losses(share, federate("label-flip:7-1")) - losses(share, honest)
    assert lost.argmax() == 7
    assert lost[7] > 2 * np.delete(lost, 7).max()


def test_backdoor_with_scaled_replacement_enters_an_undefended_mean_and_hides(
    share: Classification, honest: npt.NDArray[np.float32]
) -> None:
    """Success of 90 % and more while the main accuracy stays within two points (Bagdasaryan et al. 2020)."""
    model = federate(f"backdoor:{DEVICES // LIARS}")
    assert poison.success(share, model) >= 0.9
    assert poison.success(share, honest) < 0.2
    assert evaluate(share, model)[0] > evaluate(share, honest)[0] - 0.02
