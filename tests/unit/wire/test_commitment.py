from __future__ import annotations

import msgspec
import pytest
from eth_abi.packed import encode_packed
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError
from middleware.types import EdgeLeaf, Leaf, Node, Receipt, Roster, Status, Tier
from middleware.wire import commitment

FIXED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
PLACE = commitment.Context(31337, bytes(range(20)))
LEAF = Leaf(1, 2, 3, 4, 5, 6, b"c" * 32, b"u" * 32, b"m" * 32)
EDGE = EdgeLeaf(1, 2, 4, b"r" * 32, 9, b"a" * 32, b"w" * 32, 12)


def test_an_update_leaf_is_what_solidity_packs() -> None:
    assert commitment.leaf_data(PLACE, LEAF) == encode_packed(
        ["string", "uint64", "address", "uint64", "uint64", "uint32", "uint32", "uint64", "uint32"] + ["bytes32"] * 3,
        ["drystone/leaf/1", 31337, PLACE.ledger, 1, 2, 3, 4, 5, 6, b"c" * 32, b"u" * 32, b"m" * 32],
    )


def test_an_edge_leaf_is_what_solidity_packs() -> None:
    assert commitment.edge_leaf_data(PLACE, EDGE) == encode_packed(
        [
            "string",
            "uint64",
            "address",
            "uint64",
            "uint64",
            "uint32",
            "bytes32",
            "uint64",
            "bytes32",
            "bytes32",
            "uint64",
        ],
        ["drystone/edge/1", 31337, PLACE.ledger, 1, 2, 4, b"r" * 32, 9, b"a" * 32, b"w" * 32, 12],
    )


def test_weight_and_roster_entries_are_what_solidity_packs() -> None:
    assert commitment.weight_entry(7, 9) == encode_packed(["uint32", "uint64"], [7, 9])
    node = Node(7, b"k" * 32, b"a" * 20, b"o" * 20, Tier.END, Status.SUSPENDED, 2, "phone")
    assert commitment.roster_entry(node) == encode_packed(
        ["uint32", "bytes32", "address", "address", "uint8", "uint8", "uint32"],
        [7, b"k" * 32, b"a" * 20, b"o" * 20, 1, 3, 2],
    )


def test_the_roster_stands_in_ascending_id_with_the_revoked_in_it() -> None:
    nodes = {
        number: Node(number, bytes(32), bytes(20), bytes(20), Tier.END, Status.REVOKED, 2, "x")
        for number in (300, 2, 17)
    }
    entries = commitment.roster_entries(Roster(1, nodes))
    assert [int.from_bytes(entry[:4], "big") for entry in entries] == [2, 17, 300]


@pytest.mark.parametrize(
    "leaf",
    [msgspec.structs.replace(LEAF, **change) for change in (
        {"task": -1}, {"node": 1 << 32}, {"edge": 1 << 32}, {"weight": 0}, {"ciphertext": b"c"}, {"metrics": b"m" * 33},
    )],
)  # fmt: skip
def test_a_leaf_that_does_not_fit_is_never_packed(leaf: Leaf) -> None:
    with pytest.raises(ConfigurationError):
        commitment.leaf_data(PLACE, leaf)


def test_an_edge_leaf_or_receipt_that_does_not_fit_is_refused() -> None:
    for edge in (msgspec.structs.replace(EDGE, count=1 << 64), msgspec.structs.replace(EDGE, root=b"")):
        with pytest.raises(ConfigurationError):
            commitment.edge_leaf_data(PLACE, edge)
    with pytest.raises(ConfigurationError):
        commitment.require_receipt(Receipt(1, 1, 1, -1, bytes(32)))
    with pytest.raises(ConfigurationError):
        commitment.Context(1, bytes(19))


@FIXED
@given(st.text(max_size=40))
def test_a_name_survives_the_ledger_or_is_refused(name: str) -> None:
    try:
        packed = commitment.pack_name(name)
    except ConfigurationError:
        assert not 0 < len(name.encode()) <= 32 or "\0" in name
    else:
        assert len(packed) == 32 and commitment.unpack_name(packed) == name


@FIXED
@given(st.binary(min_size=32, max_size=32))
def test_any_name_on_the_ledger_can_be_shown(raw: bytes) -> None:
    shown = commitment.unpack_name(raw)
    assert "\0" not in shown
    assert shown.encode().decode() == shown
    assert len(shown) <= 32
