"""Workloads: a model, this node's samples, a test part, a loss. Bring your own by writing an object with these methods.

Built in:

    digits        scikit-learn's 1,797 handwritten digits of 8 by 8 pixels (UCI, Alpaydin and Kaynak 1998), over 16
    table:FILE    .npz with arrays X (n, ...) and y (n,), or .csv with a header row, a column y and every other column a
                  feature; optionally client (n,), the owner of each sample, under a name of your choice, and test (n,),
                  0 or 1

Without a test column a fifth of each class is kept for testing, drawn with a seed that never changes, so that every
node of a task agrees on it and nobody trains on it. A table's features are standardised by mean and deviation over its
training part (of each feature of a vector, of each channel of a window or image). The ledger knows a table by its
file's SHA-256.

This module is the one place of the library that opens a file: the data of whoever runs it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from middleware.errors import ConfigurationError
from middleware.learn import models
from middleware.learn.vector import bind
from middleware.maths import partition
from middleware.policy import Policy

TEST_SHARE = 5  # one of so many samples of each class is kept for testing
TEST_SEED = 0
DEAL = 1  # keeps the generator that deals samples apart from the others seeded with the same number

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Samples(NamedTuple):
    """`features` float32 (n, *shape) and `labels` int64 (n,)."""

    features: Floats
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class Workload(Protocol):
    """What training needs to know; whoever brings another workload writes these methods."""

    def model(self) -> nn.Module:
        """A new module; its parameters need not be set."""

    def narrowed(self, name: str, scale: float) -> Workload:
        """The same samples for a narrow model of that name, whose hidden layers give `scale` times as much."""

    def data(self) -> Samples:
        """The samples that this node trains on."""

    def test(self) -> Samples:
        """The samples that nobody trains on."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""


class Table(NamedTuple):
    """A whole data set as its file has it. `test` is true where a sample is for testing only."""

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    classes: int
    clients: npt.NDArray[Any] | None
    test: npt.NDArray[np.bool_]
    standardise: bool


class Classification:
    """A share of a table, or several shares pooled: cross-entropy over a model from `models`."""

    def __init__(self, name: str, train: Samples, test: Samples, scale: float = 1.0) -> None:
        self.name, self.scale = name, scale
        self._train, self._test = train, test

    def model(self) -> nn.Module:
        return models.build(self.name, self.scale)

    def narrowed(self, name: str, scale: float) -> Classification:
        return Classification(name, self._train, self._test, scale)

    def data(self) -> Samples:
        return self._train

    def test(self) -> Samples:
        return self._test

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels)


# -------------------------------------------------------------------------------------------------- what nodes call


def workload_id(source: str) -> str:
    """What a policy calls the workload: "digits", or "table:" and the SHA-256 of the file in hex."""
    kind, _, file = source.partition(":")
    if source == "digits":
        return source
    if kind != "table" or not file:
        raise ConfigurationError(f"workload {source!r}: choose digits or table:FILE")
    return f"table:{hashlib.sha256(_read(Path(file))).hexdigest()}"


def load_workload(
    source: str, model: str = "auto", *, client_key: str = "client", index: int = 0, of: int = 1, split: str = "iid",
    seed: int = 0,
) -> Classification:  # fmt: skip
    """The workload with share number `index` of `of`; `split` and `seed` say how the samples are dealt."""
    return load_pooled(source, model, client_key=client_key, indices=[index], of=of, split=split, seed=seed)


def load_pooled(
    source: str, model: str = "auto", *, client_key: str = "client", indices: Sequence[int], of: int, split: str,
    seed: int,
) -> Classification:  # fmt: skip
    """The workload with several shares as one, as the central comparison trains on them."""
    table = load_table(source, client_key)
    full = models.resolve(model, table.features.shape[1:], table.classes)
    pool = np.flatnonzero(~table.test)
    clients = table.clients[pool] if table.clients is not None else None
    try:
        shares = partition.deal(split, table.labels[pool], clients, of, np.random.default_rng([seed, DEAL]))
        chosen = np.sort(np.concatenate([shares[index] for index in indices]))
    except (ValueError, IndexError) as error:
        raise ConfigurationError(f"{source}: {error}") from error
    centre, scale = _standard(table, pool)
    return Classification(full, _take(table, pool[chosen], centre, scale), _take(table, table.test, centre, scale))


def resolve_model(source: str, model: str = "auto", *, client_key: str = "client") -> tuple[str, int]:
    """The full name of the model for this workload, and how many numbers it has: what a policy states."""
    table = load_table(source, client_key)
    name = models.resolve(model, table.features.shape[1:], table.classes)
    return name, models.count(name)


class _Standardised(nn.Module):
    """Samples as their file has them, to a model that was trained on standardised ones."""

    centre: Tensor
    scale: Tensor

    def __init__(self, centre: Floats, scale: Floats, model: nn.Module) -> None:
        super().__init__()
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.model = model

    def forward(self, samples: Tensor) -> Tensor:
        return self.model((samples - self.centre) / self.scale)  # type: ignore[no-any-return]


def for_serving(
    source: str, name: str, vector: Floats, client_key: str = "client"
) -> tuple[nn.Module, Floats, npt.NDArray[np.int64]]:
    """(a module that takes samples as the workload's file has them, its test samples, their labels) for the trained model
    `vector` (d,) of full name `name`."""
    table = load_table(source, client_key)
    centre, scale = _standard(table, np.flatnonzero(~table.test))
    bound = bind(models.build(name), vector)
    features = np.ascontiguousarray(table.features[table.test], np.float32)
    return _Standardised(centre, scale, bound.module).eval(), features, table.labels[table.test]


