"""The data that numbers rest on is the data that the catalogue names."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from devnet import datasets
from middleware.learn.workload import load_table


def test_mnist_has_five_hundred_of_each_digit() -> None:
    data = datasets.mnist()
    assert data.samples.shape == (5000, 28, 28, 1)
    assert (data.samples.min(), data.samples.max()) == (0, 1)
    assert np.bincount(data.labels).tolist() == [500] * 10


def test_hapt_windows_belong_to_thirty_people() -> None:
    data = datasets.hapt()
    assert data.client is not None
    assert data.samples.shape == (10_017, 128, 6)
    assert np.bincount(data.labels).tolist() == [1660, 1468, 1317, 1736, 1926, 1910]
    people = np.bincount(data.client)[1:]
    assert (len(people), people.min(), people.max()) == (30, 269, 404)


def test_parts_share_no_sample_and_no_person() -> None:
    numbers = np.arange(600, dtype=np.float32)[:, None]
    people = np.repeat(np.arange(30), 20).astype(np.uint8)
    for client in (None, people):
        parts = datasets.split(datasets.Data(numbers, people, client), seed=1)
        kept = [set(part.samples[:, 0].tolist()) for part in parts]
        assert [len(one) for one in kept] == [360, 120, 120] and len(set.union(*kept)) == 600
    assert not {*parts.train.labels} & {*parts.test.labels} and not {*parts.validation.labels} & {*parts.test.labels}
    assert parts.swapped().test is parts.validation and parts.swapped().train is parts.train


def test_a_saved_data_set_is_a_table(tmp_path: Path) -> None:
    path = datasets.Data(np.zeros((20, 4), np.float32), np.arange(20, dtype=np.uint8) % 2).save(
        tmp_path / "a" / "t.npz"
    )
    table = load_table(f"table:{path}")
    assert (table.features.shape, table.classes) == ((20, 4), 2)


def test_the_reader_of_pickled_frames_builds_nothing_else() -> None:
    with pytest.raises(pickle.UnpicklingError, match="no place"):
        datasets._Frames(io.BytesIO(pickle.dumps(print))).load()
