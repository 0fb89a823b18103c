"""Small tasks that a small network learns in a second, made by formula: no data set is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLASSES = 4


def windows(
    count: int, seed: int, time: int = 32, channels: int = 3
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Noisy waves (n, time, channels), each class a frequency of its own; some are so noisy that they are hard."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    phase = generator.uniform(0, 2 * np.pi, (count, 1, channels))
    steps = np.arange(time)[None, :, None]
    waves = np.sin(2 * np.pi * (labels[:, None, None] + 1) * steps / 16 + phase)
    noise = generator.normal(0, 1, waves.shape) * generator.uniform(0.1, 1.2, (count, 1, 1))
    return (waves + noise).astype(np.float32), labels


def images(count: int, seed: int, size: int = 12) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Noisy pictures (n, size, size, 1) of bright squares, each class a corner of its own."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    pictures = generator.uniform(0, 0.5, (count, size, size, 1))
    half = size // 2
    for picture, label in zip(pictures, labels, strict=True):
        row, column = (half * corner + generator.integers(0, half - 3) for corner in divmod(int(label), 2))
        picture[row : row + 3, column : column + 3] += generator.uniform(0.1, 0.6)
    return pictures.astype(np.float32), labels
