"""A network as operations that can be cut apart: what each costs, what each carries, and the two halves of any cut.

A module is traced once (torch.fx). Its operations are numbered in the order in which they run, 0 being the input; an edge goes
from an operation to one that reads it. An operation that gives several tensors (a recurrent layer) is one with those
that pick them apart, so what crosses a cut is always whole tensors.

Any downset of operations can be the front half: `halves` builds two modules from the very same layers, so that one after the
other computes what the whole does, to the bit. Multiply-accumulates are counted by formula from the shapes, without
computing anything.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, fx, nn

from middleware.errors import ConfigurationError
from middleware.maths.cut import bottlenecks

INPUT: Final = 0  # the operation that is the input itself


class Operation(NamedTuple):
    """One step: its `kind` (a layer's class or a function's name), multiply-accumulates for a batch of one, numbers in its
    parameters, and the shapes of the tensors that it gives for a batch of one."""

    name: str
    kind: str
    macs: int
    parameters: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def numbers(self) -> int:
        """How many numbers it gives."""
        return sum(math.prod(shape) for shape in self.shapes)


class Network(NamedTuple):
    """A traced module. `groups[u]` are the traced nodes of operation u."""

    module: fx.GraphModule
    operations: tuple[Operation, ...]
    edges: tuple[tuple[int, int], ...]
    groups: tuple[tuple[fx.Node, ...], ...]

    @property
    def macs(self) -> int:
        return sum(operation.macs for operation in self.operations)

    @property
    def parameters(self) -> int:
        return sum(operation.parameters for operation in self.operations)

    def carried(self, front: frozenset[int]) -> tuple[int, ...]:
        """The operations of `front` that something behind reads, in order: what crosses the cut."""
        return tuple(sorted({tail for tail, head in self.edges if tail in front and head not in front}))


class Halves(NamedTuple):
    """Two modules: `head` maps the input to the tensors that cross, `tail` maps these to the output. `crossing` are their
    shapes for a batch of one. A half with nothing to do passes on what it gets."""

    head: fx.GraphModule
    tail: fx.GraphModule
    crossing: tuple[tuple[int, ...], ...]


def trace(module: nn.Module, shape: Sequence[int]) -> Network:
    """The network of a module in evaluation mode that maps one batch (n, *shape) to one tensor.

    Raises ConfigurationError for a module that cannot be traced: one whose path depends on its input's values.
    """
    module.eval()
    try:
        traced = fx.symbolic_trace(module)
    except (torch.fx.proxy.TraceError, TypeError) as error:
        raise ConfigurationError(
            f"this model cannot be cut: its path depends on its input ({error}); write it without such branches"
        ) from error
    values = _Shapes(traced).of(shape)
    groups, place = _grouped(traced, values)
    edges = {
        (place[source], place[node])
        for node in place
        for source in node.all_input_nodes
        if source in place and place[source] != place[node]
    }
    operations = tuple(_operation(traced, group, values) for group in groups)
    return Network(traced, operations, tuple(sorted(edges)), groups)


def halves(network: Network, front: frozenset[int]) -> Halves:
    """The network cut behind the operations `front`. Raises ConfigurationError for a set that is no downset with the input."""
    last = len(network.operations)
    if INPUT not in front or not front <= set(range(last)):
        raise ConfigurationError(
            f"the operations in front are some of 0 to {last - 1}, and 0, the input, is one of them"
        )
    if any(head in front and tail not in front for tail, head in network.edges):
        raise ConfigurationError("an operation in front reads one behind: nothing may travel back")
    crossing = [node for u in network.carried(front) for node in _given(network, u, front)]
    shapes = tuple(tuple(node.meta["shape"]) for node in crossing)
    result = _result(network.module)
    everything = len(front) == last
    ahead = [node for u in sorted(front) for node in network.groups[u]]
    behind = [node for u in range(last) if u not in front for node in network.groups[u]]
    if everything:
        crossing, shapes = [result], (tuple(result.meta["shape"]),)
    head = _module(network.module, ahead, [ahead[0]], tuple(crossing))
    tail = _module(network.module, behind, crossing, result)
    return Halves(head, tail, shapes)


def borders(network: Network) -> tuple[int, ...]:
    """Operations behind which one tensor crosses, ascending, neither the input nor the result among them: of those with the
    same multiply-accumulates in front the one behind which least crosses, the last of equals."""
    done, chosen = 0, dict[int, int]()
    passed = set(bottlenecks(len(network.operations), network.edges)[:-1])
    for place, operation in enumerate(network.operations):
        done += operation.macs
        if place not in passed or not 0 < done < network.macs or len(_behind(network, place)) != 1:
            continue
        if done not in chosen or operation.numbers <= network.operations[chosen[done]].numbers:
            chosen[done] = place
    return tuple(chosen.values())


def stages(network: Network, places: Sequence[int]) -> tuple[fx.GraphModule, ...]:
    """The network as a chain of modules that share its layers, cut behind each of the operations `places`, which are some of
    its `borders`, ascending. ConfigurationError for others."""
    known = set(bottlenecks(len(network.operations), network.edges)[1:-1])
    if list(places) != sorted(known & set(places)):
        raise ConfigurationError(
            f"{tuple(places)} are no ascending places where one tensor crosses: choose of {sorted(known)}"
        )
    last = len(network.operations) - 1
    tensors = [network.groups[INPUT][0], *(_behind(network, place)[0] for place in places), _result(network.module)]
    pieces, ends = [], [INPUT, *places, last]
    for at, (first, end) in enumerate(pairwise(ends)):
        inside = [node for u in range(first + 1, end + 1) for node in network.groups[u]]
        pieces.append(_module(network.module, inside, [tensors[at]], tensors[at + 1]))
    return tuple(pieces)


def _behind(network: Network, place: int) -> list[fx.Node]:
    """The tensors of a bottleneck that the operations after it read."""
    return _given(network, place, frozenset(range(place + 1)))


def _given(network: Network, u: int, front: frozenset[int]) -> list[fx.Node]:
    """The tensors of operation u that somebody behind reads."""
    behind = {node for v in range(len(network.operations)) if v not in front for node in network.groups[v]}
    return [node for node in network.groups[u] if any(user in behind for user in node.users)]


def _result(traced: fx.GraphModule) -> fx.Node:
    found = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    if not isinstance(found, fx.Node):
        raise ConfigurationError("a model that is cut gives one tensor, not several")
    return found


def _module(
    traced: fx.GraphModule, nodes: Sequence[fx.Node], inputs: Sequence[fx.Node], outputs: fx.Node | tuple[fx.Node, ...]
) -> fx.GraphModule:  # fmt: skip
    """The part of a traced module that computes `outputs` from `inputs`; layers are shared, not copied."""
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {node: graph.placeholder(f"given_{at}") for at, node in enumerate(inputs)}

    def known(node: fx.Node) -> fx.Node:
        if node not in made and node.op == "get_attr":
            made[node] = graph.node_copy(node)
        return made[node]

    for node in nodes:
        if node not in made:
            made[node] = graph.node_copy(node, known)
    graph.output(tuple(map(known, outputs)) if isinstance(outputs, tuple) else known(outputs))
    return fx.GraphModule(traced, graph)


# ---------------------------------------------------------------------------------------------------------------- shapes


class _Shapes(fx.Interpreter):
    """Runs a traced module on tensors without data."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(copy.deepcopy(traced).to("meta"))
        self.found: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.found[n.name] = value
        return value

    def of(self, shape: Sequence[int]) -> dict[str, Any]:
        """By node name, what it gives for a batch of one of this shape. ConfigurationError where the shape does not fit."""
        try:
            with torch.no_grad():
                self.run(torch.empty((1, *shape), device="meta"))
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigurationError(f"this model does not take samples of shape {tuple(shape)}: {error}") from error
        return self.found


