"""Merkle-Patricia proofs: published vectors, every value provable, every other proof refused."""

from __future__ import annotations

import pytest
import rlp
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from ledger.patricia import decode_bytes, decode_list, proof_in_list, value_under
from middleware.errors import PeerFault

KEYS = st.binary(min_size=1, max_size=6)
VALUES = st.binary(min_size=1, max_size=60)


def trie_of(entries: dict[bytes, bytes]) -> HexaryTrie:
    trie = HexaryTrie({})
    for key, value in entries.items():
        trie.set(key, value)
    return trie


def proof_of(trie: HexaryTrie, key: bytes) -> list[bytes]:
    """The nodes that stand by themselves: those of 32 bytes and more, and the root."""
    nodes = [rlp.encode(node) for node in trie.get_proof(key)]
    return [node for number, node in enumerate(nodes) if number == 0 or len(node) >= 32]


def test_the_root_of_the_published_example() -> None:
    """ethereum.org, "Patricia Merkle Tries"; also ethereum/tests, trieanyorder.json, "dogs"."""
    entries = {b"do": b"verb", b"dog": b"puppy", b"doge": b"coin", b"horse": b"stallion"}
    trie = trie_of(entries)
    assert trie.root_hash.hex() == "5991bb8c6514148a29db676a14ac506cd2cd5775ace63c30a4fe457715e9ac84"
    for key, value in entries.items():
        assert value_under(trie.root_hash, key, proof_of(trie, key)) == value


def test_a_proof_written_by_hand() -> None:
    """Two keys, 0x1234 and 0x1256: an extension over 1, 2 to a branch with two leaves, as appendix D spells them."""
    long = b"x" * 40
    leaves = {nibble: rlp.encode([bytes([0x30 + last]), long]) for nibble, last in ((3, 4), (5, 6))}
    branch = rlp.encode([keccak(leaves[nibble]) if nibble in leaves else b"" for nibble in range(16)] + [b""])
    root = rlp.encode([bytes([0x00, 0x12]), keccak(branch)])
    for key, nibble in ((b"\x12\x34", 3), (b"\x12\x56", 5)):
        assert value_under(keccak(root), key, [root, branch, leaves[nibble]]) == long
    with pytest.raises(PeerFault, match="leads to no value"):
        value_under(keccak(root), b"\x12\x78", [root, branch])
    with pytest.raises(PeerFault, match="node 3 of 3 is .*, which node 2 does not name"):
        value_under(keccak(root), b"\x12\x34", [root, branch, leaves[5]])


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=20), st.data())
def test_every_value_is_proven_and_no_other_proof_is_taken(entries: dict[bytes, bytes], data: st.DataObject) -> None:
    trie = trie_of(entries)
    key = data.draw(st.sampled_from(sorted(entries)))
    proof = proof_of(trie, key)
    assert value_under(trie.root_hash, key, proof) == entries[key]

    at = data.draw(st.integers(0, len(proof) - 1))
    place = data.draw(st.integers(0, len(proof[at]) - 1))
    flipped = bytes(byte ^ (place == number) for number, byte in enumerate(proof[at]))
    stranger = data.draw(VALUES)
    others = [
        [*proof[:at], flipped, *proof[at + 1 :]], [*proof[:at], *proof[at + 1 :]], [*proof, proof[at]], [*proof, stranger],
        [stranger, *proof], [], *([proof[::-1]] if len(proof) > 1 else []),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(PeerFault):
            value_under(trie.root_hash, key, other)
    missing = data.draw(KEYS.filter(lambda name: name not in entries))
    with pytest.raises(PeerFault):
        value_under(trie.root_hash, missing, proof)


@given(st.lists(st.binary(max_size=80), max_size=6), st.binary(max_size=40))
def test_a_strangers_nodes_never_raise_anything_else(nodes: list[bytes], key: bytes) -> None:
    root = keccak(nodes[0]) if nodes else bytes(32)
    try:
        value_under(root, key, nodes)
    except PeerFault as fault:
        assert fault.code in ("mismatch", "too-large")


@given(st.lists(VALUES, min_size=1, max_size=200), st.data())
def test_a_blocks_list_proves_each_of_its_values(values: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    root, proof = proof_in_list(values, index)
    assert root == trie_of({rlp.encode(number): value for number, value in enumerate(values)}).root_hash
    assert value_under(root, rlp.encode(index), proof) == values[index]


@pytest.mark.parametrize("data", [b"", b"\x80\x80", b"\x81\x01", b"\xf8\x01\x01", b"\xc1", b"\xb8", b"\xff" * 9])
def test_rlp_in_another_than_its_one_form_is_malformed(data: bytes) -> None:
    for decode in (decode_list, decode_bytes):
        with pytest.raises(PeerFault, match="malformed"):
            decode(data, "it")


def test_a_list_is_no_byte_string() -> None:
    assert decode_list(b"\xc1\x80", "it") == [b""]
    assert decode_bytes(b"\x82ab", "it") == b"ab"
    with pytest.raises(PeerFault, match="not a byte string"):
        decode_bytes(b"\xc1\x80", "it")
    with pytest.raises(PeerFault, match="not a list"):
        decode_list(b"\x82ab", "it")
