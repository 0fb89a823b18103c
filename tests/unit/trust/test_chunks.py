from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError
from middleware.trust import chunks, merkle

FIXED = settings(derandomize=True, deadline=None, max_examples=60, database=None)
SALT = bytes(range(16))


def naive(values: list[int], width: int, salt: bytes) -> bytes:
    padded = values + [0] * (-len(values) % 256)
    leaves = []
    for start in range(0, len(padded), 256):
        data = b"".join(value.to_bytes(width, "big", signed=True) for value in padded[start : start + 256])
        leaves.append(sha256(b"\x00" + salt + data).digest())
    return merkle.root_over(leaves)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 513, 3000])
@pytest.mark.parametrize("density", [0.0, 0.01, 1.0])
def test_roots_are_those_of_the_definition(size: int, density: float) -> None:
    random = np.random.default_rng(size)
    values = random.integers(-(2**31), 2**31, size) * (random.random(size) < density)
    assert chunks.update_root(values, SALT, 4) == naive(values.tolist(), 4, SALT)
    assert chunks.sums_root(values * 7) == naive((values * 7).tolist(), 8, b"")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, ">i4", "<i8"])
def test_the_root_depends_on_the_values_and_not_on_the_array(dtype: str) -> None:
    values = np.arange(-100, 100)
    assert chunks.update_root(values.astype(dtype), SALT, 4) == chunks.update_root(values, SALT, 4)
    assert chunks.sums_root(values.astype(dtype)[::-1][::-1]) == chunks.sums_root(values)


def test_blocks_join_without_a_seam() -> None:
    size = 4096 * 256 + 300  # one chunk and a bit past a block
    values = np.zeros(size, dtype=np.int16)
    values[[0, 4096 * 256 - 1, 4096 * 256, size - 1]] = 1, 2, 3, 4
    tree = chunks.update_tree(values, SALT, 4)
    assert tree.size == chunks.chunk_count(size) == 4098
    expected = [chunks.chunk_leaf(chunks.update_chunk(values, index, 4), SALT) for index in (0, 1, 4095, 4096, 4097)]
    assert [tree.levels[0][index] for index in (0, 1, 4095, 4096, 4097)] == expected
    assert tree.root == merkle.root_over(tree.levels[0])


@FIXED
@given(st.integers(1, 40), st.lists(st.integers(0, 40 * 256 - 1), max_size=6))
def test_sparse_subtrees_are_hashed_as_any_other(count: int, places: list[int]) -> None:
    values = np.zeros(count * 256, dtype=np.int16)
    values[[place for place in places if place < values.size]] = 5
    tree = chunks.update_tree(values, SALT, 4)
    assert tree.root == naive(values.tolist(), 4, SALT)
    for index in range(count):
        assert merkle.verify_inclusion(tree.root, tree.levels[0][index], index, count, tree.path(index))


def test_a_disputed_chunk_is_proved_by_its_bytes_salt_and_path() -> None:
    values = np.random.default_rng(1).integers(-1000, 1000, 2000).astype(np.int16)
    tree = chunks.update_tree(values, SALT, 4)
    for index in range(chunks.chunk_count(2000)):
        chunk = chunks.update_chunk(values, index, 4)
        assert len(chunk) == 1024
        leaf = chunks.chunk_leaf(chunk, SALT)
        assert merkle.verify_inclusion(tree.root, leaf, index, tree.size, tree.path(index))
        assert not merkle.verify_inclusion(
            tree.root, chunks.chunk_leaf(chunk, bytes(16)), index, tree.size, tree.path(index)
        )
    assert len(chunks.sums_chunk(values, 7)) == 2048
    assert np.frombuffer(chunks.sums_chunk(values, 7), ">i8")[: 2000 - 7 * 256].tolist() == values[7 * 256 :].tolist()


def test_salt_and_every_coordinate_change_the_root() -> None:
    values = np.arange(600, dtype=np.int32)
    root = chunks.update_root(values, SALT, 4)
    assert chunks.update_root(values, bytes(16), 4) != root
    for place in (0, 255, 256, 599):
        other = values.copy()
        other[place] += 1
        assert chunks.update_root(other, SALT, 4) != root
        assert chunks.sums_root(other) != chunks.sums_root(values)


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**31]),
        np.array([-(2**31) - 1]),
        np.zeros((2, 2), np.int16),
        np.zeros(3, np.float32),
        np.zeros(3, np.uint32),
        np.zeros(0, np.int16),
    ],
)
def test_what_is_no_vector_of_int32_is_our_fault(values: np.ndarray) -> None:
    with pytest.raises(ConfigurationError):
        chunks.update_root(values, SALT, 4)


def test_salts_and_places_are_checked() -> None:
    values = np.zeros(300, np.int16)
    with pytest.raises(ConfigurationError):
        chunks.update_root(values, bytes(15), 4)
    for index in (-1, 2):
        with pytest.raises(ConfigurationError):
            chunks.update_chunk(values, index, 4)
