"""What a published model says of itself is what running it gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from middleware.errors import ConfigurationError, PeerFault
from middleware.infer import bottleneck, exits, inputs, segments
from middleware.infer.export import export
from middleware.infer.fitting import Fitting, initialised
from middleware.infer.plan import Way, accuracy_of
from middleware.infer.publish import assembled, measured
from middleware.learn import models
from middleware.maths import confidence
from middleware.wire.model import File, Measured, decode_model_manifest, encode_model_manifest, require_file, root_of
from tests.unit.infer.learned_world import CLASSES, windows
from tests.unit.nodes.serving_world import Net


def made() -> tuple[object, ...]:
    torch.manual_seed(0)
    module = Net().eval()
    parts = segments.cut(segments_of(module), 4)
    model, files = assembled("net", parts, "image", scale=(0.5,) * 3 + (0.25,) * 3)
    numbers = np.random.default_rng(0)
    samples = numbers.integers(0, 256, (100, 16, 16, 3)).astype(np.uint8)
    with torch.no_grad():
        ready = torch.from_numpy(np.concatenate([inputs.prepared(model, one) for one in samples]))
        labels = module(ready).argmax(1).numpy()
    return model, files, samples, labels


def segments_of(module: torch.nn.Module) -> bytes:
    return export(module, (3, 16, 16))


def test_accuracy_and_bytes_of_every_way_are_measured() -> None:
    model, files, samples, labels = made()
    full = measured(model, files, samples, labels)  # type: ignore[arg-type]
    table = {one.way: one for one in full.measured}
    assert full.samples == 100 and table["raw"].accuracy == 1.0 and table["raw"].bytes == 768
    assert table["png"].accuracy == 1.0 and table["f32@2"].accuracy == 1.0
    assert table["u4@1"].accuracy <= table["f16@1"].accuracy and table["u8@1"].bytes < table["f32@1"].bytes / 3.5
    assert {"jpeg75", "jpeg95", "u8@3"} <= table.keys()


def test_branches_and_coders_are_measured_as_the_planner_reads_them() -> None:
    torch.set_num_threads(1)
    net = exits.branched(initialised(models.build(f"cnn1d:32x3-8-16-16-{CLASSES}"), 0), (32, 3), [1, 2])
    exits.train(net, *windows(800, 0), Fitting(epochs=4, rate=5e-3))
    samples, labels = windows(500, 1)
    given = exits.logits(net, samples)
    calibrated = exits.calibrate(given, labels, (1, 2, 4))
    chain = exits.parts(net, (32, 3))
    branches, files = exits.published(net.by_place, lambda after: chain[after - 1].given[1:], calibrated)
    front = exits.run(net, 0, 2, windows(800, 0)[0])
    pair = bottleneck.pair(front.shape[1:], front.shape[1:], 4, 1, seed=1)
    bottleneck.distil(pair, front, front, list(net.stages[2:]), Fitting(epochs=4, rate=5e-3), "u4")
    coders, more = bottleneck.published(pair, 2, "u4")
    model, held = assembled("windows", chain, branches=branches, coders=(coders,))
    full = measured(model, held | files | more, samples, labels)
    assert decode_model_manifest(encode_model_manifest(full)) == full
    table = {one.way: one for one in full.measured}
    left = confidence.leaving(exits.unsure(given, calibrated.temperatures), calibrated.chosen.thresholds)
    right = exits.right(given, labels)
    for at, after in enumerate(net.after):
        if (left == at).any():
            assert table[f"exit@{after}"].accuracy == pytest.approx(right[at, left == at].mean(), abs=0.01)
    assert table["device+exits"].accuracy == pytest.approx(calibrated.chosen.accuracy, abs=0.005)
    staying = float((left == 2).mean())
    assert table["u4@2+exits"].bytes == math.ceil(table["u4@2"].bytes * staying)
    data = bottleneck.sent(pair, exits.run(net, 0, 2, samples), "u4")
    wanted = exits.run(net, 2, len(net.stages), bottleneck.received(pair, data, "u4"))
    assert table["bottleneck@2"].accuracy == pytest.approx((wanted.argmax(1) == labels).mean(), abs=0.01)
    assert table["bottleneck@2"].bytes == 8 + math.prod(pair.given) // 2 < table["u4@2"].bytes
    last = len(chain)
    for way in (Way(last, last, "", True), Way(2, last, "u4", True), Way(2, last, "bottleneck", True)):
        assert accuracy_of(full, way) == table[way.name(last)].accuracy


def test_the_manifests_bytes_are_its_root_and_name_every_file() -> None:
    model, files, *_ = made()
    again = decode_model_manifest(encode_model_manifest(model))  # type: ignore[arg-type]
    assert again == model and root_of(again) == File.of(encode_model_manifest(again)).digest
    assert {file.digest for file in again.files()} == set(files)  # type: ignore[call-overload]


def test_a_tampered_segment_is_refused() -> None:
    model, files, *_ = made()
    file = model.segments[0].file  # type: ignore[attr-defined]
    data = files[file.digest]  # type: ignore[index]
    assert require_file(data, file) is data
    for bad in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        with pytest.raises(PeerFault, match="mismatch"):
            require_file(bad, file)


def test_licensed_tail_units_are_what_runs_above_the_device() -> None:
    model, *_ = made()
    assert model.units(len(model.segments)) == 0  # type: ignore[attr-defined]
    assert model.units(0) == -(-model.macs // model.unit_macs)  # type: ignore[attr-defined]


def test_manifests_that_contradict_themselves_cannot_be_built() -> None:
    import msgspec

    model, *_ = made()
    for wrong in (
        {"name": ""}, {"classes": ("one",)}, {"scale": ()}, {"segments": (model.segments[1], model.segments[0])},  # type: ignore[attr-defined]
        {"measured": (Measured("raw", 1.0, 1), Measured("png", 1.0, 1))}, {"unit_macs": 0},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            msgspec.structs.replace(model, **wrong)


def test_labels_without_samples_are_refused() -> None:
    model, files, samples, _ = made()
    with pytest.raises(ConfigurationError, match="100 samples have 0 labels"):
        measured(model, files, samples, np.zeros(0, np.int64))  # type: ignore[arg-type]
