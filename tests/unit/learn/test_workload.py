from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from middleware.errors import ConfigurationError
from middleware.learn import models
from middleware.learn.workload import genesis, load_pooled, load_table, load_workload, resolve_model, workload_id
from middleware.policy import Policy


def table(folder: Path, **changes: Any) -> str:
    generator = np.random.default_rng(0)
    arrays = {"X": generator.normal(3, 2, (200, 5)), "y": generator.integers(0, 3, 200), "client": np.arange(200) % 6}
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(folder / "t.npz", **arrays)
    return f"table:{folder / 't.npz'}"


def test_digits_are_those_of_scikit_learn_over_sixteen() -> None:
    whole, ours = load_digits(), load_table("digits")
    assert np.array_equal(ours.features, (whole.data / 16).astype(np.float32))
    assert np.array_equal(ours.labels, whole.target)


def test_a_fifth_of_every_class_is_kept_for_testing_whatever_the_seed() -> None:
    ours = load_table("digits")
    for label in range(10):
        assert abs(ours.test[ours.labels == label].mean() - 0.2) < 0.003
    one, two = (load_workload("digits", index=seed, of=8, split="dirichlet:0.5", seed=seed) for seed in (1, 2))
    assert np.array_equal(one.test().features, two.test().features)
    assert len(one.test()) == ours.test.sum() == 359


@pytest.mark.parametrize("split", ["iid", "dirichlet:0.5"])
def test_shares_hold_every_training_sample_once_and_no_test_sample(split: str) -> None:
    shares = [load_workload("digits", index=i, of=8, split=split, seed=3).data() for i in range(8)]
    pooled = load_pooled("digits", indices=range(8), of=8, split=split, seed=3)
    rows = sorted(row.tobytes() for share in shares for row in share.features)
    assert rows == sorted(row.tobytes() for row in pooled.data().features)
    assert len(rows) == 1797 - 359
    part = load_pooled("digits", indices=range(1, 8), of=8, split=split, seed=3)
    assert len(part.data()) == len(rows) - len(shares[0])


def test_a_table_is_named_by_its_files_digest(tmp_path: Path) -> None:
    source = table(tmp_path)
    assert workload_id(source) == "table:" + hashlib.sha256((tmp_path / "t.npz").read_bytes()).hexdigest()
    assert workload_id("digits") == "digits"


