"""Vectors as bytes: model blobs and an edge's sums.

A model blob is a safetensors file with exactly one float32 tensor, "parameters", of d numbers. safetensors allows many
spellings of one tensor (metadata, key order, padding); since the SHA-256 of the blob is the model's name, only one is
accepted here: the header that the safetensors library itself writes. That header is a function of d, so it is compared,
not parsed: nothing is allocated from a number that a stranger chose.

Sums are one width byte (4 or 8, the narrowest that holds them all) and then little-endian signed integers.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from middleware.errors import ConfigurationError, PeerFault

TENSOR: Final = "parameters"
_ALIGNMENT: Final = 8  # bytes; safetensors pads its header with spaces to a multiple of it

Vector = NDArray[np.float32]
Integers = NDArray[np.int64]


def blob_length(parameters: int) -> int:
    """Bytes of the blob of a model with `parameters` numbers."""
    return len(_model_header(parameters)) + 4 * parameters


def encode_model(vector: Vector) -> bytes:
    """The blob of a float32 vector of shape (d,). Raises ConfigurationError for another dtype or shape."""
    if vector.dtype != np.float32 or vector.ndim != 1 or vector.size == 0:
        raise ConfigurationError(f"a model is one float32 vector, not {vector.dtype} of shape {vector.shape}")
    little = np.ascontiguousarray(vector, dtype="<f4")
    return b"".join((_model_header(vector.size), little.data.cast("B")))


def decode_model(blob: bytes, parameters: int) -> Vector:
    """The read-only float32 vector (parameters,) in `blob`, without a copy.

    PeerFault: "too-large" when it is longer than the task's model, "malformed" for any other difference.
    """
    header = _model_header(parameters)
    if len(blob) > len(header) + 4 * parameters:
        raise PeerFault("too-large", f"model blob of {len(blob)} bytes, the task's has {blob_length(parameters)}")
    if len(blob) < len(header) + 4 * parameters or not blob.startswith(header):
        raise PeerFault("malformed", f"not a safetensors blob with one float32 tensor of {parameters} numbers")
    return np.frombuffer(blob, dtype="<f4", offset=len(header)).view(np.float32)


def model_hash(blob: bytes) -> bytes:
    """SHA-256 of the blob: the model's name in offers, headers and stores."""
    return hashlib.sha256(blob).digest()


def encode_sums(sums: NDArray[Any]) -> bytes:
    """Width byte and little-endian integers of a signed integer vector (d,), as narrow as it can be."""
    if sums.dtype.kind != "i" or sums.ndim != 1:
        raise ConfigurationError(f"sums are one signed integer vector, not {sums.dtype} of shape {sums.shape}")
    width = _narrowest_width(sums)
    packed = np.ascontiguousarray(sums, dtype=f"<i{width}")
    return b"".join((bytes([width]), packed.data.cast("B")))


def decode_sums(data: bytes, parameters: int) -> Integers:
    """The int64 vector (parameters,) in `data`. PeerFault("malformed") for a wrong length or a width too wide."""
    width = data[0] if data else 0
    if width not in (4, 8) or len(data) != 1 + width * parameters:
        raise PeerFault("malformed", f"not the sums of {parameters} numbers, 4 or 8 bytes each")
    sums = np.frombuffer(data, dtype=f"<i{width}", offset=1).astype(np.int64)
    if _narrowest_width(sums) != width:
        raise PeerFault("malformed", "sums that fit 4 bytes must be sent in 4 bytes")
    return sums


def _narrowest_width(sums: NDArray[Any]) -> int:
    if sums.size == 0:
        return 4
    return 4 if int(sums.min()) >= -(1 << 31) and int(sums.max()) < 1 << 31 else 8


def _model_header(parameters: int) -> bytes:
    description = {TENSOR: {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4 * parameters]}}
    text = json.dumps(description, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
