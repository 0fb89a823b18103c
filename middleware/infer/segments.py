"""A network as a chain of segments, each an ONNX file of its own, and what runs a stretch of them.

A torch module is exported once, as a whole (`export`); from there on all files go the same way. A file's operations form a graph.
A segment ends behind an operation that every path passes through and that gives one tensor (`maths.cut.bottlenecks`), so one
tensor crosses each border, whatever branches lie within a segment. onnxruntime cannot run a part of a file: one file a segment;
it fuses operations within a file, so where neighbouring segments run on the same machine they are joined again (`Runner`).

Of all places where a border may be, those are taken at which some plan could want to cut: where less crosses than at every place
before it, and some between so that the work is dealt evenly.

Multiply-accumulates are counted by formula from the shapes: convolutions, matrix products and recurrent layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.utils import Extractor

from middleware.errors import ConfigurationError, require
from middleware.maths.cut import bottlenecks

Floats = npt.NDArray[np.float32]

MOST_SEGMENTS: Final = 16  # borders cost a little at run time and a measurement each; more are rarely wanted
BATCH: Final = "n"


class Part(NamedTuple):
    """One segment: its ONNX bytes, what it takes and gives for a batch of one, its multiply-accumulates and parameters."""

    onnx: bytes
    taken: tuple[int, ...]
    given: tuple[int, ...]
    macs: int
    parameters: int


def cut(data: bytes, most: int = MOST_SEGMENTS) -> tuple[Part, ...]:
    """The segments of an ONNX file with one input and one output, at most `most`; one after the other they are the whole.

    Raises ConfigurationError for bytes that are no such file, or whose shapes are open in more than the batch.
    """
    require(0 < most <= MOST_SEGMENTS, f"{most} segments: choose 1 to {MOST_SEGMENTS}")
    model = _read(data)
    shapes = _shapes(model)
    _settle(model, shapes)
    names, edges, nodes = _graph(model)
    macs = _macs(model, nodes, shapes.of)
    places = [place for place in bottlenecks(len(names), edges)[:-1] if place and names[place] in shapes.batched]
    sizes = {place: math.prod(shapes.of[names[place]]) for place in places}
    ends = [names[place] for place in _chosen(sizes, macs, most)]
    del model.graph.value_info[:]
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shapes.of[name][1:]]) for name in ends
    )
    extractor = Extractor(model)
    borders = [model.graph.input[0].name, *ends, model.graph.output[0].name]
    parts, counted = [], 0
    for taken, given in zip(borders[:-1], borders[1:], strict=True):
        piece = extractor.extract_model([taken], [given])
        upto = sum(macs[: names.index(given) + 1]) if given in names else sum(macs)
        sides = shapes.of[taken], shapes.of[given]
        parts.append(Part(piece.SerializeToString(), *sides, upto - counted, _parameters(piece)))
        counted = upto
    return tuple(parts)


class Runner:
    """Runs stretches of a chain of segments. A stretch's session is made when it is first wanted, and kept."""

    def __init__(
        self, files: Sequence[bytes], threads: int = 1, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> None:
        """`files`: the ONNX bytes of the segments, empty where this node may not hold one."""
        self.files, self.providers = list(files), list(providers)
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3  # errors
        self.sessions: dict[tuple[int, int], onnxruntime.InferenceSession] = {}

    def run(self, first: int, last: int, tensor: Floats) -> Floats:
        """What segments [first, last) make of `tensor` (n, ...). ConfigurationError where one of them is not held."""
        if first == last:
            return tensor
        session = self.prepared(first, last)
        (given,) = session.run(None, {session.get_inputs()[0].name: tensor})
        return np.asarray(given, np.float32)

    def prepared(self, first: int, last: int) -> onnxruntime.InferenceSession:
        """The session of a stretch, made now if it was not."""
        session = self.sessions.get((first, last))
        if session is None:
            lacking = [place for place in range(first, last) if not self.files[place]]
            require(not lacking, f"segments {lacking} are not held here: the licence or the plan keeps them elsewhere")
            joined = join(self.files[first:last])
            session = onnxruntime.InferenceSession(joined, self.options, providers=self.providers)
            self.sessions[first, last] = session
        return session


def join(files: Sequence[bytes]) -> bytes:
    """Neighbouring segments of one model as one file. Names are the whole model's, so what two of them hold is the same."""
    if len(files) == 1:
        return files[0]
    pieces = [onnx.load_from_string(data) for data in files]
    whole = pieces[0]
    made = {name for node in whole.graph.node for name in node.output}
    held = {one.name for one in whole.graph.initializer}
    for piece in pieces[1:]:
        for node in piece.graph.node:
            if not made.intersection(node.output):
                whole.graph.node.append(node)
                made.update(node.output)
        for one in piece.graph.initializer:
            if one.name not in held:
                whole.graph.initializer.append(one)
                held.add(one.name)
    del whole.graph.output[:], whole.graph.value_info[:]
    whole.graph.output.extend(pieces[-1].graph.output)
    return bytes(whole.SerializeToString())


def _read(data: bytes) -> ModelProto:
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # the parser of a stranger's file raises whatever protobuf and the checker raise
        raise ConfigurationError(f"this is no ONNX model that can be read: {str(error)[:200]}") from error
    held = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    require(
        len(inputs) == 1 and len(model.graph.output) == 1,
        f"the model has {len(inputs)} inputs and {len(model.graph.output)} outputs: one of each can be cut and served",
    )
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def _graph(model: ModelProto) -> tuple[list[str], list[tuple[int, int]], list[NodeProto]]:
    """(names, edges, operations): operation 0 is the input, the others are the file's that depend on it, in its order, which is
    topological. A name is an operation's output where it has one alone that is read, and empty otherwise."""
    source = {model.graph.input[0].name: 0}
    read = {name for node in model.graph.node for name in node.input} | {model.graph.output[0].name}
    names, nodes = [model.graph.input[0].name], [NodeProto()]
    edges: set[tuple[int, int]] = set()
    for node in model.graph.node:
        tails = {source[name] for name in node.input if name in source}
        if not tails:
            continue  # made of constants alone: it goes along with whoever reads it
        place = len(names)
        used = [name for name in node.output if name in read]
        names.append(used[0] if len(used) == 1 else "")
        nodes.append(node)
        edges |= {(tail, place) for tail in tails}
        source |= {name: place for name in node.output if name}
    return names, sorted(edges), nodes


class _Shapes(NamedTuple):
    """Of every float32 tensor for a batch of one; `batched` are those whose first size is the batch."""

    of: dict[str, tuple[int, ...]]
    batched: set[str]


def _shapes(model: ModelProto) -> _Shapes:
    """The shapes as running zeros through the file shows them: inferring them stops at the first reshape that computes its
    own. ConfigurationError where the file cannot be run in batches."""
    taken = model.graph.input[0]
    sizes = [size.dim_value for size in taken.type.tensor_type.shape.dim]
    known = len(sizes) > 1 and all(sizes[1:]) and taken.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    require(
        known, "the input's sizes are open: give the model float32 tensors (n, ...) of fixed sizes, but for the batch"
    )
    shown = ModelProto()
    shown.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        one, two = (session.run(names, {taken.name: np.zeros((n, *sizes[1:]), np.float32)}) for n in (1, 2))
    except Exception as error:  # onnxruntime has a class of its own for each kind of complaint
        raise ConfigurationError(f"this model cannot be run with batches of one and two: {str(error)[:200]}") from error
    found = {taken.name: (1, *sizes[1:])}
    batched = {taken.name}
    for name, single, double in zip(names, one, two, strict=True):
        if isinstance(single, np.ndarray) and single.dtype == np.float32:
            found[name] = single.shape
            if single.ndim > 1 and single.shape[0] == 1 and double.shape == (2, *single.shape[1:]):
                batched.add(name)
    require(model.graph.output[0].name in batched, "the output is not one row a sample: give (n, ...) for (n, ...)")
    return _Shapes(found, batched)


def _settle(model: ModelProto, shapes: _Shapes) -> None:
    """Give every reshape that keeps the batch in front its sizes as numbers, and drop what computed them: exported modules take
    the batch's size from their input, far back, and that alone would tie the ends of the graph together."""
    for node in model.graph.node:
        given = node.output[0]
        if node.op_type == "Reshape" and given in shapes.batched:
            sizes = np.array([-1, *shapes.of[given][1:]], np.int64)
            node.input[1] = f"{given}_sizes"
            model.graph.initializer.append(numpy_helper.from_array(sizes, node.input[1]))
    wanted, kept = {model.graph.output[0].name}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    kept.reverse()
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _chosen(sizes: dict[int, int], macs: Sequence[int], most: int) -> list[int]:
    """At most `most` - 1 borders, ascending, of the places in `sizes`, which tells how many numbers cross behind each."""
    done, total = np.cumsum(macs), sum(macs)
    apart: dict[tuple[int, int], int] = {}
    for (
        place,
        size,
    ) in sizes.items():  # of several with the same work in front and the same size the last, behind its activation
        apart[int(done[place]), size] = place
    kept = [place for (work, _), place in apart.items() if 0 < work < total]
    narrow, least = [], math.inf
    for place in kept:
        if sizes[place] < least:
            narrow.append(place)
            least = sizes[place]
    chosen = set(narrow[-(most - 1) :]) if most > 1 else set()
    for share in range(1, most):  # between those, where the work is dealt most evenly
        rest = [place for place in kept if place not in chosen]
        if len(chosen) >= most - 1 or not rest:
            break
        chosen.add(min(rest, key=lambda place: abs(int(done[place]) - total * share / most)))
    return sorted(chosen)


def _macs(model: ModelProto, nodes: Sequence[NodeProto], shapes: dict[str, tuple[int, ...]]) -> list[int]:
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            weights[node.output[0]] = tuple(numpy_helper.to_array(node.attribute[0].t).shape)
    return [_count(node, shapes, weights) for node in nodes]


def _count(node: NodeProto, shapes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]) -> int:
    attributes: dict[str, Any] = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    given = math.prod(shapes.get(node.output[0], (0,))) if node.output else 0
    match node.op_type:
        case "Conv" | "ConvTranspose":
            return given * math.prod(weights.get(node.input[1], (0, 0))[1:])
        case "Gemm":
            matrix = weights.get(node.input[1], (0, 0))
            return given * matrix[1 if attributes.get("transB") else 0]
        case "MatMul":
            return given * shapes.get(node.input[0], (0,))[-1]
        case "GRU" | "LSTM" | "RNN":
            steps = shapes.get(node.input[0], (0, 0))[0 if not attributes.get("layout") else 1]
            return steps * sum(math.prod(weights.get(name, (0,))) for name in node.input[1:3])
    return 0


def _parameters(model: ModelProto) -> int:
    return sum(math.prod(one.dims) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
