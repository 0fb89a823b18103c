"""Branches and coders that are added to a model whose weights stay: what they bring is measured on samples they never saw."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from middleware.errors import ConfigurationError
from middleware.infer import exits
from middleware.infer.export import export
from middleware.infer.extend import LEAST_SAMPLES, Extended, extended
from middleware.infer.fitting import Fitting, initialised
from middleware.infer.publish import assembled, measured
from middleware.infer.segments import cut
from middleware.learn import models
from middleware.wire.model import decode_model_manifest, encode_model_manifest
from tests.unit.infer.learned_world import CLASSES, windows

NET = f"cnn1d:32x3-8-16-16-{CLASSES}"


@functools.cache
def made() -> tuple[Any, dict[bytes, bytes]]:
    """A trained chain, as a file from anywhere."""
    torch.set_num_threads(1)
    net = exits.branched(initialised(models.build(NET), 0), (32, 3), [])
    exits.train(net, *windows(1200, 0), Fitting(epochs=5, rate=5e-3))
    return assembled("windows", cut(export(nn.Sequential(*net.stages), (32, 3)), 6))


def maps(model: Any) -> list[int]:
    return [place for place in range(1, len(model.segments)) if len(model.crossing(place)) == 2]


@functools.cache
def grown() -> tuple[Extended, int, int]:
    model, files = made()
    first, second = maps(model)[0], maps(model)[-1]
    plan = Fitting(epochs=20, rate=5e-3)
    return extended(model, files, *windows(900, 1), (first, second), (second,), plan=plan), first, second


def test_a_file_from_anywhere_gets_branches_and_coders_and_keeps_its_weights() -> None:
    found, first, second = grown()
    model, files = made()
    assert found.model.segments == model.segments and files.items() <= found.files.items()
    assert [branch.after for branch in found.model.branches] == [first, second]
    assert [pair.after for pair in found.model.coders] == [second]
    assert decode_model_manifest(encode_model_manifest(found.model)) == found.model
    assert {file.digest for file in found.model.files()} <= found.files.keys()


def test_what_they_bring_shows_on_samples_that_decided_nothing() -> None:
    found, _, second = grown()
    assert len(found.labels) == 180
    seen = {sample.tobytes() for sample in windows(900, 1)[0]}
    assert all(sample.tobytes() in seen for sample in found.samples)
    full = measured(found.model, found.files, found.samples, found.labels)
    table = {one.way: one for one in full.measured}
    assert table["raw"].accuracy > 0.8 and table["device+exits"].accuracy > table["raw"].accuracy - 0.06
    assert sum(branch.rate for branch in found.model.branches) > 0.2
    assert table[f"bottleneck@{second}"].bytes * 12 < table[f"f32@{second}"].bytes
    assert table[f"bottleneck@{second}"].accuracy > table["raw"].accuracy - 0.1


def test_an_exit_that_may_cost_nothing_costs_nothing_on_the_samples_it_was_chosen_by() -> None:
    model, files = made()
    place = maps(model)[0]
    plan = Fitting(epochs=1)
    careful = extended(model, files, *windows(300, 2), (place,), points=0.0, plan=plan).model.branches[0]
    bold = extended(model, files, *windows(300, 2), (place,), points=1.0, plan=plan).model.branches[0]
    assert careful.rate < bold.rate == 1.0


def test_what_cannot_be_added_is_said() -> None:
    model, files = made()
    samples, labels = windows(LEAST_SAMPLES, 0)
    for place in (0, len(model.segments)):
        with pytest.raises(ConfigurationError, match="borders behind 1 to"):
            extended(model, files, samples, labels, (place,))
    with pytest.raises(ConfigurationError, match=f"at least {LEAST_SAMPLES}"):
        extended(model, files, samples[1:], labels[1:], (1,))
    with pytest.raises(ConfigurationError, match=r"classes from 0 to 3, not 1 to 4"):
        extended(model, files, samples, np.maximum(labels + 1, 1), (1,))
    vectors = [place for place in range(1, len(model.segments)) if len(model.crossing(place)) == 1]
    if vectors:
        with pytest.raises(ConfigurationError, match="stands between maps"):
            extended(model, files, samples, labels, (), (vectors[-1],))