def test_features_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    test = np.arange(200) % 4 == 0
    features = np.random.default_rng(1).normal(3, 2, (200, 5))
    features[test] += 100
    features[:, 4] = 7
    source = table(tmp_path, X=features, test=test.astype(int))
    loaded = load_workload(source)
    assert np.allclose(loaded.data().features.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(loaded.data().features.std(axis=0), [1, 1, 1, 1, 0], atol=1e-4)
    assert loaded.test().features[:, :4].min() > 20
    assert len(loaded.data()) == 150
    assert loaded.data().features.dtype == np.float32


def test_windows_are_standardised_per_channel_and_get_a_convolution(tmp_path: Path) -> None:
    windows = np.random.default_rng(2).normal([5, -5], [1, 9], (200, 12, 2)).astype(np.float16)
    source = table(tmp_path, X=windows)
    assert resolve_model(source) == ("cnn1d:12x2-16-32-3", models.count("cnn1d:12x2-16-32-3"))
    features = load_workload(source).data().features
    assert np.allclose(features.mean(axis=(0, 1)), 0, atol=1e-3)
    assert np.allclose(features.std(axis=(0, 1)), 1, atol=1e-3)


def test_a_split_by_client_keeps_clients_whole_under_any_name(tmp_path: Path) -> None:
    owner = np.random.default_rng(3).integers(0, 6, 200)
    features = np.repeat(owner[:, None], 5, axis=1) + np.array([0.0, 1, 2, 3, 4])
    source = table(tmp_path, X=features, client=None, user=owner)
    seen = [
        set(load_workload(source, client_key="user", index=i, of=3, split="client").data().features[:, 0].tolist())
        for i in range(3)
    ]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 6
    with pytest.raises(ConfigurationError, match="no client column"):
        load_workload(source, index=0, of=3, split="client")


def test_a_csv_is_the_same_table(tmp_path: Path) -> None:
    source = table(tmp_path, test=np.arange(200) % 5 // 4)
    arrays = dict(np.load(tmp_path / "t.npz"))
    lines = ["a,y,b,c,owner,d,e,test"]
    for x, y, owner, test in zip(arrays["X"], arrays["y"], arrays["client"], arrays["test"], strict=True):
        lines.append(f"{x[0]!s},{'abc'[y]},{x[1]!s},{x[2]!s},p{owner},{x[3]!s},{x[4]!s},{test}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    one = load_workload(source, index=1, of=2, split="client")
    two = load_workload(f"table:{tmp_path / 't.csv'}", client_key="owner", index=1, of=2, split="client")
    assert np.allclose(one.data().features, two.data().features, atol=1e-5)
    assert np.array_equal(one.data().labels, two.data().labels)
    assert np.array_equal(one.test().labels, two.test().labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": None}, "has no X"),
        ({"y": None}, "has no y"),
        ({"X": np.zeros(200)}, "of shape"),
        ({"X": np.full((200, 5), "a")}, "X must be numbers"),
        ({"X": np.full((200, 5), np.nan)}, "not finite"),
        ({"X": np.zeros((0, 5)), "y": np.zeros(0), "client": None}, "of shape"),
        ({"y": np.zeros(199)}, "y has shape"),
        ({"y": np.zeros(200)}, "at least two"),
        ({"y": np.linspace(0, 1, 200)}, "class labels"),
        ({"client": np.zeros((200, 2))}, "client has shape"),
        ({"test": np.zeros(200)}, "some of each"),
        ({"test": np.arange(200)}, "0 for training"),
        ({"test": np.full(200, "no")}, "0 or 1"),
        ({"y": np.array([{}] * 200, dtype=object)}, "plain arrays"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_workload(table(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.npz", b"PK\x03\x04 broken", "not an .npz"),
        ("t.npz", b"", "not an .npz"),
        ("t.csv", b"", "not a .csv"),
        ("t.csv", b"a,y\n1,0\n2\n", "not a .csv"),
        ("t.csv", b"y\n1\n0\n", "has no X"),
        ("t.csv", b"a,y\nx,0\n2,1\n", "is a number"),
        ("t.csv", b"\xff\xfe", "not a .csv"),
        ("t.parquet", b"", "a .npz or a .csv"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigurationError, match=message):
        load_workload(f"table:{tmp_path / name}")


@pytest.mark.parametrize("source", ["mnist", "table:", "table", "digits:1", ""])
def test_an_unknown_workload_names_the_choices(source: str) -> None:
    with pytest.raises(ConfigurationError, match="choose digits or table:FILE"):
        load_workload(source)
    with pytest.raises(ConfigurationError, match="choose digits or table:FILE"):
        workload_id(source)


def test_one_array_is_no_table(tmp_path: Path) -> None:
    with (tmp_path / "t.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ConfigurationError, match="holds one array"):
        load_workload(f"table:{tmp_path / 't.npz'}")


def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    for ask in (load_workload, workload_id):
        with pytest.raises(ConfigurationError, match="cannot read .*No such file"):
            ask(f"table:{tmp_path / 'none.npz'}")


def test_the_first_model_comes_from_the_policy_alone() -> None:
    policy = Policy(workload="digits", model="mlp:64-256-10", parameters=19_210, seed=4)
    assert genesis(policy).tobytes() == models.initial("mlp:64-256-10", 4).tobytes()
    with pytest.raises(ConfigurationError, match="the policy says 19211"):
        genesis(Policy(workload="digits", model="mlp:64-256-10", parameters=19_211))


def test_too_many_devices_and_a_share_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="do not give 100 devices"):
        load_workload("digits", index=0, of=100)
    with pytest.raises(ConfigurationError, match="out of range"):
        load_workload("digits", index=8, of=8)
