"""A torch module as one ONNX file, from which its segments are cut. The only part of serving that needs torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from middleware.errors import ConfigurationError, require
from middleware.infer.segments import BATCH

OPSET: Final = 17
INPUT: Final = "input"
OUTPUT: Final = "output"


def export(module: nn.Module, shape: Sequence[int]) -> bytes:
    """The ONNX bytes of a module in evaluation mode that maps one batch (n, *shape) to one tensor; n stays open.

    Raises ConfigurationError for a module that has no ONNX form.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that needs no further package says that it is the old one, and that recurrent layers may not take
        # another batch than the one traced: the tests run them with others.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval(), (torch.zeros(1, *shape),), stream, opset_version=OPSET, dynamo=False, input_names=[INPUT],  # type: ignore[arg-type]
                output_names=[OUTPUT], dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
            )  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
            raise ConfigurationError(f"this model has no ONNX form: {str(error).splitlines()[0]}") from error
    return stream.getvalue()


def export_program(data: bytes) -> bytes:
    """The ONNX bytes of a module that `torch.export.save` wrote, in evaluation mode, with its batch in front.

    Raises ConfigurationError for bytes that are no such file, and for modules that do not map one tensor to one.
    """
    try:
        program = torch.export.load(io.BytesIO(data))
    except Exception as error:  # the loader raises whatever zip, json and the schema raise
        raise ConfigurationError(f"this is no module that torch.export.save wrote: {str(error)[:200]}") from error
    positional, named = program.example_inputs or ((), {})
    taken = [one for one in positional if isinstance(one, Tensor)]
    require(
        len(taken) == len(positional) == 1 and not named,
        f"the module takes {len(positional) + len(named)} inputs: one tensor (n, ...) can be cut and served",
    )
    return export(_Loaded(program.module()), taken[0].shape[1:])


class _Loaded(nn.Module):
    """A loaded program in the place of a module: it was saved in one mode, and cannot be put into another."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> _Loaded:
        return self

    def forward(self, samples: Tensor) -> Tensor:
        found: Tensor = self.program(samples)
        return found
