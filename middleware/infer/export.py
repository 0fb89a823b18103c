"""A torch module as one ONNX file, from which its segments are cut. The only part of serving that needs torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from middleware.errors import ConfigurationError
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
