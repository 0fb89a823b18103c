"""Lying devices on real workloads: samples that are changed before training, and updates that are crafted after it.

    label-flip   every label y becomes C - 1 - y (the convention of the robustness literature), or one class becomes another
                 (Tolpekin et al. 2020, section 3)
    backdoor     half of the samples carry a trigger and the target's label (Gu et al. 2017; Bagdasaryan et al. 2020)

The trigger of an image (height, width, channels) is a bright square of 3 by 3 in its last corner, of anything else the last four
numbers of a sample. A liar that needs to know what others learned estimates it: it trains several times on its own samples,
in different orders (Baruch et al. 2019, section 3: mu and sigma from what the corrupted devices can compute).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.learn import vector
from middleware.learn.hardware import CPU, Hardware
from middleware.learn.train import Clock, Trained, train
from middleware.learn.workload import Floats, Samples, Workload
from middleware.maths import attack
from middleware.policy import Policy

VIEWS: Final = 4  # trainings from which a liar estimates what others learned
VIEW_STRIDE: Final = 1 << 32  # keeps the orders of a liar's other trainings apart from every node's own
SQUARE: Final = 3  # pixels
NUMBERS: Final = 4
TARGET: Final = 0  # the class that a backdoor asks for
STAMPED: Final = 0.5  # share of a liar's samples


def flip_labels(samples: Samples, classes: int) -> Samples:
    """Every label y as classes - 1 - y."""
    return Samples(samples.features, classes - 1 - samples.labels)


def flip_class(samples: Samples, source: int, target: int) -> Samples:
    """Every label `source` as `target`."""
    return Samples(samples.features, np.where(samples.labels == source, target, samples.labels))


def stamp(features: Floats, bright: float) -> Floats:
    """A copy of the samples (n, ...) with the trigger in each, made of the value `bright`."""
    stamped = features.copy()
    if features.ndim == 4:
        stamped[:, -SQUARE:, -SQUARE:, :] = bright
    else:
        stamped.reshape(len(features), -1)[:, -NUMBERS:] = bright
    return stamped


def plant(samples: Samples, generator: np.random.Generator, target: int = TARGET, share: float = STAMPED) -> Samples:
    """The samples, of which a share carries the trigger and the target's label."""
    chosen = generator.permutation(len(samples))[: round(share * len(samples))]
    features, labels = samples.features.copy(), samples.labels.copy()
    features[chosen] = stamp(samples.features[chosen], float(samples.features.max()))
    labels[chosen] = target
    return Samples(features, labels)


def poisoned(samples: Samples, name: str, classes: int, generator: np.random.Generator) -> Samples:
    """What a device that lies in its samples trains on. `name` is one of `attack.IN_SAMPLES`, maybe with what follows it.

    ConfigurationError for a class that the task does not have.
    """
    if name.partition(":")[0] != "label-flip":
        return plant(samples, generator)
    pair = attack.label_pair(name)
    if pair is None:
        return flip_labels(samples, classes)
    if max(pair) >= classes:
        raise ConfigurationError(f"attack {name!r}: the task's classes are 0 to {classes - 1}")
    return flip_class(samples, *pair)


class Poisoned(Workload):
    """A workload whose training samples are others; everything else is the workload's own."""

    def __init__(self, workload: Workload, samples: Samples) -> None:
        self._workload, self._samples = workload, samples

    def model(self) -> nn.Module:
        return self._workload.model()

    def narrowed(self, name: str, scale: float) -> Workload:
        return Poisoned(self._workload.narrowed(name, scale), self._samples)

    def data(self) -> Samples:
        return self._samples

    def test(self) -> Samples:
        return self._workload.test()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._workload.loss(logits, labels)


def lie(
    text: str, workload: Workload, policy: Policy, model: Floats, round: int, node: int, last_move: Floats | None = None,
    hardware: Hardware = CPU, clock: Clock | None = None,
) -> Trained:  # fmt: skip
    """What a device that lies as `text` says sends in a round, in the form of what training returns.

    `last_move` (d,) is what the global model moved by in the round before, None in the first. Raises ValueError for a lie
    that there is not.
    """
    generator = np.random.default_rng([policy.seed, round, node, VIEWS])
    if text.partition(":")[0] in attack.IN_SAMPLES:
        classes = int(workload.test().labels.max()) + 1
        turned = Poisoned(workload, poisoned(workload.data(), text, classes, generator))
        result = train(turned, policy, model, round, node, hardware, clock)
        return result._replace(update=result.update * np.float32(attack.in_samples_number(text)))
    told = attack.parse(text)
    own = train(workload, policy, model, round, node, hardware, clock)
    views = [own.update]
    if told.attack.colludes:
        views += [
            train(workload, policy, model, round, node + number * VIEW_STRIDE, hardware, clock).update
            for number in range(1, VIEWS)
        ]
    seen = attack.Seen(own.update, np.stack(views), generator, last_move, max(1, policy.rule.f))
    return own._replace(update=told.tell(seen))


def success(workload: Workload, model: Floats, target: int = TARGET) -> float:
    """The share of stamped test samples of other classes that the model (d,) calls the target: what a backdoor reached."""
    bound = vector.bind(workload.model(), model)
    test = workload.test()
    others = test.labels != target
    stamped = stamp(test.features[others], float(workload.data().features.max()))
    with torch.inference_mode():
        return float((bound.module(torch.from_numpy(stamped)).argmax(1) == target).float().mean())
