"""What a model's name says: the shapes of its parameters, and those of the same model with fewer units.

    mlp:IN-HIDDEN-...-CLASSES                           vectors, or anything flattened to IN numbers
    cnn1d:TIMExCHANNELS-FILTERS-...-CLASSES             windows (time, channels)
    cnn2d:HEIGHTxWIDTHxCHANNELS-FILTERS-...-CLASSES     images (height, width, channels)

A convolution is 5 wide in one dimension and 3 by 3 in two. `learn.models` builds the modules.

A model of width r (numerator of WIDTH_ONE) has the first ceil(r n / WIDTH_ONE) of each hidden layer's n units and all inputs
and classes, so its parameters are the upper left corner of the wider one's (Diao, Ding and Tarokh 2021, "HeteroFL", section 3).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from middleware.errors import ConfigurationError

KINDS: Final = {"mlp": 1, "cnn1d": 2, "cnn2d": 3}  # kind -> numbers in its input's shape
KERNELS: Final[dict[str, tuple[int, ...]]] = {"cnn1d": (5,), "cnn2d": (3, 3)}
WIDTH_ONE: Final = 256

Shapes = tuple[tuple[int, ...], ...]


class Architecture(NamedTuple):
    """A model's name, taken apart: `shape` of one sample, `layers` (widths or filters), `classes`."""

    kind: str
    shape: tuple[int, ...]
    layers: tuple[int, ...]
    classes: int

    @property
    def name(self) -> str:
        sizes = ("x".join(map(str, self.shape)), *map(str, self.layers), str(self.classes))
        return f"{self.kind}:{'-'.join(sizes)}"

    @property
    def parameters(self) -> Shapes:
        """The shape of each parameter, weights before their bias, in the order of the model's vector."""
        kernel, taken, found = KERNELS.get(self.kind, ()), self.shape[-1], []
        for size in self.layers:
            found += [(size, taken, *kernel), (size,)]
            taken = size
        return (*found, (self.classes, taken), (self.classes,))

    def narrowed(self, width: int) -> Architecture:
        """The same model with `width` parts of WIDTH_ONE of each hidden layer's units, rounded up."""
        return self._replace(layers=tuple(-(-size * width // WIDTH_ONE) for size in self.layers))


def parse(name: str) -> Architecture:
    """The architecture of a full name such as mlp:64-256-10. ConfigurationError shows how to write one."""
    kind, _, sizes = name.partition(":")
    parts = sizes.split("-")
    try:
        shape = tuple(int(part) for part in parts[0].split("x"))
        numbers = tuple(int(part) for part in parts[1:])
    except ValueError:
        shape, numbers = (), ()
    if kind not in KINDS or len(shape) != KINDS[kind] or not numbers or min(shape + numbers) < 1 or numbers[-1] < 2:
        raise ConfigurationError(
            f"model {name!r}: write mlp:64-256-10, cnn1d:128x6-16-32-6 or cnn2d:28x28x1-16-32-10 "
            "(a sample's shape, the layers, the classes)"
        )
    if kind != "mlp" and len(numbers) < 2:
        raise ConfigurationError(f"model {name!r}: a convolutional model needs at least one layer of filters")
    return Architecture(kind, shape, numbers[:-1], numbers[-1])
