"""A chain of segments is the network it was cut from (inference acceptance test 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError
from middleware.infer import graph, lightweight, segments
from middleware.infer.export import export, export_program

SIZE = 64


class Recurrent(nn.Module):
    """Windows (n, time, channels): a recurrent layer whose sequence and last state are both used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(6, 16, batch_first=True)
        self.both = nn.Linear(32, 5)

    def forward(self, windows: Tensor) -> Tensor:
        sequence, last = self.layer(windows)
        return self.both(torch.cat([sequence.mean(1), last[-1]], 1))  # type: ignore[no-any-return]


NETWORKS = ["mobilenet-v2", "mobilenet-v3-small", "squeezenet", "shufflenet", "resnet-18", "recurrent"]


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if name == "recurrent":
        return Recurrent().eval(), (30, 6)
    module = lightweight.build(name, 10, 0.5)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training: no two channels alike
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    return module.eval(), (3, SIZE, SIZE)


@pytest.mark.parametrize("name", NETWORKS)
def test_end_edge_co_inference_in_onnxruntime_is_within_1e_5_of_torch_at_every_cut(name: str) -> None:
    module, shape = made(name)
    parts = segments.cut(export(module, shape))
    samples = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = module(samples).numpy()
    runner = segments.Runner([part.onnx for part in parts])
    assert len(parts) > 1 and np.ptp(whole) > 0
    for place in range(len(parts) + 1):
        crossing = runner.run(0, place, samples.numpy())
        given = runner.run(place, len(parts), crossing)
        assert np.abs(given - whole).max() <= 1e-5 * np.abs(whole).max()
        if 0 < place < len(parts):
            assert crossing.shape == (2, *parts[place - 1].given[1:]) and parts[place].taken == parts[place - 1].given


@pytest.mark.parametrize("name", NETWORKS)
def test_the_segments_have_the_work_of_the_whole(name: str) -> None:
    module, shape = made(name)
    parts = segments.cut(export(module, shape))
    network = graph.trace(module, shape)
    assert sum(part.macs for part in parts) == network.macs


def test_borders_are_where_less_crosses_than_before_and_no_more_than_wanted() -> None:
    module, shape = made("mobilenet-v2")
    data = export(module, shape)
    four, many = segments.cut(data, 4), segments.cut(data)
    assert len(four) == 4 and len(many) > 8
    sizes = [int(np.prod(part.given)) for part in four[:-1]]
    assert sizes == sorted(sizes, reverse=True)
    assert segments.cut(data, 1)[0].given == (1, 10)


def test_a_stretch_is_one_file_and_one_session() -> None:
    module, shape = made("squeezenet")
    parts = segments.cut(export(module, shape), 5)
    runner = segments.Runner([part.onnx for part in parts])
    samples = np.ones((1, *shape), np.float32)
    first = runner.run(1, 4, runner.run(0, 1, samples))
    step = samples
    for place in range(4):
        step = runner.run(place, place + 1, step)
    assert np.allclose(first, step, rtol=1e-5, atol=1e-6)
    assert runner.prepared(1, 4) is runner.prepared(1, 4)


def test_a_segment_that_is_not_held_is_named() -> None:
    module, shape = made("squeezenet")
    parts = segments.cut(export(module, shape), 4)
    runner = segments.Runner([parts[0].onnx, parts[1].onnx, b"", b""])
    with pytest.raises(ConfigurationError, match=r"segments \[2, 3\] are not held here"):
        runner.run(1, 4, np.ones((1, *parts[1].taken[1:]), np.float32))


def test_bytes_that_are_no_model_and_models_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no ONNX model that can be read"):
        segments.cut(b"not a model")
    with pytest.raises(ConfigurationError, match="choose 1 to 16"):
        segments.cut(b"", 17)
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    sides = [value(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "abc"]
    two = onnx.helper.make_model(onnx.helper.make_graph([node], "two", sides[:2], sides[2:]))
    with pytest.raises(ConfigurationError, match="2 inputs and 1 outputs"):
        segments.cut(two.SerializeToString())
    summed = onnx.helper.make_node("ReduceSum", ["a"], ["c"], keepdims=0)
    scalar = onnx.helper.make_model(
        onnx.helper.make_graph([summed], "sum", sides[:1], [value("c", onnx.TensorProto.FLOAT, [])])
    )
    with pytest.raises(ConfigurationError, match="not one row a sample"):
        segments.cut(scalar.SerializeToString())


def test_a_saved_torch_program_is_cut_as_its_module_is(tmp_path: Path) -> None:
    module = lightweight.build("squeezenet", width=0.25).eval()
    program = torch.export.export(module, (torch.zeros(2, 3, 64, 64),), dynamic_shapes=({0: torch.export.Dim("n")},))
    file = tmp_path / "net.pt2"
    torch.export.save(program, file)
    parts, own = segments.cut(export_program(file.read_bytes())), segments.cut(export(module, (3, 64, 64)))
    assert [(part.taken, part.given, part.macs, part.parameters) for part in parts] == [
        (part.taken, part.given, part.macs, part.parameters) for part in own
    ]
    pictures = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    found = segments.Runner([part.onnx for part in parts]).run(0, len(parts), pictures)
    with torch.no_grad():
        assert np.allclose(found, module(torch.from_numpy(pictures)).numpy(), atol=1e-5)
    with pytest.raises(ConfigurationError, match="torch.export.save"):
        export_program(b"not a program")
