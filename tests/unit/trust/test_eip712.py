from __future__ import annotations

from typing import Any

import msgspec
import pytest
from eth_abi.abi import encode as abi_encode
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.errors import ConfigurationError
from middleware.trust import eip712
from middleware.types import EdgeLeaf, Header, Receipt

FIXED = settings(derandomize=True, deadline=None, max_examples=25, database=None)
u8, u32, u64 = st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
u256 = st.integers(0, 2**256 - 1)
word, address = st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20)
domains = st.builds(eip712.Domain, u64, address)


def oracle(domain: eip712.Domain, name: str, fields: list[tuple[str, str]], values: list[Any]) -> bytes:
    message = encode_typed_data(
        {"name": "Drystone", "version": "1", "chainId": domain.chain_id, "verifyingContract": domain.contract},
        {name: [{"name": field, "type": kind} for field, kind in fields]},
        {field: value for (field, _), value in zip(fields, values, strict=True)},
    )
    return bytes(_hash_eip191_message(message))


@FIXED
@given(domains, word, address, address, u8, u32, word, word, u256)
def test_a_registration_is_what_eth_account_says(
    domain: eip712.Domain, key: bytes, account: bytes, owner: bytes, tier: int, parent: int, name: bytes, meta: bytes,
    deadline: int,
) -> None:  # fmt: skip
    fields = [
        ("netKey", "bytes32"), ("account", "address"), ("owner", "address"), ("tier", "uint8"), ("parent", "uint32"),
        ("name", "bytes32"), ("metaHash", "bytes32"), ("deadline", "uint256"),
    ]  # fmt: skip
    values: list[Any] = [key, account, owner, tier, parent, name, meta, deadline]
    assert eip712.registration_digest(domain, *values) == oracle(domain, "Registration", fields, values)


@FIXED
@given(domains, u32, word, u32, u256)
def test_a_rotation_is_what_eth_account_says(
    domain: eip712.Domain, node: int, key: bytes, nonce: int, deadline: int
) -> None:
    fields = [("id", "uint32"), ("newKey", "bytes32"), ("nonce", "uint32"), ("deadline", "uint256")]
    digest = eip712.rotation_digest(domain, node, key, nonce, deadline)
    assert digest == oracle(domain, "KeyRotation", fields, [node, key, nonce, deadline])


@FIXED
@given(domains, u64, u64, u32, word)
def test_a_direct_submission_is_what_eth_account_says(
    domain: eip712.Domain, task: int, round: int, node: int, leaf: bytes
) -> None:
    fields = [("task", "uint64"), ("round", "uint64"), ("node", "uint32"), ("leaf", "bytes32")]
    digest = eip712.direct_digest(domain, task, round, node, leaf)
    assert digest == oracle(domain, "Direct", fields, [task, round, node, leaf])


@FIXED
@given(domains, st.builds(Receipt, u64, u64, u32, u64, word))
def test_a_receipt_is_what_eth_account_says(domain: eip712.Domain, receipt: Receipt) -> None:
    fields = [("task", "uint64"), ("round", "uint64"), ("edge", "uint32"), ("index", "uint64"), ("leaf", "bytes32")]
    values = list(msgspec.structs.astuple(receipt))
    assert eip712.receipt_digest(domain, receipt) == oracle(domain, "Receipt", fields, values)


@FIXED
@given(domains, st.builds(EdgeLeaf, u64, u64, u32, word, u64, word, word, u64))
def test_an_edge_root_is_what_eth_account_says(domain: eip712.Domain, leaf: EdgeLeaf) -> None:
    fields = [
        ("task", "uint64"), ("round", "uint64"), ("edge", "uint32"), ("root", "bytes32"), ("count", "uint64"),
        ("aggregate", "bytes32"), ("weights", "bytes32"), ("rosterBlock", "uint64"),
    ]  # fmt: skip
    assert eip712.edge_root_digest(domain, leaf) == oracle(
        domain, "EdgeRoot", fields, list(msgspec.structs.astuple(leaf))
    )


@FIXED
@given(st.lists(word, min_size=13, max_size=13), u64, st.integers(1, 2**64 - 1), u64)
def test_a_header_is_hashed_as_the_contract_encodes_it(words: list[bytes], task: int, number: int, count: int) -> None:
    values: list[Any] = [task, number, *words[:5], count, *words[5:]]
    header = Header(*values)
    kinds = ["uint64", "uint64", *["bytes32"] * 5, "uint64", *["bytes32"] * 8]
    encoded = abi_encode(kinds, msgspec.structs.astuple(header))
    assert eip712.header_words(header) == encoded
    assert eip712.header_hash(header) == keccak(encoded)


def test_another_chain_contract_name_or_version_is_another_digest() -> None:
    receipt = Receipt(1, 1, 2, 0, bytes(32))
    domains = [
        eip712.Domain(1, bytes(20)), eip712.Domain(2, bytes(20)), eip712.Domain(1, b"\1" * 20),
        eip712.Domain(1, bytes(20), "Other"), eip712.Domain(1, bytes(20), version="2"),
    ]  # fmt: skip
    assert len({eip712.receipt_digest(domain, receipt) for domain in domains}) == len(domains)


def test_a_value_outside_its_solidity_type_is_our_fault() -> None:
    domain = eip712.Domain(1, bytes(20))
    for receipt in (
        Receipt(1 << 64, 1, 2, 0, bytes(32)), Receipt(1, 1, 1 << 32, 0, bytes(32)), Receipt(1, 1, 2, -1, bytes(32)),
        Receipt(1, 1, 2, 0, bytes(31)),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            eip712.receipt_digest(domain, receipt)
    with pytest.raises(ConfigurationError):
        eip712.Domain(1, bytes(19))


def test_a_domain_is_also_the_place_of_messages_and_leaves() -> None:
    context = eip712.Domain(5, b"\1" * 20).context
    assert (context.chain_id, context.ledger) == (5, b"\1" * 20)
