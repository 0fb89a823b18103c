"""A dispute published one chunk of an update; a reader of it wants to know the others."""

from __future__ import annotations

import numpy as np

from middleware.trust import chunks, merkle
from tests.sim.history import stream

INTEGERS = np.random.default_rng(1).integers(-9, 9, 2000).astype(np.int16)
SALT = stream("salt")(16)


def test_the_published_chunk_is_proven() -> None:
    tree = chunks.update_tree(INTEGERS, SALT, 2)
    leaf = chunks.chunk_leaf(chunks.update_chunk(INTEGERS, 3, 2), SALT)
    assert merkle.root_from_path(leaf, 3, tree.size, tree.path(3)) == tree.root


def test_its_path_holds_no_hash_that_a_guess_without_the_salt_confirms() -> None:
    path = chunks.update_tree(INTEGERS, SALT, 2).path(3)
    neighbour = chunks.update_chunk(INTEGERS, 2, 2)  # a right guess of the sibling
    assert chunks.chunk_leaf(neighbour) not in path
    assert chunks.chunk_leaf(neighbour, bytes(16)) not in path


def test_two_updates_with_the_same_numbers_share_no_hash() -> None:
    mine, yours = (chunks.update_tree(INTEGERS, stream(name)(16), 2) for name in ("mine", "yours"))
    assert not {hash for level in mine.levels for hash in level} & {hash for level in yours.levels for hash in level}
