from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError, PeerFault
from middleware.trust import merkle

FIXED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
LEAVES = merkle.leaf_hashes(number.to_bytes(8, "big") for number in range(200))


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_sum(entries: list[tuple[int, int]]) -> tuple[int, bytes]:
    if len(entries) == 1:
        node, amount = entries[0]
        return amount, sha256(b"\x00" + node.to_bytes(4, "big") + amount.to_bytes(16, "big")).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    (left_sum, left), (right_sum, right) = naive_sum(entries[:split]), naive_sum(entries[split:])
    data = b"\x01" + left_sum.to_bytes(16, "big") + left + right_sum.to_bytes(16, "big") + right
    return left_sum + right_sum, sha256(data).digest()


def test_the_trees_of_the_certificate_transparency_test_set() -> None:
    data = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                             "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for size, root in roots.items():
        assert merkle.root(data[:size]).hex() == root


def test_every_size_has_the_root_of_the_naive_recursion() -> None:
    frontier = merkle.Frontier()
    for size in range(201):
        expected = naive_root(LEAVES[:size])
        assert merkle.root_over(LEAVES[:size]) == expected
        assert merkle.Tree.over(LEAVES[:size]).root == expected
        assert (frontier.root, frontier.size) == (expected, size)
        if size < 200:
            frontier = frontier.append(LEAVES[size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65, 100, 127, 200])
def test_every_leaf_is_proved_and_no_other_leaf_or_place_is(size: int) -> None:
    tree = merkle.Tree.over(LEAVES[:size])
    for index in range(size):
        path = tree.path(index)
        assert merkle.verify_inclusion(tree.root, LEAVES[index], index, size, path)
        assert not merkle.verify_inclusion(tree.root, LEAVES[(index + 1) % 200], index, size, path)
        assert len(path) == merkle.path_length(index, size)
        for other in range(size):
            if other != index and merkle.path_length(other, size) == len(path):
                assert not merkle.verify_inclusion(tree.root, LEAVES[index], other, size, path)


def test_every_prefix_of_every_size_is_consistent() -> None:
    roots = [merkle.root_over(LEAVES[:size]) for size in range(66)]
    for size in range(66):
        for first in range(size + 1):
            proof = merkle.consistency(LEAVES[:size], first)
            assert merkle.verify_consistency(first, roots[first], size, roots[size], proof)
            if 0 < first < size:
                assert not merkle.verify_consistency(first, roots[first - 1], size, roots[size], proof)
                assert not merkle.verify_consistency(first, roots[first], size, roots[size - 1], proof)
                assert not merkle.verify_consistency(first, roots[first], size, roots[size], proof[:-1])
                assert not merkle.verify_consistency(first, roots[first], size, roots[size], [*proof, bytes(32)])