def _grouped(
    traced: fx.GraphModule, values: dict[str, Any]
) -> tuple[tuple[tuple[fx.Node, ...], ...], dict[fx.Node, int]]:
    """(nodes of each operation, the operation of each node). Constants belong to none: either half may have them."""
    groups: list[list[fx.Node]] = []
    place: dict[fx.Node, int] = {}
    for node in traced.graph.nodes:
        if node.op in ("get_attr", "output"):
            continue
        value = values[node.name]
        if node.op == "placeholder" and groups:
            raise ConfigurationError("a model that is cut takes one tensor, not several")
        if isinstance(value, Tensor):
            node.meta["shape"] = tuple(value.shape)
        elif not isinstance(value, tuple):
            raise ConfigurationError(
                f"this model computes with {type(value).__name__}s ({node.name}): write it with tensors alone, such as flatten(1)"
            )
        picked = (
            node.op == "call_function"
            and node.target is operator.getitem
            and not isinstance(values[node.args[0].name], Tensor)
        )
        if picked:
            place[node] = place[node.args[0]]
            groups[place[node]].append(node)
        else:
            place[node] = len(groups)
            groups.append([node])
    return tuple(map(tuple, groups)), place


def _operation(traced: fx.GraphModule, group: Sequence[fx.Node], values: dict[str, Any]) -> Operation:
    first = group[0]
    shapes = tuple(tuple(node.meta["shape"]) for node in group if "shape" in node.meta)
    if first.op != "call_module":
        target = first.target if isinstance(first.target, str) else getattr(first.target, "__name__", str(first.target))
        return Operation(first.name, "input" if first.op == "placeholder" else target, 0, 0, shapes)
    layer = traced.get_submodule(str(first.target))
    taken = values[first.args[0].name] if isinstance(first.args[0], fx.Node) else None
    given = values[first.name]
    count = next((formula(layer, taken, given) for kind, formula in MACS.items() if isinstance(layer, kind)), 0)
    return Operation(
        first.name, type(layer).__name__, count, sum(one.numel() for one in layer.parameters()), shapes
    )  # fmt: skip


def _convolution(layer: Any, taken: Tensor, given: Tensor) -> int:
    return int(given[0].numel() * layer.weight[0].numel())


def _linear(layer: Any, taken: Tensor, given: Tensor) -> int:
    return int(given[0].numel() * layer.in_features)


def _recurrent(layer: Any, taken: Tensor, given: Any) -> int:
    steps = taken.shape[1 if layer.batch_first else 0]
    return int(steps * sum(weight.numel() for name, weight in layer.named_parameters() if name.startswith("weight")))


MACS: Final[dict[type[nn.Module], Callable[[Any, Any, Any], int]]] = {
    nn.Conv1d: _convolution, nn.Conv2d: _convolution, nn.Linear: _linear, nn.GRU: _recurrent, nn.LSTM: _recurrent,
}  # fmt: skip
