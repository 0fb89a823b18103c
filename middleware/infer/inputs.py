"""A sample on its way to a model: as the first segment takes it, and as it is sent when it goes up itself.

An image is uint8 (height, width, 3); the model takes (3, height, width), pixels from 0 to 1, less the mean, over the standard
deviation of its manifest. It is sent raw, or as PNG or JPEG by Pillow. Any other sample is float32 of the model's own shape, sent
as it is. What comes back from a stranger's bytes has the manifest's size, or is refused before it is decoded.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from middleware.errors import ConfigurationError, PeerFault, require
from middleware.infer import coding
from middleware.wire.model import UPLOADS, ModelManifest

Floats = npt.NDArray[np.float32]
Sample = npt.NDArray[Any]

QUALITY: Final = {"jpeg95": 95, "jpeg75": 75}
KINDS: Final = {"png": "PNG", "jpeg95": "JPEG", "jpeg75": "JPEG"}


def prepared(model: ModelManifest, sample: Sample) -> Floats:
    """A batch of one, as the first segment takes it. ConfigurationError for a sample of another shape or kind."""
    if model.kind != "image":
        require(sample.shape == model.taken, f"a sample of shape {sample.shape}: {model.name} takes {model.taken}")
        return np.asarray(sample, np.float32)[None]
    _require_image(model, sample)
    mean, deviation = (np.array(model.scale[half : half + 3], np.float32) for half in (0, 3))
    pixels = (sample.astype(np.float32) / np.float32(255) - mean) / deviation
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def uploaded(model: ModelManifest, sample: Sample, form: str) -> bytes:
    """The bytes of a sample that goes up as `form`. ConfigurationError for a form that this kind of sample does not have."""
    require(form in UPLOADS and (model.kind == "image" or form == "raw"), f"a {model.kind} is not sent as {form!r}")
    if model.kind != "image":
        return coding.encode("f32", prepared(model, sample))
    _require_image(model, sample)
    if form == "raw":
        return sample.tobytes()
    stream = io.BytesIO()
    options = {"quality": QUALITY[form]} if form in QUALITY else {"compress_level": 6}
    Image.fromarray(sample).save(stream, KINDS[form], **options)
    return stream.getvalue()


def received(model: ModelManifest, data: bytes, form: str) -> Floats:
    """What `uploaded` bytes are to the first segment. PeerFault("malformed") for anything that is no such sample."""
    if model.kind != "image":
        if form != "raw":
            raise PeerFault("malformed", f"a {model.kind} is not sent as {form!r}")
        return coding.decode("f32", data, (1, *model.taken))
    _, height, width = model.taken
    if form == "raw":
        if len(data) != height * width * 3:
            raise PeerFault("malformed", f"{len(data)} bytes are no picture of {height} x {width}")
        return prepared(model, np.frombuffer(data, np.uint8).reshape(height, width, 3))
    if form not in KINDS:
        raise PeerFault("malformed", f"an image is not sent as {form!r}")
    try:
        with Image.open(io.BytesIO(data), formats=[KINDS[form]]) as picture:
            if picture.size != (width, height) or picture.mode != "RGB":
                raise PeerFault("malformed", f"a picture of {picture.size}, {picture.mode}: {width} x {height}, RGB")
            pixels = np.asarray(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise PeerFault("malformed", f"these bytes are no {form}: {str(error)[:100]}") from error
    return prepared(model, pixels)


def most_bytes(model: ModelManifest) -> int:
    """The most bytes that any request of this model sends."""
    shapes = [model.taken, *(segment.given for segment in model.segments), *(pair.given for pair in model.coders)]
    return max(4 * math.prod(shape) for shape in shapes) + 16_384  # and what surrounds it, and a probe of the link


def _require_image(model: ModelManifest, sample: Sample) -> None:
    _, height, width = model.taken
    if sample.shape != (height, width, 3) or sample.dtype != np.uint8:
        raise ConfigurationError(
            f"a sample of shape {sample.shape}, {sample.dtype}: {model.name} takes uint8 ({height}, {width}, 3)"
        )