@FIXED
@given(st.integers(1, 200), st.data())
def test_a_bent_path_proves_nothing(size: int, data: st.DataObject) -> None:
    tree, index = merkle.Tree.over(LEAVES[:size]), data.draw(st.integers(0, size - 1))
    path = tree.path(index)
    if path:
        step = data.draw(st.integers(0, len(path) - 1))
        bit = data.draw(st.integers(0, 255))
        bent = bytearray(path[step])
        bent[bit // 8] ^= 1 << bit % 8
        assert not merkle.verify_inclusion(
            tree.root, LEAVES[index], index, size, [*path[:step], bytes(bent), *path[step + 1 :]]
        )
    for wrong in ([*path, bytes(32)], path[:-1] if path else [bytes(32)], [b"short"] * len(path) or [b""]):
        with pytest.raises(PeerFault) as caught:
            merkle.root_from_path(LEAVES[index], index, size, wrong)
        assert caught.value.code == "malformed"


@FIXED
@given(
    st.integers(-5, 2**70), st.integers(-5, 2**70), st.lists(st.binary(min_size=30, max_size=33), max_size=50),
    st.integers(-5, 2**70),
)  # fmt: skip
def test_a_strangers_proof_is_judged_or_malformed(index: int, size: int, path: list[bytes], first: int) -> None:
    attempts: tuple[Callable[[], object], ...] = (
        lambda: merkle.verify_inclusion(bytes(32), b"\1" * 32, index, size, path),
        lambda: merkle.verify_consistency(first, bytes(32), size, b"\1" * 32, path),
        lambda: merkle.verify_sum(bytes(32), first, first, index, size, [(first, step) for step in path]),
    )
    for judge in attempts:
        try:
            assert judge() is False
        except PeerFault as fault:
            assert fault.code == "malformed"


def test_the_empty_tree_is_a_prefix_of_every_tree() -> None:
    root = merkle.root_over(LEAVES[:3])
    assert merkle.verify_consistency(0, merkle.EMPTY_ROOT, 3, root, [])
    assert not merkle.verify_consistency(0, bytes(32), 3, root, [])
    assert not merkle.verify_consistency(0, merkle.EMPTY_ROOT, 3, root, [root])
    assert not merkle.verify_consistency(0, root, 0, root, [])


def test_a_leaf_cannot_pose_as_a_node() -> None:
    left, right = LEAVES[:2]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_a_place_outside_the_tree_is_our_fault() -> None:
    for index in (-1, 3):
        with pytest.raises(ConfigurationError):
            merkle.Tree.over(LEAVES[:3]).path(index)
        with pytest.raises(ConfigurationError):
            merkle.sum_path([(1, 1), (2, 2), (3, 3)], index)
    with pytest.raises(ConfigurationError):
        merkle.consistency(LEAVES[:3], 4)


ENTRIES = [(3 * number + 1, (1 << 90) + number) for number in range(200)]


def test_every_size_of_sum_tree_has_the_root_of_the_naive_recursion() -> None:
    assert merkle.sum_root([]) == bytes(32)
    for size in range(1, 201):
        total, top = naive_sum(ENTRIES[:size])
        assert merkle.sum_root(ENTRIES[:size]) == sha256(b"\x02" + total.to_bytes(16, "big") + top).digest()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 21, 200])
def test_every_amount_is_proved_with_its_total_and_no_other_is(size: int) -> None:
    root, total = merkle.sum_root(ENTRIES[:size]), sum(amount for _, amount in ENTRIES[:size])
    for index, (node, amount) in enumerate(ENTRIES[:size]):
        path = merkle.sum_path(ENTRIES[:size], index)
        assert merkle.sum_root_from_path(node, amount, index, size, path) == (total, root)
        assert not merkle.verify_sum(root, node, amount + 1, index, size, path)
        assert not merkle.verify_sum(root, node + 1, amount, index, size, path)
        if path:
            (sibling, step), rest = path[0], path[1:]
            assert not merkle.verify_sum(root, node, amount, index, size, [(sibling - 1, step), *rest])
            # the total is kept, but moved from the sibling to the claimant
            assert not merkle.verify_sum(root, node, amount + 1, index, size, [(sibling - 1, step), *rest])


def test_a_sum_path_is_packed_in_48_bytes_a_step() -> None:
    for index in range(5):
        path = merkle.sum_path(ENTRIES[:5], index)
        packed = merkle.pack_sum_path(path)
        assert len(packed) == 48 * len(path)
        assert merkle.unpack_sum_path(packed) == path
        with pytest.raises(PeerFault):
            merkle.unpack_sum_path(packed + b"\0")


def test_a_sum_root_seals_its_total_and_its_top() -> None:
    entries = [(1, 5), (4, 7), (9, 0)]
    total, top = merkle.sum_top(entries)
    assert (total, merkle.seal_sum(total, top)) == (12, merkle.sum_root(entries))
    assert merkle.sum_top([]) == (0, bytes(32))


def test_sums_never_pass_128_bits() -> None:
    with pytest.raises(ConfigurationError):
        merkle.sum_root([(1, (1 << 128) - 1), (2, 1)])
    with pytest.raises(PeerFault) as caught:
        merkle.sum_root_from_path(1, 1, 0, 2, [((1 << 128) - 1, bytes(32))])
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("entries", [[(2, 1), (1, 1)], [(1, 1), (1, 1)], [(1 << 32, 1)], [(1, -1)]])
def test_rewards_out_of_order_or_range_are_our_fault(entries: list[tuple[int, int]]) -> None:
    with pytest.raises(ConfigurationError):
        merkle.sum_root(entries)