def genesis(policy: Policy) -> Floats:
    """The first model of a task (parameters,), from the policy alone."""
    model = models.initial(policy.model, policy.seed)
    if len(model) != policy.parameters:
        raise ConfigurationError(f"model {policy.model} has {len(model)} numbers, the policy says {policy.parameters}")
    return model


# -------------------------------------------------------------------------------------------------------------- reading


def load_table(source: str, client_key: str = "client") -> Table:
    """The data set called `source`. ConfigurationError names what the file lacks."""
    kind, _, file = source.partition(":")
    if source == "digits":
        return _digits()
    if kind != "table" or not file:
        raise ConfigurationError(f"workload {source!r}: choose digits or table:FILE")
    path = Path(file)
    readers = {".npz": _columns_of_npz, ".csv": _columns_of_csv}
    if path.suffix.lower() not in readers:
        raise ConfigurationError(f"{path}: a table is a .npz or a .csv file")
    _read(path)
    return _table(path, readers[path.suffix.lower()](path, client_key), client_key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _digits() -> Table:
    """The digits' own file inside scikit-learn: importing that package costs every process a second of work."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError("workload digits needs scikit-learn: run make setup")
    file = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(file, "rt") as lines:
            rows = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    except OSError as error:
        raise ConfigurationError(f"scikit-learn's digits are not at {file}: {error.strerror}") from error
    labels = rows[:, -1].astype(np.int64)
    return Table(rows[:, :-1] / np.float32(16), labels, 10, None, _test_part(labels), standardise=False)


def _columns_of_npz(path: Path, client_key: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array")
            return {name: archive[name] for name in ("X", "y", "test", client_key) if name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigurationError(f"{path} is not an .npz archive of plain arrays: {error}") from error


def _columns_of_csv(path: Path, client_key: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            names, *rows = [row for row in csv.reader(lines) if row]
        columns = dict(zip(names, np.array(rows, dtype=str).T, strict=True))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a .csv table with one header row: {error}") from error
    features = [name for name in names if name not in ("y", "test", client_key)]
    named = {name: columns[name] for name in ("y", "test", client_key) if name in columns}
    try:
        if features:
            named["X"] = np.stack([columns[name] for name in features], axis=1).astype(np.float32)
    except ValueError as error:
        raise ConfigurationError(f"{path}: every column but y, test and {client_key} is a number: {error}") from error
    return named


def _table(path: Path, columns: dict[str, npt.NDArray[Any]], client_key: str) -> Table:
    for name in ("X", "y"):
        if name not in columns:
            raise ConfigurationError(f"{path} has no {name}: a table needs X (n, ...) and y (n,)")
    features, wanted = columns["X"], columns["y"]
    if features.ndim < 2 or features.dtype.kind not in "fiub" or len(features) == 0:
        raise ConfigurationError(f"{path}: X must be numbers of shape (n, ...), not {features.dtype} {features.shape}")
    for name in columns.keys() - {"X"}:
        if columns[name].shape != (len(features),):
            raise ConfigurationError(f"{path}: {name} has shape {columns[name].shape}, X has {len(features)} samples")
    if features.dtype.kind == "f" and not np.isfinite(features).all():
        raise ConfigurationError(f"{path}: X has values that are not finite: remove or fill them")
    names, labels = np.unique(wanted, return_inverse=True)
    if len(names) < 2 or (wanted.dtype.kind == "f" and (wanted != np.rint(wanted)).any()):
        raise ConfigurationError(f"{path}: y must be class labels, at least two of them")
    labels = labels.astype(np.int64)
    test = _test_column(path, columns["test"]) if "test" in columns else _test_part(labels)
    return Table(features, labels, len(names), columns.get(client_key), test, standardise=True)


def _test_column(path: Path, column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    try:
        numbers = column.astype(np.float64)
    except ValueError as error:
        raise ConfigurationError(f"{path}: test must be 0 or 1: {error}") from error
    if not np.isin(numbers, (0, 1)).all() or numbers.min() == numbers.max():
        raise ConfigurationError(f"{path}: test must be 0 for training and 1 for testing, with some of each")
    return np.asarray(numbers == 1)


def _test_part(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """A fifth of each class, at least one sample of the whole, drawn with the seed that never changes."""
    generator = np.random.default_rng(TEST_SEED)
    test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        test[members[: round(len(members) / TEST_SHARE)]] = True
    if not test.any():
        raise ConfigurationError(f"{len(labels)} samples are too few to keep some for testing: add a test column")
    return test


def _standard(table: Table, pool: Indices) -> tuple[Floats, Floats]:
    """(mean, deviation) over the training part, one for each place of the last axis; (0, 1) to leave values alone."""
    if not table.standardise:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    axes = tuple(range(table.features.ndim - 1))
    part = table.features[pool].astype(np.float64)
    deviation = part.std(axis=axes)
    return part.mean(axis=axes).astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)


def _take(table: Table, chosen: npt.NDArray[Any], centre: Floats, scale: Floats) -> Samples:
    features = (table.features[chosen].astype(np.float32) - centre) / scale
    return Samples(np.ascontiguousarray(features), table.labels[chosen])
