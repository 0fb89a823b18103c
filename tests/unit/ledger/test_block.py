"""Headers and receipts as bytes, against blocks that everybody can look up."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.block import decode_header, decode_receipt, encode_header, encode_receipt
from middleware.errors import PeerFault

EMPTY = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
GENESIS: dict[str, Any] = {  # of Ethereum's main network
    "parentHash": "0x" + "00" * 32,
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x" + "00" * 20,
    "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
    "transactionsRoot": EMPTY,
    "receiptsRoot": EMPTY,
    "logsBloom": "0x" + "00" * 256,
    "difficulty": "0x400000000",
    "number": "0x0",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x0",
    "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000042",
}
RECEIPT: dict[str, Any] = {
    "status": "0x1", "cumulativeGasUsed": "0x5208", "logsBloom": "0x" + "00" * 256, "type": "0x2",
    "logs": [{"address": "0x" + "11" * 20, "topics": ["0x" + "22" * 32], "data": "0x0102"}],
}  # fmt: skip


def test_the_genesis_block_hashes_to_its_name() -> None:
    block = decode_header(encode_header(GENESIS))
    assert block.hash.hex() == "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
    assert (block.number, block.time, block.parent) == (0, 0, bytes(32))
    assert (block.state_root.hex(), block.receipts_root.hex()) == (GENESIS["stateRoot"][2:], EMPTY[2:])


@given(st.sampled_from([name for name in GENESIS if name != "miner"]), st.integers(1, 255))
def test_every_field_is_under_the_hash(name: str, value: int) -> None:
    width = len(GENESIS[name]) - 2
    changed = {**GENESIS, name: hex(value + 0x1388) if name in ("number", "gasLimit") else "0x" + f"{value:0{width}x}"}
    assume(changed[name] != GENESIS[name])
    assert decode_header(encode_header(changed)).hash != decode_header(encode_header(GENESIS)).hash


@pytest.mark.parametrize("later", [0, 1, 6, 9])
def test_a_header_with_fields_of_later_forks_is_read_by_position(later: int) -> None:
    items = rlp.decode(encode_header(GENESIS)) + [b"\x01" * 32] * later
    assert decode_header(rlp.encode(items)).state_root.hex() == GENESIS["stateRoot"][2:]


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\xc0", rlp.encode([b""] * 14), rlp.encode([b""] * 15), rlp.encode([[]] * 15)]
)
def test_bytes_that_are_no_header_are_malformed(data: bytes) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        decode_header(data)


@pytest.mark.parametrize("field", [8, 11])
def test_a_number_that_no_block_has_is_malformed(field: int) -> None:
    """Python refuses to print an integer of more than 4,300 digits: it must not come so far."""
    items = rlp.decode(encode_header(GENESIS))
    items[field] = b"\x01" * 5_000
    with pytest.raises(PeerFault, match="at most 8 bytes"):
        decode_header(rlp.encode(items))


@pytest.mark.parametrize(("kind", "prefix"), [("0x0", b""), ("0x1", b"\x01"), ("0x2", b"\x02"), ("0x4", b"\x04")])
def test_a_receipt_is_written_with_its_type_before_it(kind: str, prefix: bytes) -> None:
    data = encode_receipt({**RECEIPT, "type": kind})
    logs = [[b"\x11" * 20, [b"\x22" * 32], b"\x01\x02"]]
    assert data == prefix + rlp.encode([b"\x01", (21000).to_bytes(2, "big"), bytes(256), logs])
    assert decode_receipt(data) == ((b"\x11" * 20, (b"\x22" * 32,), b"\x01\x02"),)


def test_a_reverted_transaction_says_nothing() -> None:
    with pytest.raises(PeerFault, match="reverted"):
        decode_receipt(encode_receipt({**RECEIPT, "status": "0x0"}))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x02", b"\xc0", rlp.encode([b"\x01", b"", b""]), rlp.encode([b"\x01", b"", b"", b""]),
     rlp.encode([b"\x01", b"", b"", [[b"a", [b"b"]]]]), rlp.encode([b"\x01", b"", b"", [b"abcd"]])],
)  # fmt: skip
def test_bytes_that_are_no_receipt_are_malformed(data: bytes) -> None:
    with pytest.raises(PeerFault, match="malformed"):
        decode_receipt(data)


@given(st.binary(max_size=200))
def test_a_strangers_bytes_never_raise_anything_else(data: bytes) -> None:
    for decode in (decode_header, decode_receipt):
        with pytest.raises(PeerFault):
            decode(data)
